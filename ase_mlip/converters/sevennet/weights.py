"""The tables of a SevenNet model, read off its own modules in float64.

Linear maps are evaluated on unit vectors. What normalisation e3nn uses, in which order it keeps paths, and
how a checkpoint of an older version was converted, is then whatever the installed sevenn does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..common import AdapterError
from .convolution import Convolution
from .network import Layer, SevenNet
from .parts import Activations, Gate, Harmonics, Perceptron, Radial, SlotLinear

DTYPE = torch.float64
ACTIVATIONS = ("silu", "tanh", "ssp", "abs", "relu", "sigmoid", "elu")


def convert(model: torch.nn.Module, config: dict, modal: int | None) -> SevenNet:
    """The network of a sevenn model in float64.

    Parameters
    ----------
    model : torch.nn.Module
        sevenn's ``AtomGraphSequential``, in float64
    config : dict
        the checkpoint's configuration
    modal : int, optional
        index of the chosen modality, None for a model without
    """
    parts = dict(model.named_children())
    species = sorted(config["_type_map"], key=lambda number: config["_type_map"][number])
    types = torch.eye(len(species), dtype=DTYPE)
    layers = [
        _layer(parts, f"{k}_", config, modal, len(species)) for k in range(config["num_convolution_layer"])
    ]
    with torch.no_grad():
        embedding = _irreps_linear(parts["onehot_to_feature_x"], modal)(types)
    readout, perceptron = _readout(parts, layers[-1][1], config, modal)
    slots = parts["0_self_interaction_1"]._irreps_in_wo_modal
    return SevenNet(
        species,
        _radial(parts["edge_embedding"], float(config["cutoff"])),
        _harmonics(parts["edge_embedding"].spherical),
        _reorder(embedding, slots),
        [layer for layer, _ in layers],
        readout,
        perceptron,
        _per_species(parts["rescale_atomic_energy"], "scale", modal, len(species)).to(torch.float32),
    )


def shifts(model: torch.nn.Module, config: dict, modal: int | None) -> dict[int, float]:
    """Constant energy of each element, eV, by atomic number."""
    types = config["_type_map"]
    table = _per_species(model.rescale_atomic_energy, "shift", modal, len(types))
    return {number: float(table[kind]) for number, kind in types.items()}


def _per_species(module, name: str, modal: int | None, count: int) -> Tensor:
    """Shift or scale of each type, float64 [S]."""
    table = getattr(module, name).detach().to(DTYPE)
    if table.dim() == 2:
        table = table[modal]
    return table.expand(count).clone()


# ---- layouts -----------------------------------------------------------------------------------------------


def _sizes(irreps) -> list[tuple[int, int]]:
    """(2l+1, channels) of each slot."""
    return [(slot.ir.dim, slot.mul) for slot in irreps]


def _reorder(rows: Tensor, irreps) -> Tensor:
    """Rows in e3nn's layout, channels first and components last, in ours."""
    columns = []
    for piece, slot in zip(irreps.slices(), irreps, strict=True):
        columns.append(rows[:, piece].unflatten(1, (slot.mul, slot.ir.dim)).transpose(1, 2).flatten(1))
    return torch.cat(columns, dim=1)


def _starts(irreps) -> list[int]:
    return [piece.start for piece in irreps.slices()]


# ---- linear maps -------------------------------------------------------------------------------------------


def _irreps_linear(module, modal: int | None) -> Callable[[Tensor], Tensor]:
    """sevenn's ``IrrepsLinear`` as a function of the features alone."""

    def apply(x: Tensor) -> Tensor:
        if module.num_modalities > 1:
            chosen = torch.zeros(x.size(0), module.num_modalities, dtype=DTYPE)
            chosen[:, modal] = 1.0
            x = torch.cat([x, chosen], dim=1)
        return module.linear(x)

    return apply


