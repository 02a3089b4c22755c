"""Relaxation against minima found by other means.

It also tests `result`.
"""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.io import read
from relax_cases import distorted_copper, lattice_constant

from ase_mlip.errors import ArgumentError, PrecisionWarning, StructureError
from ase_mlip.relaxation.relax import OPTIMIZERS, relax


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_distorted_crystal_returns_to_the_lattice_constant(optimizer):
    result = relax(distorted_copper(), fmax=1e-4, optimizer=optimizer, cell=True)
    assert result.converged
    assert result.fmax < 1e-4
    assert np.abs(result.stress).max() < 1e-4
    assert np.cbrt(result.atoms.get_volume()) == pytest.approx(lattice_constant(), abs=2e-5)
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
    words = [f"{e:.4f} eV, gradient {f:.1e}" for e, f in zip(result.energies, result.fmaxes, strict=True)]
    assert seen == [(step, 0, text) for step, text in enumerate(words)]
    assert result.energy == result.energies[-1] < result.energies[0]


def test_numpys_true_is_true():
    """As `cell=atoms.pbc.all()` gives it."""
    atoms = bulk("Cu", a=3.7)
    atoms.calc = EMT()
    found, same = (relax(atoms, cell=value, fmax=1e-3) for value in (atoms.pbc.all(), True))
    assert found.volume == same.volume and found.energies == same.energies
    with pytest.raises(ArgumentError, match="`cell` must be one of"):
        relax(atoms, cell=1)


def test_cell_false_keeps_the_cell():
    atoms = distorted_copper()
    result = relax(atoms, fmax=1e-3)
    assert np.array_equal(result.atoms.cell.array, atoms.cell.array)
    assert result.volumes == []
    copy = result.atoms.copy()
    copy.calc = EMT()
    assert result.stress == pytest.approx(copy.get_stress(), abs=1e-12)


class WithoutStress(EMT):
    implemented_properties = ("energy", "forces")


def test_a_stress_that_there_is_not_is_none():
    atoms = distorted_copper()
    atoms.calc = WithoutStress()
    assert relax(atoms, steps=1).stress is None
    dimer = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]], calculator=EMT())
    assert relax(dimer, steps=1).stress is None


def test_a_reference_of_other_atoms_is_refused():
    with pytest.raises(StructureError, match="`reference` expected the atoms of the structure, Cu, got Al"):
        relax(distorted_copper(), reference=bulk("Al"))


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
    with pytest.raises(ValueError, match=r"`crystal` is for `symmetrize=\"crystal\"`, got `symmetrize=None`"):
        relax(distorted_copper(), crystal=distorted_copper())
    with pytest.raises(ValueError, match=r"`smax=0.1` needs a cell"):
        relax(distorted_copper(), smax=0.1)


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
    with pytest.raises(StructureError, match=r"failed at step 1 of FIRE.*NaN or infinity"):
        relax(atoms, steps=10)


def test_a_trajectory_holds_every_step(tmp_path):
    result = relax(distorted_copper(), steps=3, trajectory=tmp_path / "run.traj")
    assert len(read(tmp_path / "run.traj", ":")) == len(result.energies)


def test_the_trajectory_stays_when_a_step_fails(tmp_path):
    atoms = bulk("Cu")
    atoms.calc = Diverging()
    with pytest.raises(StructureError):
        relax(atoms, steps=10, trajectory=tmp_path / "run.traj")
    assert np.array_equal(read(tmp_path / "run.traj", 0).positions, atoms.positions)


def test_the_stress_may_be_a_criterion_of_its_own():
    loose = relax(distorted_copper(), fmax=0.02, cell=True)
    tight = relax(distorted_copper(), fmax=0.02, smax=1e-6, cell=True)
    assert loose.converged and tight.converged
    assert np.abs(loose.stress).max() > 1e-5
    assert np.abs(tight.stress).max() < 1e-6
    assert tight.steps > loose.steps


def test_what_is_reported_of_the_end_is_what_the_calculator_finds_there():
    result = relax(distorted_copper(), steps=5, cell=True)
    atoms = result.atoms.copy()
    atoms.calc = EMT()
    assert result.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    assert result.forces == pytest.approx(atoms.get_forces(), abs=1e-10)
    assert result.stress == pytest.approx(atoms.get_stress(), abs=1e-10)
    assert result.volume == pytest.approx(abs(np.linalg.det(atoms.cell.array)))
    assert result.noise.rounding < 1e-10
    assert result.noise.anisotropy < 1e-10


def test_noise_above_fmax_is_a_warning_at_the_callers_line(pair_model_path):
    from ase_mlip import MLIPCalculator

    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=0)
    atoms.calc = MLIPCalculator(pair_model_path, dtype="float32")
    with pytest.warns(PrecisionWarning, match="float64") as caught:
        relax(atoms, fmax=1e-9, steps=1)
    assert caught[0].filename == __file__
    assert relax(atoms, fmax=1e-9, steps=1, check_noise=False).noise is None


def test_random_rotations_are_refused(pair_model_path):
    from ase_mlip import MLIPCalculator

    atoms = bulk("Si")
    atoms.calc = MLIPCalculator(pair_model_path, symmetrize="random 1")
    with pytest.raises(ArgumentError, match=r"`relax` needs an energy that depends on the structure only"):
        relax(atoms)
