"""The calculator among ASE's conventions, and in the programs that use it."""

import copy
import json
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.vibrations import Vibrations
from calculator_cases import ALL, count_evaluations, rattled_silica

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.errors import MLIPError

# ---- ASE's conventions -------------------------------------------------------------------------------------


def test_a_structure_is_evaluated_once(pair, anisotropic, monkeypatch):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair)
    calls = count_evaluations(atoms.calc, monkeypatch)
    atoms.get_potential_energy()
    atoms.get_potential_energies()
    atoms.get_forces()
    atoms.get_stress()
    assert calls == [["forces", "virial"]]
    atoms.get_stresses()
    atoms.get_forces()
    assert calls == [["forces", "virial"], ["forces", "virial", "virials"]]
    assert set(atoms.calc.results) == set(ALL)
    direct = MLIPCalculator(anisotropic, forces="direct")
    calls = count_evaluations(direct, monkeypatch)
    direct.get_property("stress", atoms)
    assert calls == [["direct_forces", "direct_stresses"]]


def test_results_are_kept_until_something_that_matters_changes(pair, monkeypatch):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair)
    calls = count_evaluations(atoms.calc, monkeypatch)
    assert atoms.calc.get_property("forces", atoms, allow_calculation=False) is None
    assert atoms.calc.calculation_required(atoms, ["energy"])
    assert not calls
    forces = atoms.get_forces()
    forces[:] = 0.0
    assert abs(atoms.get_forces()).max() > 0.1
    atoms.set_initial_charges(np.ones(8))
    atoms.set_initial_magnetic_moments(np.ones(8))
    atoms.get_forces()
    assert len(calls) == 1
    for change in ("positions", "cell", "pbc", "numbers"):
        before = atoms.get_potential_energy()
        if change == "positions":
            atoms.positions[0, 0] += 0.01
        elif change == "cell":
            atoms.cell[0, 0] += 0.01
        elif change == "pbc":
            atoms.pbc[2] = False
        else:
            atoms.numbers[0] = 8
        assert atoms.get_potential_energy() != before
    assert len(calls) == 5


def test_one_calculator_serves_several_structures(pair):
    shared = MLIPCalculator(pair)
    structures = [rattled_silica(1), bulk("Si"), molecule("Si2H6")[[0, 1]], rattled_silica(2)]
    for atoms in structures * 2:
        before = atoms.copy()
        atoms.calc = shared
        forces = atoms.get_forces()
        assert atoms == before
        atoms.calc = MLIPCalculator(pair)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-12)


def test_results_do_not_depend_on_how_the_atoms_got_there(pair):
    """The kept neighbour list gives what a new one gives."""
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair, skin=1.0)
    rng = np.random.default_rng(0)
    for _ in range(10):
        atoms.rattle(0.05, rng=rng)
        strain = np.eye(3) + 0.003 * rng.normal(size=(3, 3))
        atoms.set_cell(np.array(atoms.cell) @ strain, scale_atoms=True)
        fresh = atoms.copy()
        fresh.calc = MLIPCalculator(pair, skin=0.0)
        assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-11)
        np.testing.assert_allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-11)
        np.testing.assert_allclose(atoms.get_stress(), fresh.get_stress(), atol=1e-12)


@pytest.mark.parametrize(
    "cell", [None, np.ones((3, 3)), np.diag([5.0, 5.0, 0.0])], ids=["none", "flat", "2d"]
)
def test_stress_needs_a_volume(pair, cell):
    atoms = Atoms("Si2", [[0, 0, 0], [0, 0, 2.2]], cell=cell)
    atoms.calc = MLIPCalculator(pair)
    assert set(ALL) - set(atoms.calc.results) >= {"stress"}
    assert abs(atoms.get_forces()).max() > 0.01
    for name in ("stress", "stresses"):
        with pytest.raises(PropertyNotImplementedError, match=f"`{name}` needs three cell vectors"):
            atoms.calc.get_property(name, atoms)


def test_unknown_properties_and_options_are_refused(pair):
    calculator = MLIPCalculator(pair)
    with pytest.raises(PropertyNotImplementedError, match="`magmoms`: expected one of energy"):
        calculator.get_property("magmoms", rattled_silica())
    with pytest.raises(MLIPError, match="cannot change skin"):
        calculator.set(skin=1.0)
    with pytest.raises(MLIPError, match="`atoms`: expected a structure"):
        calculator.calculate()
    with pytest.raises(ValueError, match="`skin`"):
        MLIPCalculator(pair, skin=-1.0)


def test_calculate_without_properties_does_everything(pair):
    calculator = MLIPCalculator(pair)
    calculator.calculate(rattled_silica())
    assert set(calculator.results) == set(ALL)
    assert set(ALL) <= set(calculator.export_properties())
    SinglePointCalculator(rattled_silica(), **calculator.results)  # takes ASE's own properties only
    assert isinstance(calculator.results["energy"], float)


def test_options_are_plain_values_and_the_name_is_short(pair):
    calculator = MLIPCalculator(pair)
    record = json.loads(json.dumps(calculator.todict()))
    assert record == {
        "model": str(pair.path),
        "device": "cpu",
        "dtype": "float64",
        "forces": "conservative",
        "skin": 0.5,
        "symmetrize": "none",
        "kernel": "torch",
    }
    assert calculator.name == "mlip"
    assert MLIPCalculator(**record).todict() == record


