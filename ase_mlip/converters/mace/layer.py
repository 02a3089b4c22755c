"""One layer of MACE for a block of centres of one species: :mod:`ase_mlip.converters.mace.network`.

No ``from __future__ import annotations`` here: TorchScript compiles the annotations.
"""

from typing import Final

import torch
from torch import Tensor

from .blocks import Basis


class Matrices(torch.nn.Module):
    """Matrices [kinds, C, C'], one for each kind of node."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, kind: int) -> Tensor:
        return self.weight[kind]


def on_channels(x: Tensor, matrix: Tensor) -> Tensor:
    """x [B, d, C] times a matrix [C, C'], as one product; torch.matmul may make one of each node."""
    return torch.mm(x.reshape(x.size(0) * x.size(1), x.size(2)), matrix).view(
        x.size(0), x.size(1), matrix.size(1)
    )


class Linear(torch.nn.Module):
    """An equivariant linear map between features, lists over irreps of [B, d, C].

    Parameters
    ----------
    terms : list of tuple of int
        (irrep that goes in, irrep that comes out, matrices [kinds, C, C'])
    shapes : list of tuple of int
        d and C' of the irreps that come out; those without a term are zero
    """

    terms: list[tuple[int, int]]
    shapes: list[tuple[int, int]]

    def __init__(self, terms: list[tuple[int, int, Tensor]], shapes: list[tuple[int, int]]):
        super().__init__()
        self.terms = [(source, target) for source, target, _ in terms]
        self.shapes = shapes
        self.matrices = torch.nn.ModuleList(Matrices(weight) for _, _, weight in terms)

    def forward(self, x: list[Tensor], kind: int) -> list[Tensor]:
        results: list[Tensor] = []
        for size, channels in self.shapes:
            results.append(torch.zeros(x[0].size(0), size, channels, dtype=x[0].dtype, device=x[0].device))
        for k, matrices in enumerate(self.matrices):
            source, target = self.terms[k]
            results[target] = results[target] + on_channels(x[source], matrices(kind))
        return results

    def transposed(self, x: list[Tensor]) -> list[Tensor]:
        """Gradients by what goes in, one for each term in order, from those by what comes out; first kind."""
        results: list[Tensor] = []
        for k, matrices in enumerate(self.matrices):
            results.append(on_channels(x[self.terms[k][1]], matrices(0).t()))
        return results


class Convolution(torch.nn.Module):
    """The sum over edges for one irrep of the neighbours' features, d components of C channels.

    Parameters
    ----------
    coupling : Tensor
        [Q, K], from sums with components (l2, m2, path, m1) to messages with components (l3, m3, path)
    degrees : list of tuple of int
        each l2 that is used, and its number of paths
    dimension : Final
        d
    channels : Final
        C
    targets : list of tuple of Tensor
        of each l3 that is reached: its index, 2 l3 + 1, number of paths, and the matrix [paths · C, C']
        behind it
    """

    degrees: list[tuple[int, int]]
    indices: list[tuple[int, int]]
    rows: list[int]
    paths: Final[int]
    dimension: Final[int]
    channels: Final[int]

    def __init__(
        self,
        coupling: Tensor,
        degrees: list[tuple[int, int]],
        dimension: int,
        channels: int,
        targets: list[tuple[int, int, int, Tensor]],
    ):
        super().__init__()
        self.register_buffer("coupling", coupling)
        self.degrees = degrees
        self.paths = sum(paths for _, paths in degrees)
        self.dimension = dimension
        self.channels = channels
        self.indices = [(index, size) for index, size, _, _ in targets]
        self.rows = [size * paths for _, size, paths, _ in targets]
        self.matrices = torch.nn.ModuleList(Matrices(matrix[None]) for _, _, _, matrix in targets)

    def forward(
        self, sources: Tensor, weights: Tensor, harmonics: list[Tensor], messages: list[Tensor]
    ) -> None:
        """Add this irrep's part to each of the ``messages`` [B, 2 l3 + 1, C'].

        sources [B · J, d, C], weights [B · J, paths · C] and harmonics [B, J, 2 l2 + 1] of each l2 are those
        of J edges of each centre.
        """
        n, edges, channels = harmonics[0].size(0), harmonics[0].size(1), self.channels
        weighted = weights.reshape(n * edges, self.paths, 1, channels) * sources[:, None]
        widths = [paths * self.dimension * channels for _, paths in self.degrees]
        parts = weighted.view(n, edges, self.paths * self.dimension * channels)
        sums: list[Tensor] = []
        for k, part in enumerate(parts.split_with_sizes(widths, dim=2)):
            summed = torch.bmm(harmonics[self.degrees[k][0]].transpose(1, 2), part)
            sums.append(summed.view(n, summed.size(1) * summed.size(2) // channels, channels))
        coupled = torch.matmul(self.coupling, torch.cat(sums, dim=1)).split_with_sizes(self.rows, dim=1)
        for k, matrices in enumerate(self.matrices):
            index, size = self.indices[k]
            part = coupled[k].reshape(n, size, coupled[k].size(1) // size * channels)
            messages[index] = messages[index] + on_channels(part, matrices(0))


class Product(torch.nn.Module):
    """The equivariant polynomials, of degree up to 3, of M components.

    A polynomial is Σ_i x_i Σ_p T[d, i, p] q_p, with q products of two components, the components, and 1; the
    pairs suffice to make every product of three. T is Σ_k W[species, k, channel] U[k, d, i, p].

    Parameters
    ----------
    pairs : Tensor
        int64 [2, P], the components of each product of two
    couplings : list of Tensor
        U of each irrep that comes out, [K, d · M, P + M + 1]
    weights : list of Tensor
        W of each irrep that comes out, [species, K, C]
    sizes : list of int
        d of each irrep
    """

    sizes: list[int]

    def __init__(self, pairs: Tensor, couplings: list[Tensor], weights: list[Tensor], sizes: list[int]):
        super().__init__()
        self.register_buffer("pairs", pairs)
        self.couplings = torch.nn.ModuleList(Matrices(coupling) for coupling in couplings)
        self.weights = torch.nn.ModuleList(Matrices(weight) for weight in weights)
        self.sizes = sizes

    def table(self, kind: int) -> Tensor:
        """T of a species: [C, Σd · M, P + M + 1]."""
        tables: list[Tensor] = []
        for weights, coupling in zip(self.weights, self.couplings):  # noqa: B905 (not in TorchScript)
            weight, shape = weights(kind), coupling.weight.shape
            table = torch.matmul(weight.t(), coupling.weight.flatten(1))
            tables.append(table.view(weight.size(1), shape[1], shape[2]))
        return torch.cat(tables, dim=1)

    def forward(self, x: Tensor, table: Tensor) -> list[Tensor]:
        """x [M, C, B] → polynomials [B, d, C] of each irrep."""
        pairs = x.index_select(0, self.pairs[0]) * x.index_select(0, self.pairs[1])
        factors = torch.cat([pairs, x, torch.ones_like(x[:1])]).transpose(0, 1)
        found = torch.bmm(table, factors)
        found = found.view(x.size(1), found.size(1) // x.size(0), x.size(0), x.size(2))
        found = (found * x.transpose(0, 1)[:, None]).sum(2).permute(2, 1, 0)
        return found.split_with_sizes(self.sizes, dim=1)


class Layer(torch.nn.Module):
    """One interaction with the product and the read-out that follow it.

    Parameters
    ----------
    up : Linear
        of the features, before they are sent
    radial : torch.nn.Module
        from radial functions to the convolution's weights
    density : torch.nn.Module, optional
        from radial functions to a density that divides the message, or None for a constant
    convolutions : list of Convolution
        one per irrep behind ``up``
    skip : Linear
        from the features that come in to what is added to the result; or of the message itself
    residual : Final
        which of the two
    product, linear : Product, Linear
        after the message
    readout : torch.nn.Module, optional
        of all heads, or None
    head : Final
        the index of the head that is read
    degrees : list of int
        2 l + 1 of the harmonics
    shapes : list of tuple of int
        2 l + 1 and channels of the message's irreps
    first : Final
        whether the features that come in depend on the species only
    separate_cutoff : Final
        whether the cutoff multiplies the convolution's weights
    invariant : Final
        whether the first irrep that comes out is a scalar
    """

    shapes: list[tuple[int, int]]
    degrees: list[int]
    widths: list[int]
    residual: Final[bool]
    has_density: Final[bool]
    reads: Final[bool]
    head: Final[int]
    first: Final[bool]
    separate_cutoff: Final[bool]
    invariant: Final[bool]

    def __init__(
        self,
        up: Linear,
        radial: torch.nn.Module,
        density: torch.nn.Module | None,
        convolutions: list[Convolution],
        skip: Linear,
        residual: bool,
        product: Product,
        linear: Linear,
        readout: torch.nn.Module | None,
        head: int,
        degrees: list[int],
        shapes: list[tuple[int, int]],
        first: bool,
        separate_cutoff: bool,
        invariant: bool,
    ):
        super().__init__()
        self.up = up
        self.radial = radial
        self.has_density = density is not None
        if density is not None:
            self.density = density
        self.convolutions = torch.nn.ModuleList(convolutions)
        self.skip = skip
        self.residual = residual
        self.product = product
        self.linear = linear
        self.reads = readout is not None
        if readout is not None:
            self.readout = readout
        self.head = head
        self.degrees = degrees
        self.widths = [convolution.paths * convolution.channels for convolution in convolutions]
        self.shapes = shapes
        self.first = first
        self.separate_cutoff = separate_cutoff
        self.invariant = invariant

    def forward(
        self, nodes: list[Tensor], sources: list[Tensor], basis: Basis, kind: int, table: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """New features [B, d, C'] and energies [B] of B centres of one species.

        Parameters
        ----------
        nodes : list of Tensor
            the centres' features, [B, d, C] each
        sources : list of Tensor
            the neighbours' features behind ``up``, [B · J, d, C] each
        basis : Basis
            of the B · J edges
        kind : int
            index of the species
        table : Tensor
            of the product, for this species
        """
        messages = self._messages(nodes[0].size(0), sources, basis)
        if not self.residual:
            messages = self.skip(messages, kind)
        polynomials = self.product(torch.cat(messages, dim=1).permute(1, 2, 0).contiguous(), table)
        features = self.linear(polynomials, 0)
        if self.residual:
            for k, skipped in enumerate(self.skip(nodes, kind)):
                features[k] = features[k] + skipped
        return features, self._energies(features)

    def _messages(self, n: int, sources: list[Tensor], basis: Basis) -> list[Tensor]:
        """Sums over the edges, [B, 2 l3 + 1, C'] for each l3."""
        weights = self.radial(basis.radial)
        if self.separate_cutoff:
            weights = weights * basis.cutoffs
        edges = basis.harmonics.size(0) // n
        split = basis.harmonics.split_with_sizes(self.degrees, dim=1)
        harmonics = [part.view(n, edges, part.size(1)) for part in split]
        parts = weights.split_with_sizes(self.widths, dim=1)
        messages: list[Tensor] = []
        for size, channels in self.shapes:
            messages.append(torch.zeros(n, size, channels, dtype=weights.dtype, device=weights.device))
        for k, convolution in enumerate(self.convolutions):
            convolution(sources[k], parts[k], harmonics, messages)
        if self.has_density:
            density = torch.tanh(self.density(basis.radial) ** 2)
            if self.separate_cutoff:
                density = density * basis.cutoffs
            divisor = density.view(n, density.size(0) // n, 1).sum(1, keepdim=True) + 1.0
            messages = [message / divisor for message in messages]
        return messages

    def _energies(self, features: list[Tensor]) -> Tensor:
        """[B], in the network's units; a scalar's place in a row is that of MACE."""
        n = features[0].size(0)
        if self.reads:
            rows = torch.cat([values.flatten(1) for values in features], dim=1)
            heads = torch.full((n,), self.head, dtype=torch.int64, device=rows.device)
            return self.readout(rows, heads)[:, self.head]
        return torch.zeros_like(features[0][:, 0, 0])
