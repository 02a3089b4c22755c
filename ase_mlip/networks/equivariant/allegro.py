"""Allegro (arXiv 2204.05249) in our form: strictly local, worked through in blocks of centres.

Every edge carries scalars and tensors. In a layer, the tensors of an edge are multiplied with the weighted
sum of the harmonics of all edges of its centre. That sum and the coupling are contracted first, once per
centre, so that per edge and channel only a small matrix product is left.
"""

import math

import torch
from torch import Tensor

from ..gradients import or_zeros, pulled_back
from ..species import types_of
from .edges import ZBL, EdgeFunctions, ReducedLengths, SphericalHarmonics
from .linear import Perceptron
from .neighbourhoods import block_size, neighbourhoods, rows_of, with_empty_row


class SplineBasis(torch.nn.Module):
    """Bumps (1 - cos)²/4 on overlapping intervals of the reduced length; all vanish from 1 on.

    Parameters
    ----------
    lower, upper : Tensor
        [K], the ends of each interval, of reduced lengths
    wavenumber : float
        factor of the reduced length in the cosine
    """

    lower: Tensor
    upper: Tensor

    def __init__(self, lower: Tensor, upper: Tensor, wavenumber: float):
        super().__init__()
        self.register_buffer("lower", lower.detach().clone())
        self.register_buffer("upper", upper.detach().clone())
        self.wavenumber = wavenumber

    def forward(self, reduced: Tensor) -> Tensor:
        """Values of the K splines.

        Parameters
        ----------
        reduced : Tensor
            [E, 1], lengths over their cutoff

        Returns
        -------
        Tensor
            [E, K]
        """
        lower, upper = self.lower.to(reduced.dtype), self.upper.to(reduced.dtype)
        phase = self.wavenumber * (torch.minimum(torch.maximum(reduced, lower), upper) - lower)
        return 0.25 * (1.0 - torch.cos(phase)).square()


class ProductEmbedding(torch.nn.Module):
    """Scalars of an edge: a linear map of its radial functions times an embedding of both types.

    Parameters
    ----------
    centre, neighbour : Tensor
        [T, C/2], the embedding of a type at either end
    linear : Perceptron
        radial functions [..., B] → [..., C]
    """

    def __init__(self, centre: Tensor, neighbour: Tensor, linear: Perceptron):
        super().__init__()
        self.centre = torch.nn.Parameter(centre.detach().clone(), requires_grad=False)
        self.neighbour = torch.nn.Parameter(neighbour.detach().clone(), requires_grad=False)
        self.linear = linear

    def forward(self, radial: Tensor, centres: Tensor, neighbours: Tensor) -> Tensor:
        """Scalars of the edges of a block.

        Parameters
        ----------
        radial : Tensor
            [b, n, B]
        centres, neighbours : Tensor
            int64 [b, n], types

        Returns
        -------
        Tensor
            [b, n, C]
        """
        both = torch.cat([self.centre[centres], self.neighbour[neighbours]], dim=-1)
        return both * self.linear(radial)


class SplineEmbedding(torch.nn.Module):
    """Scalars of an edge: splines with coefficients of each ordered pair of types.

    Parameters
    ----------
    coefficients : Tensor
        [T², C, K], row of the centre's type
    n_types : int
        number of types T
    """

    coefficients: Tensor

    def __init__(self, coefficients: Tensor, n_types: int):
        super().__init__()
        self.register_buffer("coefficients", coefficients.detach().clone())
        self.n_types = n_types

    def forward(self, radial: Tensor, centres: Tensor, neighbours: Tensor) -> Tensor:
        """Scalars of the edges of a block.

        Parameters
        ----------
        radial : Tensor
            [b, n, K], values of the splines
        centres, neighbours : Tensor
            int64 [b, n], types

        Returns
        -------
        Tensor
            [b, n, C]
        """
        chosen = self.coefficients.to(radial.dtype)[centres * self.n_types + neighbours]
        return torch.matmul(chosen, radial.unsqueeze(-1)).squeeze(-1)


class Contraction(torch.nn.Module):
    """Coupling of tensors [I] with those of the centre [J] to [K], for every channel.

    Parameters
    ----------
    weights : Tensor
        [U, P], of each channel and path, or [1, P] for all channels
    couplings : Tensor
        [P, I, J, K]
    """

    couplings: Tensor

    def __init__(self, weights: Tensor, couplings: Tensor):
        super().__init__()
        self.weights = torch.nn.Parameter(weights.detach().clone(), requires_grad=False)
        self.register_buffer("couplings", couplings.detach().clone())

    def table(self) -> Tensor:
        """The couplings of all paths with their weights, [U or 1, J, I · K]."""
        paths, i, j, k = self.couplings.shape
        table = torch.mm(self.weights, self.couplings.flatten(1)).view(-1, i, j, k)
        return table.transpose(1, 2).flatten(2)

    def forward(self, tensors: Tensor, centre: Tensor, table: Tensor) -> Tensor:
        """The coupled tensors of the edges.

        Parameters
        ----------
        tensors : Tensor
            [b, U, n, I], of the edges
        centre : Tensor
            [b, U, J], of their centres
        table : Tensor
            what :meth:`table` gives

        Returns
        -------
        Tensor
            [b, U, n, K]
        """
        matrices = torch.matmul(centre.unsqueeze(2), table).squeeze(2)
        return torch.matmul(tensors, matrices.unflatten(2, [tensors.size(3), -1]))


