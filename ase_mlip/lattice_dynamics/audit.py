"""What a model's phonons obey by themselves: no symmetry used, no sum rule imposed.

Each atom of the primitive cell is displaced by ±u along x, y and z, and central differences of the forces
are the force constants, without symmetrisation. What symmetry and sum rules say about them is then a
statement about the model, not about the solver. Of a model averaged over a group only cosets are evaluated
(:mod:`.cosets`), which gives its forces themselves, not approximations to them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from phonopy import Phonopy

from ..calculators.inputs import renamed, withdrawn
from ..crystals import require_positive
from ..progress.form import Progress, told
from .bands import ACOUSTIC, DEGENERATE, frequencies_at, special_points
from .cosets import averaged_forces
from .files import Checkpoint
from .input import average_over_relaxed, check_input, relaxed_within_symmetry
from .phonons import sum_rule_error
from .supercells.cells import new_phonopy, to_ase, to_phonopy
from .supercells.supercell import find_supercell, warn_if_small

if TYPE_CHECKING:
    from ..calculators.averaged import Scheme
    from ..calculators.inputs import Potential, Structure


@dataclass
class PhononAudit:
    """Symmetry of force constants that nothing imposed symmetry on.

    Attributes
    ----------
    splitting : float
        largest difference of frequencies that the space group makes equal, THz, over the special points and
        all q-points equivalent to them; without the acoustic modes at Γ, of which a frequency is the root of
        what should be zero
    splitting_at : str
        name of that special point
    splittings : dict of float
        the same by special point
    acoustic : array
        frequencies of the three acoustic modes at Γ, without correction, THz, [3]
    optical : array
        the other frequencies at Γ, THz, [bands - 3]
    sum_rule_error : float
        largest component of the force constants' sum over atoms, eV/Å^2
    permutation_error : float
        largest component of Φ_ij - Φ_ji^T, eV/Å^2
    symmetry_error : float
        largest component that imposing the space group and sum rules changes, eV/Å^2
    distance : float
        Å
    n_displacements : int
        6 for each atom of the primitive cell
    evaluations : int
        of the calculator or network, rotations counted
    seconds : float
        for them
    averaging : str
        name of the averaging over rotations
    force_constants : array
        of the primitive cell's atoms with all of the supercell, eV/Å^2, [n, N, 3, 3]
    """

    splitting: float
    splitting_at: str
    splittings: dict[str, float]
    acoustic: np.ndarray
    optical: np.ndarray
    sum_rule_error: float
    permutation_error: float
    symmetry_error: float
    distance: float
    n_displacements: int
    evaluations: int
    seconds: float
    averaging: str
    n_atoms_supercell: int
    force_constants: np.ndarray = field(repr=False)

    def to_dict(self) -> dict:
        """Numbers and names for JSON, without the force constants."""
        found = {name: value for name, value in vars(self).items() if name != "force_constants"}
        return {**found, "acoustic": self.acoustic.tolist(), "optical": self.optical.tolist()}


@renamed(force="allow_unrelaxed", input_symprec="symprec")
@withdrawn(symmetry="it is `symmetrize`, with the same words")
def audit_phonons(
    atoms: Structure,
    calculator: Potential | None = None,
    *,
    supercell_matrix: Sequence | np.ndarray | None = None,
    min_length: float | None = None,
    distance: float = 0.01,
    symmetrize: Scheme | None = None,
    relax_first: bool = True,
    allow_unrelaxed: bool = False,
    symprec: float = 1e-2,
    primitive_matrix: str | np.ndarray = "auto",
    phonopy_symprec: float = 1e-5,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> PhononAudit:
    """Audit the phonons of a crystal: its force constants with nothing imposed.

    Parameters
    ----------
    atoms, calculator : ase.Atoms, str or Path; ASE calculator, Model, str or Path, optional
        as of :func:`ase_mlip.lattice_dynamics.phonons.phonons`. Use a calculator in float64: differences of
        forces over 0.01 Å are uncertain by about 0.001 eV/Å² in float32
    supercell_matrix, min_length, distance : int [3] or [3, 3], float, float
        as there, lengths in Å
    symmetrize, relax_first, allow_unrelaxed, symprec : str, ase.Atoms or Averaging, bool, bool, float
        as there
    primitive_matrix, phonopy_symprec : str or float [3, 3], float
        as there
    checkpoint, progress : str or Path, callable
        as there; the checkpoint is another file

    Returns
    -------
    PhononAudit
        what the force constants obey by themselves

    Raises
    ------
    StructureError
        for molecules, without calculator, or where the crystal cannot be relaxed
    ArgumentError
        for an unknown ``symmetrize`` or "random:SEED"

    Warns
    -----
    PrecisionWarning
        for a model in float32
    """
    progress = told(progress)
    require_positive("Å", distance=distance)
    work = check_input(atoms, calculator, supercell_matrix, min_length, symmetrize, symprec)
    if relax_first:
        relaxed_within_symmetry(work, allow_unrelaxed, symprec)
    average_over_relaxed(work, symmetrize, symprec)
    calculator = work.calc
    matrix = find_supercell(work, supercell_matrix, min_length, calculator)
    warn_if_small(work, matrix, calculator)
    calculation = new_phonopy(work, matrix, primitive_matrix, phonopy_symprec, is_symmetry=False)
    started = time.perf_counter()
    moved = calculation.primitive.p2s_map
    supercell = to_ase(calculation.supercell)
    cells = _displaced(supercell, moved, distance)
    done = Checkpoint(checkpoint, [to_phonopy(cell) for cell in cells], calculator)
    for count, cell in enumerate(cells, start=1):
        if count > len(done.forces):
            done.add(*averaged_forces(cell, calculator, phonopy_symprec))
        progress(count, len(cells), "")
    forces = np.reshape(done.forces, (len(moved), 3, 2, len(supercell), 3))
    seconds = time.perf_counter() - started
    full = _force_constants(calculation, moved, forces, distance)
    averaging = getattr(calculator, "averaging", None)
    return PhononAudit(
        **_symmetry_of(calculation, full, new_phonopy(work, matrix, primitive_matrix, phonopy_symprec)),
        distance=distance,
        n_displacements=6 * len(moved),
        evaluations=sum(done.evaluations),
        seconds=seconds,
        averaging="none" if averaging is None else averaging.name,
        n_atoms_supercell=len(calculation.supercell),
        force_constants=full[moved],
    )


def _displaced(supercell: Atoms, moved: np.ndarray, distance: float) -> list[Atoms]:
    """Each atom ``moved[n]`` displaced along x, y and z, each forwards and backwards, in this order."""
    cells = []
    for atom in moved:
        for axis in range(3):
            for step in (distance, -distance):
                cell = supercell.copy()
                cell.positions[atom, axis] += step
                cells.append(cell)
    return cells


def _force_constants(
    calculation: Phonopy, moved: np.ndarray, forces: np.ndarray, distance: float
) -> np.ndarray:
    """Central differences, eV/Å², in all of the supercell [N, N, 3, 3]: translations fill in the rest."""
    rows = (forces[:, :, 1] - forces[:, :, 0]).transpose(0, 2, 1, 3) / (2.0 * distance)
    n_atoms = rows.shape[1]
    full = np.empty((n_atoms, n_atoms, 3, 3))
    # permutation t of the supercell's translations takes atom i to where atom t[i] is
    for translation in calculation.primitive.atomic_permutations:
        for row, atom in zip(rows, moved, strict=True):
            full[translation[atom], translation] = row
    return full


def _symmetry_of(calculation: Phonopy, full: np.ndarray, symmetric: Phonopy) -> dict:
    calculation.force_constants = full
    symmetric.force_constants = full.copy()
    symmetric.symmetrize_force_constants(use_symfc_projector=True, show_drift=False)
    special, _ = special_points(to_ase(calculation.primitive))
    operations = np.unique(symmetric.primitive_symmetry.pointgroup_operations, axis=0)
    splittings = {name: _splitting(calculation, symmetric, q, operations) for name, q in special.items()}
    worst = max(splittings, key=lambda name: splittings[name])
    gamma = frequencies_at(calculation, [[0.0, 0.0, 0.0]])[0]
    by_size = gamma[np.argsort(np.abs(gamma))]
    return {
        "splitting": splittings[worst],
        "splitting_at": worst,
        "splittings": splittings,
        "acoustic": np.sort(by_size[:3]),
        "optical": np.sort(by_size[3:]),
        "sum_rule_error": sum_rule_error(full),
        "permutation_error": float(np.abs(full - full.transpose(1, 0, 3, 2)).max()),
        "symmetry_error": float(np.abs(symmetric.force_constants - full).max()),
    }


def _splitting(calculation: Phonopy, symmetric: Phonopy, q: np.ndarray, operations: np.ndarray) -> float:
    """Largest difference of what is equal by symmetry: degenerate modes at q, and those of equivalent q."""
    star = np.unique(np.round([q @ operation for operation in operations], 9), axis=0)
    exact = frequencies_at(symmetric, [q])[0]
    found = frequencies_at(calculation, star)
    groups = np.split(np.arange(len(exact)), np.flatnonzero(np.diff(exact) > DEGENERATE) + 1)
    groups = [group for group in groups if np.abs(exact[group]).max() > ACOUSTIC or np.any(q)]
    return max((float(np.ptp(found[:, group])) for group in groups), default=0.0)
