"""What NequIP and Allegro models have in common, as our own: weights and constants of a loaded model."""

from __future__ import annotations

import torch
from ase.data import atomic_numbers
from torch import Tensor

from ...networks.equivariant import edges, linear
from ..common import AdapterError

MODULES = {
    "SiLU": "silu",
    "Tanh": "tanh",
    "GELU": "gelu",
    "Mish": "mish",
    "ShiftedSoftplus": "ssp",
    "Identity": "none",
}


class Parts:
    """The modules of a model in their order, by name; those that no reader took are unsupported."""

    def __init__(self, sequence: torch.nn.Module, exact: torch.nn.Module):
        self.modules = dict(sequence.named_children())
        self.exact = dict(exact.named_children())
        self.taken: set[str] = set()

    def take(self, name: str, kind: str | None = None) -> torch.nn.Module | None:
        """The module of that name, None if there is none; its class must be ``kind``."""
        module = self.modules.get(name)
        if module is not None:
            self.taken.add(name)
            if kind is not None:
                expect(module, kind, name)
        return module

    def require(self, name: str, kind: str | None = None) -> torch.nn.Module:
        """The same; AdapterError if there is none."""
        module = self.take(name, kind)
        if module is None:
            raise AdapterError(f"the model has no module `{name}`; its modules are {', '.join(self.modules)}")
        return module

    def finish(self) -> None:
        """Raise AdapterError if a module was not read: what it does would be dropped silently."""
        left = [name for name in self.modules if name not in self.taken]
        if left:
            kind = type(self.modules[left[0]]).__name__
            raise AdapterError(f"the model's module `{left[0]}` (`{kind}`) is not supported")


def expect(module: torch.nn.Module, kind: str, where: str) -> None:
    """Raise AdapterError unless the module's class has the name ``kind``."""
    found = type(module).__name__
    if found != kind:
        raise AdapterError(f"`{where}` is a `{found}`, supported is `{kind}` only")


def read_lengths(module: torch.nn.Module) -> edges.ReducedLengths:
    return edges.ReducedLengths(module._rmax_recip, int(module.num_types))


def read_basis(module: torch.nn.Module, factor: float) -> edges.BesselBasis:
    expect(module, "BesselEdgeLengthEncoding", "bessel_encode")
    return edges.BesselBasis(module.bessel_weights, factor, read_power(module.cutoff))


def read_power(cutoff: torch.nn.Module) -> float:
    """Exponent of a polynomial cutoff."""
    kind = getattr(cutoff, "original_name", type(cutoff).__name__)
    if kind != "PolynomialCutoff":
        raise AdapterError(f"the cutoff function is `{kind}`, supported is `PolynomialCutoff` only")
    return float(cutoff.p)


def read_harmonics(module: torch.nn.Module) -> edges.SphericalHarmonics:
    """Harmonics up to some l, each once, component normalised."""
    degrees = list(module._ls_list)
    l_max = max(degrees)
    if degrees != list(range(l_max + 1)) or not module.normalize or module.normalization != "component":
        raise AdapterError(
            f"`irreps_edge_sh` has degrees {degrees}, normalisation `{module.normalization}`; supported are "
            "0, 1, 2 ... once each with `component` normalisation of unit vectors"
        )
    generator = torch.Generator().manual_seed(0)
    r = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    values = module(r)
    steps = []
    for degree in range(1, l_max):
        low, high = ((k**2, (k + 1) ** 2) for k in (degree, degree + 1))
        steps.append(_find_step(values[:, slice(*low)], values[:, 1:4], values[:, slice(*high)], degree))
    return edges.SphericalHarmonics(l_max, steps)


def _find_step(last: Tensor, first: Tensor, following: Tensor, degree: int) -> Tensor:
    """c · wigner_3j [2l+1, 3, 2l+3] that takes Y_l and Y_1 to Y_{l+1}."""
    from e3nn.o3 import wigner_3j

    table = wigner_3j(degree, 1, degree + 1, dtype=torch.float64)
    product = torch.einsum("zi,zj,ijk->zk", last, first, table)
    return table * float((product * following).sum() / (product * product).sum())


