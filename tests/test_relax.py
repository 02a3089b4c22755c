"""Relaxation against minima found by other means."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from scipy.optimize import minimize_scalar

from ase_mlip.errors import StructureError
from ase_mlip.relax import displacement_rms, relax


def distorted_copper() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    strain = np.array([[0.03, 0.004, 0.0], [0.004, -0.01, 0.002], [0.0, 0.002, 0.02]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    return atoms


@pytest.fixture(scope="module")
def lattice_constant() -> float:
    """EMT copper's, from a one-dimensional minimisation that knows nothing of forces and stresses."""

    def energy(a: float) -> float:
        atoms = bulk("Cu", a=a)
        atoms.calc = EMT()
        return atoms.get_potential_energy()

    return minimize_scalar(energy, bounds=(3.4, 3.8), method="bounded", options={"xatol": 1e-8}).x


@pytest.mark.parametrize("optimizer", ["FIRE", "LBFGS", "BFGS"])
def test_distorted_crystal_returns_to_the_lattice_constant(optimizer, lattice_constant):
    result = relax(distorted_copper(), fmax=1e-4, optimizer=optimizer, cell=True)
    assert result.converged
    assert result.fmax < 1e-4
    assert np.abs(result.stress).max() < 1e-4
    assert np.cbrt(result.atoms.get_volume()) == pytest.approx(lattice_constant, abs=2e-5)
    assert result.spacegroup_before[1e-2] == "P1 (1)"
    assert result.spacegroup_after[1e-2] == "Fm-3m (225)"


def test_the_input_is_not_modified():
    atoms = distorted_copper()
    positions, cell = atoms.positions.copy(), atoms.cell.array.copy()
    relax(atoms, steps=3, cell=True)
    assert np.array_equal(atoms.positions, positions)
    assert np.array_equal(atoms.cell.array, cell)


def test_the_record_has_one_entry_per_step_and_is_reported():
    seen = []
    result = relax(distorted_copper(), steps=4, cell=True, progress=lambda *row: seen.append(row))
    assert not result.converged
    assert result.steps == 4
    assert len(result.energies) == len(result.fmaxes) == len(result.volumes) == 5
    assert seen == list(zip(range(5), result.energies, result.fmaxes, strict=True))
    assert result.energy == result.energies[-1] < result.energies[0]


def test_cell_false_keeps_the_cell():
    atoms = distorted_copper()
    result = relax(atoms, fmax=1e-3)
    assert np.array_equal(result.atoms.cell.array, atoms.cell.array)
    assert result.stress is None
    assert result.volumes == []


def test_cell_volume_keeps_the_shape_and_shape_keeps_the_volume():
    atoms = distorted_copper()
    scaled = relax(atoms, fmax=1e-3, cell="volume").atoms.cell.array @ np.linalg.inv(atoms.cell.array)
    assert scaled == pytest.approx(np.eye(3) * scaled[0, 0], abs=1e-10)
    assert abs(scaled[0, 0] - 1.0) > 1e-3
    sheared = relax(atoms, fmax=1e-3, cell="shape")
    assert sheared.atoms.get_volume() == pytest.approx(atoms.get_volume(), rel=1e-10)
    assert np.abs(sheared.atoms.cell.array - atoms.cell.array).max() > 1e-2


def test_a_slab_keeps_its_vacuum():
    slab = fcc111("Cu", (2, 2, 3), a=3.7, vacuum=6.0, periodic=False)
    slab.calc = EMT()
    relaxed = relax(slab, fmax=0.02, cell=True).atoms
    assert relaxed.cell.lengths()[2] == pytest.approx(slab.cell.lengths()[2], abs=1e-10)
    assert relaxed.cell.lengths()[0] < slab.cell.lengths()[0] - 0.05


def test_molecules_relax_without_cell_and_are_refused_with_one():
    nitrogen = molecule("N2")
    nitrogen.rattle(0.05, seed=0)
    nitrogen.calc = EMT()
    result = relax(nitrogen, fmax=1e-3)
    assert result.converged
    assert set(result.spacegroup_after.values()) == {""}
    with pytest.raises(StructureError, match="use `cell=False`"):
        relax(nitrogen, cell=True)
    slab = fcc111("Cu", (1, 1, 2), vacuum=6.0, periodic=False)
    slab.calc = EMT()
    with pytest.raises(StructureError, match="needs a crystal"):
        relax(slab, cell="volume")


def test_unknown_choices_are_named():
    with pytest.raises(ValueError, match=r"`optimizer` must be one of FIRE.*`Newton`"):
        relax(distorted_copper(), optimizer="Newton")
    with pytest.raises(ValueError, match=r"`cell` must be one of.*'both'"):
        relax(distorted_copper(), cell="both")


class Diverging(Calculator):
    """Fine at first, NaN once the atoms have moved."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        moved = np.abs(self.atoms.positions[0]).max() > 1e-12
        self.results = {"energy": 0.0, "forces": np.full((len(self.atoms), 3), np.nan if moved else 1.0)}


def test_forces_that_stop_being_finite_end_the_run_with_an_error():
    atoms = bulk("Cu")
    atoms.calc = Diverging()
    with pytest.raises(StructureError, match="NaN or infinity"):
        relax(atoms, steps=10)


def test_displacement_ignores_strain_and_drift():
    first = bulk("Cu", cubic=True)
    second = first.copy()
    second.set_cell(second.cell.array * 1.05, scale_atoms=True)
    second.positions += 0.7
    assert displacement_rms(first, second) == pytest.approx(0.0, abs=1e-12)
    third = first.copy()
    third.positions[0, 0] += 0.4  # less its mean of 0.1: 0.3 once and -0.1 three times
    assert displacement_rms(first, third) == pytest.approx(np.sqrt((0.3**2 + 3 * 0.1**2) / 4))


def test_a_trajectory_holds_every_step(tmp_path):
    from ase.io import read

    result = relax(distorted_copper(), steps=3, trajectory=tmp_path / "run.traj")
    assert len(read(tmp_path / "run.traj", ":")) == len(result.energies)
