"""Which stored numbers of a network are its weights, family by family, and how they form filters.

A weight is a number that training sets. Parameters in torch's sense are another list: in a model file nothing
is trained any more, and a converted network keeps its weights where its formulas want them. MACE's matrices
are buffers here, a number of SevenNet is the sum of two, Allegro's splines are a buffer. Beside them lie
couplings, normalisations and tables of types, which no training changes.

Not counted are numbers that the frames give and that training changes on request only: scales and shifts of
energies, reference energies, average numbers of neighbours. Roots of Bessel functions count where they are
not the integers that they start from.

A filter is what a direction is normalised by (:mod:`.directions`): the row of a matrix, that is what one
output is made of; one spline; one irrep block, the matrix that mixes the channels of one irrep; a whole
vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

ROW, SPLINE, BLOCK, VECTOR = "row", "spline", "irrep block", "vector"


@dataclass(frozen=True)
class Table:
    """A stored tensor that holds weights.

    Attributes
    ----------
    name: as in ``named_parameters`` or ``named_buffers``; of a number kept as two, without ``.high``
    kind: ``row``, ``spline``, ``irrep block`` or ``vector``
    tensors: the tensor itself, or the two whose sum is meant, all of one shape
    labels: int64 of that shape: the number of the filter, or -1 where there is no weight
    tied: whether the entries along the first axis are copies of one another and move together
    """

    name: str
    kind: str
    tensors: tuple[Tensor, ...]
    labels: Tensor
    tied: bool = False


# Lists of modules are walked by ``children``: a scripted one that was loaded is no list to Python.


def class_of(module: torch.nn.Module) -> str:
    """The name of a module's class, also of a scripted one."""
    return getattr(module, "original_name", type(module).__name__)


def tables_of(network: torch.nn.Module) -> tuple[str, list[Table]]:
    """The family, and the tables of weights of a network of the contract in a fixed order; empty ones are
    left out.

    A network of no family known here has the weights that torch calls parameters.
    """
    outer = class_of(network)
    while outer in WRAPPERS:
        network = network.network
        outer = class_of(network)
    family, find = FAMILIES.get(outer, (outer, _parameters))
    return family, [table for table in find(network) if (table.labels >= 0).any()]


def filters_along(shape: torch.Size, axes: tuple[int, ...]) -> Tensor:
    """A filter for each place along some axes: its number at every element, int64 of that shape."""
    labels = torch.zeros(tuple(shape), dtype=torch.int64)
    for axis in axes:
        places = torch.arange(shape[axis]).view([-1 if k == axis else 1 for k in range(len(shape))])
        labels = labels * shape[axis] + places
    return labels


# ---- families ----------------------------------------------------------------------------------------------


def _parameters(network: torch.nn.Module) -> Iterator[Table]:
    """All parameters: rows of what has several axes, whole vectors."""
    for name, tensor in network.named_parameters():
        if tensor.is_floating_point():
            yield _plain(name, tensor)


def _plain(name: str, tensor: Tensor) -> Table:
    if tensor.dim() < 2:
        return Table(name, VECTOR, (tensor,), filters_along(tensor.shape, ()))
    return Table(name, ROW, (tensor,), filters_along(tensor.shape, (0,)))


def _snnp(network: torch.nn.Module) -> Iterator[Table]:
    """Splines, ``skip`` and the networks, whose matrices are stored as [networks, in, out].

    The constant that the last layer adds is none: it is taken off again.
    """
    for name, tensor in network.named_parameters():
        if name.endswith(".coefficients"):
            yield Table(name, SPLINE, (tensor,), filters_along(tensor.shape, (0, 1)))
        elif name == "skip" and network.has_skip:
            yield Table(name, ROW, (tensor,), filters_along(tensor.shape, (0,)))
        elif name.endswith(".weight"):
            yield Table(name, ROW, (tensor,), filters_along(tensor.shape, (0, 2)))
        elif name.endswith(".bias") and name != "networks.last.bias":
            yield Table(name, VECTOR, (tensor,), filters_along(tensor.shape, (0,)))


def _equivariant(network: torch.nn.Module) -> Iterator[Table]:
    """NequIP and Allegro in our form (:mod:`ase_mlip.networks.equivariant`)."""
    for name, module in network.named_modules():
        prefix = f"{name}." if name else ""
        kind = class_of(module)
        if kind == "NequIP":
            yield _plain("embedding", module.embedding)
        elif kind == "Dense":  # [in, out]
            yield Table(f"{prefix}weight", ROW, (module.weight,), filters_along(module.weight.shape, (1,)))
        elif kind == "BlockLinear" and module.weight.numel() > 0:  # else a part of a ``TypedLinear``
            yield Table(f"{prefix}weight", BLOCK, (module.weight,), _path_labels(module)[0])
        elif kind == "TypedLinear":  # a row of all matrices for each attribute
            labels = _path_labels(module.linear)
            attributes = torch.arange(module.weight.size(0))[:, None] * (int(labels.max()) + 1)
            yield Table(f"{prefix}weight", BLOCK, (module.weight,), labels + attributes)
        elif kind == "ProductEmbedding":
            yield _plain(f"{prefix}centre", module.centre)
            yield _plain(f"{prefix}neighbour", module.neighbour)
        elif kind == "SplineEmbedding":  # [pairs of types, C, K]
            coefficients = module.coefficients
            labels = filters_along(coefficients.shape, (0, 1))
            yield Table(f"{prefix}coefficients", SPLINE, (coefficients,), labels)
        elif kind == "Contraction":  # [channels, paths], or [1, paths] for all channels
            yield _plain(f"{prefix}weights", module.weights)
        elif kind == "BesselBasis" and _trained(module.roots, 1.0):
            yield Table(f"{prefix}roots", VECTOR, (module.roots,), filters_along(module.roots.shape, ()))


