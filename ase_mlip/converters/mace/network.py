"""MACE's message passing as a module of the contract, evaluated for blocks of centres.

MACE (arXiv 2206.07697) passes messages a few times. A layer sums, over the edges (i, j) of an atom,

    A_i = Σ_j w(r_ij) · C · (h_j ⊗ Y(r_ij)),

with h the neighbours' features, Y spherical harmonics, w weights from a radial network and C Clebsch-Gordan
coefficients, then takes polynomials of A_i that are equivariant: the new features. Here the sum over the
edges is a matrix product of Y with w·h for each centre, after which C acts on nodes rather than on edges.
Features lie as [nodes, components, channels]. All numbers come from the checkpoint's own submodules
(:mod:`ase_mlip.converters.mace.weights`).

Given its neighbours' features, a layer is local to an atom: layers are evaluated and differentiated for a
block of centres at a time, all of one species and with about as many edges. Only features of nodes and the
few functions of the edges that all layers share live for the whole graph.

No ``from __future__ import annotations`` here: TorchScript compiles the annotations.
"""

from typing import Final

import torch
from torch import Tensor

from ...networks.equivariant.neighbourhoods import with_empty_row
from ...networks.needed import needed_by_layers
from ...networks.species import types_of
from .blocks import Basis, Block, add_rows, gather, plans, rows_of
from .layer import Layer


