"""Harmonic lattice dynamics by finite displacements, over phonopy and any ASE calculator.

Conventions are phonopy's: frequencies in THz, imaginary ones as negative numbers; q-points in units of the
primitive cell's reciprocal vectors. A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.dft.kpoints import parse_path_string
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from .crystals import largest_force, require_crystal, space_group, with_calculator
from .errors import StructureError

IMAGINARY = -0.1  # THz; below it a mode counts as imaginary, above it as noise of an acoustic mode

THZ = 1000.0 * units.fs / (2.0 * np.pi)  # of an angular frequency in ASE's units, sqrt(eV/Å²/amu)


@dataclass
class BandStructure:
    """Frequencies along a path of special points.

    Attributes
    ----------
    q_points: [n, 3]
    distances: length along the path, 1/Å (without 2π), [n]
    frequencies: THz, [n, bands]
    segments: first and last index (exclusive) of each straight piece; between pieces a curve may be broken
    labels: distance and name of the special points; "U|K" where the path jumps
    """

    q_points: np.ndarray
    distances: np.ndarray
    frequencies: np.ndarray
    segments: list[tuple[int, int]]
    labels: list[tuple[float, str]]


@dataclass
class ThermalProperties:
    """Harmonic thermodynamics per primitive cell: temperatures in K, [n]; the rest phonopy's units.

    ``free_energy`` in kJ/mol, ``entropy`` and ``heat_capacity`` (constant volume) in J/K/mol, [n].
    """

    temperatures: np.ndarray
    free_energy: np.ndarray
    entropy: np.ndarray
    heat_capacity: np.ndarray


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
    thermal: None where modes are imaginary
    residual_force: largest force in the undisplaced supercell, eV/Å; it is subtracted from all others
    sum_rule_error: largest component of the raw force constants' sum over atoms, eV/Å^2
    n_displacements: supercells with a displacement that were evaluated
    space_group: as phonopy used it
    primitive: primitive cell
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
    thermal: ThermalProperties | None = field(repr=False)
    residual_force: float
    sum_rule_error: float
    n_displacements: int
    n_atoms_supercell: int
    supercell_matrix: np.ndarray
    distance: float
    mesh: tuple[int, int, int]
    space_group: str
    primitive: Atoms = field(repr=False)
    phonopy: Phonopy = field(repr=False)

    @property
    def stable(self) -> bool:
        """No imaginary mode on mesh or path."""
        return self.lowest_frequency >= IMAGINARY

    def frequencies_at(self, q_points: Sequence) -> np.ndarray:
        """Frequencies (THz, [n, bands]) at ``q_points`` [n, 3]."""
        return _frequencies(self.phonopy, q_points)

    def save(self, path: str | Path) -> None:
        """Write a ``phonopy.yaml`` with displacements and forces, which phonopy's own commands read."""
        self.phonopy.save(filename=str(path), settings={"force_sets": True, "displacements": True})


def phonons(
    atoms: Atoms,
    supercell_matrix: Sequence | np.ndarray = (2, 2, 2),
    distance: float = 0.01,
    mesh: Sequence[int] = (20, 20, 20),
    *,
    path: str | None = None,
    points: int = 200,
    is_symmetry: bool = True,
    is_plusminus: bool | str = "auto",
    primitive_matrix: str | np.ndarray = "auto",
    symprec: float = 1e-5,
    max_residual: float = 0.05,
    progress: Callable[[int, int], None] | None = None,
) -> PhononResult:
    """Phonons of ``atoms`` from forces in displaced supercells.

    Parameters
    ----------
    atoms: relaxed crystal with a calculator; not modified
    supercell_matrix: of ``atoms``' cell, three numbers or a 3×3 matrix
    distance: length of a displacement, Å
    mesh: q-points for the density of states
    path: special points such as ``"GXU,KGL"``; None takes the lattice's standard path (ASE)
    points: q-points along the path, about
    is_symmetry: displace only atoms that symmetry makes distinct, and make force constants obey it
    is_plusminus: displace both ways; ``"auto"``: where symmetry does not make them equivalent
    primitive_matrix: phonopy's; ``"auto"`` finds the primitive cell
    symprec: tolerance for symmetry, Å
    max_residual: refuse a structure with a larger force than this, eV/Å: it is not relaxed
    progress: called as ``progress(done, total)`` after each supercell

    Raises
    ------
    StructureError
        for molecules, without calculator, or for a structure that is not relaxed
    """
    work = with_calculator(atoms, "phonons")
    require_crystal(work, "phonons")
    with warnings.catch_warnings():
        # phonopy 4 warns that "auto" is its new default, also those who ask for it
        warnings.filterwarnings("ignore", message="primitive_matrix defaulted")
        calculation = Phonopy(
            _to_phonopy(work),
            supercell_matrix=_matrix(supercell_matrix),
            primitive_matrix=primitive_matrix,
            symprec=symprec,
            is_symmetry=is_symmetry,
        )
    calculation.generate_displacements(distance=distance, is_plusminus=is_plusminus)
    residual = _compute_forces(calculation, work.calc, max_residual, progress)

    calculation.produce_force_constants(show_drift=False)
    sum_rule_error = _sum_rule_error(calculation.force_constants)
    raw = _frequencies(calculation, [[0.0, 0.0, 0.0]])[0]
    if is_symmetry:
        calculation.produce_force_constants(fc_calculator="symfc", show_drift=False)
    return _analyse(calculation, path, points, tuple(mesh), residual, sum_rule_error, raw, distance)


