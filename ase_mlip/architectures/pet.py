"""PET, the point-edge transformer: an unconstrained network (arXiv 2305.19302, 2601.16195).

Every atom is the centre of a neighbourhood with one node token and one token per edge. A message-
passing layer runs a transformer inside each neighbourhood; between layers the token of an edge is
combined with that of its reverse edge. Energies are read from node and edge tokens, the latter
weighted by a smooth cutoff. Nothing is rotationally symmetric by construction.

The network is worked through in blocks of centres: layers are local to a neighbourhood given its
edges' messages. The last one, with the read-out, is differentiated block by block; of the others a few
tables per layer live for the whole graph (:meth:`PET.energies_and_gradients`).
"""

from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from .cutoff import adaptive_radii, log_bump
from .neighbourhoods import (
    Neighbourhoods,
    State,
    as_leaves,
    differentiable,
    layout_of,
    of_reverse,
    or_zeros,
    renumber,
    split,
    split_state,
    upto_last_nonzero,
)
from .transformer import Layout, Perceptron, TransformerLayer

MAX_ATOMIC_NUMBER = 118


@dataclass
class PETHypers:
    """Hyper-parameters of PET; the names are those of the public PET (metatrain 2026.4)."""

    species: list[int] = field(default_factory=list)  # atomic numbers
    cutoff: float = 4.5  # Å
    cutoff_width: float = 0.5  # Å
    num_neighbors_adaptive: float | None = None  # target of the adaptive cutoff; None = fixed cutoff
    cutoff_width_adaptive: float = 1.0  # Å
    d_pet: int = 128
    d_node: int = 256
    d_head: int = 128
    d_feedforward: int = 256
    num_heads: int = 8
    num_attention_layers: int = 2
    num_gnn_layers: int = 2
    normalization: str = "RMSNorm"
    norm_eps: float = 1.1920929e-07
    activation: str = "SwiGLU"
    attention_temperature: float = 1.0
    # The public PET combines edges with their reverse once more after the last layer, which
    # widens the interaction range by one cutoff.
    combine_last: bool = False
    direct_forces: bool = False
    direct_stress: bool = False

    @property
    def message_passing_layers(self) -> int:
        """Neighbourhoods that a node's energy sees in a row."""
        return self.num_gnn_layers + (1 if self.combine_last else 0)

    @property
    def interaction_range(self) -> float:
        """Å; one cutoff per layer, and one more if radii depend on the neighbours' neighbours."""
        adaptive = 0 if self.num_neighbors_adaptive is None else 1
        return self.cutoff * (self.message_passing_layers + adaptive)


class GNNLayer(torch.nn.Module):
    """Edge tokens from geometry, neighbour species and message; then the transformer layers."""

    first: Final[bool]

    def __init__(self, hypers: PETHypers, first: bool):
        super().__init__()
        d = hypers.d_pet
        self.first = first
        self.embed_geometry = torch.nn.Linear(4, d)
        # Features that vary over a bond length from the start leave the initial plateau sooner.
        with torch.no_grad():
            self.embed_geometry.weight *= 4.0
        if not first:
            self.embed_neighbour = torch.nn.Embedding(len(hypers.species), d)
        self.compress = Perceptron((2 if first else 3) * d, d, d)
        self.layers = torch.nn.ModuleList(
            TransformerLayer(
                d,
                hypers.d_node,
                hypers.d_feedforward,
                hypers.num_heads,
                hypers.attention_temperature,
                hypers.normalization,
                hypers.norm_eps,
                hypers.activation,
            )
            for _ in range(hypers.num_attention_layers)
        )

    def forward(
        self,
        nodes: Tensor,
        messages: Tensor,
        neighbour_types: Tensor,
        vectors: Tensor,
        layout: Layout,
    ) -> tuple[Tensor, Tensor]:
        """nodes [B, d_node], messages [E, d_pet], vectors [E, 3] in Å → new nodes and edge tokens."""
        distances = torch.sqrt((vectors * vectors).sum(dim=-1, keepdim=True) + 1e-15)
        edges = self._enter(torch.cat([vectors, distances], dim=-1), messages, neighbour_types)
        edges = self.compress.leave(torch.nn.functional.silu(edges))
        for layer in self.layers:
            nodes, edges = layer(nodes, edges, layout)
        return nodes, edges

    def _enter(self, geometry: Tensor, messages: Tensor, neighbour_types: Tensor) -> Tensor:
        """``compress.enter`` of [embedded geometry, embedded neighbour, message], [E, d].

        The linear maps in a row are multiplied first, and neighbours are looked up afterwards: per
        edge, only the message passes through a square matrix.
        """
        enter = self.compress.enter
        parts = enter.weight.split(messages.size(1), dim=1)
        weight = torch.mm(parts[0], self.embed_geometry.weight)
        bias = enter.bias + torch.mv(parts[0], self.embed_geometry.bias)
        hidden = torch.addmm(bias, geometry, weight.t())
        if not self.first:
            table = torch.mm(self.embed_neighbour.weight, parts[1].t())
            hidden = hidden + torch.nn.functional.embedding(neighbour_types, table)
        return torch.addmm(hidden, messages, parts[-1].t())


