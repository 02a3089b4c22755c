"""What every adapter gives, the proof that it is the family's own network, and the file it becomes."""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from ..errors import MLIPError
from ..model_file.export import export_model
from ..model_file.info import ModelInfo
from ..model_file.model import load_model
from ..provenance import write_atomically
from .structures import parity_structures

ENERGY = 1e-9  # relative
FORCES = 1e-7  # eV/Å
STRESS = 1e-8  # eV/Å³
# In float32: so many roundings (2⁻²³) of what a number is summed from; 570 are the most that was measured.
SINGLE = 4096
ROUNDING = float(np.finfo(np.float32).eps)


class AdapterError(MLIPError):
    """A checkpoint that cannot be carried over, or not with the packages that are installed."""


class Reference(NamedTuple):
    """What a family's own program gives for a structure, in float64.

    Attributes
    ----------
    energy : float
        eV
    forces : array
        [N, 3], eV/Å
    stress : array, optional
        [6], eV/Å³, ASE's Voigt order; None without a cell
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None


@dataclass
class Adapted:
    """A foreign network as a module of the contract.

    Attributes
    ----------
    module : torch.nn.Module
        the module, in the precision of the checkpoint (``docs/architecture.md``)
    metadata : dict
        fields of :class:`ase_mlip.ModelInfo`
    reference : callable
        the family's own numbers for a structure, in float64
    family : str
        the package and its version, such as ``"mace-torch 0.3.16"``
    """

    module: torch.nn.Module
    metadata: dict
    reference: Callable[[Atoms], Reference]
    family: str


class Parity(NamedTuple):
    """Largest deviations from the family's own numbers over the parity structures, in one precision."""

    dtype: str
    energy: float  # relative to the larger of |E| and 1 eV
    forces: float  # eV/Å
    stress: float  # eV/Å³
    structures: int


def export_adapted(adapted: Adapted, path: str | Path, dtype: str | None = None) -> list[Parity]:
    """Prove that the adapted network is the family's, then write the model file.

    The self-test holds the family's own energy, forces and virial. Nothing is written if the proof fails.

    Parameters
    ----------
    adapted : Adapted
        from :func:`ase_mlip.converters.adapt`
    path : str or Path
        the model file; an existing one is replaced in one step
    dtype : str, optional
        ``"float32"`` or ``"float64"``, the precision of the stored weights; None keeps the checkpoint's

    Returns
    -------
    list of Parity
        the deviations in float64, and in float32

    Raises
    ------
    AdapterError
        the numbers are not the family's: energy to 1e-9 (of its size, at least 1 eV), forces to 1e-7 eV/Å,
        stress to 1e-8 eV/Å³ in float64; to 4096 roundings of their size in float32
    """
    path = Path(path)
    if not path.absolute().parent.is_dir():
        raise AdapterError(f"the folder `{path.parent}` does not exist")
    if dtype not in (None, "float32", "float64"):
        raise AdapterError(f"`dtype` must be `float32` or `float64`, got `{dtype}`")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.pt"
        info = export_model(adapted.module, file, adapted.metadata, reference=_for_self_test(adapted))
        found = prove_parity(adapted, file, info)
        if dtype not in (None, info.dtype):
            module = copy.deepcopy(adapted.module).to(getattr(torch, dtype))
            export_model(module, file, adapted.metadata, reference=_for_self_test(adapted))
        write_atomically(path, file.read_bytes())
    return found


def prove_parity(adapted: Adapted, file: Path, info: ModelInfo) -> list[Parity]:
    """Deviations of the file from ``adapted.reference``, in float64 and float32.

    Raises AdapterError beyond the limits of this module.
    """
    structures = parity_structures(info.species, info.cutoff)
    expected = {name: adapted.reference(atoms) for name, atoms in structures.items()}
    found = []
    for dtype in ("float64", "float32"):
        model = load_model(file, device="cpu", dtype=dtype)
        deviations = []
        for name, atoms in structures.items():
            mine = _evaluate(model, atoms)
            deviations.append(_deviation(mine, expected[name]))
            limits = (ENERGY, FORCES, STRESS)
            if dtype == "float32":
                limits = _limits_in_float32(atoms, expected[name], info)
            _refuse(name, dtype, deviations[-1], limits, adapted.family)
        largest = np.max(deviations, axis=0)
        found.append(Parity(dtype, *(float(value) for value in largest), len(structures)))
    return found


def _evaluate(model, atoms: Atoms) -> Reference:
    graph = model.graph_of(atoms)
    results = model(graph)
    stress = None
    if atoms.pbc.all():
        stress = full_3x3_to_voigt_6_stress(-results["virial"][0].numpy() / atoms.get_volume())
    return Reference(float(results["energy"]), results["forces"].numpy(), stress)