def _compute_forces(calculation: Phonopy, calculator, max_residual: float, progress) -> float:
    """Fill in forces less those of the undisplaced supercell; the largest of the latter, eV/Å."""
    displaced = calculation.supercells_with_displacements
    total = len(displaced) + 1

    def forces(cell: PhonopyAtoms, done: int) -> np.ndarray:
        supercell = _to_ase(cell)
        supercell.calc = calculator
        result = supercell.get_forces()
        if progress is not None:
            progress(done, total)
        return result

    reference = forces(calculation.supercell, 1)
    residual = largest_force(reference)
    if residual > max_residual:
        raise StructureError(
            f"`phonons` needs a relaxed structure, expected forces below `max_residual={max_residual}` eV/Å, "
            f"got {residual:.4f} eV/Å; relax it first (`ase_mlip.relax`) or raise `max_residual`"
        )
    calculation.forces = np.array([forces(cell, 2 + i) - reference for i, cell in enumerate(displaced)])
    return residual


def _analyse(
    calculation: Phonopy,
    path: str | None,
    points: int,
    mesh: tuple[int, int, int],
    residual: float,
    sum_rule_error: float,
    raw: np.ndarray,
    distance: float,
) -> PhononResult:
    primitive = _to_ase(calculation.primitive)
    bands, special = _band_structure(calculation, primitive, path, points)
    calculation.run_mesh(list(mesh), is_gamma_center=True)
    grid = calculation.mesh
    calculation.run_total_dos()
    every_q = np.concatenate([grid.qpoints, bands.q_points])
    lowest_of_q = np.concatenate([grid.frequencies, bands.frequencies]).min(axis=1)
    lowest = int(np.argmin(lowest_of_q))
    thermal = thermal_properties(grid.frequencies, grid.weights, np.arange(0.0, 1001.0, 10.0))
    return PhononResult(
        gamma_frequencies=_frequencies(calculation, [[0.0, 0.0, 0.0]])[0],
        gamma_frequencies_raw=raw,
        special_frequencies=special,
        bands=bands,
        dos_frequencies=calculation.total_dos.frequency_points,
        dos=calculation.total_dos.dos,
        mesh_frequencies=grid.frequencies,
        mesh_weights=grid.weights,
        lowest_frequency=float(lowest_of_q[lowest]),
        lowest_q=every_q[lowest],
        thermal=thermal if lowest_of_q[lowest] >= IMAGINARY else None,
        residual_force=residual,
        sum_rule_error=sum_rule_error,
        n_displacements=len(calculation.supercells_with_displacements),
        n_atoms_supercell=len(calculation.supercell),
        supercell_matrix=np.array(calculation.supercell_matrix),
        distance=distance,
        mesh=mesh,
        space_group=space_group(_to_ase(calculation.unitcell), calculation.symmetry.tolerance),
        primitive=primitive,
        phonopy=calculation,
    )


