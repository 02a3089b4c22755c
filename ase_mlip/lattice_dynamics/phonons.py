"""Harmonic lattice dynamics by finite displacements, over phonopy and any ASE calculator.

Conventions are phonopy's: frequencies in THz, imaginary ones as negative numbers; q-points in units of the
primitive cell's reciprocal vectors. A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from phonopy import Phonopy

from ..crystals import largest_force, require_positive, space_group
from ..errors import StructureError
from ..provenance import plain
from ..relaxation.relax import RelaxResult
from .bands import IMAGINARY, BandStructure, band_structure, check_path, frequencies_at
from .cells import as_mesh, new_phonopy, to_ase
from .cosets import averaged_forces
from .files import Checkpoint
from .input import averaged_calculator, check_input, preparation, relaxed_within_symmetry
from .supercell import find_supercell, warn_if_small, width_of
from .thermal import ThermalProperties, thermal_properties


@dataclass
class PhononResult:
    """Phonons of a crystal.

    Attributes
    ----------
    gamma_frequencies: THz, [bands], from force constants that obey space group and sum rules
    gamma_frequencies_raw: the same before the sum rules were imposed: what the forces alone give
    special_frequencies: THz by name of the special point, [bands]
    bands: along the path
    dos_frequencies, dos: THz and states/THz per primitive cell, [n]
    mesh_frequencies, mesh_weights: on the mesh's irreducible points, [n, bands] and [n]
    lowest_frequency, lowest_q: over mesh and path
    imaginary: where modes are imaginary on mesh and path: q-point and lowest frequency there, lowest first
    thermal: None where modes are imaginary
    residual_force: largest force in the undisplaced supercell, eV/Å; it is subtracted from all others
    sum_rule_error: largest component of the raw force constants' sum over atoms, eV/Å^2
    n_displacements: supercells with a displacement that were evaluated
    evaluations: of the calculator or network in supercells, rotations counted
    seconds: for the forces in supercells
    averaging: name of the averaging over rotations, "none" without
    supercell_width: smallest distance between opposite faces of the supercell, Å
    space_group: as phonopy used it
    primitive: primitive cell
    relaxation: how the unit cell was made symmetric and relaxed, None where it was taken as it is
    phonopy: the phonopy object, for everything else that phonopy does
    """

    gamma_frequencies: np.ndarray
    gamma_frequencies_raw: np.ndarray
    special_frequencies: dict[str, np.ndarray]
    bands: BandStructure = field(repr=False)
    dos_frequencies: np.ndarray = field(repr=False)
    dos: np.ndarray = field(repr=False)
    mesh_frequencies: np.ndarray = field(repr=False)
    mesh_weights: np.ndarray = field(repr=False)
    lowest_frequency: float
    lowest_q: np.ndarray
    imaginary: list[tuple[np.ndarray, float]] = field(repr=False)
    thermal: ThermalProperties | None = field(repr=False)
    residual_force: float
    sum_rule_error: float
    n_displacements: int
    evaluations: int
    seconds: float
    averaging: str
    n_atoms_supercell: int
    supercell_matrix: np.ndarray
    supercell_width: float
    distance: float
    mesh: tuple[int, int, int]
    space_group: str
    primitive: Atoms = field(repr=False)
    relaxation: RelaxResult | None = field(repr=False)
    phonopy: Phonopy = field(repr=False)

    @property
    def stable(self) -> bool:
        """No imaginary mode on mesh or path."""
        return self.lowest_frequency >= IMAGINARY

    def frequencies_at(self, q_points: Sequence) -> np.ndarray:
        """Frequencies (THz, [n, bands]) at ``q_points`` [n, 3]."""
        return frequencies_at(self.phonopy, q_points)

    def group_velocities(self, q_points: Sequence) -> np.ndarray:
        """∂ω/∂q (Å·THz, which is 100 m/s; [n, bands, 3]) at ``q_points`` [n, 3], by phonopy."""
        self.phonopy.run_qpoints(np.asarray(q_points, dtype=float), with_group_velocities=True)
        # phonopy's are derivatives of the frequency by q without 2π, which is the same number
        return np.array(self.phonopy.qpoints.group_velocities)

    def to_dict(self) -> dict:
        """Numbers and names for JSON; what is large stays in phonopy's files."""
        return {
            "space_group": self.space_group,
            "cell": self.phonopy.unitcell.cell.tolist(),
            "relaxed": self.relaxation is not None,
            "preparation": None if self.relaxation is None else preparation(self.relaxation),
            "averaging": self.averaging,
            "supercell_matrix": self.supercell_matrix.tolist(),
            "n_atoms_supercell": self.n_atoms_supercell,
            "supercell_width": self.supercell_width,
            "distance": self.distance,
            "mesh": list(self.mesh),
            "n_displacements": self.n_displacements,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
            "stable": self.stable,
            "lowest_frequency": self.lowest_frequency,
            "lowest_q": np.asarray(self.lowest_q).tolist(),
            "imaginary": [[*map(float, q), frequency] for q, frequency in self.imaginary[:20]],
            "residual_force": self.residual_force,
            "sum_rule_error": self.sum_rule_error,
            "gamma": self.gamma_frequencies.tolist(),
            "gamma_raw": self.gamma_frequencies_raw.tolist(),
            "special": {name: row.tolist() for name, row in self.special_frequencies.items()},
            "heat_capacity_300K": None if self.thermal is None else float(self.thermal.heat_capacity[30]),
        }

    def spectra(self, with_group_velocities: bool = False) -> dict:
        """Density of states and thermal properties as JSON has them, and the mesh where it is asked for."""
        found = {
            "dos": {"frequencies": self.dos_frequencies.tolist(), "states": self.dos.tolist()},
            "thermal": None if self.thermal is None else plain(vars(self.thermal)),
        }
        if with_group_velocities:
            q_points = self.phonopy.mesh.qpoints
            found["mesh_modes"] = {
                "q_points": q_points.tolist(),
                "weights": self.mesh_weights.tolist(),
                "frequencies": self.mesh_frequencies.tolist(),
                "group_velocities": self.group_velocities(q_points).tolist(),
            }
        return found

    def save(self, path: str | Path) -> None:
        """Write a ``phonopy.yaml`` with displacements and forces, which phonopy's own commands read."""
        self.phonopy.save(filename=str(path), settings={"force_sets": True, "displacements": True})


