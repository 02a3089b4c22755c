"""What the arguments of :class:`ase_mlip.MLIPCalculator` may be, and what they stand for."""

from __future__ import annotations

import os

from ase import Atoms

from ..errors import MLIPError
from ..model_file.model import Model, load_model
from ..rotations.averaging import Averaging
from ..rotations.schemes import find_averaging


def resolve_model(model: str | os.PathLike | Model, device: str, dtype: str | None) -> Model:
    """The loaded model; a model that is given is loaded anew only if it has another device or dtype."""
    if isinstance(model, (list, tuple)):
        raise MLIPError(
            f"`model`: expected one model, got {len(model)} in a {type(model).__name__}; a committee is "
            "`Ensemble.from_files([...])`"
        )
    if not isinstance(model, Model):
        return load_model(model, device, dtype)
    device = str(model.device) if str(device) == "auto" else str(device)
    stored = str(model.dtype).removeprefix("torch.")
    dtype = stored if dtype is None else str(dtype).removeprefix("torch.")
    same_device = device in (str(model.device), model.device.type)
    return model if same_device and dtype == stored else load_model(model.path, device, dtype)


# What ase.calculators.calculator.Calculator itself takes.
_ASE_ARGUMENTS = {"atoms", "directory", "label", "restart", "ignore_bad_restart_file"}


def check_other_arguments(given: dict) -> None:
    unknown = sorted(set(given) - _ASE_ARGUMENTS)
    if unknown:
        raise MLIPError(
            f"`MLIPCalculator` has no argument `{unknown[0]}`; "
            "expected model, device, dtype, forces, skin, symmetrize, tolerance, check_lattice, kernel "
            "or leverage"
        )


def check_forces(forces: str, model: Model) -> None:
    if forces not in ("conservative", "direct"):
        raise MLIPError(f'`forces`: expected "conservative" or "direct", got {forces!r}')
    if forces == "direct" and "direct_forces" not in model.info.outputs:
        raise MLIPError(
            f"`forces='direct'` needs the output `direct_forces`, but `{model.path}` has only "
            f"{', '.join(model.info.outputs)}; use `forces='conservative'`"
        )


def check_kernel(kernel: str | None) -> str | None:
    if kernel not in (None, "native", "torch"):
        raise MLIPError(f'`kernel`: expected "native", "torch" or None, got {kernel!r}')
    return kernel


def check_tolerance(tolerance: float) -> float:
    if not 0.0 < tolerance < float("inf"):
        raise MLIPError(
            f"`tolerance`: expected a positive number of eV/Å, got {tolerance}; 1e-3 suits relaxations"
        )
    return tolerance


def resolve_averaging(scheme: str | Atoms | Averaging | None, model: Model) -> Averaging | None:
    """The averaging, or None for the automatic choice."""
    if isinstance(scheme, str) and scheme == "auto":
        return None
    return model.exported if scheme is None else find_averaging(scheme)


def averaging_name(scheme: str | Atoms | Averaging | None, found: Averaging | None) -> str:
    return str(scheme) if found is None else found.name