def _band_structure(
    calculation: Phonopy, primitive: Atoms, path: str | None, points: int
) -> tuple[BandStructure, dict[str, np.ndarray]]:
    bandpath = primitive.cell.bandpath(path, npoints=0, pbc=True, eps=1e-3)
    special = bandpath.special_points
    reciprocal = primitive.cell.reciprocal()
    runs = [run for run in parse_path_string(bandpath.path) if len(run) > 1]
    pieces = [(start, end) for run in runs for start, end in zip(run[:-1], run[1:], strict=True)]
    lengths = [float(np.linalg.norm((special[end] - special[start]) @ reciprocal)) for start, end in pieces]
    q_points, distances, segments = [], [], []
    labels: list[tuple[float, str]] = []
    done = 0.0
    for (start, end), length in zip(pieces, lengths, strict=True):
        count = max(2, round(points * length / sum(lengths)) + 1)
        fractions = np.linspace(0.0, 1.0, count)
        first = sum(len(q) for q in q_points)
        q_points.append(special[start] + fractions[:, None] * (special[end] - special[start]))
        distances.append(done + fractions * length)
        segments.append((first, first + count))
        if not labels:
            labels.append((done, _pretty(start)))
        elif labels[-1][1] != _pretty(start):
            labels[-1] = (done, f"{labels[-1][1]}|{_pretty(start)}")
        done += length
        labels.append((done, _pretty(end)))
    path_q = np.concatenate(q_points)
    names = sorted({name for run in runs for name in run})
    at_special = _frequencies(calculation, [special[name] for name in names])
    bands = BandStructure(
        path_q, np.concatenate(distances), _frequencies(calculation, path_q), segments, labels
    )
    return bands, {_pretty(name): row for name, row in zip(names, at_special, strict=True)}


def thermal_properties(
    frequencies: np.ndarray, weights: np.ndarray, temperatures: np.ndarray
) -> ThermalProperties:
    """Harmonic oscillators' thermodynamics from frequencies (THz, [n, bands]) with weights [n].

    Modes below 0.05 THz are left out: acoustic modes at Γ, which carry no weight on a dense mesh.
    """
    weight = np.broadcast_to(weights[:, None] / weights.sum(), frequencies.shape)[frequencies > 0.05]
    quantum = 1e12 * units._hplanck * frequencies[frequencies > 0.05]  # J
    columns = []
    for temperature in temperatures:
        thermal = units._k * temperature
        x = np.minimum(quantum / thermal, 500.0) if temperature > 0.0 else np.full_like(quantum, 500.0)
        occupation = 1.0 / np.expm1(x)
        free = weight @ (0.5 * quantum + thermal * np.log1p(-np.exp(-x)))
        inner = weight @ (quantum * (0.5 + occupation))
        entropy = (inner - free) / temperature if temperature > 0.0 else 0.0
        columns.append((free, entropy, units._k * weight @ (x**2 * occupation * (1.0 + occupation))))
    free, entropy, capacity = units._Nav * np.array(columns).T
    return ThermalProperties(np.asarray(temperatures), free / 1000.0, entropy, capacity)


def _frequencies(calculation: Phonopy, q_points: Sequence) -> np.ndarray:
    # phonopy's own functions for this changed from version to version; this object has not
    dynamical = calculation.dynamical_matrix
    squares = []
    for q in np.asarray(q_points, dtype=float):
        dynamical.run(q)
        squares.append(np.linalg.eigvalsh(dynamical.dynamical_matrix))
    squares = np.array(squares)
    return THZ * np.sign(squares) * np.sqrt(np.abs(squares))


def _sum_rule_error(force_constants: np.ndarray) -> float:
    """Largest component of either sum over atoms of full force constants [N, N, 3, 3], eV/Å^2."""
    return float(max(np.abs(force_constants.sum(axis=axis)).max() for axis in (0, 1)))


def _matrix(supercell_matrix: Sequence | np.ndarray) -> np.ndarray:
    matrix = np.array(supercell_matrix)
    if matrix.shape == (3,):
        matrix = np.diag(matrix)
    integers = np.allclose(matrix, np.rint(matrix))
    if matrix.shape != (3, 3) or not integers or round(np.linalg.det(matrix)) == 0:
        raise StructureError(
            "`supercell_matrix` must be three integers or a regular 3×3 integer matrix, "
            f"got {supercell_matrix}"
        )
    return np.rint(matrix).astype(int)


def _to_phonopy(atoms: Atoms) -> PhonopyAtoms:
    return PhonopyAtoms(
        numbers=atoms.numbers,
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )


def _to_ase(cell: PhonopyAtoms) -> Atoms:
    return Atoms(
        numbers=cell.numbers,
        cell=cell.cell,
        scaled_positions=cell.scaled_positions,
        masses=cell.masses,
        pbc=True,
    )


def _pretty(name: str) -> str:
    return "Γ" if name == "G" else name
