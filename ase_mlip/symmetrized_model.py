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


class SymmetrizedModel(torch.nn.Module):
    """Average of a network over rotations.

    Every model file holds its network inside one of these, without rotations unless it was exported with
    them, so that an engine can choose them when it loads the file.

    Parameters
    ----------
    model: a network of the contract (``docs/architecture.md``); if it has ``energies_and_gradients``, that
        is used instead of differentiating its ``forward``
    rotations: float64 [G, 3, 3], orthogonal matrices, also improper ones; None for the plain network
    weights: float64 [G], sum 1; None for equal ones
    inversion: whether to take each rotation also with the inversion

    Raises
    ------
    ValueError
        matrices that are not orthogonal, weights that do not sum to 1, or other shapes
    """

    blocked: Final[bool]
    rotations: Tensor
    weights: Tensor
    spread: bool
    batch: int
    nodes_at_once: int

    def __init__(
        self,
        model: torch.nn.Module,
        rotations: Tensor | None = None,
        weights: Tensor | None = None,
        inversion: bool = False,
    ):
        super().__init__()
        self.network = model
        self.blocked = hasattr(model, "energies_and_gradients")
        # Cast along with the network, so that its dtype can be asked for from TorchScript.
        dtypes = [p.dtype for p in model.parameters() if p.is_floating_point()]
        probe = torch.zeros(0, dtype=dtypes[0] if dtypes else torch.float64)
        self.register_buffer("dtype_probe", probe, persistent=False)
        # Attributes rather than buffers: they stay float64 when the network is cast.
        self.rotations, self.weights = checked_rotations(rotations, weights, inversion)
        # Whether the values of every rotation are returned beside their average.
        self.spread = False
        # Rotations evaluated together. 0: one on a CPU, where a batch is slower, and on a GPU
        # as many as have so many nodes.
        self.batch = 0
        self.nodes_at_once = 16384

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """The network's outputs, averaged. With ``spread`` also those of each rotation, see :meth:`_keep`."""
        n_rotations = self.rotations.size(0)
        if n_rotations == 0:
            return self.network(species, edge_index, edge_vectors, reverse_edges, inputs)
        totals: dict[str, Tensor] = {}
        kept: dict[str, list[Tensor]] = {}
        start = 0
        while start < n_rotations:
            turns = self._turns(start, species)
            copies = turns.size(0)
            outputs = self.network(
                species.repeat(copies),
                repeat_edges(edge_index, species.size(0), copies),
                rotate(edge_vectors, turns).flatten(0, 1),
                repeat_reverse(reverse_edges, copies),
                repeat_inputs(inputs, copies),
            )
            for name, value in outputs.items():
                values = turn_back(name, value.unflatten(0, [copies, species.size(0)]), turns)
                add_to(totals, name, weighted(values, self.weights, start))
                if self.spread:
                    self._keep(kept, name, values)
            start += copies
        return self._joined(totals, kept)

    def energies_and_gradients(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        node_weights: Tensor,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Outputs, and d(Σ_i w_i E_i)/d edge_vectors [E, 3]; ``node_weights`` w are float64 [N]."""
        n_rotations = self.rotations.size(0)
        if n_rotations == 0:
            return self._differentiate(species, edge_index, edge_vectors, reverse_edges, inputs, node_weights)
        n_nodes, n_edges = species.size(0), edge_vectors.size(0)
        totals: dict[str, Tensor] = {}
        kept: dict[str, list[Tensor]] = {}
        gradient = torch.zeros(n_edges, 3, dtype=torch.float64, device=edge_vectors.device)
        start = 0
        while start < n_rotations:
            turns = self._turns(start, species)
            copies = turns.size(0)
            outputs, gradients = self._differentiate(
                species.repeat(copies),
                repeat_edges(edge_index, n_nodes, copies),
                rotate(edge_vectors, turns).flatten(0, 1),
                repeat_reverse(reverse_edges, copies),
                repeat_inputs(inputs, copies),
                node_weights.repeat(copies),
            )
            for name, value in outputs.items():
                values = turn_back(name, value.unflatten(0, [copies, n_nodes]), turns)
                add_to(totals, name, weighted(values, self.weights, start))
                if self.spread:
                    self._keep(kept, name, values)
            gradients = turn_back("gradients", gradients.unflatten(0, [copies, n_edges]), turns)
            gradient += weighted(gradients, self.weights, start)
            if self.spread:
                self._keep_derivatives(kept, gradients, edge_index, edge_vectors, n_nodes)
            start += copies
        return self._joined(totals, kept), gradient

    def _differentiate(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        node_weights: Tensor,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The network's outputs and gradient for one graph, [E, 3]."""
        if self.blocked:
            return self.network.energies_and_gradients(
                species, edge_index, edge_vectors, reverse_edges, inputs, node_weights.to(edge_vectors.dtype)
            )
        vectors = edge_vectors.detach().requires_grad_(True)
        outputs = self.network(species, edge_index, vectors, reverse_edges, inputs)
        total = (node_weights * outputs["energies"].to(torch.float64)).sum()
        gradient = torch.autograd.grad([total], [vectors], allow_unused=True)[0]
        detached: dict[str, Tensor] = {}
        for name, value in outputs.items():
            detached[name] = value.detach()
        if gradient is None:
            return detached, torch.zeros_like(edge_vectors)
        return detached, gradient

    def _turns(self, start: int, species: Tensor) -> Tensor:
        """The next matrices that are evaluated together."""
        size = self.batch
        if size == 0:
            size = 1
            if species.is_cuda:
                size = max(1, self.nodes_at_once // max(1, species.size(0)))
        return self.rotations[start : start + size].to(species.device)

    def _keep(self, kept: dict[str, list[Tensor]], name: str, values: Tensor) -> None:
        """Remember energies [N, G] and the direct heads' values [N, G, ...] of each rotation, by name."""
        if name == "features":
            return
        key = name + "_by_rotation"
        if key not in kept:
            kept[key] = []
        kept[key].append(values.detach().transpose(0, 1))

    def _keep_derivatives(
        self,
        kept: dict[str, list[Tensor]],
        gradients: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        n_nodes: int,
    ) -> None:
        """Forces [N, G, 3] and virials [N, G, 3, 3] of each rotation, from its gradient by the edges."""
        vectors = edge_vectors.detach().to(torch.float64)
        for gradient in gradients.unbind(0):
            forces = torch.ops.ase_mlip.forces_from_gradients(gradient, edge_index, n_nodes)
            self._keep(kept, "forces", forces[None])
            virials = torch.ops.ase_mlip.virials_from_gradients(gradient, vectors, edge_index, n_nodes)
            self._keep(kept, "virials", virials[None])

    def _joined(self, totals: dict[str, Tensor], kept: dict[str, list[Tensor]]) -> dict[str, Tensor]:
        for name, parts in kept.items():
            totals[name] = torch.cat(parts, dim=1)
        return totals


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


def rotate(vectors: Tensor, turns: Tensor) -> Tensor:
    """R_g r for vectors [E, 3] and matrices [G, 3, 3]: [G, E, 3]"""
    return torch.matmul(vectors[None], turns.to(vectors.dtype).transpose(1, 2))


def turn_back(name: str, values: Tensor, turns: Tensor) -> Tensor:
    """Values [G, N, ...] found in rotated frames, in the common frame and in float64."""
    values = values.to(torch.float64)
    if name == "direct_forces" or name == "gradients":
        return torch.matmul(values, turns)
    if name == "direct_virials" or name == "direct_stresses":
        return torch.matmul(torch.matmul(turns.transpose(1, 2)[:, None], values), turns[:, None])
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