def _slot_linear(function: Callable[[Tensor], Tensor], irreps_in, irreps_out) -> SlotLinear:
    """An affine map that commutes with rotations: one component of each slot tells its table."""
    with torch.no_grad():
        constant = function(torch.zeros(1, irreps_in.dim, dtype=DTYPE))
        maps = []
        for source, (slot, start) in enumerate(zip(irreps_in, _starts(irreps_in), strict=True)):
            rows = torch.zeros(slot.mul, irreps_in.dim, dtype=DTYPE)
            channels = torch.arange(slot.mul)
            rows[channels, start + channels * slot.ir.dim] = 1.0
            found = function(rows) - constant
            for target, (other, begin) in enumerate(zip(irreps_out, _starts(irreps_out), strict=True)):
                if other.ir == slot.ir:
                    columns = begin + torch.arange(other.mul) * other.ir.dim
                    maps.append((source, target, found[:, columns]))
    return SlotLinear(_sizes(irreps_in), _sizes(irreps_out), maps, _reorder(constant, irreps_out)[0])


def _species_linear(product, n_species: int) -> SlotLinear:
    """e3nn's fully connected product of features with the one-hot species: one table per species."""
    irreps_in, irreps_out = product.irreps_in1, product.irreps_out
    weights = product.weight.detach().split(
        [_count(i.path_shape) for i in product.instructions if i.has_weight]
    )
    maps = []
    for number, step in enumerate(product.instructions):
        if step.connection_mode != "uvw" or not step.has_weight:
            raise AdapterError(f"the self-connection has a path `{step.connection_mode}`, expected `uvw`")
        weight = weights[number].view(step.path_shape)
        factor = _factor(product, [w.numel() for w in weights], number, step)
        maps.append((step.i_in1, step.i_out, factor * weight.transpose(0, 1)))
    bias = torch.zeros(irreps_out.dim, dtype=DTYPE)
    return SlotLinear(_sizes(irreps_in), _sizes(irreps_out), maps, bias)


def _factor(product, lengths: list[int], number: int, step) -> float:
    """What a path multiplies its weights with."""
    weight = torch.zeros(sum(lengths), dtype=DTYPE)
    weight[sum(lengths[:number])] = 1.0
    x = torch.zeros(1, product.irreps_in1.dim, dtype=DTYPE)
    x[0, _starts(product.irreps_in1)[step.i_in1]] = 1.0
    y = torch.zeros(1, product.irreps_in2.dim, dtype=DTYPE)
    y[0, 0] = 1.0
    with torch.no_grad():
        return float(product(x, y, weight)[0, _starts(product.irreps_out)[step.i_out]])


def _count(shape: tuple[int, ...]) -> int:
    return int(torch.tensor(shape).prod())


# ---- layers ------------------------------------------------------------------------------------------------


def _layer(parts: dict, prefix: str, config: dict, modal: int | None, n_species: int):
    """A layer, and the irreps of what comes out."""
    before, after = parts[prefix + "self_interaction_1"], parts[prefix + "self_interaction_2"]
    gate = parts[prefix + "equivariant_gate"].gate
    product = parts[prefix + "convolution"].convolution
    intro = parts[prefix + "self_connection_intro"]
    if hasattr(intro, "linear"):
        connection = _slot_linear(intro.linear, intro.irreps_in, intro.irreps_out)
    else:
        connection = _species_linear(intro.fc_tensor_product, n_species)
    layer = Layer(
        _slot_linear(_irreps_linear(before, modal), before._irreps_in_wo_modal, before.irreps_out),
        _convolution(parts[prefix + "convolution"], product, after._irreps_in_wo_modal, config),
        _slot_linear(_irreps_linear(after, modal), after._irreps_in_wo_modal, after.irreps_out),
        connection,
        _gate(gate, config),
    )
    return layer, gate.irreps_out


