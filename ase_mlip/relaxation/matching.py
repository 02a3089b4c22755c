"""Root mean square displacement between two structures: of one in two states, or of any two crystals."""

from __future__ import annotations

import warnings

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from ..checks.installation.requirements import install_command
from ..errors import MLIPError, StructureError, users_line


def displacement_rms(first: Atoms, second: Atoms, nearest: bool = False) -> float:
    """Root mean square displacement between two states of one structure, same order of atoms, Å.

    Displacements are taken in the first structure's cell, so that a strain of the whole does not count, and
    their mean is removed. ``nearest`` takes each atom's periodic image nearest to the other state.
    """
    if first.cell.rank == 3:
        moved = second.get_scaled_positions(wrap=False) - first.get_scaled_positions(wrap=False)
        moved = moved @ first.cell.array
    else:
        moved = second.positions - first.positions
    moved -= moved.mean(axis=0)
    if nearest and first.pbc.any():
        moved = _nearest_images(moved, first)
    return float(np.sqrt((moved**2).sum(axis=1).mean()))


def rmsd_to_reference(atoms: Atoms, reference: Atoms) -> float | None:
    """Displacement of ``atoms`` from ``reference``: by the atoms' order where that is the same, else matched.

    None where the structures do not match, or where matching would need pymatgen and it is not installed,
    which is a UserWarning that names the extra.
    """
    if np.array_equal(atoms.numbers, reference.numbers) and np.array_equal(atoms.pbc, reference.pbc):
        return displacement_rms(reference, atoms, nearest=True)
    if not (atoms.pbc.all() and reference.pbc.all()):
        return None
    try:
        return matched_rms(atoms, reference)
    except MissingMatcher as error:
        warnings.warn(f"no distance to the reference: {error}", UserWarning, stacklevel=users_line())
        return None


def require_same_substance(atoms: Atoms, reference: Atoms) -> None:
    """Raise StructureError for a reference of other atoms: of crystals the composition counts."""
    crystals = atoms.pbc.all() and reference.pbc.all()
    ours, theirs = (_formula(structure, bool(crystals)) for structure in (atoms, reference))
    if ours != theirs:
        raise StructureError(
            f"`reference` expected the atoms of the structure, {ours}, got {theirs}; give the same "
            "substance, in any order and, of crystals, in any cell"
        )


def _formula(atoms: Atoms, reduced: bool) -> str:
    formula = atoms.symbols.formula
    return (formula.reduce()[0] if reduced else formula).format("hill")


class MissingMatcher(MLIPError):
    """pymatgen is not installed."""


def matched_rms(first: Atoms, second: Atoms) -> float | None:
    """Root mean square displacement between two crystals by pymatgen's StructureMatcher, Å; None if unlike.

    Atoms may be in another order, the cell another choice or a supercell; volume and shape do not count.
    S. P. Ong et al., Comput. Mater. Sci. 68, 314 (2013).

    Raises
    ------
    MissingMatcher
        without pymatgen
    StructureError
        for molecules and slabs
    """
    if not (first.pbc.all() and second.pbc.all()):
        raise StructureError("`matched_rms` needs two crystals, periodic in three directions")
    try:
        from pymatgen.analysis.structure_matcher import StructureMatcher
        from pymatgen.io.ase import AseAtomsAdaptor
    except ImportError:
        raise MissingMatcher(
            f"matching crystals needs pymatgen, which is not installed: {install_command('match')}"
        ) from None
    matcher = StructureMatcher(primitive_cell=False, attempt_supercell=True)
    found = matcher.get_rms_dist(*(AseAtomsAdaptor.get_structure(_plain(atoms)) for atoms in (first, second)))
    if found is None:
        return None
    # the matcher brings both to their mean volume per atom, and measures in its cube root
    volumes = [atoms.get_volume() / len(atoms) for atoms in (first, second)]
    return float(found[0] * (volumes[0] * volumes[1]) ** (1.0 / 6.0))


def _plain(atoms: Atoms) -> Atoms:
    """Species, positions and cell only: what else there is need not exist in pymatgen."""
    return Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _nearest_images(moved: np.ndarray, atoms: Atoms) -> np.ndarray:
    """The shortest of each displacement's periodic images, once their mean is removed, [N, 3]."""
    moved = find_mic(moved - moved[0], atoms.cell, atoms.pbc)[0]  # the first atom's may be a lattice vector
    moved = find_mic(moved - moved.mean(axis=0), atoms.cell, atoms.pbc)[0]
    return moved - moved.mean(axis=0)
