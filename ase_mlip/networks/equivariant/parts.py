"""Parts that equivariant networks share: blocks of centres, radial functions, harmonics, linear maps.

Features of a node are one row. It holds one block after the other, each of ``mul`` channels of an irreducible
representation with ``d = 2l + 1`` components, as [d, mul] with the channels fastest. The conventions of the
numbers (component normalisation, order of the components) are those of e3nn; the tables come from there.
"""

import math

import torch
from torch import Tensor

from ..needed import counts_of_edges
from ..repulsion import zbl

MAX_ATOMIC_NUMBER = 118


def types_of(species: list[int], other: int = -1) -> Tensor:
    """Type of each atomic number, int64 [119]: its place among ``species``, ``other`` where there is none."""
    types = torch.full((MAX_ATOMIC_NUMBER + 1,), other, dtype=torch.int64)
    types[torch.tensor(species)] = torch.arange(len(species))
    return types


class Dense(torch.nn.Module):
    """y = x (alpha W), then an activation."""

    alpha: Tensor

    def __init__(self, weight: Tensor, alpha: Tensor, activation: str):
        super().__init__()
        self.weight = torch.nn.Parameter(weight.detach().clone(), requires_grad=False)
        self.register_buffer("alpha", alpha.detach().clone())
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] → [..., out]"""
        return activate(torch.matmul(x, self.weight * self.alpha), self.activation)


class Perceptron(torch.nn.Module):
    """Dense layers in a row."""

    def __init__(self, layers: list[Dense]):
        super().__init__()
        self.layers = torch.nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def activate(x: Tensor, name: str) -> Tensor:
    """The activation of that name; which a family may have, its reader says."""
    if name == "silu":
        return torch.nn.functional.silu(x)
    if name == "tanh":
        return torch.tanh(x)
    if name == "abs":
        return torch.abs(x)
    if name == "gelu":
        return torch.nn.functional.gelu(x)
    if name == "mish":
        return torch.nn.functional.mish(x)
    if name == "ssp":
        return torch.nn.functional.softplus(x) - math.log(2.0)
    if name == "relu":
        return torch.relu(x)
    if name == "sigmoid":
        return torch.sigmoid(x)
    if name == "elu":
        return torch.nn.functional.elu(x)
    if name == "none":
        return x
    raise ValueError("unknown activation `" + name + "`")


def polynomial_cutoff(reduced: Tensor, power: float) -> Tensor:
    """1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2), zero beyond x = 1 (arXiv 2003.03123)."""
    high = torch.pow(reduced, power)
    inner = power * (power + 2.0) - (0.5 * power * (power + 1.0)) * reduced
    value = 1.0 + high * (reduced * inner - 0.5 * (power + 1.0) * (power + 2.0))
    return value * (reduced < 1.0)


class ReducedLengths(torch.nn.Module):
    """r / r_c with one cutoff per ordered pair of types, or one for all."""

    inverse_cutoffs: Tensor

    def __init__(self, inverse_cutoffs: Tensor, n_types: int):
        """inverse_cutoffs: 1/Å, [1] or [n_types²], row of the centre's type"""
        super().__init__()
        self.n_types = n_types
        self.register_buffer("inverse_cutoffs", inverse_cutoffs.detach().clone().reshape(-1))

    def forward(self, lengths: Tensor, centre_types: Tensor, neighbour_types: Tensor) -> Tensor:
        """lengths [E, 1] in Å, types int64 [E] → [E, 1]"""
        inverse = self.inverse_cutoffs.to(lengths.dtype)
        if inverse.numel() > 1:
            inverse = inverse[centre_types * self.n_types + neighbour_types].unsqueeze(1)
        return lengths * inverse


class BesselBasis(torch.nn.Module):
    """factor · sin(π n x)/(π x) · polynomial cutoff, for the roots n."""

    roots: Tensor

    def __init__(self, roots: Tensor, factor: float, power: float):
        super().__init__()
        self.register_buffer("roots", roots.detach().clone().reshape(1, -1))
        self.factor = factor
        self.power = power

    def forward(self, reduced: Tensor) -> Tensor:
        """[E, 1] → [E, number of roots]"""
        scaled = math.pi * reduced
        waves = torch.sin(scaled * self.roots.to(reduced.dtype))
        return waves * (self.factor * polynomial_cutoff(reduced, self.power) / scaled)


