"""Rotations in a text file, for ``pair_style mlip symmetrize file FILE``.

The first line is ``ase_mlip rotations 1``, the second a name, the third ``any N`` or, for the point group of
a crystal, ``crystal N``. Each of the N lines that follow holds a weight and the nine numbers of a matrix, row
by row. ``lammps_plugin/settings/rotation_file.cpp`` reads the same.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import MLIPError
from .averaging import Averaging

MAGIC = "ase_mlip rotations 1"
NAMED = ("none", "octahedral", "icosahedral")  # what the pair style knows by name


def write_rotations(averaging: Averaging, path: str | os.PathLike) -> None:
    """Write the rotations of a group or a rule.

    Parameters
    ----------
    averaging : Averaging
        orthogonal matrices [G, 3, 3] with weights [G]
    path : str or Path
        of the text file

    Raises
    ------
    MLIPError
        nothing to average over, or ``random``, which is another rotation at every evaluation
    """
    if averaging.seed is not None or not len(averaging.rotations):
        raise MLIPError(
            f"rotations file: expected a group, a rule or a crystal, got {averaging.name!r}; LAMMPS takes "
            "`symmetrize none` and `symmetrize random SEED` without a file"
        )
    numbers = np.column_stack([averaging.weights, averaging.rotations.reshape(-1, 9)])
    kind = "crystal" if averaging.lattice else "any"
    lines = [MAGIC, averaging.name, f"{kind} {len(numbers)}"]
    lines += [" ".join(f"{value:.17g}" for value in row) for row in numbers]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def pair_style_words(averaging: Averaging, folder: str | os.PathLike) -> str:
    """What ``pair_style mlip symmetrize`` is given for an averaging.

    Parameters
    ----------
    averaging : Averaging
        what the model is averaged over
    folder : str or Path
        gets ``rotations.txt`` where the style has no name for it: a rule or the group of a crystal

    Returns
    -------
    str
        such as ``octahedral`` or ``file FOLDER/rotations.txt``
    """
    if averaging.seed is not None or averaging.name.partition("+")[0] in NAMED:
        return averaging.name
    path = Path(folder).absolute() / "rotations.txt"
    write_rotations(averaging, path)
    return f"file {path}"


def read_rotations(path: str | os.PathLike) -> Averaging:
    """What :func:`write_rotations` wrote; a crystal's cell is not in it.

    Raises
    ------
    MLIPError
        a file that cannot be read, or does not hold orthogonal matrices with weights of sum 1
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise _refusal(path, f"expected a file of rotations, got: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _refusal(path, "expected a text file, got bytes that are no text") from None
    weights, rotations, name, kind = _parse(path, lines)
    away = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(initial=0.0)
    if not (away < 1e-9 and abs(weights.sum() - 1.0) < 1e-9):
        raise _refusal(
            path, f"expected orthogonal matrices with weights of sum 1, got a sum of {weights.sum():.6g} and "
            f"matrices away from orthogonal by {away:.2g}"
        )  # fmt: skip
    return Averaging(name, rotations, weights, lattice=kind == "crystal")


def _parse(path: str | os.PathLike, lines: list[str]) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Weights [N], matrices [N, 3, 3], the name and the kind. Raises MLIPError."""
    magic, name, kind, *_ = [*lines[:3], "", "", ""]
    kind, _, count = kind.partition(" ")
    if magic != MAGIC or kind not in ("any", "crystal"):
        expected = f"expected `{MAGIC}`, a name, and `any N` or `crystal N` in its first lines"
        raise _refusal(path, f"{expected}, got {magic[:60]!r} in the first")
    try:
        numbers = np.array([row.split() for row in lines[3:]], dtype=float).reshape(int(count), 10)
    except ValueError:
        expected = f"expected {count} lines of ten numbers after the first three"
        raise _refusal(path, f"{expected}, got {len(lines) - 3} lines, or others") from None
    return numbers[:, 0], numbers[:, 1:].reshape(-1, 3, 3), name, kind


def _refusal(path: str | os.PathLike, why: str) -> MLIPError:
    return MLIPError(
        f"`symmetrize`: rotations file `{path}`: {why}; write one with: ase-mlip rotations SCHEME -o FILE"
    )
