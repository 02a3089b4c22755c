"""Parts of SevenNet that keep its float32 weights and float64 constants exact.

What equivariant networks share is in :mod:`ase_mlip.networks.equivariant`. Features of a node are slots of
irreducible representations. A slot of degree l with m channels is stored as [N, 2l+1, m], flattened and
concatenated to [N, Σ (2l+1) m].
"""

from typing import Final

import torch
from torch import Tensor

from ...networks.equivariant.edges import polynomial_cutoff
from ...networks.equivariant.linear import activate
from .blocks import Kinds


class Exact(torch.nn.Module):
    """A float64 table, kept as the sum of two of the network's precision.

    The tables are products of float32 weights with float64 constants. Rounded to float32 they would give
    other energies in float64 than the network they come from; the sum of two keeps 48 bits.
    """

    def __init__(self, table: Tensor):
        super().__init__()
        high = table.to(torch.float32)
        self.high = torch.nn.Parameter(high, requires_grad=False)
        self.low = torch.nn.Parameter((table - high.to(torch.float64)).to(torch.float32), requires_grad=False)

    def forward(self) -> Tensor:
        return self.high + self.low


class SlotLinear(torch.nn.Module):
    """Mixing of channels within each degree and parity: [N, Σ (2l+1) m_in] → [N, Σ (2l+1) m_out].

    Parameters
    ----------
    sizes_in, sizes_out : list of tuple of int
        (2l+1, m) of the slots
    maps : list of tuple of Tensor
        slot of the input, slot of the output, table [m_in, m_out] or, one per species, [S, m_in, m_out]
    bias : Tensor
        float64 [Σ (2l+1) m_out]
    """

    by_species: Final[bool]
    lengths: list[int]
    dims: list[int]
    channels: list[int]
    sources: list[int]
    targets: list[int]

    def __init__(
        self,
        sizes_in: list[tuple[int, int]],
        sizes_out: list[tuple[int, int]],
        maps: list[tuple[int, int, Tensor]],
        bias: Tensor,
    ):
        super().__init__()
        self.lengths = [dim * channels for dim, channels in sizes_in]
        self.dims = [dim for dim, _ in sizes_out]
        self.channels = [channels for _, channels in sizes_out]
        self.sources = [source for source, _, _ in maps]
        self.targets = [target for _, target, _ in maps]
        self.tables = torch.nn.ModuleList(Exact(table) for _, _, table in maps)
        self.bias = Exact(bias)
        self.by_species = any(table.dim() == 3 for _, _, table in maps)

    def forward(self, x: Tensor, kinds: Kinds) -> Tensor:
        """x [N, D] of nodes of these kinds → [N, D']"""
        if not self.by_species:
            return self._mixed(x, -1)
        order = torch.argsort(kinds.types)
        rows: list[Tensor] = []
        for kind, part in enumerate(x[order].split(kinds.counts)):
            if part.size(0) > 0:
                rows.append(self._mixed(part, kind))
        if len(rows) == 0:
            return self._mixed(x, 0)
        return torch.cat(rows)[torch.argsort(order)]

    def _mixed(self, x: Tensor, kind: int) -> Tensor:
        """All rows with one table; ``kind`` chooses it where there is one per species."""
        parts = x.split(self.lengths, dim=1)
        sums: list[Tensor | None] = []
        for _ in self.dims:
            sums.append(None)
        for k, module in enumerate(self.tables):
            table = module()
            if table.dim() == 3:
                table = table[kind]
            source, target = self.sources[k], self.targets[k]
            mixed = torch.matmul(parts[source].reshape(-1, table.size(0)), table)
            mixed = mixed.view(x.size(0), self.dims[target] * self.channels[target])
            earlier = sums[target]
            sums[target] = mixed if earlier is None else earlier + mixed
        columns: list[Tensor] = []
        for k, total in enumerate(sums):
            if total is None:
                total = x.new_zeros(x.size(0), self.dims[k] * self.channels[k])
            columns.append(total)
        return torch.cat(columns, dim=1) + self.bias()


class Activations(torch.nn.Module):
    """One activation per segment of the columns, times a constant: [N, D] → [N, D]"""

    sizes: list[int]
    names: list[str]
    factors: list[float]

    def __init__(self, sizes: list[int], names: list[str], factors: list[float]):
        super().__init__()
        self.sizes = sizes
        self.names = names
        self.factors = factors

    def forward(self, x: Tensor) -> Tensor:
        columns: list[Tensor] = []
        for k, part in enumerate(x.split(self.sizes, dim=1)):
            columns.append(activate(part, self.names[k]) * self.factors[k])
        return torch.cat(columns, dim=1)


