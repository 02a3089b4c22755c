"""``results`` holds ASE's properties, the same ones for every model and kernel; ``diagnostics`` the rest."""

import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.mep import DimerControl, MinModeAtoms

from ase_mlip import Ensemble, MLIPCalculator, SymmetrizedCalculator

ENERGIES = {"energy", "free_energy", "energies"}
KINDS = {
    "pet": lambda **given: MLIPCalculator("pet-si", **given),
    "native": lambda **given: MLIPCalculator("snnp-si", kernel="native", **given),
    "torch": lambda **given: MLIPCalculator("snnp-si", kernel="torch", **given),
    "averaged": lambda **given: MLIPCalculator("pet-si", symmetrize="octahedral", **given),
    "auto": lambda **given: MLIPCalculator("pet-si", symmetrize="auto", tolerance=1.0, **given),
    "committee": lambda **given: Ensemble.from_files(["snnp-si", "pet-si"], **given),
    "mixed": lambda **given: Ensemble(
        [MLIPCalculator("snnp-si", **given), SymmetrizedCalculator(MLIPCalculator("pet-si", **given), "none")]
    ),
    "rotated": lambda **given: SymmetrizedCalculator(
        MLIPCalculator("snnp-si", **given), bulk("Si"), check_lattice=False
    ),
}
SPREADS = {"energy_spread", "forces_spread", "stress_spread"}
DEVIATIONS = {"energy_deviation", "forces_deviation", "stress_deviation"}
DIAGNOSTICS = {
    "native": {"extrapolating"},
    "torch": {"extrapolating"},
    "averaged": SPREADS,
    "committee": DEVIATIONS | {"extrapolating"},
    "mixed": DEVIATIONS | {"extrapolating"},
    "rotated": SPREADS,
}

every_kind = pytest.mark.parametrize("kind", KINDS)
with_evaluate = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("rotated", "mixed")])


def silicon(seed: int = 1) -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def made():
    """One calculator of each kind."""
    return {}


@pytest.fixture
def atoms(kind, made) -> Atoms:
    if kind not in made:
        made[kind] = KINDS[kind](device="cpu", dtype="float64")
    made[kind].reset()
    atoms = silicon()
    atoms.calc = made[kind]
    return atoms


@every_kind
@pytest.mark.parametrize("first", ["energy", "forces", "stress", "energies"])
def test_what_a_calculation_leaves_does_not_depend_on_what_was_asked_for(atoms, first):
    atoms.calc.get_property(first, atoms)
    assert set(atoms.calc.results) == ENERGIES | {"forces", "stress"}
    forces = atoms.calc.results["forces"]
    np.testing.assert_array_equal(atoms.get_forces(), forces)


@every_kind
def test_a_molecule_has_forces_and_no_stress(atoms):
    atoms.set_cell(None)
    atoms.pbc = False
    atoms.get_potential_energy()
    assert set(atoms.calc.results) == ENERGIES | {"forces"}


@every_kind
def test_ase_takes_the_results(atoms):
    atoms.get_potential_energy()
    results = atoms.calc.results
    assert set(results) <= set(all_properties)
    stored = SinglePointCalculator(atoms, **results)
    assert stored.get_property("energy", atoms) == results["energy"]
    properties = atoms.get_properties(["energy", "forces", "stress"])
    np.testing.assert_array_equal(properties["forces"], results["forces"])
    assert properties["energy"] == results["energy"]
    assert set(results) <= set(atoms.calc.export_properties())


@every_kind
def test_a_file_written_after_the_energy_has_forces_and_stress(atoms, tmp_path):
    energy = atoms.get_potential_energy()
    write(tmp_path / "frame.xyz", atoms)
    again = read(tmp_path / "frame.xyz")
    assert again.get_potential_energy() == pytest.approx(energy, abs=1e-7)
    np.testing.assert_allclose(again.get_forces(), atoms.get_forces(), atol=1e-7)
    np.testing.assert_allclose(again.get_stress(), atoms.get_stress(), atol=1e-7)
    assert set(again.arrays) == {"numbers", "positions"}


@every_kind
def test_the_barrier_of_a_dimer_search_is_an_energy_difference(atoms):
    """ASE keeps the start's energy only where energy and forces are there already."""
    start = atoms.get_potential_energy()
    with DimerControl(logfile=None, eigenmode_logfile=None) as control:
        search = MinModeAtoms(atoms, control, eigenmodes=[np.ones((8, 3)) / np.sqrt(24)])
        search.displace(0.03 * np.eye(8, 3), mask=[True] * 8, method="vector", log=False)
        barrier = search.get_barrier_energy()
    moved = silicon()
    moved.positions += 0.03 * np.eye(8, 3)
    moved.calc = atoms.calc
    assert barrier == pytest.approx(moved.get_potential_energy() - start, abs=1e-12)
    assert abs(barrier) > 1e-6


@every_kind
def test_diagnostics_are_those_of_the_last_calculation(atoms, kind):
    calculator = atoms.calc
    assert calculator.diagnostics == {}
    atoms.get_potential_energy()
    first = dict(calculator.diagnostics)
    assert set(first) == DIAGNOSTICS.get(kind, set())
    for name, value in first.items():
        shape = {"energy": (), "stress": (6,)}.get(name.partition("_")[0], (8,))
        assert np.shape(value) == shape and isinstance(value, np.ndarray if shape else float)
    again = pickle.loads(pickle.dumps(calculator))
    np.testing.assert_equal(again.diagnostics, first)
    other = silicon(seed=2)
    other.calc = calculator
    other.get_potential_energy()
    assert calculator.diagnostics.keys() == first.keys()
    changed = [name for name in first if name != "extrapolating"]
    assert all(np.any(calculator.diagnostics[name] != first[name]) for name in changed)
    calculator.reset()
    assert calculator.diagnostics == {} and calculator.results == {}


@with_evaluate
def test_many_structures_give_diagnostics_when_asked(atoms):
    calculator = atoms.calc
    (plain,) = calculator.evaluate([atoms], ["energy", "forces", "stress"])
    SinglePointCalculator(atoms, **plain)
    (found,) = calculator.evaluate([atoms], ["energy", "forces", "stress", "diagnostics"])
    calculator.calculate(atoms)
    assert found["diagnostics"].keys() == calculator.diagnostics.keys()
    for name, value in calculator.diagnostics.items():
        np.testing.assert_allclose(found["diagnostics"][name], value, atol=1e-9, err_msg=name)
    (energy,) = calculator.evaluate([atoms], ["energy"])
    assert list(energy) == ["energy"]
