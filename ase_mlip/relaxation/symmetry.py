"""How a relaxation keeps a crystal's symmetry: constraints, an averaged model, no rotation of the cell."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.spacegroup.symmetrize import refine_symmetry
from scipy.linalg import polar

from ..crystals import require_crystal, space_group, symmetry_dataset
from ..errors import StructureError, users_line
from ..voigt import symmetric

LARGEST_STRETCH = 1.5  # of a cell against its reference; beyond it the lattices do not correspond
SAME = 1e-10  # a rotation that differs less from none is left undone: positions stay as they are, bit by bit


class RotationFreeCellFilter(FrechetCellFilter):
    """ASE's filter, moving only along symmetric logarithms of the deformation.

    The gradient with respect to a logarithm X that does not commute with the stress has an antisymmetric
    part, which would rotate the cell: a direction without a restoring force, and one in which the energy of
    an anisotropic model changes. Its symmetric part is the gradient among symmetric X.
    """

    def __init__(self, atoms: Atoms, **options):
        super().__init__(atoms, **options)
        self._known: tuple[tuple[bytes, bytes], np.ndarray] | None = None

    def get_forces(self, **kwargs) -> np.ndarray:
        """Forces on atoms and on the logarithm of the deformation, [N + 3, 3].

        Those of the last state are kept: optimisers ask four times a step, and the derivatives of the
        exponential take longer than a cheap calculator.
        """
        state = (self.atoms.positions.tobytes(), self.atoms.cell.array.tobytes())
        if self._known is None or self._known[0] != state:
            forces = super().get_forces(**kwargs)
            forces[-3:] = symmetric(forces[-3:])
            self._known = state, forces
        return self._known[1].copy()


@dataclass(frozen=True)
class Refinement:
    """What making a symmetry exact did to a crystal.

    Attributes
    ----------
    moved : float
        largest displacement of an atom, without that of all together and the cell's strain, Å
    strained : float
        largest component of the cell's strain
    given : str
        space group that the crystal had within a tenth of the tolerance
    made : str
        space group that it has now
    """

    moved: float
    strained: float
    given: str
    made: str


def refine(atoms: Atoms, symprec: float) -> Refinement:
    """Make the symmetry that a crystal has within ``symprec`` Å exact, in place (ASE's refine_symmetry).

    Warns
    -----
    UserWarning
        where that is another space group than within a tenth of ``symprec``, which is more than the rounding
        of files: a weak distortion, such as an off-centring, is lost

    Raises
    ------
    StructureError
        where an atom would move by more than twice ``symprec``
    """
    before, given = atoms.copy(), space_group(atoms, 0.1 * symprec)
    refine_symmetry(atoms, symprec)
    moved, strained = moves(before, atoms)
    found = Refinement(moved, strained, given, space_group(atoms, 0.1 * symprec))
    size = f"atoms moved by up to {moved:.4f} Å, the cell strained by up to {strained:.1e}"
    if moved > 2.0 * symprec:
        raise StructureError(
            f"`symprec={symprec:g}` Å: expected a symmetry from which atoms are no further away, got "
            f"{found.made} with {size}; use a smaller tolerance"
        )
    if found.made != given:
        warnings.warn(
            f"the space group {given or 'none'}, within {0.1 * symprec:g} Å, was made {found.made}, which "
            f"the crystal has within {symprec:g} Å: {size}. A weak distortion is lost in that; to keep it "
            "look for the symmetry within a smaller tolerance, or do without it",
            UserWarning,
            stacklevel=users_line(),
        )
    return found


def moves(before: Atoms, after: Atoms) -> tuple[float, float]:
    """Largest displacement of an atom (Å), without strain and drift, and component of the cell's strain."""
    shifts = after.get_scaled_positions(wrap=False) - before.get_scaled_positions(wrap=False)
    shifts -= np.rint(shifts)
    shifts = (shifts - shifts.mean(axis=0)) @ after.cell.array
    deformation = np.linalg.solve(before.cell.array, after.cell.array)
    strain = polar(deformation)[1] - np.eye(3)
    return float(np.linalg.norm(shifts, axis=1).max()), float(np.abs(strain).max())


def fix_symmetry(atoms: Atoms, symprec: float) -> Refinement:
    """Make the symmetry that ``atoms`` has within ``symprec`` Å exact, and constrain it (ASE's FixSymmetry).

    Warns as :func:`refine`. Raises StructureError for molecules, where no symmetry is found, and beside other
    constraints.
    """
    _require_symmetry(atoms, "relax(keep_space_group=True)", symprec)
    if atoms.constraints:
        names = ", ".join(type(constraint).__name__ for constraint in atoms.constraints)
        raise StructureError(
            f"`keep_space_group=True` expected a structure without constraints, got {names}, which need not "
            "have its symmetry; remove them"
        )
    refinement = refine(atoms, symprec)
    atoms.set_constraint(FixSymmetry(atoms, symprec=symprec))
    return refinement


def refined(atoms: Atoms, symprec: float) -> Atoms:
    """A copy of a crystal with the symmetry that it has within ``symprec`` Å made exact.

    Orientation and order of the atoms are kept. Raises StructureError for molecules and where spglib finds no
    symmetry.
    """
    _require_symmetry(atoms, 'relax(symmetrize="crystal")', symprec)
    copy = atoms.copy()
    copy.set_constraint()
    refine_symmetry(copy, symprec)
    return copy


def averaged(calculator, crystal: Atoms, symprec: float):
    """``calculator`` averaged over the point group of ``crystal``, for boxes of any strain."""
    # late: these import torch, which the simulations need for nothing else
    from ..calculators.symmetrized_calculator import symmetrized
    from ..rotations.schemes import crystal_averaging

    return symmetrized(calculator, crystal_averaging(crystal, symprec), check_lattice=False)


def align(atoms: Atoms, crystal: Atoms) -> np.ndarray:
    """Rotate ``atoms`` so that a symmetric deformation makes its cell from that of ``crystal``.

    Returns
    -------
    array
        The cell of ``crystal``, or of the supercell of it that corresponds to ``atoms``, [3, 3], Å.

    Raises
    ------
    StructureError
        where neither is within a stretch of 1.5 of the cell of ``atoms``
    """
    for cell in _candidates(atoms, crystal):
        # rows are cell vectors: atoms.cell = cell @ deformation.T, and deformation = rotation @ stretch
        deformation = np.linalg.solve(cell, atoms.cell.array).T
        rotation, stretch = polar(deformation)
        stretches = np.linalg.eigvalsh(stretch)
        if (
            np.linalg.det(rotation) < 0.0
            or stretches[-1] > LARGEST_STRETCH
            or stretches[0] < 1 / LARGEST_STRETCH
        ):
            continue
        if np.abs(rotation - np.eye(3)).max() > SAME:
            positions = atoms.positions @ rotation
            atoms.set_cell(atoms.cell.array @ rotation, apply_constraint=False)
            atoms.positions = positions
        return cell
    raise StructureError(
        "`crystal` expected one of which the structure is a strained cell or supercell, got "
        f"{len(crystal)} atoms in {crystal.cell.array.round(3).tolist()} Å for {len(atoms)} in "
        f"{atoms.cell.array.round(3).tolist()} Å; give the undistorted crystal in the same cell"
    )


def rotation_free_filter(atoms: Atoms, origin: np.ndarray | None, **options) -> RotationFreeCellFilter:
    """The filter of ``atoms`` that measures deformations from the cell ``origin`` [3, 3], or from its own."""
    if origin is None:
        return RotationFreeCellFilter(atoms, **options)
    cell = atoms.cell.array.copy()
    atoms.set_cell(origin, apply_constraint=False)
    try:
        return RotationFreeCellFilter(atoms, **options)
    finally:
        atoms.set_cell(cell, apply_constraint=False)


def _candidates(atoms: Atoms, crystal: Atoms) -> list[np.ndarray]:
    """Cells of ``crystal`` with as many atoms as ``atoms``: its own, and the nearest multiple of it."""
    cells = [crystal.cell.array.copy()] if len(crystal) == len(atoms) else []
    multiples = np.rint(np.linalg.solve(crystal.cell.array.T, atoms.cell.array.T).T)
    if abs(round(np.linalg.det(multiples))) * len(crystal) == len(atoms):
        cells.append(multiples @ crystal.cell.array)
    return cells


def _require_symmetry(atoms: Atoms, what: str, symprec: float) -> None:
    require_crystal(atoms, what)
    if symmetry_dataset(atoms, symprec) is None:
        raise StructureError(
            f"`{what}`: spglib finds no symmetry of {atoms.get_chemical_formula()} at "
            f"`symprec={symprec:g}` Å; are two atoms at one place?"
        )
