"""What a comparison reads: landscapes, and what ``evaluate --json`` and ``md --json`` say of the same models.

A model is known by a SHA-256, whatever its file is called. A landscape's numbers are made
again from its curves, so that all are made alike.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...errors import DataError, MLIPError
from ..document import read_document
from ..entropy import curvature, entropies, largest_rise, mean_losses

RADIUS = 0.05  # of the largest rise
# What may differ between landscapes that are compared: curves do not depend on it, or by chance only.
FREE_SETTINGS = ("seed", "lines", "dtype", "plane", "of_frames", "confidence")


@dataclass(frozen=True)
class Quantity:
    """A predictor or what is to be predicted.

    Attributes
    ----------
    name, unit: as they are printed
    sense: +1 where a larger value is better, -1 where a smaller one is
    """

    name: str
    unit: str = ""
    sense: int = 1

    @property
    def label(self) -> str:
        """Name and unit."""
        return f"{self.name}, {self.unit}" if self.unit else self.name


SURVIVAL = Quantity("survival", "ps", 1)
TRAINING_ERROR = Quantity("force loss at x = 0", "eV/Å", -1)
# In the order of the tables; S counts the points where the loss is low, so more is better.
OF_CURVES = (
    Quantity("S"),
    Quantity("S_F"),
    Quantity("S_E"),
    Quantity("S⁺"),
    Quantity("S_F⁺"),
    Quantity("S_E⁺"),
    Quantity("curvature of L_F²", "(eV/Å)²", -1),
    Quantity("largest rise of L_F", "eV/Å", -1),
    TRAINING_ERROR,
)
_STORED = ("S", "S_F", "S_E", "S_plus", "S_F_plus", "S_E_plus")


@dataclass
class Entry:
    """One model of a comparison.

    Attributes
    ----------
    name, sha256, family: of the model
    digests: SHA-256 that other files may know the model by: of its file, and of the document in it
    path: of the landscape's file
    settings: of the landscape, with its points as ``x``
    predictors: what may say how far the model extrapolates
    targets: what other files say of the model: errors and survival
    """

    name: str
    sha256: str
    family: str
    path: Path
    settings: dict
    predictors: dict[Quantity, float]
    digests: set[str] = field(default_factory=set)
    targets: dict[Quantity, float] = field(default_factory=dict)


def read_landscape(path: str | Path) -> Entry:
    """One model of a comparison, from what ``ase-mlip landscape`` wrote.

    Raises
    ------
    DataError
        a file that cannot be read, is of another kind or lacks a part; curves without numbers
    """
    path = Path(path)
    try:
        document = read_document(path)
    except OSError as error:
        raise DataError(
            f"`{path}`: expected what `ase-mlip landscape` wrote, and it cannot be read: {error.strerror}"
        ) from None
    model, x = document["model"], document["x"].tolist()
    try:
        predictors = _of_curves(document["energy_losses"], document["force_losses"], x)
    except MLIPError as error:
        raise DataError(f"`{path}`: {error}") from None
    predictors |= _of_others(document.get("predictors") or {})
    name, sha256, family = (str(model[key]) for key in ("name", "sha256", "family"))
    settings = dict(document["settings"]) | {"x": x}
    return Entry(name, sha256, family, path, settings, predictors, _digests(model))


def read_targets(path: str | Path) -> tuple[set[str], dict[Quantity, float], dict]:
    """What a file of errors or of dynamics says of its model.

    Returns
    -------
    SHA-256 of the model, of its file or of the document in it; what is to be predicted; settings of dynamics

    Raises
    ------
    DataError
        a file of another kind, or one that does not say which model it is of
    """
    path = Path(path)
    document = _read(path, "what `ase-mlip evaluate --json` or `ase-mlip md --json` wrote")
    settings = document.get("settings")
    if isinstance(settings, dict) and settings.get("command") == "md" and "survival" in document:
        digests = _digests(document.get("model")) | {settings.get("model_document_sha256")}
        targets = {SURVIVAL: float(document["survival"]["restricted_mean"])}
        conditions = {
            name: document.get(name)
            for name in ("time", "temperature_K", "timestep", "thermostat", "criteria")
            if name in document
        }
        return _known(digests, path), targets, conditions
    if "forces_rmse" in document and "n_structures" in document:
        return _known(_digests(document.get("model")), path), _errors(document, path), {}
    raise DataError(
        f"`{path}`: expected what `ase-mlip evaluate --json` or `ase-mlip md --json` wrote, got "
        f"{_kind_of(document)}"
    )


def check_settings(entries: list[Entry]) -> None:
    """Raise DataError where curves were not made alike: an entropy depends on span, points, kT and frames."""
    first = entries[0]
    for other in entries[1:]:
        for key in sorted((first.settings.keys() | other.settings.keys()) - set(FREE_SETTINGS)):
            here, there = first.settings.get(key), other.settings.get(key)
            if here != there and not _close(here, there):
                raise DataError(
                    f"`{other.path}`: expected the `{key}` of `{first.path}`, {_short(here)}, got "
                    f"{_short(there)}; only curves of the same settings can be compared: compute one again"
                )


# ---- steps -------------------------------------------------------------------------------------------------


def _read(path: Path, expected: str) -> dict:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"`{path}` does not exist; expected {expected}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"`{path}` is not JSON: {error}; expected {expected}") from None
    if not isinstance(document, dict):
        raise DataError(f"`{path}`: expected {expected}, got a JSON {type(document).__name__}")
    return document


def _kind_of(document: dict) -> str:
    kind = document.get("kind")
    return (
        f"a `{kind}`"
        if kind
        else f"an object with {', '.join(f'`{k}`' for k in list(document)[:4]) or 'nothing'}"
    )


def _of_curves(energy: np.ndarray, forces: np.ndarray, x: list[float]) -> dict[Quantity, float]:
    found = entropies(energy, forces, x)
    middle = x.index(0.0)
    values = [found[name] for name in _STORED]
    values.append(float(curvature(forces, x, "force_losses").mean()))
    reaches = any(0.0 < abs(point) <= RADIUS * (1.0 + 1e-9) for point in x)
    values.append(largest_rise(forces, x, RADIUS, "force_losses") if reaches else math.nan)
    values.append(float(mean_losses(forces)[middle]))
    pairs = zip(OF_CURVES, values, strict=True)
    return {quantity: value for quantity, value in pairs if not math.isnan(value)}


def _of_others(predictors: dict) -> dict[Quantity, float]:
    """Those computed beside the curves: each has a ``value``, a ``unit`` and a ``sense``."""
    return {
        Quantity(name.replace("_", " "), str(entry.get("unit", "")), int(entry.get("sense", -1))): float(
            entry["value"]
        )
        for name, entry in predictors.items()
        if isinstance(entry, dict) and entry.get("value") is not None
    }


def _errors(document: dict, path: Path) -> dict[Quantity, float]:
    """Errors of forces and energies of each group, or of all where there are no groups."""
    sets = document.get("groups") or {"": document}
    files = ", ".join(Path(name).name for name in document.get("files") or [path.name])
    found = {}
    for name, errors in sets.items():
        for key, what, unit in (
            ("forces_rmse", "force error", "eV/Å"),
            ("energy_rmse", "energy error", "eV/atom"),
        ):
            if errors.get(key) is not None:
                found[Quantity(f"{what} {name or files}", unit, -1)] = float(errors[key])
    if not found:
        raise DataError(
            f"`{path}`: expected errors of energies or forces, got none; evaluate frames that have them"
        )
    return found


def _digests(model: object) -> set:
    """What a document says of its model."""
    return {model.get(key) for key in ("sha256", "document_sha256")} if isinstance(model, dict) else set()


def _known(digests: set, path: Path) -> set[str]:
    found = {digest for digest in digests if isinstance(digest, str) and digest}
    if not found:
        raise DataError(
            f"`{path}` does not say of which model it is; expected the model's SHA-256, which this version "
            "writes: run the command again"
        )
    return found


def _close(here: object, there: object) -> bool:
    """The same numbers up to rounding."""
    if isinstance(here, list) and isinstance(there, list):
        return len(here) == len(there) and all(_close(a, b) for a, b in zip(here, there, strict=True))
    numbers = isinstance(here, int | float) and isinstance(there, int | float)
    return numbers and math.isclose(here, there, rel_tol=1e-9, abs_tol=1e-12) or here == there


def _short(value: object) -> str:
    if isinstance(value, list) and len(value) > 4:
        return f"{len(value)} values from {value[0]} to {value[-1]}"
    return "none" if value is None else str(value)
