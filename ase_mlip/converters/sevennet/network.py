"""SevenNet (doi 10.1021/acs.jctc.4c00190) as a module of the contract, worked through in blocks of edges.

A NequIP-like equivariant network. Features of a node are slots of irreducible representations. A layer mixes
channels, sums messages from the neighbours, mixes again, adds a self-connection and applies gates:

    message(i ← j) = w(r_ij) · C (a_j ⊗ Y(r_ij)),     w = perceptron(radial basis · envelope)

C couples slots of a_j with spherical harmonics. It acts alike on all channels, while w is a number per path
of the coupling and channel. Everything but C, the basis and the activations is linear.

Messages of a layer are local to a centre, so blocks are independent. The derivative is a chain over the
layers in which blocks are evaluated once more: what autograd keeps lives for one block.
"""

from typing import Final

import torch
from torch import Tensor

from ...networks.gradients import pulled_back
from ...networks.needed import needed_by_layers
from ...networks.species import types_of
from .blocks import Kinds, Plan, counts_of_types, plans
from .convolution import Convolution
from .parts import Exact, Gate, Harmonics, Perceptron, Radial, SlotLinear


class Layer(torch.nn.Module):
    """One interaction: channels mixed before and after the convolution, self-connection, gate."""

    def __init__(
        self,
        before: SlotLinear,
        convolution: Convolution,
        after: SlotLinear,
        connection: SlotLinear,
        gate: Gate,
    ):
        super().__init__()
        self.before = before
        self.convolution = convolution
        self.after = after
        self.connection = connection
        self.gate = gate

    def finish(self, sums: Tensor, x: Tensor, kinds: Kinds) -> Tensor:
        """New features [B, D'] of nodes from their sums [B, C], features [B, D] and kinds."""
        return self.gate(self.after(sums, kinds) + self.connection(x, kinds))


