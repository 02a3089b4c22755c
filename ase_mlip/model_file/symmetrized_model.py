"""A network averaged over rotations: itself a network of the contract.

Rotating a structure is rotating its edge vectors, so that one graph serves all rotations. With R_g the
matrices and w_g their weights, Σ w_g = 1:

- energies and features: Σ_g w_g E(R_g r);
- a vector such as a force was found in the rotated frame: Σ_g w_g R_gᵀ F(R_g r);
- a tensor: Σ_g w_g R_gᵀ W(R_g r) R_g.

Averaging over a finite group makes the energy exactly invariant under it; forces stay its derivatives.
"""

from typing import Final

import torch
from torch import Tensor

from .derivatives import Graph, derived, of_network
from .earlier.first_contract import in_second_contract


class SymmetrizedModel(torch.nn.Module):
    """Average of a network over rotations.

    Every model file holds its network inside one of these, without rotations unless it was exported with
    them, so that an engine can choose them when it loads the file.

    Parameters
    ----------
    model : torch.nn.Module
        a network of the contract (``docs/architecture.md``), 2 or 1; if it has ``energies_and_gradients``,
        that is used instead of differentiating its ``forward``
    rotations : Tensor
        float64 [G, 3, 3], orthogonal matrices, also improper ones; None for the plain network
    weights : Tensor
        float64 [G], sum 1; None for equal ones
    inversion : bool
        whether to take each rotation also with the inversion

    Raises
    ------
    ValueError
        matrices that are not orthogonal, weights that do not sum to 1, or other shapes

    Examples
    --------
    A network that is averaged over the 24 rotations of a cube:

    >>> from ase_mlip import SymmetrizedModel
    >>> from ase_mlip.networks.snnp.hypers import SNNPHypers
    >>> from ase_mlip.networks.snnp.snnp import SNNP
    >>> from ase_mlip.rotations.schemes import find_averaging
    >>> cube = find_averaging("octahedral")
    >>> averaged = SymmetrizedModel(SNNP(SNNPHypers(species=[14])), cube.rotations, cube.weights)
    >>> averaged.rotations.shape
    torch.Size([24, 3, 3])
    """

    blocked: Final[bool]
    rotations: Tensor
    weights: Tensor
    nodes_at_once: int

    def __init__(
        self,
        model: torch.nn.Module,
        rotations: Tensor | None = None,
        weights: Tensor | None = None,
        inversion: bool = False,
    ):
        super().__init__()
        self.network = in_second_contract(model)
        self.blocked = hasattr(model, "energies_and_gradients")
        # Cast along with the network, so that its dtype can be asked for from TorchScript.
        dtypes = [p.dtype for p in model.parameters() if p.is_floating_point()]
        probe = torch.zeros(0, dtype=dtypes[0] if dtypes else torch.float64)
        self.register_buffer("dtype_probe", probe, persistent=False)
        # Attributes rather than buffers: they stay float64 when the network is cast. Constants: a call names
        # the rotations that it wants.
        self.rotations, self.weights = checked_rotations(rotations, weights, inversion)
        # What a GPU evaluates together; on a CPU a batch is slower than one rotation after another.
        self.nodes_at_once = 16384

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        outputs: list[str],
    ) -> dict[str, Tensor]:
        """The network's outputs, averaged over its own rotations; differentiable as the network is."""
        owned = torch.ones(species.size(0), dtype=torch.float64, device=species.device)
        graph = Graph(
            species, edge_index, edge_vectors, reverse_edges, inputs, owned, torch.zeros_like(species), 1
        )
        return self.average(graph, self.rotations, self.weights, 0, outputs, False)[0]

    def energies_and_gradients(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        node_weights: Tensor,
        outputs: list[str],
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Outputs, and d(Σ_i w_i E_i)/d edge_vectors [E, 3], averaged over its own rotations."""
        structure = torch.zeros_like(species)
        graph = Graph(species, edge_index, edge_vectors, reverse_edges, inputs, node_weights, structure, 1)
        return self.average(graph, self.rotations, self.weights, 0, outputs, True)

    def average(
        self,
        graph: Graph,
        rotations: Tensor,
        weights: Tensor,
        at_once: int,
        outputs: list[str],
        differentiate: bool,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Outputs averaged over given rotations, and the gradient.

        Parameters
        ----------
        graph : Graph
            one or more structures
        rotations, weights : Tensor
            float64 [G, 3, 3] and [G] on the CPU; G = 0: the plain network
        at_once : int
            rotations evaluated together; 0: one on a CPU, on a GPU as many as ``nodes_at_once`` hold
        outputs : list of str
            names of what is wanted, as of :class:`ase_mlip.model_file.potential.Potential`
        differentiate : bool
            whether the gradient is wanted

        Returns
        -------
        tuple of Tensor
            ``energies`` and those wanted that the network has, with ``spread`` also the values of each
            rotation of all that is wanted, ``..._by_rotation`` [N, G, ...]; and d(Σ_i w_i E_i)/d edge_vectors
            [E, 3], or [0, 3]
        """
        wanted = of_network(outputs)
        n_rotations = rotations.size(0)
        if n_rotations == 0:
            return self._evaluate(graph, wanted, differentiate)
        spread = "spread" in outputs
        totals: dict[str, Tensor] = {}
        kept: dict[str, list[Tensor]] = {}
        n_nodes = graph.species.size(0)
        n_edges = graph.edge_vectors.size(0) if differentiate else 0
        gradient = torch.zeros(n_edges, 3, dtype=torch.float64, device=graph.edge_vectors.device)
        start = 0
        while start < n_rotations:
            part = self._next_rotations(rotations, start, at_once, graph.species)
            copies = part.size(0)
            found, gradients = self._evaluate(copied(graph, part), wanted, differentiate)
            for name, value in found.items():
                values = rotate_back(name, value.unflatten(0, [copies, n_nodes]), part)
                add_to(totals, name, weighted(values, weights, start))
                if spread:
                    keep(kept, name, values)
            if differentiate:
                gradients = rotate_back("gradients", gradients.unflatten(0, [copies, n_edges]), part)
                gradient += weighted(gradients, weights, start)
                if spread:
                    keep_derived(kept, gradients, graph, outputs)
            start += copies
        for name, parts in kept.items():
            totals[name] = torch.cat(parts, dim=1)
        return totals, gradient

    def _evaluate(
        self, graph: Graph, outputs: list[str], differentiate: bool
    ) -> tuple[dict[str, Tensor], Tensor]:
        """``energies`` and those ``outputs`` the network has; the gradient [E, 3], or [0, 3]."""
        if not differentiate:
            return chosen(self._plain(graph, graph.edge_vectors, outputs), outputs), graph.edge_vectors[:0]
        if self.blocked:
            weights = graph.node_weights.to(graph.edge_vectors.dtype)
            found, gradient = self.network.energies_and_gradients(
                graph.species,
                graph.edge_index,
                graph.edge_vectors,
                graph.reverse_edges,
                graph.inputs,
                weights,
                outputs,
            )
            found = chosen(found, outputs)
            if len(found) <= len(outputs):  # a network may leave out what costs it another evaluation
                with torch.no_grad():
                    for name, value in self._plain(graph, graph.edge_vectors, outputs).items():
                        if name in outputs and name not in found:
                            found[name] = value
            return found, gradient
        vectors = graph.edge_vectors.detach().requires_grad_(True)
        found = chosen(self._plain(graph, vectors, outputs), outputs)
        total = (graph.node_weights * found["energies"].to(torch.float64)).sum()
        by_vectors = torch.autograd.grad([total], [vectors], allow_unused=True)[0]
        detached: dict[str, Tensor] = {}
        for name, value in found.items():
            detached[name] = value.detach()
        if by_vectors is None:
            return detached, torch.zeros_like(vectors)
        return detached, by_vectors

    def _plain(self, graph: Graph, vectors: Tensor, outputs: list[str]) -> dict[str, Tensor]:
        return self.network(
            graph.species, graph.edge_index, vectors, graph.reverse_edges, graph.inputs, outputs
        )

    def _next_rotations(self, rotations: Tensor, start: int, at_once: int, species: Tensor) -> Tensor:
        """The next matrices that are evaluated together."""
        size = at_once
        if size == 0:
            size = 1
            if species.is_cuda:
                size = max(1, self.nodes_at_once // max(1, species.size(0)))
        return rotations[start : start + size].to(species.device)


def checked_rotations(
    rotations: Tensor | None, weights: Tensor | None, inversion: bool
) -> tuple[Tensor, Tensor]:
    """Matrices [G, 3, 3] and weights [G], float64, copied; none at all without rotations."""
    if rotations is None:
        return torch.zeros(0, 3, 3, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    rotations = torch.as_tensor(rotations, dtype=torch.float64).clone()
    if rotations.dim() != 3 or rotations.shape[1:] != (3, 3) or rotations.shape[0] == 0:
        raise ValueError(f"`rotations` must have shape [G, 3, 3] with G > 0, got {list(rotations.shape)}")
    count = rotations.shape[0]
    weights = torch.full((count,), 1.0 / count) if weights is None else torch.as_tensor(weights)
    weights = weights.to(torch.float64).clone()
    if weights.shape != (count,) or not abs(float(weights.sum()) - 1.0) < 1e-9:
        raise ValueError(f"`weights` must have shape [{count}] and sum 1, got {weights.tolist()}")
    error = float((rotations @ rotations.mT - torch.eye(3, dtype=torch.float64)).abs().max())
    if not error < 1e-9:
        raise ValueError(f"`rotations` must be orthogonal to 1e-9, got an error of {error:.2g}")
    if inversion:
        return torch.cat([rotations, -rotations]), torch.cat([weights, weights]) / 2
    return rotations, weights


def chosen(found: dict[str, Tensor], outputs: list[str]) -> dict[str, Tensor]:
    """``energies`` and those ``outputs`` that are there: a network may give more than it was asked for."""
    kept = {"energies": found["energies"]}
    for name, value in found.items():
        if name in outputs:
            kept[name] = value
    return kept


def keep(kept: dict[str, list[Tensor]], name: str, values: Tensor) -> None:
    """Remember values [G, N, ...] of the next rotations by name, as [N, G, ...]; features have no use."""
    if name == "features":
        return
    key = name + "_by_rotation"
    if key not in kept:
        kept[key] = []
    kept[key].append(values.detach().transpose(0, 1))


def keep_derived(kept: dict[str, list[Tensor]], gradients: Tensor, graph: Graph, outputs: list[str]) -> None:
    """Remember what is wanted of forces and virials of the next rotations, from their gradients [G, E, 3]."""
    vectors = graph.edge_vectors.detach().to(torch.float64)
    for gradient in gradients.unbind(0):
        for name, values in derived(gradient, vectors, graph, outputs).items():
            if name != "gradients":
                keep(kept, name, values[None])


def copied(graph: Graph, rotations: Tensor) -> Graph:
    """One copy of the graph for each of the matrices ``rotations`` [G, 3, 3], rotated by it."""
    copies, n_nodes = rotations.size(0), graph.species.size(0)
    return Graph(
        graph.species.repeat(copies),
        repeat_edges(graph.edge_index, n_nodes, copies),
        rotate(graph.edge_vectors, rotations).flatten(0, 1),
        repeat_reverse(graph.reverse_edges, copies),
        repeat_inputs(graph.inputs, copies),
        graph.node_weights.repeat(copies),
        graph.structure,
        graph.n_structures,
    )


def rotate(vectors: Tensor, rotations: Tensor) -> Tensor:
    """R_g r for vectors [E, 3] and matrices [G, 3, 3]: [G, E, 3]"""
    return torch.matmul(vectors[None], rotations.to(vectors.dtype).transpose(1, 2))


def rotate_back(name: str, values: Tensor, rotations: Tensor) -> Tensor:
    """Values [G, N, ...] found in rotated frames, in the common frame and in float64."""
    values = values.to(torch.float64)
    if name == "direct_forces" or name == "gradients":
        return torch.matmul(values, rotations)
    if name == "direct_virials" or name == "direct_stresses":
        return torch.matmul(torch.matmul(rotations.transpose(1, 2)[:, None], values), rotations[:, None])
    return values


def weighted(values: Tensor, weights: Tensor, start: int) -> Tensor:
    """Σ_g w_g values_g over the first dimension, whose first entry is rotation ``start``."""
    chosen = weights[start : start + values.size(0)].to(values.device)
    return torch.tensordot(chosen, values, dims=([0], [0]))


def add_to(totals: dict[str, Tensor], name: str, values: Tensor) -> None:
    totals[name] = totals[name] + values if name in totals else values


def repeat_edges(edge_index: Tensor, n_nodes: int, copies: int) -> Tensor:
    """Edges of several copies of a graph: [2, copies * E]"""
    if copies == 1:
        return edge_index
    offsets = n_nodes * torch.arange(copies, device=edge_index.device)
    return (edge_index[:, None, :] + offsets[None, :, None]).flatten(1, 2)


def repeat_reverse(reverse_edges: Tensor, copies: int) -> Tensor:
    if copies == 1:
        return reverse_edges
    offsets = reverse_edges.size(0) * torch.arange(copies, device=reverse_edges.device)
    found = reverse_edges[None, :] + offsets[:, None]
    return torch.where(reverse_edges[None, :] >= 0, found, torch.full_like(found, -1)).flatten()


def repeat_inputs(inputs: dict[str, Tensor], copies: int) -> dict[str, Tensor]:
    repeated: dict[str, Tensor] = {}
    for name, value in inputs.items():
        repeated[name] = torch.cat([value] * copies)
    return repeated
