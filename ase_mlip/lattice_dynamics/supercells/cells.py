"""Cells of a phonon calculation: from ASE to phonopy and back, matrices and meshes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from ...errors import ArgumentError, StructureError

CENTRINGS = ("auto", "P", "F", "I", "A", "C", "R")  # what phonopy finds a primitive cell by


def new_phonopy(
    atoms: Atoms,
    supercell_matrix: np.ndarray,
    primitive_matrix: str | np.ndarray = "auto",
    symprec: float = 1e-5,
    is_symmetry: bool = True,
) -> Phonopy:
    """A phonopy calculation without displacements.

    Parameters
    ----------
    atoms : ase.Atoms
        the crystal
    supercell_matrix : int [3, 3]
        see :func:`as_matrix`
    primitive_matrix : str or float64 [3, 3]
        of phonopy; "auto" finds the primitive cell
    symprec : float
        how far atoms may be from symmetric positions, Å
    is_symmetry : bool
        whether the symmetry of the crystal saves displacements

    Returns
    -------
    Phonopy
        with masses from ``atoms``, without displacements and forces

    Raises
    ------
    StructureError
        a structure that phonopy cannot reduce to a primitive cell
    """
    with warnings.catch_warnings():
        # phonopy 4 warns that "auto" is its new default, also those who ask for it
        warnings.filterwarnings("ignore", message="primitive_matrix defaulted")
        try:
            return Phonopy(
                to_phonopy(atoms),
                supercell_matrix=supercell_matrix,
                primitive_matrix=primitive_matrix,
                symprec=symprec,
                is_symmetry=is_symmetry,
            )
        except (RuntimeError, ValueError, TypeError) as error:
            raise StructureError(
                "`phonons`: expected a crystal that phonopy can reduce to a primitive cell, got "
                f"{atoms.get_chemical_formula()} ({error or type(error).__name__}); look for atoms at one "
                "place, or start from the primitive cell (`primitive_matrix`)"
            ) from error


def to_phonopy(atoms: Atoms) -> PhonopyAtoms:
    """A structure for phonopy, with its masses; periodic in three directions, as all of phonopy's are.

    Parameters
    ----------
    atoms : ase.Atoms
        with a cell of three vectors

    Returns
    -------
    PhonopyAtoms
        positions as fractions of the cell, in the same order
    """
    return PhonopyAtoms(
        numbers=atoms.numbers,
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )


def to_ase(cell: PhonopyAtoms) -> Atoms:
    """A structure of phonopy for ASE, with its masses.

    Parameters
    ----------
    cell : PhonopyAtoms
        lengths in Å

    Returns
    -------
    ase.Atoms
        periodic in three directions, in the same order, without a calculator
    """
    return Atoms(
        numbers=cell.numbers,
        cell=cell.cell,
        scaled_positions=cell.scaled_positions,
        masses=cell.masses,
        pbc=True,
    )


def _as_array(given: object) -> np.ndarray:
    """An array of what has the shape of one; else one of no dimension."""
    try:
        return np.array(given)
    except ValueError:  # rows of different lengths
        return np.array(None)


def as_matrix(supercell_matrix: Sequence | np.ndarray, name: str = "supercell_matrix") -> np.ndarray:
    """Three integers or nine as a matrix of phonopy.

    Parameters
    ----------
    supercell_matrix : sequence or array
        three integers, which are the diagonal, or a 3×3 matrix of them; floats that are whole count as such
    name : str
        of the argument, for the message

    Returns
    -------
    int [3, 3]
        whose columns are the supercell's vectors in units of the cell's

    Raises
    ------
    ArgumentError
        something else, a singular matrix, or one of a left-handed supercell
    """
    matrix = _as_array(supercell_matrix)
    if matrix.shape == (3,):
        matrix = np.diag(matrix)
    numbers = matrix.dtype.kind in "iuf" and bool(np.isfinite(matrix).all())
    integers = numbers and np.allclose(matrix, np.rint(matrix))
    volumes = round(np.linalg.det(matrix)) if matrix.shape == (3, 3) and integers else 0
    if volumes < 0:
        raise ArgumentError(
            f"`{name}` must have a positive determinant, got {volumes} for {matrix.tolist()}: its supercell "
            "is left-handed; exchange two of its vectors"
        )
    if volumes == 0:
        raise ArgumentError(
            f"`{name}` must be three integers or a regular 3×3 integer matrix, got {supercell_matrix!r}"
        )
    return np.rint(matrix).astype(int)


def check_primitive(primitive_matrix: object) -> None:
    """Raise ArgumentError for anything but "auto", a letter of phonopy's centrings, and a regular matrix."""
    if primitive_matrix is None or isinstance(primitive_matrix, str) and primitive_matrix in CENTRINGS:
        return
    matrix = _as_array(primitive_matrix)
    matrix = matrix.reshape(3, 3) if matrix.shape == (9,) else matrix
    numbers = matrix.shape == (3, 3) and matrix.dtype.kind in "iuf" and bool(np.isfinite(matrix).all())
    if not numbers or not np.linalg.det(matrix) > 0.0:
        raise ArgumentError(
            f"`primitive_matrix`: expected one of {', '.join(CENTRINGS)}, or a 3×3 matrix of a positive "
            f"determinant, got {primitive_matrix!r}"
        )


def as_mesh(mesh: Sequence[int]) -> tuple[int, int, int]:
    """Three positive integers as a mesh of q-points.

    Parameters
    ----------
    mesh : sequence of int
        points along each reciprocal vector

    Returns
    -------
    tuple of int
        three

    Raises
    ------
    ArgumentError
        anything else
    """
    found = _as_array(mesh)
    if found.shape != (3,) or found.dtype.kind not in "iu" or (found < 1).any():
        raise ArgumentError(f"`mesh` must be three positive integers, such as (8, 8, 8), got {mesh!r}")
    return tuple(int(n) for n in found)


def require_right_handed(atoms: Atoms, what: str) -> None:
    """Raise StructureError for cell vectors of a negative volume, which phonopy does not take."""
    if np.linalg.det(atoms.cell.array) < 0.0:
        raise StructureError(
            f"`{what}` needs a right-handed cell, got {atoms.cell.array.round(4).tolist()} Å, of which the "
            "determinant is negative; exchange two of its vectors"
        )