def phonons(
    atoms: Atoms,
    supercell_matrix: Sequence | np.ndarray | None = None,
    distance: float = 0.01,
    mesh: Sequence[int] = (20, 20, 20),
    *,
    min_length: float | None = None,
    symmetry: str | Atoms | None = None,
    relax_first: bool = True,
    force: bool = False,
    input_symprec: float = 1e-2,
    path: str | None = None,
    points: int = 200,
    is_symmetry: bool = True,
    is_plusminus: bool | str = "auto",
    primitive_matrix: str | np.ndarray = "auto",
    symprec: float = 1e-5,
    max_residual: float = 0.05,
    checkpoint: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PhononResult:
    """Phonons of ``atoms`` from forces in displaced supercells.

    Parameters
    ----------
    atoms: crystal with a calculator; not modified
    supercell_matrix: of ``atoms``' cell, three numbers or a 3×3 matrix. If neither it nor ``min_length`` is
        given, one with faces twice the model's interaction range apart, where that takes at most 512 atoms,
        else twice its cutoff; 10 Å for a calculator that does not say how far it reaches
    distance: length of a displacement, Å
    mesh: q-points for the density of states
    min_length: make a compact supercell whose opposite faces are at least that far apart, Å
    symmetry: averaging of the calculator over rotations: ``"crystal"`` for the point group of the relaxed
        crystal, or a scheme of :func:`ase_mlip.rotations.schemes.find_averaging`; None takes it as it is
    relax_first: make the symmetry within ``input_symprec`` exact and relax atoms and cell within it;
        otherwise ``atoms`` must be relaxed
    force: go on where the crystal is not relaxed, or went far in that
    input_symprec: tolerance for the symmetry of the crystal as given, Å; files give a few digits
    path: special points such as ``"GXU,KGL"``; None takes the lattice's standard path (seekpath)
    points: q-points along the path, about
    is_symmetry: displace only atoms that symmetry makes distinct, and make force constants obey it (symfc)
    is_plusminus: displace both ways; ``"auto"``: where symmetry does not make them equivalent
    primitive_matrix: phonopy's; ``"auto"`` finds the primitive cell
    symprec: tolerance for symmetry, Å
    max_residual: without ``relax_first``, refuse a structure with a larger force than this, eV/Å
    checkpoint: keep the forces of finished supercells in this .npz file, and take them from there
    progress: called as ``progress(done, total)`` after each supercell

    Warns
    -----
    UserWarning
        where ``relax_first`` changes the space group, and of a checkpoint that is not of this run
    SupercellWarning
        where displaced atoms feel their own images

    Raises
    ------
    StructureError
        for molecules, without calculator, with constraints, or for a structure that is not relaxed
    """
    require_positive(distance=distance, points=points)
    mesh = as_mesh(mesh)
    work = check_input(atoms, supercell_matrix, min_length)
    if path is not None:  # before the work
        crystal = new_phonopy(work, np.eye(3, dtype=int), primitive_matrix, symprec, is_symmetry)
        check_path(to_ase(crystal.primitive), path)
    relaxation = relaxed_within_symmetry(work, force, input_symprec) if relax_first else None
    calculator = averaged_calculator(work, symmetry, symprec)
    matrix = find_supercell(work, supercell_matrix, min_length, calculator)
    warn_if_small(work, matrix, calculator)
    calculation = new_phonopy(work, matrix, primitive_matrix, symprec, is_symmetry)
    calculation.generate_displacements(distance=distance, is_plusminus=is_plusminus)
    limit = np.inf if relax_first or force else max_residual
    started = time.perf_counter()
    residual, evaluations = compute_forces(calculation, calculator, limit, symprec, checkpoint, progress)
    seconds = time.perf_counter() - started

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
    progress: Callable[[int, int], None] | None,
) -> tuple[float, int]:
    """Fill in forces less those of the undisplaced supercell.

    Returns
    -------
    the largest force of the undisplaced supercell, eV/Å, and the number of evaluations
    """
    cells = [calculation.supercell, *calculation.supercells_with_displacements]
    done = Checkpoint(checkpoint, cells, calculator)
    for count, cell in enumerate(cells, start=1):
        if count > len(done.forces):
            done.add(*averaged_forces(to_ase(cell), calculator, symprec))
        if count == 1 and largest_force(done.forces[0]) > max_residual:
            raise StructureError(
                f"`phonons` needs a relaxed structure, expected forces below `max_residual={max_residual}` "
                f"eV/Å, got {largest_force(done.forces[0]):.4f} eV/Å; relax it first (`ase_mlip.relax`) or "
                "raise `max_residual`"
            )
        if progress is not None:
            progress(count, len(cells))
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
