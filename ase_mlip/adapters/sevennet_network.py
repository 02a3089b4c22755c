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

from ..architectures.equivariant import pulled_back, types_of
from .sevennet_convolution import Block, Convolution, in_order
from .sevennet_parts import Exact, Gate, Harmonics, Perceptron, Radial, SlotLinear


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

    def finish(self, sums: Tensor, x: Tensor, types: Tensor) -> Tensor:
        """New features [B, D'] of nodes from their sums [B, C], features [B, D] and types [B]."""
        return self.gate(self.after(sums, types) + self.connection(x, types))


class SevenNet(torch.nn.Module):
    """Equivariant message passing; a module of the contract.

    Parameters
    ----------
    species: atomic number of each type
    embedding: float64 [S, D], first features of each type
    scale: float32 [S], factor of each type's energy
    readout: linear map of the last features to one column, or to the perceptron's input
    perceptron: None for a linear readout
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
        blocks = self._blocks(edge_index, torch.ones_like(types, dtype=torch.bool))
        order = in_order(blocks, types)
        x = self.embedding()[types]
        for layer in self.layers:
            sums = layer.convolution.sums(layer.before(x, types), harmonics, basis, blocks)
            rows = layer.finish(sums, x.index_select(0, order), types.index_select(0, order))
            x = x.new_zeros(x.size(0), rows.size(1)).index_copy(0, order, rows)
        found = {"energies": self._energies(x, types)}
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
        plans = self._plans(edge_index, node_weights != 0)
        xs: list[Tensor] = []
        mixed: list[Tensor] = []
        sums: list[Tensor] = []
        ends: list[Tensor] = []
        x = self.embedding()[types]
        for k, layer in enumerate(self.layers):
            x = x.detach().requires_grad_(True)
            order = in_order(plans[k], types)
            before = layer.before(x, types)
            with torch.no_grad():
                summed = layer.convolution.sums(before.detach(), harmonics, basis, plans[k])
            summed.requires_grad_(True)
            end = layer.finish(summed, x.index_select(0, order), types.index_select(0, order))
            xs.append(x)
            mixed.append(before)
            sums.append(summed)
            ends.append(end)
            x = x.new_zeros(x.size(0), end.size(1)).index_copy(0, order, end.detach())
        last = in_order(plans[-1], types)
        rows = self._energies(ends[-1], types.index_select(0, last))
        energies = rows.new_zeros(types.size(0)).index_copy(0, last, rows.detach())
        ends[-1] = rows
        given = node_weights.to(rows.dtype).index_select(0, last)
        by_edges = self._backwards(plans, xs, mixed, sums, ends, given, harmonics, basis)
        found = {"energies": energies}
        if "features" in outputs:
            found["features"] = x
        return found, pulled_back(on_edges, by_edges, [vectors])[0]

    def _backwards(
        self,
        plans: list[list[Block]],
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
        for back in range(len(plans)):
            step = len(plans) - 1 - back
            found = pulled_back([ends[step]], [given], [sums[step], xs[step]])
            by_sums, by_x = found[0], found[1]
            gradients = [torch.zeros_like(mixed[step]), by_harmonics, by_basis]
            for k, layer in enumerate(self.layers):
                if k == step:
                    layer.convolution.add_gradients(
                        mixed[step].detach(), harmonics, basis, plans[step], by_sums, gradients
                    )
            if step > 0:
                by_x = by_x + pulled_back([mixed[step]], [gradients[0]], [xs[step]])[0]
                given = by_x.index_select(0, in_order(plans[step - 1], by_x))
        return [by_harmonics, by_basis]

    def _edges(self, vectors: Tensor) -> list[Tensor]:
        """Harmonics [E, H] and radial basis [E, R] of edges [E, 3]; the smallest length avoids 0 / 0."""
        r = torch.sqrt((vectors * vectors).sum(dim=1) + 1e-30)
        return [self.harmonics(vectors, r), self.radial(r)]

    def _energies(self, features: Tensor, types: Tensor) -> Tensor:
        """features [B, F], types [B] → eV, [B]"""
        if self.nonlinear:
            column = self.perceptron.evaluate(features, self.perceptron.weights())
        else:
            column = self.readout(features, types)
        return column.squeeze(1) * self.scale[types]

    def _plans(self, edge_index: Tensor, wanted: Tensor) -> list[list[Block]]:
        """The blocks of each layer: those of the last are ``wanted`` nodes, bool [N]."""
        plans: list[list[Block]] = []
        while len(plans) < self.n_layers:
            plans.append(self._blocks(edge_index, wanted))
            if bool(wanted.all()):
                while len(plans) < self.n_layers:
                    plans.append(plans[-1])
            else:
                seen = edge_index[1][wanted[edge_index[0]]]
                wanted = wanted.index_fill(0, seen, True)
        plans.reverse()
        return plans

    def _blocks(self, edge_index: Tensor, wanted: Tensor) -> list[Block]:
        """``wanted`` centres, bool [N], in descending order of their number of edges."""
        centres, neighbours = edge_index[0], edge_index[1]
        degrees = torch.bincount(centres, minlength=wanted.size(0))
        starts = torch.cumsum(degrees, 0) - degrees
        found = torch.nonzero(wanted).squeeze(1)
        sizes, order = torch.sort(degrees[found], stable=True, descending=True)
        found = found[order]
        budget = self.edges_gpu if centres.is_cuda else self.edges_cpu
        lengths: list[int] = sizes.tolist()
        blocks: list[Block] = []
        start = 0
        while start < len(lengths):
            n = lengths[start]
            stop = min(len(lengths), start + max(1, budget // max(n, 1)))
            chosen = found[start:stop]
            counts = torch.arange(n, device=centres.device)
            present = (counts[None, :] < sizes[start:stop, None]).flatten()
            edges = (starts[chosen][:, None] + counts[None, :]).flatten()
            edges = torch.where(present, edges, torch.zeros_like(edges))
            mask = present[:, None].to(self.scale.dtype)
            blocks.append(Block(chosen, edges, neighbours[edges], mask))
            start = stop
        return blocks