class Combination(torch.nn.Module):
    """Message of an edge from its own token and its reverse edge's."""

    def __init__(self, d_pet: int):
        super().__init__()
        self.norm = torch.nn.LayerNorm(2 * d_pet)
        self.perceptron = Perceptron(2 * d_pet, 2 * d_pet, d_pet)

    def forward(self, messages: Tensor, edges: Tensor, reversed_edges: Tensor) -> Tensor:
        mixed = self.perceptron(self.norm(torch.cat([edges, reversed_edges], dim=-1)))
        return messages + edges + mixed


class Readout(torch.nn.Module):
    """Sum of a node's and its edges' contributions, edges weighted by the cutoff."""

    def __init__(self, hypers: PETHypers, size: int):
        super().__init__()
        self.node_head = Perceptron(hypers.d_node, hypers.d_head, hypers.d_head, activated=True)
        self.edge_head = Perceptron(hypers.d_pet, hypers.d_head, hypers.d_head, activated=True)
        self.node_last = torch.nn.Linear(hypers.d_head, size)
        self.edge_last = torch.nn.Linear(hypers.d_head, size)
        # A sum over tens of edges of random numbers would start training far from zero.
        with torch.no_grad():
            self.node_last.weight *= 0.1
            self.edge_last.weight *= 0.1
            self.edge_last.bias.zero_()

    def forward(self, nodes: Tensor, edges: Tensor, centres: Tensor, weights: Tensor) -> Tensor:
        """nodes [B, d_node], edges [E, d_pet], centres int64 [E], weights [E] → [B, size]"""
        per_edge = self.edge_last(self.edge_head(edges)) * weights[:, None]
        return self.node_last(self.node_head(nodes)).index_add(0, centres, per_edge)