def _convolution(module, product, irreps_sum, config: dict) -> Convolution:
    """``irreps_sum`` has one slot where ``product.irreps_out`` has several of one irrep in a row."""
    slots = [target for target, slot in enumerate(irreps_sum) for _ in range(_repeats(product, slot))]
    paths, couplings = [], []
    lengths = [_count(step.path_shape) for step in product.instructions]
    for number, step in enumerate(product.instructions):
        if step.connection_mode != "uvu" or step.i_out != number:
            raise AdapterError(
                f"the convolution has a path `{step.connection_mode}`, expected `uvu` in order"
            )
        paths.append((step.i_in1, product.irreps_out[step.i_out].ir.dim, slots[number]))
        couplings.append(_coupling(product, lengths, number, step))
    coupling = torch.cat(couplings, dim=1) / module.denominator.detach().to(DTYPE)
    perceptron = _perceptron(module.weight_nn, config["act_radial"])
    return Convolution(_sizes(product.irreps_in1), paths, coupling, perceptron)


def _repeats(product, slot) -> int:
    return sum(other.ir == slot.ir for other in product.irreps_out)


def _coupling(product, lengths: list[int], number: int, step) -> Tensor:
    """How one path couples harmonics with components of the first channel: [H, (2l+1) (2l'+1)]"""
    first, result = product.irreps_in1[step.i_in1], product.irreps_out[step.i_out]
    n_harmonics = product.irreps_in2.dim
    x = torch.zeros(first.ir.dim, product.irreps_in1.dim, dtype=DTYPE)
    x[:, _starts(product.irreps_in1)[step.i_in1] :][:, : first.ir.dim] = torch.eye(first.ir.dim, dtype=DTYPE)
    weight = torch.zeros(sum(lengths), dtype=DTYPE)
    weight[sum(lengths[:number])] = 1.0
    y = torch.eye(n_harmonics, dtype=DTYPE)
    with torch.no_grad():
        found = product(
            x.repeat(n_harmonics, 1),
            y.repeat_interleave(first.ir.dim, 0),
            weight.expand(n_harmonics * first.ir.dim, -1),
        )
    start = _starts(product.irreps_out)[step.i_out]
    return _exact(found[:, start : start + result.ir.dim].reshape(n_harmonics, -1), product, step)


def _exact(coupling: Tensor, product, step) -> Tensor:
    """The coupling with 3j symbols in float64: sevenn's are rounded to float32, which bends rotations."""
    from e3nn.o3 import wigner_3j

    degrees = (product.irreps_in1[step.i_in1].ir.l, product.irreps_in2[step.i_in2].ir.l)
    symbols = wigner_3j(*degrees, product.irreps_out[step.i_out].ir.l, dtype=DTYPE).transpose(0, 1)
    piece = product.irreps_in2.slices()[step.i_in2]
    exact = torch.zeros_like(coupling)
    exact[piece] = symbols.reshape(symbols.shape[0], -1)
    exact *= (exact * coupling).sum() / (exact * exact).sum()
    if float((exact - coupling).abs().max()) > 1e-6 * float(coupling.abs().max()):
        raise AdapterError(f"the convolution couples degrees {degrees} by something else than 3j symbols")
    return exact


def _gate(gate, config: dict) -> Gate:
    irreps = gate.irreps_in
    with torch.no_grad():
        columns = torch.arange(irreps.dim, dtype=DTYPE)[None]
        scalars, gates, gated = (part[0].round().to(torch.int64) for part in gate.sc(columns))
        one = torch.ones(1, dtype=DTYPE)
        factor = gate.mul(one.expand(gated.numel()), one.expand(gates.numel())) if gated.numel() else one
    if float((factor - 1.0).abs().max()) > 1e-12:
        raise AdapterError("the gate scales its features; expected a plain product")
    place = _reorder(torch.arange(irreps.dim)[None], irreps)[0].argsort()
    order, first = [], 0
    for slot in gate.irreps_gated:
        order.append(_starts(irreps).index(int(gated[first])))
        if irreps[order[-1]].mul != slot.mul:
            raise AdapterError(f"the gate takes {slot.mul} of {irreps[order[-1]].mul} channels; expected all")
        first += slot.dim
    return Gate(
        place[scalars],
        place[gates],
        _activations(gate.act_scalars, gate.irreps_scalars, config["act_scalar"]),
        _activations(gate.act_gates, gate.irreps_gates, config["act_gate"]),
        _sizes(irreps),
        order,
    )