def _path_labels(linear: torch.nn.Module) -> Tensor:
    """The number of the path that each weight of a ``BlockLinear`` belongs to, [1, weights]."""
    counts = [
        linear.shapes_in[source][1] * linear.shapes_out[target][1] for source, target, _ in linear.paths
    ]
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts, dtype=torch.int64))[None]


def _mace(network: torch.nn.Module) -> Iterator[Table]:
    """Matrices between irreps for each species; radial networks and read-outs are mace-torch's own."""
    embedding = network.embedding
    yield Table("embedding", ROW, (embedding,), filters_along(embedding.shape, (0,)))
    for k, layer in enumerate(network.layers.children()):
        prefix = f"layers.{k}."
        linears = {"up": layer.up, "skip": layer.skip, "linear": layer.linear}
        linears |= {f"convolutions.{i}": part for i, part in enumerate(layer.convolutions.children())}
        for name, module in linears.items():
            for j, matrices in enumerate(module.matrices.children()):
                yield _by_species(f"{prefix}{name}.matrices.{j}.weight", matrices.weight)
        for j, matrices in enumerate(layer.product.weights.children()):
            yield _by_species(f"{prefix}product.weights.{j}.weight", matrices.weight)
        for name in ("radial", "density", "readout"):
            if hasattr(layer, name):
                yield from _of_mace_torch(f"{prefix}{name}.", getattr(layer, name))


def _by_species(name: str, weight: Tensor) -> Table:
    """Matrices [species, in, out]; those that all species share are stored once for each."""
    tied = weight.size(0) > 1 and bool((weight == weight[:1]).all())
    return Table(name, BLOCK, (weight,), filters_along(weight.shape, (0,)), tied)


def _of_mace_torch(prefix: str, module: torch.nn.Module) -> Iterator[Table]:
    for name, tensor in module.named_parameters():
        if tensor.dim() == 2:  # e3nn's FullyConnectedNet keeps [in, out]
            yield Table(prefix + name, ROW, (tensor,), filters_along(tensor.shape, (1,)))
        else:  # its linear maps have all their matrices in a row; of scalars that is one
            kind = VECTOR if name.endswith("bias") else BLOCK
            yield Table(prefix + name, kind, (tensor,), filters_along(tensor.shape, ()))


def _sevennet(network: torch.nn.Module) -> Iterator[Table]:
    """Tables that are kept as the sum of two, :class:`ase_mlip.converters.sevennet.parts.Exact`."""
    for name, module in network.named_modules():
        prefix = f"{name}." if name else ""
        kind = class_of(module)
        if kind == "SevenNet":
            yield _halves("embedding", module.embedding, ROW, (0,))
        elif kind == "SlotLinear":
            for j, table in enumerate(module.tables.children()):  # [in, out], or one for each species
                axes = (0,) if table.high.dim() == 3 else ()
                yield _halves(f"{prefix}tables.{j}", table, BLOCK, axes)
            yield _scalars(f"{prefix}bias", module)
        elif kind == "Perceptron":  # [in, out]
            for j, table in enumerate(module.tables.children()):
                yield _halves(f"{prefix}tables.{j}", table, ROW, (1,))
        elif kind == "Radial" and _trained(module.wavenumbers, math.pi / module.cutoff):
            waves = module.wavenumbers
            yield Table(f"{prefix}wavenumbers", VECTOR, (waves,), filters_along(waves.shape, ()))


def _halves(name: str, table: torch.nn.Module, kind: str, axes: tuple[int, ...]) -> Table:
    return Table(name, kind, (table.high, table.low), filters_along(table.high.shape, axes))


def _scalars(name: str, linear: torch.nn.Module) -> Table:
    """The constants of scalars; a constant vector would have a direction. None where all are zero."""
    high, low = linear.bias.high, linear.bias.low
    scalar = torch.cat(
        [torch.full((d * c,), d == 1) for d, c in zip(linear.dims, linear.channels, strict=True)]
    )
    used = scalar & ((high != 0.0) | (low != 0.0)).any().cpu()
    return Table(name, VECTOR, (high, low), used.to(torch.int64) - 1)


def _trained(roots: Tensor, unit: float) -> bool:
    """Whether roots of Bessel functions are others than the multiples of a unit that they start from."""
    first = unit * torch.arange(1, roots.numel() + 1, dtype=torch.float64)
    return not torch.allclose(roots.detach().flatten().cpu().to(torch.float64), first, rtol=1e-6, atol=0.0)


WRAPPERS = ("ConvertedPET", "FirstContract", "FirstContractWithGradients")
FAMILIES: dict[str, tuple[str, Callable[[torch.nn.Module], Iterator[Table]]]] = {
    "PET": ("PET", _parameters),
    "SNNP": ("s-NNP", _snnp),
    "NequIP": ("NequIP", _equivariant),
    "Allegro": ("Allegro", _equivariant),
    "MACENetwork": ("MACE", _mace),
    "SevenNet": ("SevenNet", _sevennet),
}
