"""Landscapes, errors and dynamics as the commands write them, of invented models."""

import hashlib
import json
from pathlib import Path

import numpy as np

X = np.linspace(-0.25, 0.25, 11)


def sha256_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def write_landscape(
    folder: Path,
    name: str,
    curvature: float,
    start: float = 0.02,
    family: str = "s-NNP",
    x: np.ndarray = X,
    settings: dict | None = None,
    predictors: dict | None = None,
) -> Path:
    """Losses L = √(L₀² + a² x²) of energies (a tenth) and forces, on three lines."""
    lines = [np.sqrt(start**2 + (factor * curvature * x) ** 2) for factor in (0.9, 1.0, 1.1)]
    known = {"lines": 3, "points": len(x), "span": float(x[-1] - x[0]), "directions": "gaussian", "seed": 0}
    known |= {"frames": {"count": 20, "sha256": "ab"}} | (settings or {})
    document = {
        "kind": "landscape",
        "version": 1,
        "model": {"name": name, "sha256": sha256_of(name), "family": family, "architecture": family},
        "settings": known,
        "x": x.tolist(),
        "energy_losses": [(0.1 * line).tolist() for line in lines],
        "force_losses": [line.tolist() for line in lines],
        "entropy": {},
        "intervals": {},
    }
    if predictors:
        document["predictors"] = predictors
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def write_errors(folder: Path, name: str, groups: dict[str, float]) -> Path:
    """What ``evaluate --json`` prints: force errors, eV/Å, by group."""
    of = {"energy_rmse": None, "n_structures": 5}
    document = {
        "model": {"name": name, "sha256": sha256_of(name)},
        "files": ["somewhere/test.xyz"],
        "forces_rmse": float(np.mean(list(groups.values()))),
        **of,
        "groups": {group: {"forces_rmse": value, **of} for group, value in groups.items() if group},
    }
    path = folder / f"{name}-errors.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def write_dynamics(folder: Path, name: str, survival: float, temperature: float = 1600.0) -> Path:
    """The part of what ``md --json`` prints that is read, ps."""
    document = {
        "settings": {"command": "md", "model_document_sha256": sha256_of(name)},
        "time": 6.0,
        "temperature_K": temperature,
        "survival": {"restricted_mean": survival},
    }
    path = folder / f"{name}-md.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