def _activations(module, irreps, names: dict[str, str]) -> Activations:
    """Activations by parity; the factor that e3nn normalises each with."""
    kinds = [names["e" if slot.ir.p == 1 else "o"] for slot in irreps]
    return Activations([slot.mul for slot in irreps], kinds, [_moment(act) for act in module.acts])


def _moment(act) -> float:
    return 1.0 if act._is_id else float(act.cst)


def _perceptron(net, name: str) -> Perceptron:
    """e3nn's ``FullyConnectedNet`` with its normalisation folded into the tables."""
    if name not in ACTIVATIONS:
        raise AdapterError(
            f"the activation `{name}` is not supported; supported are {', '.join(ACTIVATIONS)}"
        )
    tables, factor = [], 1.0
    for layer in net.children():
        scale = (layer.h_in * layer.var_in) ** 0.5
        tables.append(layer.weight.detach().to(DTYPE) * (factor / scale))
        factor = layer.var_out**0.5
        if layer.act is not None:
            factor *= _moment(layer.act)
    tables[-1] = tables[-1] * factor
    return Perceptron(tables, name)


# ---- edges, readout ----------------------------------------------------------------------------------------


def _radial(module, cutoff: float) -> Radial:
    basis, envelope = module.basis_function, module.cutoff_function
    kinds = type(basis).__name__, type(envelope).__name__
    if kinds[0] != "BesselBasis" or kinds[1] not in ("XPLORCutoff", "PolynomialCutoff"):
        raise AdapterError(
            f"the radial basis `{kinds[0]}` with `{kinds[1]}` is not supported; supported are "
            "`BesselBasis` with `XPLORCutoff` or `PolynomialCutoff`"
        )
    wavenumbers = basis.coeffs.detach().to(torch.float32)
    if kinds[1] == "XPLORCutoff":
        return Radial(wavenumbers, cutoff, float(envelope.r_on), 0.0)
    return Radial(wavenumbers, cutoff, None, float(envelope.p))


def _harmonics(module) -> Harmonics:
    """Y_l = A_l (Y_{l-1} ⊗ r), with A_l of least norm from e3nn's values at random points."""
    degrees = [slot.ir.l for slot in module.irreps_out]
    if degrees != list(range(len(degrees))) or any(slot.mul != 1 for slot in module.irreps_out):
        raise AdapterError(
            f"the spherical harmonics are {module.irreps_out}; expected each degree from 0 once"
        )
    points = torch.randn(512, 3, dtype=DTYPE, generator=torch.Generator().manual_seed(0))
    if module.sph.normalize:
        points = points / points.norm(dim=1, keepdim=True)
    with torch.no_grad():
        values = module(points)
    steps = []
    pieces = module.irreps_out.slices()
    for lower, upper in zip(pieces, pieces[1:], strict=False):
        products = (values[:, lower, None] * points[:, None, :]).flatten(1)
        steps.append(torch.linalg.pinv(products) @ values[:, upper])
    return Harmonics(values[0, :1], steps, bool(module.sph.normalize))


def _readout(parts: dict, irreps, config: dict, modal: int | None) -> tuple[SlotLinear | None, Perceptron]:
    """Two linear maps in a row, which are one, or a perceptron."""
    if "readout_FCN" in parts:
        return None, _perceptron(parts["readout_FCN"].fcn, config["readout_fcn_activation"])
    first = _irreps_linear(parts["reduce_input_to_hidden"], modal)
    second = _irreps_linear(parts["reduce_hidden_to_energy"], modal)
    irreps_out = parts["reduce_hidden_to_energy"].irreps_out
    return _slot_linear(lambda x: second(first(x)), irreps, irreps_out), Perceptron([], "silu")
