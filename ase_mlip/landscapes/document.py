"""The JSON document of a landscape: what ``ase-mlip landscape`` writes and ``--compare`` reads.

::

    {"kind": "landscape", "version": 1,
     "model": {"name", "path", "sha256",        the file's SHA-256
               "document_sha256",               that of the document in it
               "family",                        models are comparable within one: PET, s-NNP, MACE ...
               "architecture": {...},           what the file says of its network
               "weights", "filters",            their numbers
               "without_effect": [names]},      stored tensors on which these frames' results do not depend
     "settings": {"lines", "points", "span", "directions", "seed",
                  "dtype",                      of the network
                  "frames", "atoms",            how many
                  "of_frames",                  how many there were before a sample was taken
                  "frame_hashes": [SHA-256],    of each frame in order: its atoms, cell and references
                  "kT_energy", "kT_forces", "force_weight", "confidence"},
     "x": [points],                             position along a line, in units of the weights' norm; has 0
     "energy_losses": [lines][points],          RMSE, eV/atom; null where a network overflowed
     "force_losses": [lines][points],           RMSE of force components, eV/Å
     "entropy": {"S_E", "S_F", "S", "S_E_plus", "S_F_plus", "S_plus"},
     "intervals": {"S": [low, high], ...},      bootstrap over lines, of all numbers of "entropy",
                                                "curvature" and "rise"; null of one line
     "curvature": {"energy", "forces"},         mean of d²(L²)/dx² at 0 over lines, (eV/atom)², (eV/Å)²
     "rise": {"energy", "forces", "radius"},    largest L(x) - L(0) within the radius, eV/atom, eV/Å
     "predictors": {"bond_roughness":           those that were asked for (:mod:`.predictors.entries`)
                    {"value", "unit", "sense"}, "error" where there is one; "sense" is -1 where less is
                    better, ...},
     "scan": {"kT": [{"factor", "S", ...}], "force_weight": [{"force_weight", "S", ...}]},
     "plane": null, or {"x", "y",               positions along two directions
                        "energy_losses": [x][y], "force_losses": [x][y]},
     "cost": {"cpu_seconds", "wall_seconds", "evaluations", "threads"},
     "notes": [texts], "versions": {...}, "created"}

Infinite losses are ``null`` in the file, because JSON has no infinity; :func:`read_document` gives them back.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..errors import DataError

KIND, VERSION = "landscape", 1
NEEDED = ("model", "settings", "x", "energy_losses", "force_losses", "entropy", "intervals")
NEEDED_OF_MODEL = ("name", "sha256", "family")


def read_document(path: str | Path) -> dict:
    """A landscape's document; ``x``, ``energy_losses`` and ``force_losses`` become float64 arrays.

    Raises
    ------
    DataError
        not JSON, not a landscape, of a newer version, or without what the layout has
    OSError
        from opening the file
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"`{path}` is not JSON ({error}); expected what `ase-mlip landscape` wrote") from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise DataError(
            f"`{path}` is no landscape; expected what `ase-mlip landscape` wrote (errors and dynamics "
            "are given with `--with`)"
        )
    if document.get("version") != VERSION:
        raise DataError(
            f"`{path}` has version {document.get('version')!r} of a landscape, expected {VERSION}; compute "
            "it again, or upgrade ase_mlip"
        )
    missing = [name for name in NEEDED if name not in document]
    if not missing:
        missing = [f"model.{name}" for name in NEEDED_OF_MODEL if name not in document["model"]]
    if missing:
        raise DataError(f"`{path}` has no `{missing[0]}`, which a landscape has; compute it again")
    document["x"] = np.asarray(document["x"], dtype=np.float64)
    for name in ("energy_losses", "force_losses"):
        document[name] = _losses(document[name], len(document["x"]), name, path)
    return document


def _losses(lines: list, points: int, name: str, path: str | Path) -> np.ndarray:
    """[lines, points], with infinity for null."""
    try:
        values = np.array(
            [[np.inf if loss is None else loss for loss in line] for line in lines], dtype=float
        )
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.ndim != 2 or values.shape[1] != points:
        raise DataError(f"`{path}`: expected `{name}` with {points} numbers in each line; compute it again")
    return values