class SphericalHarmonics(torch.nn.Module):
    """Real spherical harmonics up to l_max of the direction of r, |Y_l|² = 2l + 1.

    ``steps`` [2l+1, 3, 2l+3], float64, for l = 1 ...: Y_{l+1} from the product of Y_l and Y_1.
    """

    steps: list[Tensor]

    def __init__(self, l_max: int, steps: list[Tensor]):
        super().__init__()
        self.l_max = l_max
        self.steps = steps

    def forward(self, directions: Tensor) -> Tensor:
        """unit vectors [E, 3] → [E, (l_max+1)²]"""
        # Also the constant one is differentiable, which matters where it is alone.
        found = [1.0 + 0.0 * directions[:, :1]]
        if self.l_max > 0:
            first = math.sqrt(3.0) * directions
            found.append(first)
            last = first
            for step in self.steps:
                table = step.to(device=last.device, dtype=last.dtype).flatten(0, 1)
                last = torch.matmul((last.unsqueeze(2) * first.unsqueeze(1)).flatten(1), table)
                found.append(last)
        return torch.cat(found, dim=1)


class ZBL(torch.nn.Module):
    """Ziegler-Biersack-Littmark repulsion with a polynomial cutoff; half of a pair's energy per edge."""

    charges: Tensor

    def __init__(self, charges: Tensor, power: float):
        """charges: atomic number per type, [T]"""
        super().__init__()
        self.register_buffer("charges", charges.detach().clone().reshape(-1))
        self.power = power

    def forward(self, lengths: Tensor, reduced: Tensor, centre_types: Tensor, neighbour: Tensor) -> Tensor:
        """lengths in Å and reduced lengths [E, 1], types int64 [E] → eV, [E]"""
        r = lengths.squeeze(1)
        charges = self.charges.to(r.dtype)
        energy = 0.5 * zbl(charges[centre_types], charges[neighbour], r)
        return energy * polynomial_cutoff(reduced, self.power).squeeze(1)