class SevenNet(torch.nn.Module):
    """Equivariant message passing; a module of the contract.

    Parameters
    ----------
    species : list of int
        atomic number of each type
    embedding : Tensor
        float64 [S, D], first features of each type
    scale : Tensor
        float32 [S], factor of each type's energy
    readout : SlotLinear, optional
        linear map of the last features to one column, or to the perceptron's input
    perceptron : Perceptron
        None for a linear readout
    """

    nonlinear: Final[bool]

    def __init__(
        self,
        species: list[int],
        radial: Radial,
        harmonics: Harmonics,
        embedding: Tensor,
        layers: list[Layer],
        readout: SlotLinear | None,
        perceptron: Perceptron,
        scale: Tensor,
    ):
        super().__init__()
        self.register_buffer("types", types_of(species))
        self.radial = radial
        self.harmonics = harmonics
        self.embedding = Exact(embedding)
        self.layers = torch.nn.ModuleList(layers)
        self.n_layers = len(layers)
        self.nonlinear = readout is None
        self.readout = torch.nn.Identity() if readout is None else readout
        self.perceptron = perceptron
        self.scale = torch.nn.Parameter(scale, requires_grad=False)
        # Edges that are worked through together: a CPU's cache is small.
        self.edges_cpu = 512
        self.edges_gpu = 65536

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        outputs: list[str],
    ) -> dict[str, Tensor]:
        """``energies`` [N] in eV, without the energies of the elements, and the last ``features`` [N, F]."""
        types = self.types[species]
        harmonics, basis = self._edges(edge_vectors)
        everything = self._all(types)
        plan = self._plans(types, edge_index, torch.ones_like(types, dtype=torch.bool))[0]
        x = self.embedding()[types]
        for layer in self.layers:
            sums = layer.convolution.sums(layer.before(x, everything), harmonics, basis, plan.blocks)
            rows = layer.finish(sums, x.index_select(0, plan.nodes), plan.kinds)
            x = x.new_zeros(x.size(0), rows.size(1)).index_copy(0, plan.nodes, rows)
        found = {"energies": self._energies(x, everything)}
        if "features" in outputs:
            found["features"] = x
        return found

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
        """What is wanted, and d(Σ_i w_i E_i)/d edge_vectors [E, 3]; nodes without weight give zero.

        Layers are evaluated only for nodes that a node with a weight can still see.
        """
        vectors = edge_vectors.detach().requires_grad_(True)
        types = self.types[species]
        on_edges = self._edges(vectors)
        harmonics, basis = on_edges[0].detach(), on_edges[1].detach()
        everything = self._all(types)
        layers = self._plans(types, edge_index, node_weights != 0)
        xs: list[Tensor] = []
        mixed: list[Tensor] = []
        sums: list[Tensor] = []
        ends: list[Tensor] = []
        x = self.embedding()[types]
        for k, layer in enumerate(self.layers):
            x = x.detach().requires_grad_(True)
            plan = layers[k]
            before = layer.before(x, everything)
            with torch.no_grad():
                summed = layer.convolution.sums(before.detach(), harmonics, basis, plan.blocks)
            summed.requires_grad_(True)
            end = layer.finish(summed, x.index_select(0, plan.nodes), plan.kinds)
            xs.append(x)
            mixed.append(before)
            sums.append(summed)
            ends.append(end)
            x = x.new_zeros(x.size(0), end.size(1)).index_copy(0, plan.nodes, end.detach())
        last = layers[-1]
        rows = self._energies(ends[-1], last.kinds)
        energies = rows.new_zeros(types.size(0)).index_copy(0, last.nodes, rows.detach())
        ends[-1] = rows
        given = node_weights.to(rows.dtype).index_select(0, last.nodes)
        by_edges = self._backwards(layers, xs, mixed, sums, ends, given, harmonics, basis)
        found = {"energies": energies}
        if "features" in outputs:
            found["features"] = x
        return found, pulled_back(on_edges, by_edges, [vectors])[0]

    def _backwards(
        self,
        layers: list[Plan],
        xs: list[Tensor],
        mixed: list[Tensor],
        sums: list[Tensor],
        ends: list[Tensor],
        given: Tensor,
        harmonics: Tensor,
        basis: Tensor,
    ) -> list[Tensor]:
        """Gradients by harmonics and basis; ``given`` is that by the end of the last layer."""
        by_harmonics, by_basis = torch.zeros_like(harmonics), torch.zeros_like(basis)
        for back in range(len(layers)):
            step = len(layers) - 1 - back
            found = pulled_back([ends[step]], [given], [sums[step], xs[step]])
            by_sums, by_x = found[0], found[1]
            gradients = [torch.zeros_like(mixed[step]), by_harmonics, by_basis]
            for k, layer in enumerate(self.layers):
                if k == step:
                    layer.convolution.add_gradients(
                        mixed[step].detach(), harmonics, basis, layers[step].blocks, by_sums, gradients
                    )
            if step > 0:
                by_x = by_x + pulled_back([mixed[step]], [gradients[0]], [xs[step]])[0]
                given = by_x.index_select(0, layers[step - 1].nodes)
        return [by_harmonics, by_basis]

    def _edges(self, vectors: Tensor) -> list[Tensor]:
        """Harmonics [E, H] and radial basis [E, R] of edges [E, 3]; the smallest length avoids 0 / 0."""
        r = torch.sqrt((vectors * vectors).sum(dim=1) + 1e-30)
        return [self.harmonics(vectors, r), self.radial(r)]

    def _energies(self, features: Tensor, kinds: Kinds) -> Tensor:
        """features [B, F] of nodes of these kinds → eV, [B]"""
        if self.nonlinear:
            column = self.perceptron.evaluate(features, self.perceptron.weights())
        else:
            column = self.readout(features, kinds)
        return column.squeeze(1) * self.scale[kinds.types]

    def _all(self, types: Tensor) -> Kinds:
        """Kinds of all nodes; the host waits once."""
        everything = torch.ones_like(types, dtype=torch.bool)
        return Kinds(types, counts_of_types(types, [everything], self.scale.size(0))[0])

    def _plans(self, types: Tensor, edge_index: Tensor, wanted: Tensor) -> list[Plan]:
        """The nodes of each layer, which a ``wanted`` node, bool [N], depends on."""
        target = self.edges_gpu if types.is_cuda else self.edges_cpu
        n_types = self.scale.size(0)
        if bool(wanted.all()):
            return plans(types, edge_index, [wanted], n_types, target, self.scale) * self.n_layers
        needed = needed_by_layers(edge_index[0], edge_index[1], wanted, self.n_layers)
        return plans(types, edge_index, needed, n_types, target, self.scale)
