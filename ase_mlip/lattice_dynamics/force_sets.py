"""FORCE_SETS, phonopy's file of forces, before phonopy reads it.

phonopy skips blank lines by recursion, also beyond the end of a file that was cut off; with Python 3.10 that
ends the process. The format: https://phonopy.github.io/phonopy/input-files.html#force-sets
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import StructureError


def check_force_sets(file: Path, n_atoms: int) -> None:
    """Raise StructureError unless the file holds whole sets of forces on ``n_atoms`` atoms.

    The first line decides between both formats: the number of atoms alone, or a displacement and a force.
    """
    try:
        lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
        lines = [words for words in lines if words]
        if lines and len(lines[0]) == 1:
            _check_listed(iter(lines), n_atoms)
        else:
            _check_rows(lines, n_atoms)
    except (ValueError, OSError) as error:
        why = " ".join(str(error).split())
        raise StructureError(
            f"`{file}`: expected forces on the {n_atoms} atoms of the supercell beside it, got a file that "
            f"cannot be used ({why}); write it again, or take all files from one calculation"
        ) from None


def _check_listed(lines: Iterator[list[str]], n_atoms: int) -> None:
    """Numbers of atoms and of displacements; for each an atom, its displacement and the forces on all."""
    found = _whole(next(lines), "the number of atoms")
    if found != n_atoms:
        raise ValueError(f"forces on {found} atoms")
    count = _whole(next(lines, []), "the number of displacements")
    for index in range(1, count + 1):
        part = f"displacement {index} of {count}"
        atom = _whole(next(lines, []), f"the atom of {part}")
        if not 1 <= atom <= n_atoms:
            raise ValueError(f"{part} is one of atom {atom}")
        _numbers(next(lines, []), 3, part)
        for k in range(n_atoms):
            _numbers(next(lines, []), 3, f"force {k + 1} of {part}")


def _check_rows(lines: list[list[str]], n_atoms: int) -> None:
    """A displacement and a force for each atom of each supercell, and comments."""
    rows = [words for line in lines if (words := " ".join(line).partition("#")[0].split())]
    for index, words in enumerate(rows):
        _numbers(words, 6, f"row {index + 1}")
    if not rows or len(rows) % n_atoms:
        raise ValueError(f"{len(rows)} rows of displacements and forces, which is no multiple of {n_atoms}")


def _whole(words: list[str], what: str) -> int:
    if len(words) != 1 or not words[0].isdecimal() or int(words[0]) < 1:
        raise ValueError(f"{what} is {_shown(words)}")
    return int(words[0])


def _numbers(words: list[str], count: int, what: str) -> None:
    try:
        values = np.array(words, dtype=float)
    except ValueError:
        values = np.array([np.nan])
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(f"{what} is {_shown(words)}")


def _shown(words: list[str]) -> str:
    return ascii(" ".join(words)[:40]) if words else "missing"