def _deviation(mine: Reference, expected: Reference) -> tuple[float, float, float]:
    stress = 0.0
    if mine.stress is not None and expected.stress is not None:
        stress = float(np.abs(mine.stress - expected.stress).max())
    energy = abs(mine.energy - expected.energy) / max(1.0, abs(expected.energy))
    return energy, float(np.abs(mine.forces - expected.forces).max()), stress


def _limits_in_float32(atoms: Atoms, expected: Reference, info: ModelInfo) -> tuple[float, float, float]:
    """Energy (relative), forces and stress: SINGLE roundings of the size of what each is summed from.

    The energy from the atoms' parts that the network gives, at least 1 eV each; forces from terms as large as
    the largest force, at least 1 eV/Å; the stress from the forces' virials.
    """
    baseline = sum(info.reference_energies.get(symbol, 0.0) for symbol in atoms.symbols)
    energy = max(abs(expected.energy - baseline), float(len(atoms)))
    force = max(1.0, float(np.abs(expected.forces).max()))
    virial = 0.0 if expected.stress is None else float(np.abs(expected.stress).max())
    if expected.stress is not None:
        virial += len(atoms) * force * info.cutoff / atoms.get_volume()
    scale = SINGLE * ROUNDING
    return scale * energy / max(1.0, abs(expected.energy)), scale * force, scale * virial


def _refuse(structure: str, dtype: str, deviation, limits, family: str) -> None:
    names = ("energy (relative)", "forces (eV/Å)", "stress (eV/Å³)")
    for name, value, limit in zip(names, deviation, limits, strict=True):
        if not value <= limit:
            raise AdapterError(
                f"in {dtype} the {name} of the structure `{structure}` deviates by {value:.1e} from that of "
                f"{family}, allowed {limit:.0e}: nothing was written; please report the checkpoint's settings"
            )


def _for_self_test(adapted: Adapted) -> Callable[[Atoms], dict[str, torch.Tensor]]:
    """The family's numbers under the names of a self-test; the symmetric part of the virial only."""

    def reference(atoms: Atoms) -> dict[str, torch.Tensor]:
        energy, forces, stress = adapted.reference(atoms)
        found = {"energy": torch.tensor([energy], dtype=torch.float64)}
        found["forces"] = torch.tensor(forces, dtype=torch.float64)
        if stress is not None:
            virial = -voigt_6_to_full_3x3_stress(np.asarray(stress, dtype=float)) * atoms.get_volume()
            found["virial"] = torch.from_numpy(virial)[None]
        return found

    return reference


# ---- what may be read, and with which packages -------------------------------------------------------------


def require_pickle(path: str | Path, allow_pickle: bool) -> None:
    """Raise AdapterError unless the user allows unpickling."""
    if not allow_pickle:
        raise AdapterError(
            f"`{path}` is a pickle, and reading a pickle can run any code that its author put there; "
            "pass `allow_pickle=True` if you trust where it comes from. "
            "The exported file needs no pickle"
        )


def require_package(module: str, command: str) -> None:
    """Raise AdapterError with the pip ``command`` if ``module`` cannot be imported."""
    if importlib.util.find_spec(module) is None:
        raise AdapterError(f"the package `{module}` is not installed; install it with `{command}`")


def check_version(package: str, low: str, high: str) -> str:
    """The installed version of ``package``; AdapterError unless low <= version < high."""
    version = importlib.metadata.version(package)
    if not _numbers(low) <= _numbers(version) < _numbers(high):
        raise AdapterError(
            f"`{package}` is {version}; expected at least {low} and below {high}: "
            f"`pip install '{package}>={low},<{high}'`"
        )
    return version


def refuse_keywords(family: str, **given: str | None) -> None:
    """Raise AdapterError for an option such as ``head`` that the family has no use for."""
    used = [name for name, value in given.items() if value is not None]
    if used:
        raise AdapterError(f"`{used[0]}` means nothing for {family}; leave it out")


def choose(kind: str, wanted: str | None, offered: Iterable[str]) -> str:
    """``wanted`` if the model offers it; the only one offered if None. Raises AdapterError otherwise."""
    names = list(offered)
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted not in names:
        asked = "none was chosen" if wanted is None else f"got `{wanted}`"
        raise AdapterError(f"`{kind}` must be one of {', '.join(names)}; {asked}")
    return wanted


def _numbers(version: str) -> list[int]:
    """The leading numbers of a version: 0.3.16+cpu gives [0, 3, 16]."""
    numbers = []
    for part in version.split("+")[0].split("."):
        digits = "".join(character for character in part if character.isdigit())
        if not part[:1].isdigit():
            break
        numbers.append(int(digits))
    return numbers
