"""The crystal that phonons are computed of: checked, made symmetric, relaxed within its space group."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from ..calculators.averaged import average_model, is_crystal
from ..crystals import SYMPREC, require_positive, space_group, symmetry_dataset
from ..errors import StructureError, users_line
from ..relaxation.minimum import RELAXED, crystal_with_calculator
from ..relaxation.relax import relax
from ..relaxation.result import RelaxResult
from ..relaxation.symmetry import moves
from .supercells.cells import require_right_handed
from .supercells.supercell import check_supercell

if TYPE_CHECKING:
    from ..calculators.averaged import Scheme
    from ..calculators.inputs import Potential, Structure

MAX_STEPS = 1000
# A crystal that goes further in the relaxation is another one than was given: choices of this project
FURTHEST = 0.5  # Å, of an atom
LARGEST_STRAIN = 0.1


def check_input(
    atoms: Structure,
    calculator: Potential | None,
    supercell_matrix: Sequence | np.ndarray | None,
    min_length: float | None,
    symmetrize: Scheme | None = None,
    symprec: float = SYMPREC,
) -> Atoms:
    """A copy of a crystal that phonons can be computed of. Raises StructureError for any other.

    Warns of a model in float32 (PrecisionWarning). Its calculator is averaged as ``symmetrize`` says, unless
    that is ``"crystal"``, the group of the relaxed crystal: see :func:`average_over_relaxed`.
    """
    check_supercell(supercell_matrix, min_length)
    work = crystal_with_calculator(atoms, calculator, "phonons", symmetrize, symprec)
    require_right_handed(work, "phonons")
    _require_space_group(work, symprec)
    return work


def _require_space_group(atoms: Atoms, symprec: float) -> None:
    if symmetry_dataset(atoms, symprec) is None:
        raise StructureError(
            f"`phonons`: spglib finds no space group of {atoms.get_chemical_formula()} within "
            f"{symprec:g} Å; are two atoms at one place?"
        )


def relaxed_within_symmetry(
    atoms: Atoms, allow_unrelaxed: bool = False, symprec: float = SYMPREC
) -> RelaxResult:
    """Make the symmetry that ``atoms`` have within ``symprec`` Å exact and relax within it, in place.

    Relaxed are the atoms, and the cell where there is a stress. For a symmetric crystal the forces of an
    averaged model are the plain model's, projected on the symmetry, so that this is the minimum of both.

    Warns
    -----
    UserWarning
        where the crystal has another space group afterwards: a weak distortion, such as an off-centring

    Raises
    ------
    StructureError
        without a space group; where it does not converge, an atom goes further than 0.5 Å or the cell is
        strained by more than 0.1, unless ``allow_unrelaxed``
    """
    require_positive("Å", symprec=symprec)
    _require_space_group(atoms, symprec)
    result = relax(
        atoms,
        fmax=RELAXED,
        steps=MAX_STEPS,
        optimizer="BFGS",
        cell="stress" in getattr(atoms.calc, "implemented_properties", ()),
        keep_space_group=True,
        symprec=symprec,
        check_noise=False,
    )
    if not result.converged and not allow_unrelaxed:
        raise StructureError(
            f"`phonons`: expected the relaxation to reach {RELAXED} eV/Å, got {result.fmaxes[-1]:.2g} after "
            f"{result.steps} steps; relax the structure first (`ase_mlip.relax`), or go on with "
            "`allow_unrelaxed=True`"
        )
    moved, strained = moves(atoms, result.atoms)
    if (moved > FURTHEST or strained > LARGEST_STRAIN) and not allow_unrelaxed:
        raise StructureError(
            f"`phonons`: expected a crystal near its minimum, got atoms that went up to {moved:.2f} Å and a "
            f"cell that was strained by up to {strained:.3f} in the relaxation, more than {FURTHEST} Å or "
            f"{LARGEST_STRAIN}; relax it first (`ase_mlip.relax`), or go on with `allow_unrelaxed=True`"
        )
    made, now = result.refinement.made, space_group(result.atoms, 0.1 * symprec)
    if now != made:
        warnings.warn(
            f"the relaxation took the crystal from the space group {made} to {now}: its distortion is none "
            "of this model's minimum",
            UserWarning,
            stacklevel=users_line(),
        )
    atoms.set_cell(result.atoms.cell)
    atoms.positions = result.atoms.positions
    return result


def preparation(result: RelaxResult) -> dict:
    """What making the symmetry exact did, for JSON: Å, relative, and space groups."""
    return asdict(result.refinement)


def average_over_relaxed(atoms: Atoms, symmetrize: Scheme | None, symprec: float) -> None:
    """With ``symmetrize="crystal"``: average the calculator of the crystal over its point group.

    A crystal that was not relaxed here has it within ``symprec`` Å only; a relaxed one has it exactly.
    """
    if is_crystal(symmetrize):
        average_model(atoms, symmetrize, "phonons", symprec)
