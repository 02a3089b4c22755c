"""PET, the point-edge transformer: an unconstrained network (arXiv 2305.19302, 2601.16195).

Every atom is the centre of a neighbourhood with one node token and one token per edge. A message-
passing layer runs a transformer inside each neighbourhood; between layers the token of an edge is
combined with that of its reverse edge. Energies are read from node and edge tokens, the latter
weighted by a smooth cutoff. Nothing is rotationally symmetric by construction.

The network is worked through in blocks of centres: layers are local to a neighbourhood given its
edges' messages. The last one, with the read-out, is differentiated block by block; of the others a few
tables per layer live for the whole graph (:meth:`PET.energies_and_gradients`).
"""

from typing import Final

import torch
from torch import Tensor

from ..gradients import or_zeros
from ..species import types_of
from .cutoff import adaptive_radii, adaptive_radii_on_grid, log_bump, log_cosine
from .hypers import PETHypers
from .layers import Combination, GNNLayer, Readout
from .neighbourhoods import (
    Cut,
    Neighbourhoods,
    State,
    as_leaves,
    cut_of,
    differentiable,
    layout_of,
    of_reverse,
    renumber,
    split,
    split_state,
    upto_last_nonzero,
)
from .outputs import Wanted, by_name


class PET(torch.nn.Module):
    """Point-edge transformer; a module of the contract.

    Outputs ``energies`` [N] (eV) and, with the direct heads, ``direct_forces`` [N, 3] (eV/Å) and
    ``direct_virials`` [N, 3, 3] (eV, LAMMPS sign, symmetric). Not in training mode also ``features`` [N, F],
    which the energies' last linear maps act on: for each read-out, of the first layer first, d_head of the
    node, then the sum of d_head of each edge times its cutoff weight, as the public PET has them; last the
    sum of the cutoff weights, which the maps' biases of edges multiply. An atom's energy is an affine
    function of them. Heads and features that nobody asked for are not evaluated.

    Parameters
    ----------
    hypers : PETHypers
        species, cutoff and sizes

    Raises
    ------
    ValueError
        no species
    """

    combine_last: Final[bool]
    has_operators: Final[bool]
    direct_forces: Final[bool]
    direct_stress: Final[bool]
    residual: Final[bool]
    cosine: Final[bool]
    on_grid: Final[bool]

    def __init__(self, hypers: PETHypers):
        super().__init__()
        if not hypers.species:
            raise ValueError("`species` must name at least one atomic number, got none")
        self.hypers = hypers
        self.cutoff = float(hypers.cutoff)
        self.cutoff_width = float(hypers.cutoff_width)
        self.target = float(hypers.num_neighbors_adaptive or 0.0)
        self.cutoff_width_adaptive = float(hypers.cutoff_width_adaptive)
        self.combine_last = hypers.combine_last
        self.direct_forces = hypers.direct_forces
        self.direct_stress = hypers.direct_stress
        self.residual = hypers.residual
        self.cosine = hypers.cutoff_function == "Cosine"
        self.on_grid = hypers.adaptive_cutoff_method == "grid"
        self.n_layers = int(hypers.num_gnn_layers)
        self.n_stages = int(hypers.message_passing_layers)
        # Centres per block, on a CPU (as few as fill the threads: caches are small) and on a GPU.
        self.block_cpu = 256
        self.block_gpu = 8192
        default_layer = (hypers.normalization, hypers.activation, hypers.transformer_type)
        self.has_operators = default_layer == ("RMSNorm", "SwiGLU", "PreLN")

        self.register_buffer("types", types_of(sorted(hypers.species)))
        # Set by the trainer so that the network itself works with numbers of order one.
        self.register_buffer("energy_scale", torch.ones(()))
        self.register_buffer("force_scale", torch.ones(len(hypers.species)))  # per type
        self.embed_node = torch.nn.Embedding(len(hypers.species), hypers.d_node)
        self.embed_edge = torch.nn.Embedding(len(hypers.species), hypers.d_pet)
        self.gnn_layers = torch.nn.ModuleList(GNNLayer(hypers, first=k == 0) for k in range(self.n_layers))
        n_combinations = 0 if self.residual else self.n_stages - 1
        self.combinations = torch.nn.ModuleList(Combination(hypers.d_pet) for _ in range(n_combinations))
        self.readout_energy = Readout(hypers, 1)
        if hypers.direct_forces:
            self.readout_forces = Readout(hypers, 3)
        if hypers.direct_stress:
            self.readout_virial = Readout(hypers, 9)
        # Of the layers before the last, where they have their own.
        before = range(self.n_layers - 1 if self.residual else 0)
        self.embed_node_later = torch.nn.ModuleList(
            torch.nn.Embedding(len(hypers.species), hypers.d_node) for _ in before
        )
        self.readout_energy_before = torch.nn.ModuleList(Readout(hypers, 1) for _ in before)
        self.readout_forces_before = torch.nn.ModuleList(
            Readout(hypers, 3) for _ in before if hypers.direct_forces
        )
        self.readout_virial_before = torch.nn.ModuleList(
            Readout(hypers, 9) for _ in before if hypers.direct_stress
        )

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        outputs: list[str],
    ) -> dict[str, Tensor]:
        """What is wanted; differentiable twice in training mode, once otherwise.

        The arguments are the contract's.
        """
        wanted = self._wanted(outputs)
        graph, _ = self._neighbourhoods(species, edge_index, edge_vectors, reverse_edges)
        cut = cut_of(graph, self._blocks(graph, graph.types.size(0), not self.training))
        state = self._before_last_stage(graph, cut, wanted)
        energies: list[Tensor] = []
        forces: list[Tensor] = []
        virials: list[Tensor] = []
        features: list[Tensor] = []
        parts = split_state(state, cut)
        for b, block in enumerate(split(graph, cut)):
            part = self._stage(self.n_stages - 1, block, parts[b], cut.widths[b])
            energy, of_block = self._energies(block, part, wanted.features)
            energies.append(energy)
            features.append(of_block)
            if wanted.forces:
                forces.append(self._forces(block, part))
            if wanted.virials:
                virials.append(self._virials(block, part))
        return by_name(wanted, energies, forces, virials, features)

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
        """What is wanted, and d(Σ_i w_i E_i)/d edge_vectors [E, 3] in eV/Å.

        The arguments are the contract's. The last stage of the nodes behind the last with a weight is left
        out: what they give is zero.
        """
        wanted = self._wanted(outputs)
        vectors = edge_vectors.detach().requires_grad_(True)
        graph, _ = self._neighbourhoods(species, edge_index, vectors, reverse_edges)
        weighted = upto_last_nonzero(node_weights)
        sizes = self._blocks(graph, weighted, True)
        blocks = len(sizes)  # the others hold nodes without weight
        rest = graph.types.size(0) - weighted
        cut = cut_of(graph, sizes + self._blocks(graph, rest, True) if rest > 0 else sizes)
        state = self._before_last_stage(graph, cut, wanted)
        found, by_last_stage = self._last_stage(graph, state, cut, blocks, node_weights, wanted)
        given: list[Tensor | None] = []
        for gradient in by_last_stage:
            given.append(gradient)
        gradient = torch.autograd.grad(differentiable(graph, state), [vectors], given, allow_unused=True)[0]
        return found, or_zeros(gradient, vectors)

    def _wanted(self, outputs: list[str]) -> Wanted:
        return Wanted(
            "features" in outputs and not self.training,
            "direct_forces" in outputs and self.direct_forces,
            "direct_virials" in outputs and self.direct_stress,
        )

    def _neighbourhoods(
        self, species: Tensor, edge_index: Tensor, edge_vectors: Tensor, reverse_edges: Tensor
    ) -> tuple[Neighbourhoods, Tensor]:
        """The whole graph as neighbourhoods, and the indices [E'] of the edges that are in it.

        The adaptive cutoff drops edges beyond the mean of both atoms' radii.
        """
        centres, neighbours = edge_index[0], edge_index[1]
        distances = torch.sqrt((edge_vectors * edge_vectors).sum(dim=-1) + 1e-15)
        kept = torch.arange(centres.size(0), device=centres.device)
        if self.target > 0.0:
            radii = self._radii(distances, centres, species.size(0))
            cutoffs = 0.5 * (radii[centres] + radii[neighbours])
            kept = torch.nonzero(distances.detach() < cutoffs.detach()).squeeze(1)
            log_weights = self._log_weights(distances[kept], cutoffs[kept])
            reverse_edges = renumber(reverse_edges, kept)
            centres, neighbours, edge_vectors = centres[kept], neighbours[kept], edge_vectors[kept]
        else:
            log_weights = self._log_weights(distances, torch.full_like(distances, self.cutoff))
        types = self.types[species]
        return Neighbourhoods(
            types, types[neighbours], centres, reverse_edges, edge_vectors, log_weights
        ), kept

    def _radii(self, distances: Tensor, centres: Tensor, n_nodes: int) -> Tensor:
        """Adaptive radius of each node [N], Å"""
        if self.on_grid:
            return adaptive_radii_on_grid(
                distances, centres, n_nodes, self.target, self.cutoff, self.cutoff_width_adaptive
            )
        return adaptive_radii(
            distances, centres, n_nodes, self.target, self.cutoff, self.cutoff_width_adaptive
        )

    def _log_weights(self, distances: Tensor, cutoffs: Tensor) -> Tensor:
        if self.cosine:
            return log_cosine(distances, cutoffs, self.cutoff_width)
        return log_bump(distances, cutoffs, self.cutoff_width)

    def _blocks(self, graph: Neighbourhoods, n: int, blocked: bool) -> list[int]:
        """Numbers of centres, of the first ``n``, that are worked through together."""
        size = max(n, 1)
        if blocked:
            size = self.block_gpu if graph.vectors.is_cuda else self.block_cpu
        sizes = [size] * (n // size)
        if n % size > 0 or n == 0:
            sizes.append(n % size)
        return sizes

    def _first_state(self, graph: Neighbourhoods, wanted: Wanted) -> State:
        messages = self.embed_edge(graph.neighbour_types)
        nodes = self.embed_node(graph.types)
        width = 0
        if self.residual:
            width = 1 + (3 if wanted.forces else 0) + (9 if wanted.virials else 0)
        read = torch.zeros(nodes.size(0), width, dtype=nodes.dtype, device=nodes.device)
        return State(nodes, messages, messages, messages, read, read[:, :0])

    def _before_last_stage(self, graph: Neighbourhoods, cut: Cut, wanted: Wanted) -> State:
        state = self._first_state(graph, wanted)
        for stage in range(self.n_stages - 1):
            state = self._stage_in_blocks(stage, graph, state, cut, wanted)
        return state

    def _stage_in_blocks(
        self, stage: int, graph: Neighbourhoods, state: State, cut: Cut, wanted: Wanted
    ) -> State:
        nodes: list[Tensor] = []
        messages: list[Tensor] = []
        edges: list[Tensor] = []
        read: list[Tensor] = []
        found: list[Tensor] = []
        parts = split_state(state, cut)
        for b, block in enumerate(split(graph, cut)):
            part = self._stage(stage, block, parts[b], cut.widths[b])
            if self.residual:
                part = self._read_before(stage, block, part, wanted)
            nodes.append(part.nodes)
            messages.append(part.messages)
            edges.append(part.edges)
            read.append(part.read)
            found.append(part.features)
        all_edges = torch.cat(edges)
        all_messages = state.messages if stage == 0 else torch.cat(messages)  # no stage before has made any
        reversed_edges = of_reverse(all_edges, graph.reverse)
        return State(
            torch.cat(nodes), all_messages, all_edges, reversed_edges, torch.cat(read), torch.cat(found)
        )

    def _stage(self, stage: int, graph: Neighbourhoods, state: State, width: int) -> State:
        """Combination with the reverse edges (from stage 1 on), then the transformer (if one is left)."""
        nodes, messages, edges = state.nodes, state.messages, state.edges
        if self.residual and stage > 0:
            messages = 0.5 * (messages + state.reversed_edges)
            for k, embed in enumerate(self.embed_node_later):
                if stage == k + 1:
                    nodes = embed(graph.types)
        for k, combination in enumerate(self.combinations):
            if stage == k + 1:
                messages = combination(messages, edges, state.reversed_edges)
        if stage < self.n_layers:
            compiled = self.has_operators and not self.training and not graph.vectors.is_cuda
            layout = layout_of(graph, compiled, width)
            for k, layer in enumerate(self.gnn_layers):
                if stage == k:
                    incoming = self.embed_edge.weight if k == 0 else messages
                    nodes, edges = layer(nodes, incoming, graph.neighbour_types, graph.vectors, layout)
        return State(nodes, messages, edges, edges, state.read, state.features)

    def _read_before(self, stage: int, graph: Neighbourhoods, state: State, wanted: Wanted) -> State:
        """The state with what a layer before the last reads out: energy, forces, virial; features."""
        weights = graph.log_weights.exp()
        parts: list[Tensor] = []
        found = [state.features]
        for k, readout in enumerate(self.readout_energy_before):
            if stage == k:
                energies, of_layer = readout(
                    state.nodes, state.edges, graph.centres, weights, wanted.features
                )
                parts.append(energies)
                found.append(of_layer)
        for k, readout in enumerate(self.readout_forces_before):
            if stage == k and wanted.forces:
                parts.append(readout(state.nodes, state.edges, graph.centres, weights)[0])
        for k, readout in enumerate(self.readout_virial_before):
            if stage == k and wanted.virials:
                parts.append(readout(state.nodes, state.edges, graph.centres, weights)[0])
        read = state.read + torch.cat(parts, dim=1)
        return State(
            state.nodes, state.messages, state.edges, state.reversed_edges, read, torch.cat(found, dim=1)
        )

    def _last_stage(
        self, graph: Neighbourhoods, state: State, cut: Cut, blocks: int, node_weights: Tensor, wanted: Wanted
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """What is wanted, and the gradients of Σ_i w_i E_i by the ``differentiable`` tensors of its input."""
        weights = node_weights.split_with_sizes(cut.nodes)
        rest = sum(cut.nodes[blocks:])
        energies: list[Tensor] = []
        forces: list[Tensor] = []
        virials: list[Tensor] = []
        features: list[Tensor] = []
        gradients = [torch.zeros_like(x) for x in differentiable(graph, state)]
        rows = [0 for _ in gradients]
        parts = split_state(state, cut)
        wholes = split(graph, cut)
        for b in range(blocks):
            block, part = as_leaves(wholes[b], parts[b])
            after = self._stage(self.n_stages - 1, block, part, cut.widths[b])
            energy, of_block = self._energies(block, after, wanted.features)
            energies.append(energy.detach())
            features.append(of_block.detach())
            with torch.no_grad():
                if wanted.forces:
                    forces.append(self._forces(block, after))
                if wanted.virials:
                    virials.append(self._virials(block, after))
            sources = differentiable(block, part)
            found = torch.autograd.grad([(weights[b] * energy).sum()], sources, allow_unused=True)
            for k, gradient in enumerate(found):
                rows_of_block = sources[k].size(0)
                if gradient is not None:
                    gradients[k].narrow(0, rows[k], rows_of_block).copy_(gradient)
                rows[k] += rows_of_block
        zeros = torch.zeros(rest, dtype=graph.vectors.dtype, device=graph.vectors.device)
        energies.append(zeros)
        features.append(zeros[:, None].expand(-1, features[0].size(1)))
        forces.append(zeros[:, None].expand(-1, 3))
        virials.append(zeros[:, None, None].expand(-1, 3, 3))
        return by_name(wanted, energies, forces, virials, features), gradients

    def _edge_features(self, state: State) -> Tensor:
        if self.combine_last:
            return state.messages
        if self.residual:
            return state.edges
        return state.messages + state.edges

    def _energies(self, graph: Neighbourhoods, state: State, features: bool) -> tuple[Tensor, Tensor]:
        """[B], eV; and the features of all read-outs [B, F], F = 0 unless they are wanted"""
        weights = graph.log_weights.exp()
        edges = self._edge_features(state)
        read, found = self.readout_energy(state.nodes, edges, graph.centres, weights, features)
        if self.residual:
            read = read + state.read[:, :1]
        parts = [state.features, found]
        if features:  # what the bias of the edges' last map is multiplied by
            sums = torch.zeros_like(read[:, 0]).index_add(0, graph.centres, weights)
            parts.append(sums[:, None])
        return read.squeeze(-1) * self.energy_scale, torch.cat(parts, dim=1)

    def _forces(self, graph: Neighbourhoods, state: State) -> Tensor:
        """[B, 3], eV/Å; empty without the head"""
        if not self.direct_forces:  # the compiler must not look for a head that is not there
            return graph.vectors[:0]
        weights = graph.log_weights.exp()
        read = self.readout_forces(state.nodes, self._edge_features(state), graph.centres, weights)[0]
        if self.residual:
            read = read + state.read[:, 1:4]
        return read * self.force_scale[graph.types][:, None]

    def _virials(self, graph: Neighbourhoods, state: State) -> Tensor:
        """[B, 3, 3], eV, LAMMPS sign; empty without the head"""
        if not self.direct_stress:
            return graph.vectors[:0]
        weights = graph.log_weights.exp()
        read = self.readout_virial(state.nodes, self._edge_features(state), graph.centres, weights)[0]
        if self.residual:
            read = read + state.read[:, -9:]
        read = read.view(-1, 3, 3)
        return 0.5 * (read + read.transpose(1, 2)) * self.energy_scale  # voigt.symmetric is not scripted
