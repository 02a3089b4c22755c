"""An interaction layer of NequIP as our own: paths of its tensor product, linear maps, gate."""

from __future__ import annotations

import torch
from torch import Tensor

from ...networks.equivariant.interaction import Gate, Group, Layer
from ...networks.equivariant.linear import BlockLinear, TypedLinear
from ..common import AdapterError
from .parts import expect, read_norms, read_perceptron

FUNCTIONS = {
    "silu": "silu",
    "tanh": "tanh",
    "abs": "abs",
    "shifted_softplus": "ssp",
    "gelu": "gelu",
    "mish": "mish",
}


def _shapes(irreps) -> list[tuple[int, int]]:
    return [(ir.dim, mul) for mul, ir in irreps]


def _linear(module: torch.nn.Module) -> BlockLinear:
    expect(module, "Linear", "linear")
    if module.bias_numel:
        raise AdapterError("a linear layer has a bias, which is not supported")
    paths = [(path.i_in, path.i_out, float(path.path_weight)) for path in module.instructions]
    return BlockLinear(_shapes(module.irreps_in), _shapes(module.irreps_out), paths, module.weight)


def _coupling(product: torch.nn.Module, index: int) -> Tensor:
    """Factor and coupling coefficients [d1, d2, d3] of one path, measured with unit vectors, float64."""
    path = product.instructions[index]
    sizes = [_size(other.path_shape) for other in product.instructions]
    d1, d2 = product.irreps_in1[path.i_in1].ir.dim, product.irreps_in2[path.i_in2].ir.dim
    first = torch.zeros(d1 * d2, product.irreps_in1.dim, dtype=torch.float64)
    second = torch.zeros(d1 * d2, product.irreps_in2.dim, dtype=torch.float64)
    rows = torch.arange(d1 * d2)
    first[rows, product.irreps_in1.slices()[path.i_in1].start + rows // d2] = 1.0
    second[rows, product.irreps_in2.slices()[path.i_in2].start + rows % d2] = 1.0
    weight = torch.zeros(sum(sizes), dtype=torch.float64)
    weight[sum(sizes[:index])] = 1.0
    if not product.shared_weights:
        weight = weight.expand(d1 * d2, -1)
    with torch.no_grad():
        values = product(first, second, weight)
    start = product.irreps_out.slices()[path.i_out].start
    d3 = product.irreps_out[path.i_out].ir.dim
    return values[:, start : start + d3].reshape(d1, d2, d3)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _keep(module: torch.nn.Module, exact: torch.nn.Module) -> TypedLinear:
    expect(module, "FullyConnectedTensorProduct", "sc")
    paths = []
    for index, path in enumerate(module.instructions):
        if path.connection_mode != "uvw" or path.i_in2 != 0 or module.irreps_in2[0].ir.l != 0:
            raise AdapterError(
                "the self-connection multiplies with more than one scalar per type: not supported"
            )
        paths.append((path.i_in1, path.i_out, float(_coupling(exact, index)[0, 0, 0])))
    shapes = _shapes(module.irreps_in1), _shapes(module.irreps_out)
    return TypedLinear(*shapes, paths, module.weight, module.irreps_in2[0].mul)


def read_layer(module: torch.nn.Module, exact: torch.nn.Module, name: str) -> Layer:
    block, exact_block = module.conv, exact.conv
    expect(block, "InteractionBlock", f"{name}.conv")
    product, exact_product = block.tp_scatter.tp, exact_block.tp_scatter.tp
    groups, order = _group(product)
    radial = read_perceptron(block.edge_mlp, f"{name}.edge_mlp")
    columns = _weight_columns(product, order)
    last = radial.layers[-1]
    last.weight = torch.nn.Parameter(last.weight[:, columns].contiguous(), requires_grad=False)
    couplings = [_coupling(exact_product, index).transpose(0, 1).flatten(0, 1) for index in order]
    return Layer(
        _shapes(product.irreps_in1),
        _linear(block.linear_1),
        read_norms(block, "avg_num_neighbors_norm", getattr(block, "scatter_norm_factor", None)),
        radial,
        groups,
        couplings,
        _outputs(product, order),
        _linear(block.linear_2),
        None if block.sc is None else _keep(block.sc, exact_block.sc),
        _read_gate(module.equivariant_nonlin, exact.equivariant_nonlin, block.linear_2.irreps_out, name),
        bool(module.resnet),
    )


def _group(product: torch.nn.Module) -> tuple[list[Group], list[int]]:
    """Paths with the same two inputs together, and the numbers of the paths in that order."""
    together: dict[tuple[int, int], list[int]] = {}
    for index, path in enumerate(product.instructions):
        if path.connection_mode != "uvu" or product.irreps_in2[path.i_in2].mul != 1:
            raise AdapterError(f"a tensor product has a path `{path.connection_mode}`; supported is `uvu`")
        together.setdefault((path.i_in1, path.i_in2), []).append(index)
    groups, order, weight, total = [], [], 0, 0
    for (i, j), members in together.items():
        mul, ir = product.irreps_in1[i]
        feature, harmonic = product.irreps_in1.slices()[i].start, product.irreps_in2.slices()[j].start
        d2 = product.irreps_in2[j].ir.dim
        groups.append(Group(feature, ir.dim, mul, harmonic, d2, len(members), weight, total))
        weight += len(members) * mul
        total += d2 * len(members) * ir.dim * mul
        order += members
    return groups, order


def _weight_columns(product: torch.nn.Module, order: list[int]) -> Tensor:
    """Columns of the radial weights in the order of the groups."""
    sizes = [_size(path.path_shape) for path in product.instructions]
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    return torch.cat([torch.arange(starts[index], starts[index] + sizes[index]) for index in order])


def _outputs(product: torch.nn.Module, order: list[int]) -> list[list[int]]:
    """For each block behind the product (neighbours of equal irrep merged), the paths that fill it."""
    blocks: list[list[int]] = []
    for number, (_, ir) in enumerate(product.irreps_out):
        filled = [k for k, index in enumerate(order) if product.instructions[index].i_out == number]
        if len(filled) != 1:
            raise AdapterError("a tensor product adds several paths up: not supported")
        if number > 0 and product.irreps_out[number - 1].ir == ir:
            blocks[-1] += filled
        else:
            blocks.append(filled)
    return blocks


def _read_gate(module: torch.nn.Module, exact: torch.nn.Module, irreps_in, name: str) -> Gate:
    expect(module, "Gate", f"{name}.equivariant_nonlin")
    cut = module.sc.cut
    places = _places(cut.irreps_in, irreps_in)
    scalars, gates, gated = ([places[k] for k in part] for part in cut.instructions)
    return Gate(
        _activated(scalars, module.act_scalars),
        _activated(gates, module.act_gates),
        [(*place, factor) for place, factor in zip(gated, _gate_factors(exact.mul, gated), strict=True)],
    )


def _places(sorted_irreps, blocks) -> list[tuple[int, int, int]]:
    """(block, first channel, channels) of each entry of irreps whose neighbours of equal kind were merged."""
    places, block, start = [], 0, 0
    for mul, ir in sorted_irreps:
        if start == blocks[block].mul:
            block, start = block + 1, 0
        if blocks[block].ir != ir or start + mul > blocks[block].mul:
            raise AdapterError(f"the gate takes {sorted_irreps}, but is given {blocks}: not supported")
        places.append((block, start, mul))
        start += mul
    return places


def _activated(places: list[tuple[int, int, int]], module) -> list[tuple[int, int, int, str, float]]:
    """The places, cut where the activation changes."""
    functions = []
    for (mul, _), act in zip(module.irreps_in, module.acts, strict=True):
        kind = getattr(act.f, "__name__", type(act.f).__name__)
        if kind not in FUNCTIONS:
            raise AdapterError(f"the activation `{kind}` is not supported; {', '.join(FUNCTIONS)} are")
        functions.append([mul, FUNCTIONS[kind], 1.0 if act._is_id else float(act.cst)])
    found = []
    for block, start, count in places:
        while count > 0:
            mul, kind, factor = functions[0]
            used = min(mul, count)
            found.append((block, start, used, kind, factor))
            start, count = start + used, count - used
            functions[0][0] -= used
            if functions[0][0] == 0:
                functions.pop(0)
    return found


def _gate_factors(product: torch.nn.Module, places: list[tuple[int, int, int]]) -> list[float]:
    """What e3nn's product of a tensor and a scalar multiplies them with (one, but for rounding)."""
    if not places:
        return []
    with torch.no_grad():
        tensors = torch.ones(1, product.irreps_in1.dim, dtype=torch.float64)
        gates = torch.ones(1, product.irreps_in2.dim, dtype=torch.float64)
        values = product(tensors, gates)[0]
    factors, start, entry = [], 0, 0
    dims = [(mul, ir.dim) for mul, ir in product.irreps_in1]
    for _, _, count in places:
        factors.append(float(values[start]))
        while count > 0:
            mul, d = dims[entry]
            start, count, entry = start + mul * d, count - mul, entry + 1
    return factors
