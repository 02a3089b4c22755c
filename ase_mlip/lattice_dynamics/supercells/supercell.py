"""Supercells of a phonon calculation: wide enough for the model, compact, with the crystal's symmetry.

Both a displaced atom and its image may change the energy of an atom between them, as far away from either as
the interaction range, so that faces have to be twice that far apart. Without message passing the range is the
cutoff; through it, atoms beyond act less.

Matrices are phonopy's: the columns of M are the supercell's vectors in units of the cell's, so that the rows
of the supercell are Mᵀ times the cell.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce

from ...crystals import ROUNDING, SYMPREC, heights, repeats, require_positive, symmetry_dataset
from ...errors import ArgumentError, SupercellWarning, users_line
from .cells import as_matrix

LARGEST = 512  # atoms, up to which a supercell is made as wide as message passing asks for
UNKNOWN_WIDTH = 10.0  # Å between faces, for calculators that do not say how far they reach


@dataclass(frozen=True)
class Reach:
    """How far a model reaches: its cutoff and interaction range, Å."""

    name: str
    cutoff: float
    interaction_range: float


def reach_of(calculator) -> Reach | None:
    """Of a model file, of the members of a committee together, or of what is rotated; None if not known."""
    inside = getattr(calculator, "members", None) or [getattr(calculator, "calculator", None)]
    info = getattr(getattr(calculator, "model", None), "info", None)
    if info is not None:
        return Reach(info.name, info.cutoff, info.interaction_range)
    known = [reach_of(part) for part in inside if part is not None]
    if not known or None in known:
        return None
    longest = max(reach.cutoff for reach in known), max(reach.interaction_range for reach in known)
    return Reach(" and ".join(dict.fromkeys(reach.name for reach in known)), *longest)


def check_supercell(supercell_matrix: Sequence | np.ndarray | None, min_length: float | None) -> None:
    """Raise ArgumentError for both, for what is no length, and for no regular matrix of integers."""
    if supercell_matrix is not None:
        as_matrix(supercell_matrix)
        if min_length is not None:
            raise ArgumentError(
                f"`phonons`: expected `supercell_matrix` or `min_length`, got both ({supercell_matrix} and "
                f"{min_length} Å); leave one out"
            )
    if min_length is not None:
        require_positive("Å", min_length=min_length)


def find_supercell(
    atoms: Atoms,
    supercell_matrix: Sequence | np.ndarray | None,
    min_length: float | None,
    calculator=None,
    only_direct: bool = False,
) -> np.ndarray:
    """The supercell's matrix: as given, with faces ``min_length`` Å apart, or as the model needs.

    Without either, faces are twice the interaction range apart where that takes at most 512 atoms, else, and
    with ``only_direct``, twice the cutoff; 10 Å for a ``calculator`` that does not say how far it reaches.

    Parameters
    ----------
    atoms : ase.Atoms
        the cell that is repeated
    supercell_matrix : sequence, array or None
        three integers or 3×3 of them
    min_length : float or None
        smallest distance between opposite faces, Å
    calculator : ase calculator, optional
        whose reach decides where neither is given
    only_direct : bool
        whether the cutoff decides, and not what message passing adds

    Returns
    -------
    int [3, 3]
        phonopy's: columns are the supercell's vectors in units of the cell's

    Raises
    ------
    ArgumentError, StructureError
        see :func:`check_supercell`
    """
    check_supercell(supercell_matrix, min_length)
    if supercell_matrix is not None:
        return as_matrix(supercell_matrix)
    if min_length is not None:
        return compact_supercell(atoms, min_length)
    reach = reach_of(calculator)
    if reach is None:
        return compact_supercell(atoms, UNKNOWN_WIDTH)
    if not only_direct:
        whole = compact_supercell(atoms, 2.0 * reach.interaction_range)
        if round(np.linalg.det(whole)) * len(atoms) <= LARGEST:
            return whole
    return compact_supercell(atoms, 2.0 * reach.cutoff)


def compact_supercell(atoms: Atoms, width: float) -> np.ndarray:
    """The matrix, int [3, 3], of the smallest supercell found with faces at least ``width`` Å apart.

    Its vectors are multiples of those of the cell, of the cell reduced by Minkowski, or of the conventional
    cell. Supercells that the crystal's rotations map onto themselves come first: in others the force
    constants would have less symmetry than the crystal.
    """
    cell = atoms.cell.array
    dataset = symmetry_dataset(atoms, SYMPREC)
    found = []
    for basis in _bases(cell, dataset):
        wanted = repeats(basis @ cell, width)
        for multiples in (wanted, np.full(3, wanted.max())):
            rows = multiples[:, None] * basis
            found.append((not _is_symmetric(rows, dataset), round(np.linalg.det(rows)), rows))
    return min(found, key=lambda candidate: candidate[:2])[2].T


def _bases(cell: np.ndarray, dataset) -> list[np.ndarray]:
    """Right-handed integer matrices [3, 3] whose rows are vectors of the lattice, in units of ``cell``."""
    reduced, _ = minkowski_reduce(cell)
    bases = [np.eye(3), reduced @ np.linalg.inv(cell)]
    if dataset is not None:
        bases.append(np.linalg.inv(dataset.transformation_matrix).T)
    whole = [np.rint(basis) for basis in bases if np.abs(basis - np.rint(basis)).max() < 1e-3]
    return [(basis * np.sign(np.linalg.det(basis))).astype(int) for basis in whole if np.linalg.det(basis)]


def _is_symmetric(rows: np.ndarray, dataset) -> bool:
    """Whether the crystal's rotations map the lattice of the supercell ``rows`` onto itself."""
    if dataset is None:
        return True
    mapped = np.einsum("ij,gkj->gik", rows, dataset.rotations) @ np.linalg.inv(rows)
    return bool(np.abs(mapped - np.rint(mapped)).max() < ROUNDING)


def width_of(atoms: Atoms, supercell_matrix: np.ndarray) -> float:
    """Smallest distance between opposite faces of a supercell.

    Parameters
    ----------
    atoms : ase.Atoms
        the cell that is repeated
    supercell_matrix : int [3, 3]
        as of :func:`find_supercell`

    Returns
    -------
    float
        Å
    """
    return float(heights(np.asarray(supercell_matrix).T @ atoms.cell.array).min())


def warn_if_small(atoms: Atoms, supercell_matrix: np.ndarray, calculator) -> None:
    """Warn where a displaced atom feels its own image.

    Parameters
    ----------
    atoms : ase.Atoms
        the cell that is repeated
    supercell_matrix : int [3, 3]
        as of :func:`find_supercell`
    calculator : ase calculator
        one that does not say how far it reaches is never warned of

    Warns
    -----
    SupercellWarning
        the faces are nearer than twice the cutoff, or than twice the range of message passing
    """
    reach = reach_of(calculator)
    if reach is None:
        return
    shortest = width_of(atoms, supercell_matrix)
    direct, whole = 2.0 * reach.cutoff, 2.0 * reach.interaction_range
    if shortest >= whole - ROUNDING:
        return
    if shortest < direct - ROUNDING:
        limit, how = f"twice the cutoff of `{reach.name}` ({direct:g} Å)", ""
    else:
        limit = f"twice the interaction range of `{reach.name}` ({whole:g} Å)"
        how = " through message passing"
    warnings.warn(
        f"the supercell's faces are {shortest:.2f} Å apart, less than {limit}: displaced atoms feel their "
        f"own images{how}; a larger supercell (`min_length`) shows how much",
        SupercellWarning,
        stacklevel=users_line(),
    )