class PET(torch.nn.Module):
    """Point-edge transformer; a module of the contract.

    Outputs ``energies`` [N] (eV) and, with the direct heads, ``direct_forces`` [N, 3] (eV/Å) and
    ``direct_virials`` [N, 3, 3] (eV, LAMMPS sign, symmetric). :meth:`energies_and_gradients`
    leaves the direct heads out.
    """

    combine_last: Final[bool]
    has_operators: Final[bool]
    direct_forces: Final[bool]
    direct_stress: Final[bool]

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
        self.n_layers = int(hypers.num_gnn_layers)
        self.n_stages = int(hypers.message_passing_layers)
        # Centres per block, on a CPU (as few as fill the threads: caches are small) and on a GPU.
        self.block_cpu = 256
        self.block_gpu = 8192
        self.has_operators = hypers.normalization == "RMSNorm" and hypers.activation == "SwiGLU"

        types = torch.full((MAX_ATOMIC_NUMBER + 1,), -1, dtype=torch.int64)
        types[torch.tensor(sorted(hypers.species))] = torch.arange(len(hypers.species))
        self.register_buffer("types", types)
        # Set by the trainer so that the network itself works with numbers of order one.
        self.register_buffer("energy_scale", torch.ones(()))
        self.register_buffer("force_scale", torch.ones(len(hypers.species)))  # per type
        self.embed_node = torch.nn.Embedding(len(hypers.species), hypers.d_node)
        self.embed_edge = torch.nn.Embedding(len(hypers.species), hypers.d_pet)
        self.gnn_layers = torch.nn.ModuleList(GNNLayer(hypers, first=k == 0) for k in range(self.n_layers))
        self.combinations = torch.nn.ModuleList(Combination(hypers.d_pet) for _ in range(self.n_stages - 1))
        self.readout_energy = Readout(hypers, 1)
        if hypers.direct_forces:
            self.readout_forces = Readout(hypers, 3)
        if hypers.direct_stress:
            self.readout_virial = Readout(hypers, 9)

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """All outputs; differentiable twice in training mode, once otherwise."""
        graph, _ = self._neighbourhoods(species, edge_index, edge_vectors, reverse_edges)
        state = self._before_last_stage(graph, not self.training)
        sizes = self._blocks(graph, graph.types.size(0), not self.training)
        energies: list[Tensor] = []
        forces: list[Tensor] = []
        virials: list[Tensor] = []
        parts = split_state(state, graph, sizes)
        for b, block in enumerate(split(graph, sizes)):
            part = self._stage(self.n_stages - 1, block, parts[b])
            energies.append(self._energies(block, part))
            forces.append(self._forces(block, part))
            virials.append(self._virials(block, part))
        outputs = {"energies": torch.cat(energies)}
        if self.direct_forces:
            outputs["direct_forces"] = torch.cat(forces)
        if self.direct_stress:
            outputs["direct_virials"] = torch.cat(virials)
        return outputs

    def energies_and_gradients(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        node_weights: Tensor,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Energies [N] and d(Σ_i w_i E_i)/d edge_vectors [E, 3], without the direct heads.

        The last stage of the nodes behind the last with a weight is left out: their energies are zero.
        """
        vectors = edge_vectors.detach().requires_grad_(True)
        graph, _ = self._neighbourhoods(species, edge_index, vectors, reverse_edges)
        state = self._before_last_stage(graph, True)
        energies, by_last_stage = self._last_stage(graph, state, node_weights)
        given: list[Tensor | None] = []
        for gradient in by_last_stage:
            given.append(gradient)
        gradient = torch.autograd.grad(differentiable(graph, state), [vectors], given, allow_unused=True)[0]
        return {"energies": energies}, or_zeros(gradient, vectors)

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
            radii = adaptive_radii(
                distances, centres, species.size(0), self.target, self.cutoff, self.cutoff_width_adaptive
            )
            cutoffs = 0.5 * (radii[centres] + radii[neighbours])
            kept = torch.nonzero(distances.detach() < cutoffs.detach()).squeeze(1)
            log_weights = log_bump(distances[kept], cutoffs[kept], self.cutoff_width)
            reverse_edges = renumber(reverse_edges, kept)
            centres, neighbours, edge_vectors = centres[kept], neighbours[kept], edge_vectors[kept]
        else:
            cutoffs = torch.full_like(distances, self.cutoff)
            log_weights = log_bump(distances, cutoffs, self.cutoff_width)
        types = self.types[species]
        return Neighbourhoods(
            types, types[neighbours], centres, reverse_edges, edge_vectors, log_weights
        ), kept

    def _blocks(self, graph: Neighbourhoods, n: int, blocked: bool) -> list[int]:
        """Numbers of centres, of the first ``n``, that are worked through together."""
        size = max(n, 1)
        if blocked:
            size = self.block_gpu if graph.vectors.is_cuda else self.block_cpu
        sizes = [size] * (n // size)
        if n % size > 0 or n == 0:
            sizes.append(n % size)
        return sizes

    def _first_state(self, graph: Neighbourhoods) -> State:
        messages = self.embed_edge(graph.neighbour_types)
        return State(self.embed_node(graph.types), messages, messages, messages)

    def _before_last_stage(self, graph: Neighbourhoods, blocked: bool) -> State:
        state = self._first_state(graph)
        for stage in range(self.n_stages - 1):
            state = self._stage_in_blocks(stage, graph, state, blocked)
        return state

    def _stage_in_blocks(self, stage: int, graph: Neighbourhoods, state: State, blocked: bool) -> State:
        sizes = self._blocks(graph, graph.types.size(0), blocked)
        nodes: list[Tensor] = []
        messages: list[Tensor] = []
        edges: list[Tensor] = []
        parts = split_state(state, graph, sizes)
        for b, block in enumerate(split(graph, sizes)):
            part = self._stage(stage, block, parts[b])
            nodes.append(part.nodes)
            messages.append(part.messages)
            edges.append(part.edges)
        all_edges = torch.cat(edges)
        return State(torch.cat(nodes), torch.cat(messages), all_edges, of_reverse(all_edges, graph.reverse))

    def _stage(self, stage: int, graph: Neighbourhoods, state: State) -> State:
        """Combination with the reverse edges (from stage 1 on), then the transformer (if one is left)."""
        nodes, messages, edges = state.nodes, state.messages, state.edges
        for k, combination in enumerate(self.combinations):
            if stage == k + 1:
                messages = combination(messages, edges, state.reversed_edges)
        if stage < self.n_layers:
            compiled = self.has_operators and not self.training and not graph.vectors.is_cuda
            layout = layout_of(graph, compiled)
            for k, layer in enumerate(self.gnn_layers):
                if stage == k:
                    nodes, edges = layer(nodes, messages, graph.neighbour_types, graph.vectors, layout)
        return State(nodes, messages, edges, edges)

    def _last_stage(
        self, graph: Neighbourhoods, state: State, node_weights: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Energies [N], and the gradients of Σ_i w_i E_i by the ``differentiable`` tensors of its input."""
        n = graph.types.size(0)
        weighted = upto_last_nonzero(node_weights)
        sizes = self._blocks(graph, weighted, True)
        blocks = len(sizes)
        sizes.append(n - weighted)
        weights = node_weights.split_with_sizes(sizes)
        energies: list[Tensor] = []
        gradients = [torch.zeros_like(x) for x in differentiable(graph, state)]
        rows = [0 for _ in gradients]
        parts = split_state(state, graph, sizes)
        wholes = split(graph, sizes)
        for b in range(blocks):
            block, part = as_leaves(wholes[b], parts[b])
            energy = self._energies(block, self._stage(self.n_stages - 1, block, part))
            energies.append(energy.detach())
            sources = differentiable(block, part)
            found = torch.autograd.grad([(weights[b] * energy).sum()], sources, allow_unused=True)
            for k, gradient in enumerate(found):
                rows_of_block = sources[k].size(0)
                if gradient is not None:
                    gradients[k].narrow(0, rows[k], rows_of_block).copy_(gradient)
                rows[k] += rows_of_block
        energies.append(torch.zeros_like(weights[blocks], dtype=graph.vectors.dtype))
        return torch.cat(energies), gradients

    def _edge_features(self, state: State) -> Tensor:
        if self.combine_last:
            return state.messages
        return state.messages + state.edges

    def _energies(self, graph: Neighbourhoods, state: State) -> Tensor:
        """[B], eV"""
        weights = graph.log_weights.exp()
        read = self.readout_energy(state.nodes, self._edge_features(state), graph.centres, weights)
        return read.squeeze(-1) * self.energy_scale

    def _forces(self, graph: Neighbourhoods, state: State) -> Tensor:
        """[B, 3], eV/Å; empty without the head"""
        if not self.direct_forces:
            return graph.vectors[:0]
        weights = graph.log_weights.exp()
        read = self.readout_forces(state.nodes, self._edge_features(state), graph.centres, weights)
        return read * self.force_scale[graph.types][:, None]

    def _virials(self, graph: Neighbourhoods, state: State) -> Tensor:
        """[B, 3, 3], eV, LAMMPS sign; empty without the head"""
        if not self.direct_stress:
            return graph.vectors[:0]
        weights = graph.log_weights.exp()
        read = self.readout_virial(state.nodes, self._edge_features(state), graph.centres, weights)
        read = read.view(-1, 3, 3)
        return 0.5 * (read + read.transpose(1, 2)) * self.energy_scale