class MACENetwork(torch.nn.Module):
    """MACE or ScaleShiftMACE as a module of the contract, without the atomic reference energies.

    Outputs ``energies`` [N] (eV) and ``features`` [N, F], the invariant features of all layers.

    Parameters
    ----------
    numbers : Tensor
        int64 [species], atomic numbers in the checkpoint's order
    embedding : Tensor
        [species, 1, C], the first features
    parts : dict of torch.nn.Module
        ``spherical_harmonics``, ``radial_embedding`` and ``pair_repulsion_fn`` (or None), scripted
    layers : list of Layer
        one :class:`Layer` per interaction
    scale, shift : float
        of the energies; 1 and 0 without
    """

    has_pair: Final[bool]
    n_layers: Final[int]

    def __init__(
        self,
        numbers: Tensor,
        embedding: Tensor,
        parts: dict[str, torch.nn.Module | None],
        layers: list[Layer],
        scale: float,
        shift: float,
    ):
        super().__init__()
        self.register_buffer("types", types_of(numbers.tolist()))
        self.register_buffer("atomic_numbers", numbers)
        self.register_buffer("embedding", embedding)
        self.spherical_harmonics = parts["spherical_harmonics"]
        self.radial_embedding = parts["radial_embedding"]
        self.has_pair = parts["pair_repulsion_fn"] is not None
        if self.has_pair:
            self.pair_repulsion_fn = parts["pair_repulsion_fn"]
        self.layers = torch.nn.ModuleList(layers)
        self.n_layers = len(layers)
        self.scale = scale
        self.shift = shift
        # Edges per block: on a CPU as many as have their tables in the cache.
        self.edges_cpu = 2048
        self.edges_gpu = 262144

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        outputs: list[str],
    ) -> dict[str, Tensor]:
        """Energies and features of all nodes; differentiable."""
        types = self.types[species]
        basis, energies = self._basis(types, edge_index, edge_vectors)
        padded = self._padded(basis)
        blocks = self._plans(types, edge_index, torch.ones_like(types, dtype=torch.bool))
        nodes = [self.embedding[types]]
        invariant: list[Tensor] = []
        for k, layer in enumerate(self.layers):
            nodes, read = self._evaluate(k, nodes, padded, blocks[k])
            energies = energies + read
            if layer.invariant:
                invariant.append(nodes[0][:, 0])
        found = {"energies": energies * self.scale + self.shift}
        if "features" in outputs:
            found["features"] = torch.cat(invariant, dim=1)
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
        """Energies [N] and d(Σ_i w_i E_i)/d edge_vectors [E, 3]; no features, which :meth:`forward` has.

        Only what the nodes with a weight need is evaluated; the energies of the others are zero.
        """
        vectors = edge_vectors.detach().requires_grad_(True)
        types = self.types[species]
        basis, pair = self._basis(types, edge_index, vectors)
        padded = self._padded(Basis(basis.harmonics.detach(), basis.radial.detach(), basis.cutoffs.detach()))
        weights = node_weights * self.scale
        blocks = self._plans(types, edge_index, node_weights != 0.0)
        states = [[self.embedding[types]]]
        energies = pair.detach().clone()
        with torch.no_grad():
            for k in range(self.n_layers - 1):
                nodes, read = self._evaluate(k, states[k], padded, blocks[k])
                states.append(nodes)
                energies += read
        given = [torch.zeros_like(padded.harmonics), torch.zeros_like(padded.radial)]
        given.append(torch.zeros_like(padded.cutoffs))
        adjoint: list[Tensor] = []
        for step in range(self.n_layers):
            k = self.n_layers - 1 - step
            read, adjoint = self._differentiate(k, states[k], padded, blocks[k], weights, adjoint, given)
            if step == 0:
                energies += read
        gradient = self._to_vectors(vectors, basis, pair, given, weights)
        owned = node_weights != 0.0
        return {"energies": (energies * self.scale + self.shift) * owned.to(energies.dtype)}, gradient

    def _target(self, species: Tensor) -> int:
        return self.edges_gpu if species.is_cuda else self.edges_cpu

    def _plans(self, types: Tensor, edge_index: Tensor, wanted: Tensor) -> list[list[Block]]:
        """Blocks of each layer: of the nodes that a ``wanted`` one (bool [N]) depends on."""
        n_kinds, target = self.atomic_numbers.size(0), self._target(types)
        if bool(wanted.all()):
            return plans(types, edge_index, [wanted], n_kinds, target) * self.n_layers
        needed = needed_by_layers(edge_index[0], edge_index[1], wanted, self.n_layers)
        return plans(types, edge_index, needed, n_kinds, target)

    def _padded(self, basis: Basis) -> Basis:
        return Basis(
            with_empty_row(basis.harmonics), with_empty_row(basis.radial), with_empty_row(basis.cutoffs)
        )

    def _basis(self, types: Tensor, edge_index: Tensor, edge_vectors: Tensor) -> tuple[Basis, Tensor]:
        """What depends on the edges alone, and the pair energies [N] of the repulsion.

        MACE's edges point from the neighbour to the centre, which receives the message.
        """
        vectors = -edge_vectors
        edges = edge_index.flip(0)
        n, kinds = types.size(0), self.atomic_numbers.size(0)
        one_hot = torch.zeros(n, kinds, dtype=vectors.dtype, device=vectors.device)
        one_hot.scatter_(1, types[:, None], 1.0)
        lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        radial, cutoffs = self.radial_embedding(lengths, one_hot, edges, self.atomic_numbers)
        if cutoffs is None:
            cutoffs = lengths
        pair = torch.zeros(n, dtype=vectors.dtype, device=vectors.device)
        if self.has_pair:
            pair = self.pair_repulsion_fn(lengths, one_hot, edges, self.atomic_numbers)
        return Basis(self.spherical_harmonics(vectors), radial, cutoffs), pair

    def _evaluate(
        self, k: int, nodes: list[Tensor], basis: Basis, blocks: list[Block]
    ) -> tuple[list[Tensor], Tensor]:
        """Layer k of the blocks' nodes: new features [N, d, C] and energies [N]; zero for other nodes."""
        rows: list[Tensor] = []
        found: list[list[Tensor]] = []
        energies: list[Tensor] = []
        shapes: list[tuple[int, int]] = []
        for i, layer in enumerate(self.layers):
            if i == k:
                up = layer.up(nodes, 0)
                table = nodes[0]
                last = -1
                for block in blocks:
                    if block.kind != last:
                        table = layer.product.table(block.kind)
                        last = block.kind
                    own, sources = gather(nodes, block.nodes, False), gather(up, block.neighbours, False)
                    features, read = layer(own, sources, rows_of(basis, block.edges), block.kind, table)
                    rows.append(block.nodes)
                    found.append(features)
                    energies.append(read)
                shapes = layer.linear.shapes
        n = nodes[0].size(0)
        placed: list[Tensor] = []
        for j, shape in enumerate(shapes):
            zeros = torch.zeros(n, shape[0], shape[1], dtype=nodes[0].dtype, device=nodes[0].device)
            if len(rows) > 0:
                zeros = zeros.index_copy(0, torch.cat(rows), torch.cat([features[j] for features in found]))
            placed.append(zeros)
        read = torch.zeros(n, dtype=nodes[0].dtype, device=nodes[0].device)
        if len(rows) > 0:
            read = read.index_copy(0, torch.cat(rows), torch.cat(energies))
        return placed, read

    def _differentiate(
        self,
        k: int,
        nodes: list[Tensor],
        basis: Basis,
        blocks: list[Block],
        weights: Tensor,
        adjoint: list[Tensor],
        given: list[Tensor],
    ) -> tuple[Tensor, list[Tensor]]:
        """Energies [N] of layer k, and the gradient by its input, [N, d, C] each.

        ``adjoint`` holds that by its output, nothing in the last layer. Gradients by the basis are added to
        ``given``.
        """
        energies = torch.zeros_like(weights)
        by_nodes = [torch.zeros_like(x) for x in nodes]
        for i, layer in enumerate(self.layers):
            if i == k:
                up = layer.up(nodes, 0)
                by_up = [torch.zeros_like(x) for x in up]
                table = nodes[0]
                last = -1
                for block in blocks:
                    if block.kind != last:
                        table = layer.product.table(block.kind)
                        last = block.kind
                    own = gather(nodes, block.nodes, not layer.first)
                    sources = gather(up, block.neighbours, not layer.first)
                    edges = rows_of(basis, block.edges)
                    leaves = [edges.harmonics, edges.radial, edges.cutoffs]
                    for leaf in leaves:
                        leaf.requires_grad_(True)
                    features, read = layer(own, sources, edges, block.kind, table)
                    energies.index_copy_(0, block.nodes, read.detach())
                    total = (weights[block.nodes] * read).sum()
                    for j, above in enumerate(adjoint):
                        total = total + (above[block.nodes] * features[j]).sum()
                    if not layer.first:
                        leaves = leaves + sources + own
                    found = torch.autograd.grad([total], leaves, allow_unused=True)
                    add_rows(given, found[:3], block.edges)
                    if not layer.first:
                        add_rows(by_up, found[3 : 3 + len(up)], block.neighbours)
                        add_rows(by_nodes, found[3 + len(up) :], block.nodes)
                if not layer.first:
                    for j, gradient in enumerate(layer.up.transposed(by_up)):
                        by_nodes[layer.up.terms[j][0]] += gradient
        return energies, by_nodes

    def _to_vectors(
        self, vectors: Tensor, basis: Basis, pair: Tensor, given: list[Tensor], weights: Tensor
    ) -> Tensor:
        """Gradient by the edge vectors [E, 3] from those by the basis and by the pair energies."""
        n = vectors.size(0)
        outputs: list[Tensor] = []
        gradients: list[Tensor | None] = []
        tensors = [basis.harmonics, basis.radial, basis.cutoffs, pair]
        for k, gradient in enumerate([given[0][:n], given[1][:n], given[2][:n], weights]):
            if tensors[k].requires_grad:
                outputs.append(tensors[k])
                gradients.append(gradient)
        found = torch.autograd.grad(outputs, [vectors], gradients, allow_unused=True)[0]
        return torch.zeros_like(vectors) if found is None else found