class EdgeFunctions(torch.nn.Module):
    """What a network is told of its edges, and the derivative by their vectors.

    Parameters
    ----------
    lengths, basis, harmonics: of the edges
    pair: a pair potential, or None
    """

    def __init__(
        self,
        lengths: ReducedLengths,
        basis: torch.nn.Module,
        harmonics: SphericalHarmonics,
        pair: ZBL | None,
    ):
        super().__init__()
        self.lengths, self.basis, self.harmonics = lengths, basis, harmonics
        self.pair = pair

    def forward(self, types: Tensor, edge_index: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Radial functions [E, B], harmonics [E, H] and pair energies [E] in eV of vectors [E, 3] in Å."""
        lengths = torch.sqrt((vectors * vectors).sum(1, keepdim=True))
        centre, neighbour = types[edge_index[0]], types[edge_index[1]]
        reduced = self.lengths(lengths, centre, neighbour)
        pairs = 0.0 * reduced.squeeze(1)
        if self.pair is not None:
            pairs = self.pair(lengths, reduced, centre, neighbour)
        return self.basis(reduced), self.harmonics(vectors / lengths), pairs


class BlockLinear(torch.nn.Module):
    """Mixes the channels of blocks of the same representation.

    Parameters
    ----------
    shapes_in, shapes_out: (d, mul) of every block
    paths: (block in, block out, factor) in the order of the weights
    weight: all matrices [mul_in, mul_out] in a row
    """

    paths: list[tuple[int, int, int]]
    factors: list[float]
    shapes_in: list[tuple[int, int]]
    shapes_out: list[tuple[int, int]]

    def __init__(
        self,
        shapes_in: list[tuple[int, int]],
        shapes_out: list[tuple[int, int]],
        paths: list[tuple[int, int, float]],
        weight: Tensor,
    ):
        super().__init__()
        self.shapes_in, self.shapes_out = shapes_in, shapes_out
        self.factors = [factor for _, _, factor in paths]
        self.paths = []
        offset = 0
        for source, target, _ in paths:
            self.paths.append((source, target, offset))
            offset += shapes_in[source][1] * shapes_out[target][1]
        if weight.numel() != offset:
            raise ValueError(f"`weight` must have {offset} entries, got {weight.numel()}")
        self.weight = torch.nn.Parameter(weight.detach().clone(), requires_grad=False)

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        """blocks [N, d, mul] → blocks"""
        return self.apply_weight(x, self.weight)

    def apply_weight(self, x: list[Tensor], weight: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for d, mul in self.shapes_out:
            found.append(torch.zeros(x[0].size(0), d, mul, dtype=weight.dtype, device=weight.device))
        started = [False for _ in found]
        for k, (source, target, offset) in enumerate(self.paths):
            rows, columns = self.shapes_in[source][1], self.shapes_out[target][1]
            matrix = weight.narrow(0, offset, rows * columns).view(rows, columns) * self.factors[k]
            value = torch.matmul(x[source], matrix)
            found[target] = found[target] + value if started[target] else value
            started[target] = True
        return found

    def apply_weights(self, x: list[Tensor], weights: Tensor, types: Tensor) -> list[Tensor]:
        """The same with a row of ``weights`` [T, size] for each type, node by node."""
        found: list[Tensor] = []
        for d, mul in self.shapes_out:
            found.append(torch.zeros(x[0].size(0), d, mul, dtype=weights.dtype, device=weights.device))
        for k, (source, target, offset) in enumerate(self.paths):
            rows, columns = self.shapes_in[source][1], self.shapes_out[target][1]
            matrices = weights.narrow(1, offset, rows * columns).unflatten(1, [rows, columns])
            parts: list[Tensor] = []
            for start in range(0, types.size(0), 8192):  # a matrix for each node takes memory
                kinds = types[start : start + 8192]
                parts.append(torch.bmm(x[source][start : start + 8192], matrices.index_select(0, kinds)))
            if len(parts) > 0:
                found[target] = found[target] + torch.cat(parts) * self.factors[k]
        return found


class TypedLinear(torch.nn.Module):
    """A :class:`BlockLinear` whose matrices depend on the node's type: Σ_v W[u, v, w] a[type, v].

    ``weight`` has the matrices [mul_in, A, mul_out] in a row, ``attributes`` are [T, A].
    """

    def __init__(
        self,
        shapes_in: list[tuple[int, int]],
        shapes_out: list[tuple[int, int]],
        paths: list[tuple[int, int, float]],
        weight: Tensor,
        n_attributes: int,
    ):
        super().__init__()
        self.n_attributes = n_attributes
        sizes = [shapes_in[i][1] * shapes_out[o][1] for i, o, _ in paths]
        parts = weight.detach().split([size * n_attributes for size in sizes])
        ordered = []
        for (source, target, _), part in zip(paths, parts, strict=True):
            cube = part.view(shapes_in[source][1], n_attributes, shapes_out[target][1])
            ordered.append(cube.transpose(0, 1).reshape(n_attributes, -1))
        # one row per attribute, so that a type's matrices are one product
        self.weight = torch.nn.Parameter(torch.cat(ordered, dim=1), requires_grad=False)
        self.linear = BlockLinear(shapes_in, shapes_out, paths, torch.zeros(sum(sizes)))
        self.linear.weight = torch.nn.Parameter(torch.zeros(0, dtype=weight.dtype), requires_grad=False)

    def forward(self, x: list[Tensor], types: Tensor, attributes: Tensor) -> list[Tensor]:
        """blocks [N, d, mul], types int64 [N] → blocks"""
        if types.is_cuda:  # the host would have to wait for the types that are there
            return self.linear.apply_weights(x, torch.matmul(attributes, self.weight), types)
        present = torch.unique(types)
        weights = torch.matmul(attributes[present], self.weight)
        if present.numel() == 1:
            return self.linear.apply_weight(x, weights[0])
        found: list[Tensor] = []
        for d, mul in self.linear.shapes_out:
            found.append(torch.zeros(types.size(0), d, mul, dtype=weights.dtype, device=weights.device))
        for k in range(present.numel()):
            rows = torch.nonzero(types == present[k]).squeeze(1)
            picked: list[Tensor] = []
            for block in x:
                picked.append(block.index_select(0, rows))
            values = self.linear.apply_weight(picked, weights[k])
            for b in range(len(found)):
                found[b] = found[b].index_copy(0, rows, values[b])
        return found


def to_blocks(row: Tensor, shapes: list[tuple[int, int]]) -> list[Tensor]:
    """[N, F] → blocks [N, d, mul]"""
    found: list[Tensor] = []
    offset = 0
    for d, mul in shapes:
        found.append(row.narrow(1, offset, d * mul).unflatten(1, [d, mul]))
        offset += d * mul
    return found


def to_rows(blocks: list[Tensor]) -> Tensor:
    """blocks [N, d, mul] → [N, F]"""
    flat: list[Tensor] = []
    for block in blocks:
        flat.append(block.flatten(1))
    return torch.cat(flat, dim=1)


def block_size(vectors: Tensor) -> int:
    """Edges that are worked through together: a core's cache on a CPU, memory on a GPU."""
    return 524288 if vectors.is_cuda else 1536


def neighbourhoods(
    centres: Tensor, n_nodes: int, wanted: list[Tensor], size: int
) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    """Blocks of the nodes that each layer ``wanted``, and the edges of each node of a block in a table.

    All layers at once, because the host has to wait for the numbers of edges.

    Parameters
    ----------
    centres: int64 [E], sorted
    wanted: int64 [W] of each layer, nodes
    size: edges per block, about

    Returns
    -------
    nodes int64 [b] and edges int64 [b, n] of each block, for each layer. Where a node has fewer edges than n,
    the table has E, the index of an edge that a network must give no weight.
    """
    counts = counts_of_edges(centres, n_nodes)
    starts = torch.cumsum(counts, 0) - counts
    most = largest([counts[nodes] for nodes in wanted])
    blocks: list[list[Tensor]] = []
    numbers: list[Tensor] = []
    for nodes, edges in zip(wanted, most):  # noqa: B905 (TorchScript knows no `strict`)
        parts: list[Tensor] = []
        if nodes.size(0) > 0:
            for part in nodes.split(max(1, size // edges)):
                parts.append(part)
                numbers.append(counts[part])
        blocks.append(parts)
    widths = largest(numbers)
    tables: list[list[Tensor]] = []
    done = 0
    for parts in blocks:
        of_layer: list[Tensor] = []
        for part in parts:
            columns = torch.arange(widths[done], device=centres.device)
            table = starts[part].unsqueeze(1) + columns
            inside = columns < numbers[done].unsqueeze(1)
            of_layer.append(torch.where(inside, table, torch.full_like(table, centres.size(0))))
            done += 1
        tables.append(of_layer)
    return blocks, tables


def largest(numbers: list[Tensor]) -> list[int]:
    """The largest of each int64 [n], at least 1; in one transfer."""
    if len(numbers) == 0:
        nothing: list[int] = []
        return nothing
    maxima: list[Tensor] = []
    for values in numbers:
        maxima.append(torch.cat([values, values.new_ones([1])]).max())
    found: list[int] = torch.stack(maxima).tolist()
    return found


def with_empty_row(x: Tensor) -> Tensor:
    """[E, F] → [E + 1, F], the last row zero: where the tables of :func:`neighbourhoods` have no edge."""
    return torch.cat([x, torch.zeros(1, x.size(1), dtype=x.dtype, device=x.device)])


def rows_of(x: Tensor, table: Tensor) -> Tensor:
    """Rows of x [E, F] by a table int64 [b, n]: [b, n, F], faster than by indexing."""
    return x.index_select(0, table.flatten()).view(table.size(0), table.size(1), x.size(1))


def or_zeros(gradient: Tensor | None, like: Tensor) -> Tensor:
    """A gradient, which is None of what did not take part."""
    if gradient is None:
        return torch.zeros_like(like)
    return gradient


def pulled_back(outputs: list[Tensor], given: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Gradients by the inputs from ``given`` gradients by the outputs; zero where nothing depends on one."""
    optional: list[Tensor | None] = []
    for gradient in given:
        optional.append(gradient)
    found = torch.autograd.grad(outputs, inputs, optional, allow_unused=True)
    gradients: list[Tensor] = []
    for k, gradient in enumerate(found):
        gradients.append(or_zeros(gradient, inputs[k]))
    return gradients
