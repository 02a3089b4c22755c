"""NequIP (arXiv 2101.03164) in our form: an equivariant message-passing network, worked through in blocks."""

import torch
from torch import Tensor

from ..gradients import or_zeros, pulled_back
from ..needed import needed_by_layers
from ..species import types_of
from .edges import ZBL, BesselBasis, EdgeFunctions, ReducedLengths, SphericalHarmonics
from .interaction import Graph, Layer, Step
from .linear import Perceptron
from .neighbourhoods import block_size, neighbourhoods, rows_of, with_empty_row


class NequIP(torch.nn.Module):
    """NequIP (arXiv 2101.03164), a module of the contract.

    It gives ``energies`` [N] in eV, without the shifts per type, and ``features`` [N, F].

    Parameters
    ----------
    species : list of int
        atomic number of each type
    embedding : Tensor
        [T, A], of the types
    lengths : ReducedLengths
        lengths over cutoffs
    basis : BesselBasis
        radial functions of the reduced lengths
    harmonics : SphericalHarmonics
        of the directions
    layers : list of Layer
        the interactions
    readout : Perceptron
        features of the last layer → [N, 1]
    scales : Tensor
        eV per type [T], or one for all
    pair : ZBL or None, optional
        a pair potential added to the energies
    """

    types: Tensor
    scales: Tensor

    def __init__(
        self,
        species: list[int],
        embedding: Tensor,
        lengths: ReducedLengths,
        basis: BesselBasis,
        harmonics: SphericalHarmonics,
        layers: list[Layer],
        readout: Perceptron,
        scales: Tensor,
        pair: ZBL | None = None,
    ):
        super().__init__()
        self.register_buffer("types", types_of(species, other=0))
        self.embedding = torch.nn.Parameter(embedding.detach().clone(), requires_grad=False)
        self.edges = EdgeFunctions(lengths, basis, harmonics, pair)
        self.layers = torch.nn.ModuleList(layers)
        self.n_layers = len(layers)
        self.readout = readout
        self.register_buffer("scales", scales.detach().clone().reshape(-1))

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        outputs: list[str],
    ) -> dict[str, Tensor]:
        """What is wanted of energies and features, of all nodes; differentiable.

        The arguments are the contract's.
        """
        types = self.types[species]
        radial, harmonics, pairs = self.edges(types, edge_index, edge_vectors)
        radial, harmonics = with_empty_row(radial), with_empty_row(harmonics)
        sources = torch.cat([edge_index[1], edge_index[1].new_zeros([1])])
        everything = torch.arange(types.size(0), device=types.device)
        _, tables = neighbourhoods(edge_index[0], types.size(0), [everything], block_size(edge_vectors))
        x = self.embedding[types]
        for layer in self.layers:
            seen = layer.before(x, types)
            sums: list[Tensor] = [seen.new_zeros([0, layer.width])]
            for table in tables[0]:
                weights = layer.radial(rows_of(radial, table))
                neighbours = rows_of(seen, sources[table])
                sums.append(layer.gather(neighbours, rows_of(harmonics, table), weights))
            x = layer.after(torch.cat(sums), x, types, self.embedding)
        energies = self._read(x, types).index_add(0, edge_index[0], pairs)
        found = {"energies": energies}
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
        """Outputs, and d(Σ_i w_i E_i)/d edge_vectors [E, 3] in eV/Å.

        The arguments are the contract's. Nodes that no weight needs are left out.
        """
        types = self.types[species]
        vectors = edge_vectors.detach().requires_grad_(True)
        radial, harmonics, pairs = self.edges(types, edge_index, vectors)
        graph = Graph(
            types,
            edge_index[0],
            torch.cat([edge_index[1], edge_index[1].new_zeros([1])]),
            with_empty_row(radial.detach()),
            with_empty_row(harmonics.detach()),
        )
        x, energies, by_radial, by_harmonics = self._there_and_back(graph, node_weights)
        energies = energies.index_add(0, edge_index[0], pairs.detach())
        n_edges = vectors.size(0)
        given = [by_radial[:n_edges], by_harmonics[:n_edges], node_weights[edge_index[0]]]
        gradient = pulled_back([radial, harmonics, pairs], given, [vectors])[0]
        found = {"energies": energies}
        if "features" in outputs:
            found["features"] = x
        return found, gradient

    def _read(self, x: Tensor, types: Tensor) -> Tensor:
        """Energies [N] in eV of the last features."""
        scales = self.scales[types] if self.scales.numel() > 1 else self.scales
        return self.readout(x).squeeze(1) * scales.to(x.dtype)

    def _there_and_back(self, graph: Graph, node_weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features and energies of the nodes; the gradients by the radial embedding and the harmonics."""
        needed = self._needed(graph, node_weights)
        tables = neighbourhoods(graph.centres, graph.types.size(0), needed, block_size(graph.radial))[1]
        x = self.embedding[graph.types].detach()
        steps: list[Step] = []
        for k, layer in enumerate(self.layers):
            step = layer.forth(graph, x, needed[k], tables[k], self.embedding)
            steps.append(step)
            x = torch.zeros(x.size(0), step.given.size(1), dtype=x.dtype, device=x.device)
            x = x.index_copy(0, step.nodes, step.given.detach())
        x = x.requires_grad_(True)
        energies = self._read(x, graph.types) * (node_weights != 0).to(x.dtype)
        gradient = or_zeros(torch.autograd.grad([(node_weights * energies).sum()], [x])[0], x)
        by_radial, by_harmonics = torch.zeros_like(graph.radial), torch.zeros_like(graph.harmonics)
        for back in range(self.n_layers):
            k = self.n_layers - 1 - back
            gradient = self._back(k, graph, steps[k], gradient, by_radial, by_harmonics)
        return x.detach(), energies.detach(), by_radial, by_harmonics

    def _back(
        self, k: int, graph: Graph, step: Step, gradient: Tensor, by_radial: Tensor, by_harmonics: Tensor
    ) -> Tensor:
        for number, layer in enumerate(self.layers):  # TorchScript cannot pick a module by its number
            if number == k:
                gradient = layer.back(graph, step, gradient, by_radial, by_harmonics)
        return gradient

    def _needed(self, graph: Graph, node_weights: Tensor) -> list[Tensor]:
        """Nodes that each layer must give: those with a weight, and neighbours of what later layers need.

        Nodes are sorted by the number of layers that need them, so that those of each layer come first; the
        host waits for their numbers once.
        """
        masks = needed_by_layers(graph.centres, graph.neighbours[:-1], node_weights != 0, self.n_layers)
        table = torch.stack(masks)
        order = torch.argsort(table.sum(0), descending=True, stable=True)
        counts: list[int] = table.sum(1).tolist()
        found: list[Tensor] = []
        for count in counts:
            found.append(order[:count])
        return found