class Gate(torch.nn.Module):
    """Activated scalars, and slots of higher degree times activated gates.

    Parameters
    ----------
    scalar_columns, gate_columns : Tensor
        columns of the input
    sizes_in : list of tuple of int
        (2l+1, m) of the input's slots
    gated : list of int
        the slots of the input that are gated, in the order of their gates
    """

    lengths: list[int]
    gated: list[int]
    dims: list[int]
    channels: list[int]

    def __init__(
        self,
        scalar_columns: Tensor,
        gate_columns: Tensor,
        scalars: Activations,
        gates: Activations,
        sizes_in: list[tuple[int, int]],
        gated: list[int],
    ):
        super().__init__()
        self.register_buffer("scalar_columns", scalar_columns)
        self.register_buffer("gate_columns", gate_columns)
        self.scalars = scalars
        self.gates = gates
        self.lengths = [dim * channels for dim, channels in sizes_in]
        self.gated = gated
        self.dims = [sizes_in[slot][0] for slot in gated]
        self.channels = [sizes_in[slot][1] for slot in gated]

    def forward(self, x: Tensor) -> Tensor:
        columns = [self.scalars(x[:, self.scalar_columns])]
        if len(self.gated) > 0:
            parts = x.split(self.lengths, dim=1)
            gates = self.gates(x[:, self.gate_columns]).split(self.channels, dim=1)
            for k, slot in enumerate(self.gated):
                gated = parts[slot].unflatten(1, [self.dims[k], self.channels[k]]) * gates[k][:, None, :]
                columns.append(gated.flatten(1))
        return torch.cat(columns, dim=1)


class Perceptron(torch.nn.Module):
    """Linear maps without bias with one activation between them."""

    def __init__(self, tables: list[Tensor], name: str):
        super().__init__()
        self.tables = torch.nn.ModuleList(Exact(table) for table in tables)
        self.name = name

    def weights(self) -> list[Tensor]:
        weights: list[Tensor] = []
        for table in self.tables:
            weights.append(table())
        return weights

    def evaluate(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        for k, weight in enumerate(weights):
            if k > 0:
                x = activate(x, self.name)
            x = torch.mm(x, weight)
        return x


class Radial(torch.nn.Module):
    """Bessel functions times an envelope: r [E] in Å → [E, n]. Zero beyond the cutoff."""

    xplor: Final[bool]

    def __init__(self, wavenumbers: Tensor, cutoff: float, onset: float | None, power: float):
        super().__init__()
        self.wavenumbers = torch.nn.Parameter(wavenumbers, requires_grad=False)
        self.cutoff = cutoff
        self.xplor = onset is not None
        self.onset = cutoff if onset is None else onset
        self.power = power

    def forward(self, r: Tensor) -> Tensor:
        r = torch.clamp(r, max=self.cutoff)[:, None]
        basis = (2.0 / self.cutoff) * torch.sin(self.wavenumbers * r) / r
        return basis * self.envelope(r)

    def envelope(self, r: Tensor) -> Tensor:
        if self.xplor:
            c, on, s = self.cutoff**2, self.onset**2, r * r
            inside = (c - s) ** 2 * (c + 2.0 * s - 3.0 * on) / (c - on) ** 3
            return torch.where(r < self.onset, torch.ones_like(r), inside)
        return polynomial_cutoff(r / self.cutoff, self.power)


class Harmonics(torch.nn.Module):
    """Real spherical harmonics of degrees 0 to l: Y_l is a fixed bilinear map of Y_{l-1} and the vector."""

    normalize: Final[bool]

    def __init__(self, constant: Tensor, steps: list[Tensor], normalize: bool):
        super().__init__()
        self.constant = Exact(constant)  # [1]
        self.steps = torch.nn.ModuleList(Exact(step) for step in steps)  # [(2l-1) 3, 2l+1]
        self.normalize = normalize

    def forward(self, vectors: Tensor, r: Tensor) -> Tensor:
        """vectors [E, 3] in Å and their lengths [E] → [E, (l+1)²]"""
        if self.normalize:
            vectors = vectors / r[:, None]
        last = self.constant().expand(vectors.size(0), 1)
        harmonics = [last]
        for step in self.steps:
            products = (last[:, :, None] * vectors[:, None, :]).flatten(1)
            last = torch.mm(products, step())
            harmonics.append(last)
        return torch.cat(harmonics, dim=1)