class Allegro(torch.nn.Module):
    """Allegro (arXiv 2204.05249), a module of the contract: ``energies`` [N] in eV, without shifts per type.

    Parameters
    ----------
    species : list of int
        atomic number of each type
    lengths : ReducedLengths
        lengths over cutoffs
    basis : torch.nn.Module
        radial functions of the reduced lengths, [E, 1] → [E, B]
    harmonics : SphericalHarmonics
        up to l_max
    embedding : torch.nn.Module
        radial functions and types → scalars
    two_body : Perceptron
        scalars → scalars
    tensor_weights : Perceptron
        scalars → [U · (l_max + 1)], or [U] where all degrees share them
    first : Perceptron
        scalars → scalars and weights of the first sum
    latents : list of Perceptron
        all scalars so far and those of the tensors → scalars and weights of the next sum
    contractions : list of Contraction
        one per layer
    readout : Perceptron
        all scalars → [1]
    n_scalars, n_channels : int
        scalars that each layer gives, and channels U of the tensors
    norms, sum_norms : Tensor
        1/√(average number of neighbours) per type [T] or [1], of the layers and the energy
    scales : Tensor
        eV per type [T], or one for all
    pair : ZBL or None, optional
        a pair potential added to the energies
    """

    types: Tensor
    norms: Tensor
    sum_norms: Tensor
    scales: Tensor

    def __init__(
        self,
        species: list[int],
        lengths: ReducedLengths,
        basis: torch.nn.Module,
        harmonics: SphericalHarmonics,
        embedding: torch.nn.Module,
        two_body: Perceptron,
        tensor_weights: Perceptron,
        first: Perceptron,
        latents: list[Perceptron],
        contractions: list[Contraction],
        readout: Perceptron,
        n_scalars: int,
        n_channels: int,
        norms: Tensor,
        sum_norms: Tensor,
        scales: Tensor,
        pair: ZBL | None = None,
    ):
        super().__init__()
        self.register_buffer("types", types_of(species, other=0))
        self.edges = EdgeFunctions(lengths, basis, harmonics, pair)
        self.degrees = harmonics.l_max + 1
        self.embedding, self.two_body, self.tensor_weights = embedding, two_body, tensor_weights
        self.first = first
        self.latents = torch.nn.ModuleList(latents)
        self.contractions = torch.nn.ModuleList(contractions)
        self.readout = readout
        self.n_scalars, self.n_channels = n_scalars, n_channels
        self.register_buffer("norms", norms.detach().clone().reshape(-1))
        self.register_buffer("sum_norms", sum_norms.detach().clone().reshape(-1))
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
        """Energies of all nodes, [N] in eV; differentiable. The arguments are the contract's."""
        types = self.types[species]
        radial, harmonics, pairs = self.edges(types, edge_index, edge_vectors)
        radial, harmonics = with_empty_row(radial), with_empty_row(harmonics)
        neighbours = torch.cat([types[edge_index[1]], types.new_zeros([1])])
        everything = torch.arange(types.size(0), device=types.device)
        tables = neighbourhoods(edge_index[0], types.size(0), [everything], block_size(edge_vectors))[1][0]
        couplings = self._tables()
        energies: list[Tensor] = [pairs.new_zeros([0])]
        start = 0
        for table in tables:
            part = types.narrow(0, start, table.size(0))
            r, h = rows_of(radial, table), rows_of(harmonics, table)
            energies.append(self._block(part, neighbours[table], r, h, couplings))
            start += table.size(0)
        return {"energies": torch.cat(energies).index_add(0, edge_index[0], pairs)}

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
        """Energies, and d(Σ_i w_i E_i)/d edge_vectors [E, 3] in eV/Å; nodes without weight are left out.

        The arguments are the contract's.
        """
        types = self.types[species]
        vectors = edge_vectors.detach().requires_grad_(True)
        radial, harmonics, pairs = self.edges(types, edge_index, vectors)
        radial_rows, harmonic_rows = with_empty_row(radial.detach()), with_empty_row(harmonics.detach())
        by_radial, by_harmonics = torch.zeros_like(radial_rows), torch.zeros_like(harmonic_rows)
        neighbours = torch.cat([types[edge_index[1]], types.new_zeros([1])])
        wanted = torch.nonzero(node_weights).squeeze(1)
        found_nodes, found_tables = neighbourhoods(
            edge_index[0], types.size(0), [wanted], block_size(vectors)
        )
        nodes, tables = found_nodes[0], found_tables[0]
        couplings = self._tables()
        energies: list[Tensor] = [radial_rows.new_zeros([0])]
        for b, table in enumerate(tables):
            r = rows_of(radial_rows, table).requires_grad_(True)
            h = rows_of(harmonic_rows, table).requires_grad_(True)
            energy = self._block(types[nodes[b]], neighbours[table], r, h, couplings)
            found = torch.autograd.grad([(node_weights[nodes[b]] * energy).sum()], [r, h], allow_unused=True)
            by_radial.index_copy_(0, table.flatten(), or_zeros(found[0], r).flatten(0, 1))
            by_harmonics.index_copy_(0, table.flatten(), or_zeros(found[1], h).flatten(0, 1))
            energies.append(energy.detach())
        total = torch.zeros_like(node_weights).index_copy(0, wanted, torch.cat(energies))
        n_edges = vectors.size(0)
        given = [by_radial[:n_edges], by_harmonics[:n_edges], node_weights[edge_index[0]]]
        gradient = pulled_back([radial, harmonics, pairs], given, [vectors])[0]
        total = total.index_add(0, edge_index[0], pairs.detach())
        return {"energies": total}, gradient

    def _tables(self) -> list[Tensor]:
        tables: list[Tensor] = []
        for contraction in self.contractions:
            tables.append(contraction.table())
        return tables

    def _block(
        self, centres: Tensor, neighbours: Tensor, radial: Tensor, harmonics: Tensor, tables: list[Tensor]
    ) -> Tensor:
        """Energies [b] of nodes of the types ``centres`` [b] with edges [b, n]."""
        types = centres.unsqueeze(1).expand_as(neighbours)
        scalars = self.two_body(self.embedding(radial, types, neighbours))
        tensors = self._weighted(harmonics, self.tensor_weights(scalars))
        norms = self._of_type(self.norms, centres, radial).view(-1, 1, 1)
        projected = self.first(scalars)
        found: list[Tensor] = [projected.narrow(2, 0, self.n_scalars)]
        weights = projected.narrow(2, self.n_scalars, projected.size(2) - self.n_scalars)
        for k, (latent, contraction) in enumerate(zip(self.latents, self.contractions)):  # noqa: B905
            around = norms * self._sum(harmonics, weights)
            tensors = contraction(tensors, around, tables[k])
            known = list(found)
            known.append(tensors.select(3, 0).transpose(1, 2))
            latents = latent(torch.cat(known, dim=2))
            found.append(latents.narrow(2, 0, self.n_scalars))
            weights = latents.narrow(2, self.n_scalars, latents.size(2) - self.n_scalars)
        energies = self.readout(torch.cat(found, dim=2)).squeeze(2).sum(1)
        factors = self._of_type(self.sum_norms, centres, radial) * self._of_type(self.scales, centres, radial)
        return energies * factors / math.sqrt(2.0)

    def _of_type(self, values: Tensor, centres: Tensor, like: Tensor) -> Tensor:
        """Values of the types [b], or the one value of all [1]."""
        return values.to(like.dtype)[centres] if values.numel() > 1 else values.to(like.dtype)

    def _by_degree(self, weights: Tensor, degree: int) -> Tensor:
        """[b, n, U] of [b, n, U · degrees] or [b, n, U]"""
        if weights.size(2) == self.n_channels:
            return weights
        return weights.unflatten(2, [self.n_channels, self.degrees]).select(3, degree)

    def _weighted(self, harmonics: Tensor, weights: Tensor) -> Tensor:
        """Harmonics [b, n, H] times weights of each channel and degree: [b, U, n, H]"""
        parts: list[Tensor] = []
        for degree in range(self.degrees):
            part = harmonics.narrow(2, degree * degree, 2 * degree + 1)
            parts.append(self._by_degree(weights, degree).transpose(1, 2).unsqueeze(3) * part.unsqueeze(1))
        return torch.cat(parts, dim=3)

    def _sum(self, harmonics: Tensor, weights: Tensor) -> Tensor:
        """The same, summed over the edges of each node: [b, U, H]"""
        parts: list[Tensor] = []
        for degree in range(self.degrees):
            part = harmonics.narrow(2, degree * degree, 2 * degree + 1)
            parts.append(torch.bmm(self._by_degree(weights, degree).transpose(1, 2), part))
        return torch.cat(parts, dim=2)