@pytest.mark.parametrize("name", ["results.traj", "results.extxyz", "results.json"])
def test_results_survive_a_file(pair, tmp_path, name):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair)
    forces, energy, stress = atoms.get_forces(), atoms.get_potential_energy(), atoms.get_stress()
    write(tmp_path / name, atoms)
    again = read(tmp_path / name)
    np.testing.assert_allclose(again.get_forces(), forces, atol=1e-7)
    assert again.get_potential_energy() == pytest.approx(energy)
    np.testing.assert_allclose(again.get_stress(), stress, atol=1e-7)


def test_loaded_models_are_shared_and_other_precisions_loaded(pair):
    assert MLIPCalculator(pair).model is pair
    assert MLIPCalculator(pair, device="cpu", dtype="float64").model is pair
    other = MLIPCalculator(pair, dtype="float32").model
    assert other.dtype == torch.float32 and pair.dtype == torch.float64


def forces_of(atoms: Atoms) -> np.ndarray:
    torch.set_num_threads(1)
    return atoms.get_forces()


def test_a_calculator_pickles_with_its_results(pair):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair, skin=0.7)
    forces = atoms.get_forces()
    again = pickle.loads(pickle.dumps(atoms))
    assert again.calc.get_property("energy", again, allow_calculation=False) == atoms.get_potential_energy()
    assert again.calc.todict() == atoms.calc.todict()
    again.rattle(0.01, seed=5)
    atoms.rattle(0.01, seed=5)
    assert not np.array_equal(atoms.get_forces(), forces)
    np.testing.assert_allclose(again.get_forces(), atoms.get_forces(), atol=1e-12)


def test_a_deep_copy_is_independent_and_shares_the_weights(pair):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair)
    energy = atoms.get_potential_energy()
    other = copy.deepcopy(atoms)
    assert other.calc is not atoms.calc
    assert other.calc.model is atoms.calc.model
    other.rattle(0.1, seed=1)
    assert other.get_potential_energy() != energy
    assert atoms.calc.results["energy"] == energy


def test_calculators_work_in_other_processes(pair):
    structures = [rattled_silica(seed) for seed in range(3)]
    calculator = MLIPCalculator(pair)
    for atoms in structures:
        atoms.calc = calculator
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        results = pool.map(forces_of, structures)
    for atoms, forces in zip(structures, results, strict=True):
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-12)


# ---- programs that use it ----------------------------------------------------------------------------------


def test_optimisers_and_cell_filters_reach_a_minimum(pair):
    atoms = bulk("SiO", "zincblende", a=4.3)
    atoms.rattle(0.1, seed=0)
    atoms.calc = MLIPCalculator(pair)
    start = atoms.get_potential_energy()
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=200)
    assert atoms.get_potential_energy() < start
    assert abs(atoms.get_stress()).max() < 1e-3


def test_dynamics_conserve_the_energy_and_reuse_the_neighbour_list(pair):
    atoms = bulk("SiO", "zincblende", a=4.3, cubic=True)
    atoms.calc = MLIPCalculator(pair)
    width = np.sqrt(300 * units.kB / atoms.get_masses())[:, None]
    atoms.set_velocities(width * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
    energies = []
    for _ in range(20):
        dynamics.run(5)
        energies.append(atoms.get_total_energy())
    assert np.ptp(energies) < 2e-4 * len(atoms)
    assert atoms.calc._neighbors.rebuilds < 10


def test_vibrations_of_a_dimer_follow_from_its_curvature(pair, tmp_path):
    atoms = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]])
    atoms.calc = MLIPCalculator(pair)
    BFGS(atoms, logfile=None).run(fmax=1e-6, steps=100)

    def energy(stretch):
        stretched = atoms.copy()
        stretched.positions[1, 2] += stretch
        stretched.calc = MLIPCalculator(pair)
        return stretched.get_potential_energy()

    step = 1e-3
    curvature = (energy(step) - 2 * energy(0.0) + energy(-step)) / step**2
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"), delta=1e-3)
    vibrations.run()
    reduced_mass = atoms.get_masses()[0] / 2
    expected = (
        units._hbar * 1e10 * np.sqrt(units._e / units._amu) * np.sqrt(curvature / reduced_mass) / units._e
    )
    assert vibrations.get_energies()[-1].real == pytest.approx(expected, rel=1e-4)


def test_phonopy_finds_three_acoustic_modes(pair):
    phonopy = pytest.importorskip("phonopy")
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = bulk("SiO", "zincblende", a=4.3)
    atoms.calc = MLIPCalculator(pair)
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-5, steps=200)
    cell = PhonopyAtoms(
        symbols=atoms.symbols, cell=atoms.cell[:], scaled_positions=atoms.get_scaled_positions()
    )
    phonon = phonopy.Phonopy(cell, supercell_matrix=[2, 2, 2], primitive_matrix=np.eye(3))
    phonon.generate_displacements(distance=0.01)
    displaced = [
        Atoms(c.symbols, cell=c.cell, scaled_positions=c.scaled_positions, pbc=True)
        for c in phonon.supercells_with_displacements
    ]
    phonon.forces = [result["forces"] for result in MLIPCalculator(pair).evaluate(displaced)]
    phonon.produce_force_constants()
    phonon.dynamical_matrix.run([0, 0, 0])
    squares = np.linalg.eigvalsh(phonon.dynamical_matrix.dynamical_matrix)  # eV/Å²/amu
    assert abs(squares[:3]).max() < 1e-6  # the acoustic sum rule
    assert squares[3] > 0.01
