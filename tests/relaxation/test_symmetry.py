"""The filter's forces are derivatives, also far from the cell it measures from; no step rotates the cell."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from scipy.linalg import expm, polar
from scipy.spatial.transform import Rotation

from ase_mlip.crystals import space_group
from ase_mlip.errors import StructureError
from ase_mlip.relaxation.symmetry import align, refined, rotation_free_filter


def strained() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    strain = np.array([[0.06, 0.03, 0.0], [0.03, -0.04, 0.02], [0.0, 0.02, 0.03]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.05, seed=0)
    atoms.calc = EMT()
    return atoms


def rotation_angle(before: np.ndarray, after: np.ndarray) -> float:
    """By how much the deformation between two cells rotates, rad."""
    rotation, _ = polar(np.linalg.solve(before, after).T)
    return Rotation.from_matrix(rotation).magnitude()


def test_forces_on_the_cell_are_the_derivatives_along_symmetric_strains():
    atoms = strained()
    target = rotation_free_filter(atoms, bulk("Cu", cubic=True).cell.array)
    forces = target.get_forces()
    start = target.get_positions()
    for i, j in ((0, 0), (1, 2), (0, 1)):
        energies = []
        for sign in (1.0, -1.0):
            moved = start.copy()
            moved[4 + i, j] += sign * 1e-4
            if i != j:
                moved[4 + j, i] += sign * 1e-4
            target.set_positions(moved)
            energies.append(atoms.get_potential_energy())
        found = forces[4 + i, j] + (forces[4 + j, i] if i != j else 0.0)
        assert found == pytest.approx(-(energies[0] - energies[1]) / 2e-4, abs=1e-6)
        target.set_positions(start)


def test_forces_follow_the_atoms_although_they_are_kept():
    atoms = strained()
    target = rotation_free_filter(atoms, None)
    first = target.get_forces()
    first[:] = 0.0  # the caller's own copy
    assert np.abs(target.get_forces()).max() > 0.1
    atoms.positions[0, 0] += 0.1
    fresh = rotation_free_filter(atoms, None)
    fresh_forces, forces = fresh.get_forces(), target.get_forces()
    assert forces == pytest.approx(fresh_forces, abs=1e-12)


def test_only_without_the_antisymmetric_part_the_cell_keeps_its_orientation():
    reference = bulk("Cu", cubic=True).cell.array
    angles = {}
    for name in ("ase", "ours"):
        atoms = strained()
        if name == "ours":
            target = rotation_free_filter(atoms, reference)
        else:
            cell = atoms.cell.array.copy()
            atoms.set_cell(reference)
            target = FrechetCellFilter(atoms)
            atoms.set_cell(cell)
        BFGS(target, logfile=None).run(fmax=1e-3, steps=100)
        angles[name] = rotation_angle(reference, atoms.cell.array)
    assert angles["ours"] < 1e-10
    assert angles["ase"] > 1e-6


def test_refining_keeps_orientation_and_order():
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    rotation = Rotation.from_rotvec([0.3, 0.2, -0.5]).as_matrix()
    atoms.set_cell(atoms.cell.array @ rotation.T, scale_atoms=True)
    exact = atoms.copy()
    atoms.rattle(1e-3, seed=0)
    result = refined(atoms, 1e-2)
    assert space_group(result, 1e-7) == "Fm-3m (225)"
    assert result.cell.array == pytest.approx(exact.cell.array, abs=5e-3)
    assert np.array_equal(result.numbers, atoms.numbers)
    assert np.abs(result.positions - atoms.positions).max() < 5e-3


def test_alignment_removes_the_rotation_and_finds_the_supercell():
    crystal = bulk("Cu")
    stretch = expm(np.array([[0.02, 0.01, 0.0], [0.01, -0.01, 0.0], [0.0, 0.0, 0.03]]))
    rotation = Rotation.from_rotvec([0.0, 0.1, 0.05]).as_matrix()
    atoms = crystal * (2, 1, 1)
    atoms.set_cell(atoms.cell.array @ (rotation @ stretch).T, scale_atoms=True)
    distances = atoms.get_all_distances(mic=True)
    cell = align(atoms, crystal)
    assert cell == pytest.approx(crystal.cell.array * [[2], [1], [1]])
    assert atoms.cell.array == pytest.approx(cell @ stretch, abs=1e-12)
    assert atoms.get_all_distances(mic=True) == pytest.approx(distances)


def test_swapped_cell_vectors_are_no_reflection():
    crystal = bulk("Cu", cubic=True)
    crystal.set_cell([3.6, 3.7, 3.8], scale_atoms=True)
    atoms = crystal.copy()
    atoms.set_cell(crystal.cell.array[[1, 0, 2]], scale_atoms=False)
    assert align(atoms, crystal) == pytest.approx(crystal.cell.array[[1, 0, 2]])
    assert atoms.positions == pytest.approx(crystal.positions)


def test_another_lattice_is_refused():
    with pytest.raises(StructureError, match="strained cell or supercell"):
        align(bulk("Cu", cubic=True), bulk("Fe", cubic=True))
