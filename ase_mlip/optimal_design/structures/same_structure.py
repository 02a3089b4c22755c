"""Which structures are one and the same: equal up to a translation, the order of the atoms, and rounding.

Two structures are the same if their cells (along the periodic directions) agree within ``TOLERANCE`` in every
component, and one translation brings every atom of the first within ``TOLERANCE`` of an atom of the same
element of the second, periodic images included. Rotated copies are not the same: their forces are other
numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from scipy.spatial import cKDTree

from ...graph.stored_list import spanning_cell

TOLERANCE = 1e-3  # Å; files have four decimals and more, displacements for force constants 0.01 Å
_WAVES = np.array([hkl for hkl in itertools.product(range(-2, 3), repeat=3) if hkl > (0, 0, 0)], dtype=float)
_REACH = 4.0 * TOLERANCE  # of what is compared atom by atom, on the safe side
_FIRST = 4  # atoms that rule out most translations


class KnownStructures:
    """Structures among which others are looked up.

    Parameters
    ----------
    structures : sequence of ase.Atoms
        with finite positions and cells
    """

    def __init__(self, structures: Sequence[Atoms]):
        self._structures = list(structures)
        self._groups: dict[bytes, tuple[list[int], cKDTree]] = {}
        members: dict[bytes, list[int]] = {}
        for index, atoms in enumerate(self._structures):
            members.setdefault(_composition(atoms), []).append(index)
        for key, indices in members.items():
            marks = np.array([_invariants(self._structures[k]) for k in indices])
            self._groups[key] = indices, cKDTree(marks)

    def same_as(self, atoms: Atoms) -> list[int]:
        """Indices of the structures that are the same as ``atoms``, ascending."""
        indices, tree = self._groups.get(_composition(atoms), ((), None))
        if tree is None:
            return []
        near = tree.query_ball_point(_invariants(atoms), _REACH, p=np.inf)
        return sorted(indices[k] for k in near if is_same(self._structures[indices[k]], atoms))


def is_same(first: Atoms, second: Atoms) -> bool:
    """Whether a translation and another order of the atoms make ``first`` into ``second`` within 1e-3 Å."""
    if _composition(first) != _composition(second):
        return False
    cell, other = spanning_cell(first), spanning_cell(second)
    if np.abs(_periodic(first) - _periodic(second)).max() > TOLERANCE:
        return False
    if len(first) == 0:
        return True
    # One atom of the rarest element must land on one of its kind: as many translations are tried.
    numbers, counts = np.unique(first.numbers, return_counts=True)
    rarest = numbers[np.argmin(counts)]
    order = np.argsort(first.numbers != rarest, kind="stable")
    scaled = (first.positions @ np.linalg.inv(cell))[order]
    targets = second.positions @ np.linalg.inv(other)
    other_kind = first.numbers[order][:, None] != second.numbers[None]
    landings = np.flatnonzero(second.numbers == rarest)
    for k in range(1, min(_FIRST, len(scaled))):
        places = scaled[k] - scaled[0] + targets[landings]
        distances = _distances(places, targets, other_kind[k], cell, first.pbc)
        landings = landings[distances.min(axis=1) <= 2.0 * TOLERANCE]
    return any(
        _coincide(scaled - scaled[0] + targets[landing], targets, other_kind, cell, first.pbc)
        for landing in landings
    )


def _coincide(
    moved: np.ndarray, targets: np.ndarray, other_kind: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> bool:
    """Whether every scaled position [N, 3] meets a target [N, 3] of its own.

    The atom that the translation was made for meets its target exactly, and its rounding shifts all others:
    twice the tolerance.
    """
    distances = _distances(moved, targets, other_kind, cell, pbc)
    nearest = distances.argmin(axis=1)
    return distances.min(axis=1).max() <= 2.0 * TOLERANCE and len(set(nearest.tolist())) == len(nearest)


def _distances(
    places: np.ndarray, targets: np.ndarray, other_kind: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> np.ndarray:
    """[L, N] Å, of scaled places [L, 3] to nearest images of targets [N, 3], infinite for other elements."""
    gaps = targets[None] - places[:, None]
    gaps[..., pbc] -= np.round(gaps[..., pbc])
    gaps = gaps @ cell
    return np.where(other_kind, np.inf, np.sqrt(np.einsum("lnx,lnx->ln", gaps, gaps)))


def _composition(atoms: Atoms) -> bytes:
    return np.sort(atoms.numbers).astype(np.int64).tobytes() + np.asarray(atoms.pbc).tobytes()


def _periodic(atoms: Atoms) -> np.ndarray:
    """The cell vectors [3, 3], Å, with zeros along directions that are not periodic."""
    return np.asarray(atoms.cell) * np.asarray(atoms.pbc)[:, None]


def _invariants(atoms: Atoms) -> np.ndarray:
    """Lengths (Å) that translations and the order of atoms do not change, and rounding little.

    The periodic cell vectors, and for each element the moduli of its mean plane waves exp(2πi h·s) with small
    integers h, divided by the wave number.
    """
    inverse = np.linalg.inv(spanning_cell(atoms))
    waves = np.exp(2j * np.pi * (atoms.positions @ inverse) @ _WAVES.T)
    wave_numbers = 2.0 * np.pi * np.linalg.norm(_WAVES @ inverse.T, axis=1)
    means = [
        np.abs(waves[atoms.numbers == number].mean(axis=0)) / wave_numbers
        for number in np.unique(atoms.numbers)
    ]
    return np.concatenate([_periodic(atoms).ravel(), *means])
