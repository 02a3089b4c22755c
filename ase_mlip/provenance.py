"""With what a result was made, and results as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from pathlib import Path

import numpy as np

from . import __version__
from .model_file.archive import write_atomically

LIBRARIES = ("torch", "ase", "phonopy", "spglib", "symfc", "vesin", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Of this package, Python and the libraries that numbers depend on."""
    found = {"ase_mlip": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def hardware(device: str, threads: int) -> dict:
    """The machine, for people who compare times."""
    return {"machine": platform.machine(), "cores": os.cpu_count(), "threads": threads, "device": device}


def plain(value):
    """``value`` with numpy's numbers and arrays as Python's; what JSON lacks (NaN, infinity) as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: Path, document) -> None:
    """Write :func:`plain` of the document, all or nothing. Raises OSError."""
    text = json.dumps(plain(document), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode())