def read_perceptron(module: torch.nn.Module, where: str) -> linear.Perceptron:
    """A ``ScalarMLPFunction``: linear layers without bias, with activations between them."""
    inner = module.mlp
    if type(inner).__name__ == "DeepLinearMLP":
        weights = list(inner.weights)
        one = torch.ones_like(inner.alpha)
        alphas = [inner.alpha, *[one] * (len(weights) - 1)]
        return linear.Perceptron([linear.Dense(w, a, "none") for w, a in zip(weights, alphas, strict=True)])
    layers: list[linear.Dense] = []
    for child in inner:
        kind = type(child).__name__
        if kind in MODULES and layers:
            layers[-1].activation = MODULES[kind]
        elif kind.endswith("ScalarLinearLayer") and hasattr(child, "alpha"):
            if child.bias is not None:
                raise AdapterError(
                    f"`{where}` has a bias, which is not supported: it would act beyond the cutoff"
                )
            alpha = torch.as_tensor(child.alpha, dtype=getattr(child.alpha, "dtype", torch.float64))
            layers.append(linear.Dense(child.weight, alpha, "none"))
        else:
            raise AdapterError(f"`{where}` has a layer `{kind}`; supported are {', '.join(MODULES)}")
    return linear.Perceptron(layers)


def read_scale_shift(parts: Parts, n_types: int) -> tuple[Tensor, Tensor]:
    """Scales [T] or [1] and shifts [T] in eV, float64."""
    module = parts.require("per_type_energy_scale_shift", "PerTypeScaleShift")
    scales, shifts = torch.ones(1, dtype=torch.float64), torch.zeros(n_types, dtype=torch.float64)
    if module.has_scales:
        scales = module.scales.detach().to(torch.float64).reshape(-1)
    if module.has_shifts:
        shifts = module.shifts.detach().to(torch.float64).reshape(-1).expand(n_types).clone()
    return scales, shifts


def read_pair(parts: Parts, species: list[int], power: float | None) -> edges.ZBL | None:
    """The pair potential: ZBL in eV or none. ``power``: of the edges' cutoff, where it has none itself."""
    module = parts.take("pair_potential")
    if module is None:
        return None
    kind = type(module).__name__
    if kind != "ZBL":
        raise AdapterError(f"the pair potential `{kind}` is not supported; `ZBL` is")
    if abs(float(module._qqr2exesquare) - 0.5 * 14.399645) > 1e-9:
        raise AdapterError(
            "the ZBL potential has `units: real` (kcal/mol), so that the whole model has; "
            "only eV and Å (`units: metal`) are supported"
        )
    numbers = [int(round(float(number))) for number in module.atomic_numbers]
    if numbers != species:
        raise AdapterError(f"the ZBL potential is for Z = {numbers}, the model's types are Z = {species}")
    if hasattr(module, "cutoff"):
        power = read_power(module.cutoff)
    if power is None:
        raise AdapterError("the ZBL potential has no cutoff function: not supported")
    return edges.ZBL(module.atomic_numbers, power)


def read_norms(owner: torch.nn.Module, name: str, older: float | None) -> Tensor:
    """1/√(average number of neighbours), of all types or each.

    Models written by older nequip have no module of that ``name``, but a number, ``older``, or None.
    """
    module = getattr(owner, name, None)
    if module is None:
        return torch.tensor([1.0 if older is None else older], dtype=torch.float64)
    expect(module, "AvgNumNeighborsNorm", name)
    return module.norm_const


def species_of(type_names: list[str]) -> list[int]:
    """Atomic number of each type; AdapterError for a name that is no element's."""
    wrong = [name for name in type_names if name not in atomic_numbers or name == "X"]
    if wrong:
        raise AdapterError(
            f"the model's type `{wrong[0]}` is no chemical symbol; only models whose types are elements "
            f"can be used, got {', '.join(type_names)}"
        )
    return [atomic_numbers[name] for name in type_names]
