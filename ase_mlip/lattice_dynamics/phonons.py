"""Harmonic lattice dynamics by finite displacements, over phonopy and any ASE calculator.

Conventions are phonopy's: frequencies in THz, imaginary ones as negative numbers; q-points in units of the
primitive cell's reciprocal vectors. A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from phonopy import Phonopy

from ..calculators.inputs import renamed, withdrawn
from ..crystals import (
    RESIDUAL,
    largest_force,
    require_flags,
    require_limit,
    require_none_or,
    require_positive,
    require_whole,
    space_group,
    warn_of_residual,
)
from ..errors import ArgumentError, StructureError
from ..progress.form import Progress, told
from .bands import IMAGINARY, band_structure, check_path, frequencies_at
from .cosets import averaged_forces
from .files import Checkpoint
from .input import average_over_relaxed, check_input, relaxed_within_symmetry
from .results import PhononResult
from .supercells.cells import as_mesh, check_primitive, new_phonopy, to_ase
from .supercells.supercell import find_supercell, warn_if_small, width_of
from .thermal import thermal_properties

if TYPE_CHECKING:
    from ..calculators.averaged import Scheme
    from ..calculators.inputs import Potential, Structure


@renamed(force="allow_unrelaxed", input_symprec="symprec")
@withdrawn(symmetry="it is `symmetrize`, with the same words")
def phonons(
    atoms: Structure,
    calculator: Potential | None = None,
    *,
    supercell_matrix: Sequence | np.ndarray | None = None,
    min_length: float | None = None,
    distance: float = 0.01,
    mesh: Sequence[int] = (20, 20, 20),
    symmetrize: Scheme | None = None,
    relax_first: bool = True,
    allow_unrelaxed: bool = False,
    symprec: float = 1e-2,
    path: str | None = None,
    points: int = 200,
    is_symmetry: bool = True,
    is_plusminus: bool | str = "auto",
    primitive_matrix: str | np.ndarray = "auto",
    phonopy_symprec: float = 1e-5,
    max_residual: float = RESIDUAL,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> PhononResult:
    """Phonons of a crystal from forces in displaced supercells.

    Parameters
    ----------
    atoms : ase.Atoms, str or Path
        the crystal, or a file with it; not modified
    calculator : ASE calculator, Model, str or Path, optional
        an ASE calculator, a loaded model, a model file or the name of a shipped potential, which are
        computed in float64; None takes the calculator that ``atoms`` has
    supercell_matrix : int [3] or [3, 3], optional
        of the cell of ``atoms``. If neither it nor ``min_length`` is given, one with faces twice the model's
        interaction range apart, where that takes at most 512 atoms, else twice its cutoff; 10 Å for a
        calculator that does not say how far it reaches
    min_length : float, optional
        make a compact supercell whose opposite faces are at least that far apart, Å
    distance : float
        length of a displacement, Å
    mesh : int [3]
        q-points for the density of states
    symmetrize : str, ase.Atoms or Averaging, optional
        average the model over rotations, see :func:`ase_mlip.rotations.schemes.find_averaging`; None takes
        the calculator as it is. ``"crystal"`` is the point group that the crystal, relaxed if it is, has
        within ``symprec``; displaced supercells are averaged over it. ``"auto"`` chooses by ``atoms``
    relax_first : bool
        make the symmetry within ``symprec`` exact and relax atoms and cell within it; otherwise
        ``atoms`` must be relaxed
    allow_unrelaxed : bool
        go on where the crystal is not relaxed, or went far in that
    symprec : float
        tolerance for the symmetry of the crystal as given, Å; files give a few digits
    path : str, optional
        special points such as ``"GXU,KGL"``; None takes the lattice's standard path (seekpath)
    points : int
        q-points along the path, about
    is_symmetry : bool
        displace only atoms that symmetry makes distinct, and make force constants obey it (symfc)
    is_plusminus : bool or str
        displace both ways; ``"auto"``: where symmetry does not make them equivalent
    primitive_matrix : str or float [3, 3]
        phonopy's; ``"auto"`` finds the primitive cell
    phonopy_symprec : float
        tolerance of phonopy for the symmetry of the relaxed crystal and of supercells, Å
    max_residual : float
        without ``relax_first``, refuse a structure with a larger force than this, eV/Å
    checkpoint : str or Path, optional
        keep the forces of finished supercells in this .npz file, and take them from there
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each supercell, see :mod:`ase_mlip.progress`

    Returns
    -------
    PhononResult
        bands, density of states and what the forces obeyed by themselves

    Raises
    ------
    StructureError
        for molecules, without calculator, with constraints, or for a structure that is not
        relaxed
    ArgumentError
        for an unknown ``symmetrize`` or "random:SEED", and for numbers that make no sense

    Warns
    -----
    PrecisionWarning
        for a model in float32
    UserWarning
        where ``relax_first`` changes the space group, and of a checkpoint that is not of this run
    SupercellWarning
        where displaced atoms feel their own images
    ResidualWarning
        with ``allow_unrelaxed``, for forces above 0.05 eV/Å

    References
    ----------
    A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_mlip import phonons
    >>> found = phonons(bulk("Si"), "snnp-si", mesh=(8, 8, 8))
    >>> found.stable
    True
    """
    progress = told(progress)
    require_positive("Å", distance=distance, symprec=symprec, phonopy_symprec=phonopy_symprec)
    require_whole(1, points=points)
    require_flags(relax_first=relax_first, allow_unrelaxed=allow_unrelaxed, is_symmetry=is_symmetry)
    require_limit("eV/Å", max_residual=max_residual)
    require_none_or(str, "a path in the Brillouin zone such as 'GXG'", path=path)
    require_none_or((str, os.PathLike), "a path", checkpoint=checkpoint)
    if not isinstance(is_plusminus, bool | np.bool_) and not is_plusminus == "auto":
        raise ArgumentError(f'`is_plusminus`: expected True, False or "auto", got {is_plusminus!r}')
    check_primitive(primitive_matrix)
    mesh = as_mesh(mesh)
    work = check_input(atoms, calculator, supercell_matrix, min_length, symmetrize, symprec)
    if path is not None:  # before the work
        crystal = new_phonopy(work, np.eye(3, dtype=int), primitive_matrix, phonopy_symprec, is_symmetry)
        check_path(to_ase(crystal.primitive), path)
    relaxation = relaxed_within_symmetry(work, allow_unrelaxed, symprec) if relax_first else None
    average_over_relaxed(work, symmetrize, symprec)
    calculator = work.calc
    matrix = find_supercell(work, supercell_matrix, min_length, calculator)
    warn_if_small(work, matrix, calculator)
    calculation = new_phonopy(work, matrix, primitive_matrix, phonopy_symprec, is_symmetry)
    calculation.generate_displacements(distance=distance, is_plusminus=is_plusminus)
    limit = np.inf if relax_first or allow_unrelaxed else max_residual
    started = time.perf_counter()
    residual, evaluations = compute_forces(
        calculation, calculator, limit, phonopy_symprec, checkpoint, progress
    )
    seconds = time.perf_counter() - started
    if allow_unrelaxed:
        warn_of_residual("phonons", residual)

    calculation.produce_force_constants(show_drift=False)
    error = sum_rule_error(calculation.force_constants)
    raw = frequencies_at(calculation, [[0.0, 0.0, 0.0]])[0]
    if is_symmetry:
        calculation.produce_force_constants(fc_calculator="symfc", show_drift=False)
    averaging = getattr(calculator, "averaging", None)
    return PhononResult(
        gamma_frequencies_raw=raw,
        residual_force=residual,
        sum_rule_error=error,
        evaluations=evaluations,
        seconds=seconds,
        averaging="none" if averaging is None else averaging.name,
        distance=distance,
        relaxation=relaxation,
        **_analyse(calculation, path, points, mesh),
    )


def compute_forces(
    calculation: Phonopy,
    calculator,
    max_residual: float,
    symprec: float,
    checkpoint: str | Path | None,
    progress: Progress,
) -> tuple[float, int]:
    """Fill in forces less those of the undisplaced supercell.

    Returns
    -------
    tuple of int
        the largest force of the undisplaced supercell, eV/Å, and the number of evaluations
    """
    cells = [calculation.supercell, *calculation.supercells_with_displacements]
    done = Checkpoint(checkpoint, cells, calculator)
    for count, cell in enumerate(cells, start=1):
        is_done = count <= len(done.forces)
        found = (done.forces[count - 1], 0) if is_done else averaged_forces(to_ase(cell), calculator, symprec)
        if count == 1 and largest_force(found[0]) > max_residual:  # before anything is kept
            raise StructureError(
                f"`phonons` needs a relaxed structure, expected forces below {max_residual} eV/Å "
                f"(`max_residual`), got {largest_force(found[0]):.4f} eV/Å; relax it first "
                "(`ase_mlip.relax`), or go on with `allow_unrelaxed=True`"
            )
        if not is_done:
            done.add(*found)
        progress(count, len(cells), "")
    calculation.forces = np.array(done.forces[1:]) - done.forces[0]
    return largest_force(done.forces[0]), sum(done.evaluations)


def sum_rule_error(force_constants: np.ndarray) -> float:
    """Largest component of either sum over atoms of full force constants [N, N, 3, 3], eV/Å^2."""
    return float(max(np.abs(force_constants.sum(axis=axis)).max() for axis in (0, 1)))


def _analyse(calculation: Phonopy, path: str | None, points: int, mesh: tuple[int, int, int]) -> dict:
    """The fields of PhononResult that follow from force constants."""
    primitive = to_ase(calculation.primitive)
    bands, special = band_structure(calculation, primitive, path, points)
    calculation.run_mesh(list(mesh), is_gamma_center=True)
    grid = calculation.mesh
    calculation.run_total_dos()
    every_q = np.concatenate([grid.qpoints, bands.q_points])
    lowest_of_q = np.concatenate([grid.frequencies, bands.frequencies]).min(axis=1)
    order = np.argsort(lowest_of_q)
    lowest = order[0]
    imaginary = [(every_q[i], float(lowest_of_q[i])) for i in order if lowest_of_q[i] < IMAGINARY]
    thermal = thermal_properties(grid.frequencies, grid.weights, np.arange(0.0, 1001.0, 10.0))
    return {
        "gamma_frequencies": frequencies_at(calculation, [[0.0, 0.0, 0.0]])[0],
        "special_frequencies": special,
        "bands": bands,
        "dos_frequencies": calculation.total_dos.frequency_points,
        "dos": calculation.total_dos.dos,
        "mesh_frequencies": grid.frequencies,
        "mesh_weights": grid.weights,
        "lowest_frequency": float(lowest_of_q[lowest]),
        "lowest_q": every_q[lowest],
        "imaginary": imaginary,
        "thermal": None if imaginary else thermal,
        "n_displacements": len(calculation.supercells_with_displacements),
        "n_atoms_supercell": len(calculation.supercell),
        "supercell_matrix": np.array(calculation.supercell_matrix),
        "supercell_width": width_of(to_ase(calculation.unitcell), calculation.supercell_matrix),
        "mesh": mesh,
        "space_group": space_group(to_ase(calculation.unitcell), calculation.symmetry.tolerance),
        "primitive": primitive,
        "phonopy": calculation,
    }
