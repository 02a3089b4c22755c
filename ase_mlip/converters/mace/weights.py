"""The numbers of a MACE checkpoint, asked from its own submodules, for :mod:`.network`.

An equivariant linear map or tensor product is known from what it makes of unit vectors. So nothing here
depends on how e3nn arranges or normalises weights; the polynomials' coefficients are read from their
buffers. Everything is in float64, whatever the checkpoint has: products of its weights with normalisation
constants, rounded to float32, would not give MACE's numbers when the file is evaluated in float64.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..common import AdapterError
from .exact import exact_copy
from .layer import Convolution, Layer, Linear, Product
from .network import MACENetwork


def make_network(model: torch.nn.Module, head: int) -> MACENetwork:
    """The network of a supported model, without its reference energies; its radial networks in its precision.

    Raises AdapterError for polynomials of higher degree than 3.
    """
    from e3nn.util import jit

    exact = exact_copy(model)
    model = copy.deepcopy(model).eval()
    for parameter in [*model.parameters(), *exact.parameters()]:
        parameter.requires_grad_(False)  # a copy of a scripted module's cannot be changed any more
    readouts = list(model.readouts)
    readouts = [None] * (len(model.interactions) - len(readouts)) + readouts
    layers = [make_layer(model, exact, k, readouts[k], head) for k in range(len(model.interactions))]
    names = ("spherical_harmonics", "radial_embedding", "pair_repulsion_fn")
    parts = {name: jit.compile(getattr(model, name)) if hasattr(model, name) else None for name in names}
    unit = torch.eye(len(model.atomic_numbers), dtype=torch.float64)
    embedding = exact.node_embedding(unit)[:, None].contiguous()
    scale, shift = 1.0, 0.0
    if hasattr(model, "scale_shift"):
        scale = float(exact.scale_shift.scale.reshape(-1)[head])
        shift = float(exact.scale_shift.shift.reshape(-1)[head])
    return MACENetwork(model.atomic_numbers.clone(), embedding, parts, layers, scale, shift)


def make_layer(
    model: torch.nn.Module, exact: torch.nn.Module, k: int, readout: torch.nn.Module | None, head: int
) -> Layer:
    """Layer ``k`` of a model; ``exact`` is its copy by :func:`exact_copy`."""
    from e3nn.util import jit

    interaction, product = exact.interactions[k], exact.products[k]
    kinds = len(model.atomic_numbers)
    divisor = 1.0 if hasattr(interaction, "density_fn") else float(interaction.avg_num_neighbors)
    out = product.linear.irreps_out
    own = model.interactions[k]
    last = list(own.conv_tp_weights.children())[-1]
    last.weight = torch.nn.Parameter(last.weight[:, columns_of(interaction.conv_tp)], requires_grad=False)
    return Layer(
        up=make_linear(
            interaction.linear_up, interaction.linear_up.irreps_in, interaction.linear_up.irreps_out
        ),
        radial=jit.compile(own.conv_tp_weights),
        density=jit.compile(own.density_fn) if hasattr(own, "density_fn") else None,
        convolutions=make_convolutions(interaction.conv_tp, interaction.linear, divisor),
        skip=make_linear(
            interaction.skip_tp, interaction.skip_tp.irreps_in1, interaction.skip_tp.irreps_out, kinds
        ),
        residual="Residual" in type(interaction).__name__,
        product=make_product(product.symmetric_contractions, kinds),
        linear=make_linear(product.linear, product.linear.irreps_in, out),
        readout=None if readout is None else jit.compile(readout),
        head=head,
        degrees=[int(irrep.dim) for _, irrep in model.spherical_harmonics.irreps_out],
        shapes=shapes_of(interaction.irreps_out),
        first=k == 0,
        separate_cutoff=not getattr(model.radial_embedding, "apply_cutoff", True),
        invariant=out[0].ir.l == 0 and out[0].ir.p == 1,
    )


def shapes_of(irreps: Any) -> list[tuple[int, int]]:
    """Components and channels of each irrep."""
    return [(int(irrep.dim), int(channels)) for channels, irrep in irreps]


def make_linear(module: torch.nn.Module, into: Any, out: Any, kinds: int = 0) -> Linear:
    """The matrices of an equivariant linear map; with ``kinds``, one for each unit vector as second input."""
    terms = []
    for source, part in zip(range(len(into)), into.slices(), strict=True):
        channels, irrep = into[source]
        rows = torch.zeros(channels, into.dim, dtype=torch.float64)
        rows[torch.arange(channels), part.start + irrep.dim * torch.arange(channels)] = 1.0
        if kinds:
            unit = torch.eye(kinds, dtype=torch.float64)
            found = torch.stack([module(rows, one.expand(channels, kinds)) for one in unit])
        else:
            found = module(rows)[None]
        for target, columns in enumerate(out.slices()):
            if out[target].ir == irrep:
                matrices = found[:, :, columns][:, :, :: irrep.dim]  # the first component of each channel
                terms.append((source, target, matrices.contiguous()))
    return Linear(terms, shapes_of(out))


def make_convolutions(product: Any, linear: torch.nn.Module, divisor: float) -> list[Convolution]:
    """A tensor product and the linear map behind it, one part for each irrep that goes in.

    The radial network's output is expected in the order of :func:`columns_of`.
    """
    behind = make_linear(linear, product.irreps_out, linear.irreps_out)
    slots = {}
    for (slot, target), matrices in zip(behind.terms, behind.matrices, strict=True):
        slots[slot] = (target, matrices.weight[0] / divisor)
    parts = enumerate(product.irreps_in1)
    return [
        _make_convolution(product, paths_of(product, source), slots, int(irrep.dim), int(channels))
        for source, (channels, irrep) in parts
    ]


def paths_of(product: Any, source: int) -> list[int]:
    """Paths from one irrep that goes in, by the degree of the harmonics."""
    chosen = [k for k, path in enumerate(product.instructions) if path.i_in1 == source]
    return sorted(chosen, key=lambda k: product.instructions[k].i_in2)


def columns_of(product: Any) -> Tensor:
    """Columns of the radial network's output in the order of the convolutions' paths."""
    first = _first_columns(product)
    columns = []
    for source, (channels, _) in enumerate(product.irreps_in1):
        columns += [torch.arange(channels) + first[k] for k in paths_of(product, source)]
    return torch.cat(columns)


def _first_columns(product: Any) -> list[int]:
    """Where each path's weights begin in the radial network's output."""
    columns, total = [], 0
    for path in product.instructions:
        if path.connection_mode != "uvu" or not path.has_weight or path.path_shape[1] != 1:
            raise AdapterError(f"the tensor product has the path {path}, expected weighted `uvu` paths")
        columns.append(total)
        total += path.path_shape[0]
    return columns


def _make_convolution(
    product: Any, paths: list[int], slots: dict[int, tuple[int, Tensor]], dimension: int, channels: int
) -> Convolution:
    found = {k: _coefficients(product, k) for k in paths}  # [2 l2 + 1, d, 2 l3 + 1]
    counts, columns, width = [], {}, 0
    for degree in sorted({product.instructions[k].i_in2 for k in paths}):
        of_degree = [k for k in paths if product.instructions[k].i_in2 == degree]
        part = product.irreps_in2.slices()[degree]
        size = part.stop - part.start
        counts.append((degree, len(of_degree)))
        for place, k in enumerate(of_degree):
            order = (torch.arange(size)[:, None] * len(of_degree) + place) * dimension + torch.arange(
                dimension
            )
            columns[k] = width + order  # [m2, m1]
        width += size * len(of_degree) * dimension
    rows, targets = [], []
    for target in sorted({slots[product.instructions[k].i_out][0] for k in paths}):
        into = [k for k in paths if slots[product.instructions[k].i_out][0] == target]
        size = found[into[0]].shape[2]
        for m3 in range(size):
            for k in into:
                row = torch.zeros(width, dtype=torch.float64)
                row[columns[k].flatten()] = found[k][:, :, m3].flatten()
                rows.append(row)
        matrix = torch.cat([slots[product.instructions[k].i_out][1] for k in into])
        targets.append((target, size, len(into), matrix))
    return Convolution(torch.stack(rows), counts, dimension, channels, targets)


def _coefficients(product: Any, k: int) -> Tensor:
    """What path ``k`` makes of unit vectors: [2 l2 + 1, d, 2 l3 + 1]."""
    path = product.instructions[k]
    first, second = product.irreps_in1.slices()[path.i_in1], product.irreps_in2.slices()[path.i_in2]
    d, size = product.irreps_in1[path.i_in1].ir.dim, second.stop - second.start
    into = torch.zeros(size, d, product.irreps_in1.dim, dtype=torch.float64)
    into[:, torch.arange(d), first.start + torch.arange(d)] = 1.0
    harmonics = torch.zeros(size, d, product.irreps_in2.dim, dtype=torch.float64)
    harmonics[torch.arange(size), :, second.start + torch.arange(size)] = 1.0
    weights = torch.zeros(size, d, product.weight_numel, dtype=torch.float64)
    weights[:, :, _first_columns(product)[k]] = 1.0
    found = product(into.flatten(0, 1), harmonics.flatten(0, 1), weights.flatten(0, 1))
    out = product.irreps_out.slices()[path.i_out].start
    return found[:, out : out + product.irreps_out[path.i_out].ir.dim].unflatten(0, (size, d))


def make_product(contraction: torch.nn.Module, kinds: int) -> Product:
    """The symmetric contraction: its coefficients summed over orders of the factors."""
    first = contraction.contractions[0]
    if first.correlation > 3:
        raise AdapterError(f"the model has correlation {first.correlation}; supported: 1 to 3")
    components = int(first.U_tensors(1).shape[-2])
    pairs, place = choose_pairs(components)
    couplings, weights, sizes = [], [], []
    for part in contraction.contractions:
        every = [part.weights_max, *part.weights]  # of degree `correlation` and downwards
        tables = []
        for degree in range(part.correlation, 0, -1):
            tables.append(_fold(part.U_tensors(degree).double(), degree, components, pairs, place))
        couplings.append(torch.cat(tables).flatten(1, 2).contiguous())
        table = torch.cat([weight.detach().double() for weight in every], dim=1)
        weights.append(table.expand(kinds, -1, -1).contiguous())  # one element where species share it
        sizes.append(tables[0].shape[1])
    return Product(pairs, couplings, weights, sizes)


def choose_pairs(components: int) -> tuple[Tensor, dict[tuple[int, int], int]]:
    """Pairs of components such that two of any three are one of them, [2, P], and the place of each.

    Of three components, two are in the same half.
    """
    half = components // 2
    pairs = [(a, b) for a in range(components) for b in range(a, components) if (a < half) == (b < half)]
    return torch.tensor(pairs).t().contiguous(), {pair: place for place, pair in enumerate(pairs)}


def _fold(
    coefficients: Tensor, degree: int, components: int, pairs: Tensor, place: dict[tuple[int, int], int]
) -> Tensor:
    """Coefficients [(d,) M, .., M, K] as [K, d, M, P + M + 1]: rows x_i, columns pairs, components and 1."""
    if coefficients.dim() == degree + 1:
        coefficients = coefficients[None]
    size, count = coefficients.shape[0], pairs.shape[1]
    folded = torch.zeros(
        coefficients.shape[-1], size, components, count + components + 1, dtype=torch.float64
    )
    for factors in coefficients.abs().amax(dim=(0, -1)).nonzero().tolist():
        value = coefficients[(slice(None), *factors)].t()
        if degree == 1:
            folded[:, :, factors[0], count + components] += value
        elif degree == 2:
            folded[:, :, factors[0], count + factors[1]] += value
        else:
            a, b, c = factors
            for i, pair in ((a, (b, c)), (b, (a, c)), (c, (a, b))):
                pair = (min(pair), max(pair))
                if pair in place:
                    folded[:, :, i, place[pair]] += value
                    break
    return folded
