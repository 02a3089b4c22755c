"""Committees: means and deviations against their members', one by one; the file that dynamics write."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.stress import voigt_6_to_full_3x3_stress
from toy import AnisotropicNetwork, PairNetwork, export_toy

from ase_mlip import DeviationWriter, Ensemble, MLIPCalculator
from ase_mlip.calculators.ensemble import DeviationExceeded, combine
from ase_mlip.errors import MLIPError, StructureError

NAMES = ("energy", "free_energy", "energies", "forces", "stress", "stresses")
HEADER = "#       step         max_devi_v         min_devi_v         avg_devi_v"


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Three networks: two of a kind with a cutoff of 4 Å, and a pair potential with 3.5 Å."""
    folder = tmp_path_factory.mktemp("committee")
    networks = [AnisotropicNetwork([8, 14], 4.0, direct=True, seed=seed) for seed in (0, 1)]
    networks.append(PairNetwork([8, 14], 3.5))
    found = []
    for k, network in enumerate(networks):
        found.append(folder / f"member-{k}.pt")
        export_toy(found[-1], network)
    return found


def crystal(pbc=True) -> Atoms:
    atoms = bulk("SiO", "rocksalt", a=4.4, cubic=True)
    atoms.rattle(0.1, seed=3)
    atoms.pbc = pbc
    return atoms


def options(**changes) -> dict:
    return {"device": "cpu", "dtype": "float64", **changes}


def members_of(paths, atoms, **changes) -> dict[str, np.ndarray]:
    """Results of each member alone, stacked."""
    found = [MLIPCalculator(path, **options(**changes)).evaluate([atoms], NAMES)[0] for path in paths]
    return {name: np.array([results[name] for results in found]) for name in NAMES}


def test_results_are_the_means_of_the_members(paths):
    atoms = crystal()
    calculator = Ensemble.from_files(paths, **options())
    assert isinstance(calculator, Ensemble) and calculator.species == [8, 14]
    atoms.calc = calculator
    alone = members_of(paths, atoms)
    for name in NAMES:
        np.testing.assert_allclose(calculator.get_property(name, atoms), alone[name].mean(axis=0), atol=1e-12)
    assert atoms.get_potential_energy() == calculator.results["energy"]


def test_deviations_are_those_of_deepmd(paths):
    """Written out: the square root of the mean squared distance of a force from the members' mean."""
    atoms = crystal()
    calculator = Ensemble.from_files(paths, **options())
    alone = members_of(paths, atoms)
    expected = []
    for k in range(len(atoms)):
        of_atom = alone["forces"][:, k]
        expected.append(np.sqrt(np.mean([np.sum((f - of_atom.mean(axis=0)) ** 2) for f in of_atom])))
    calculator.calculate(atoms)
    found = calculator.diagnostics["forces_deviation"]
    assert found.shape == (8,) and found.min() > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    energy = calculator.diagnostics["energy_deviation"]
    assert isinstance(energy, float) and energy == pytest.approx(alone["energy"].std(), rel=1e-12)
    np.testing.assert_allclose(
        calculator.diagnostics["stress_deviation"], alone["stress"].std(axis=0), rtol=1e-10
    )


def test_forces_and_stress_are_derivatives_of_the_mean_energy(paths):
    calculator, atoms = Ensemble.from_files(paths, **options()), crystal()
    atoms.calc = calculator
    forces, stress = atoms.get_forces(), voigt_6_to_full_3x3_stress(atoms.get_stress())

    def energy(change) -> float:
        moved = atoms.copy()
        change(moved)
        return calculator.evaluate([moved], ["energy"])[0]["energy"]

    def slope(change) -> float:
        return (energy(lambda a: change(a, 1e-4)) - energy(lambda a: change(a, -1e-4))) / 2e-4

    def move(moved: Atoms, step: float) -> None:
        moved.positions[3, 1] += step

    def strain(moved: Atoms, step: float) -> None:
        deformation = np.eye(3)
        deformation[0, 1] += 0.5 * step
        deformation[1, 0] += 0.5 * step
        moved.set_cell(np.asarray(moved.cell) @ deformation, scale_atoms=True)

    assert forces[3, 1] == pytest.approx(-slope(move), abs=1e-6)
    assert stress[0, 1] == pytest.approx(slope(strain) / atoms.get_volume(), abs=1e-7)


def test_direct_forces(paths):
    atoms = crystal()
    calculator = Ensemble.from_files(paths[:2], **options(forces="direct"))
    alone = members_of(paths[:2], atoms, forces="direct")
    np.testing.assert_allclose(
        calculator.get_property("forces", atoms), alone["forces"].mean(axis=0), atol=1e-12
    )
    deviation = np.linalg.norm(alone["forces"][0] - alone["forces"][1], axis=1) / 2
    np.testing.assert_allclose(calculator.diagnostics["forces_deviation"], deviation, rtol=1e-12)


def test_a_molecule_has_no_stress(paths):
    calculator = Ensemble.from_files(paths, **options())
    molecule = Atoms("SiO", positions=[[0, 0, 0], [0, 0.2, 1.9]])
    calculator.calculate(molecule)
    assert "stress" not in calculator.results and "stress_deviation" not in calculator.diagnostics
    assert "forces_deviation" in calculator.diagnostics
    with pytest.raises(PropertyNotImplementedError):
        calculator.get_property("stress", molecule)


def test_many_structures(paths):
    structures = [crystal(), crystal(pbc=(True, True, False)), Atoms("Si", cell=[5, 5, 5], pbc=True)]
    calculator = Ensemble.from_files(paths, **options())
    assert all(sorted(found) == ["energy", "forces"] for found in calculator.evaluate(structures))
    results = calculator.evaluate(structures, ["energy", "forces", "diagnostics"])
    for atoms, found in zip(structures, results, strict=True):
        np.testing.assert_allclose(found["forces"], calculator.get_property("forces", atoms), atol=1e-12)
        diagnostics = found.pop("diagnostics")
        assert sorted(found) == ["energy", "forces"]
        assert sorted(diagnostics) == ["energy_deviation", "forces_deviation"]
        for name, deviation in diagnostics.items():
            np.testing.assert_allclose(deviation, calculator.diagnostics[name], atol=1e-12)


def test_members_with_the_same_cutoff_share_a_neighbour_list(paths):
    calculator = Ensemble.from_files(paths, **options())
    lists = [member._neighbors for member in calculator.members]
    assert lists[0] is lists[1] and lists[2] is not lists[0]
    atoms = crystal()
    for _ in range(3):
        atoms.rattle(0.01, seed=1)
        calculator.get_property("forces", atoms)
    assert lists[0].rebuilds == 1


def test_it_is_copied_and_pickled(paths):
    calculator, atoms = Ensemble.from_files(paths, **options()), crystal()
    calculator.calculate(atoms)
    expected = calculator.diagnostics["forces_deviation"]
    for other in (pickle.loads(pickle.dumps(calculator)), copy.deepcopy(calculator)):
        atoms.rattle(0.0)
        np.testing.assert_array_equal(other.diagnostics["forces_deviation"], expected)
        other.reset()
        assert other.diagnostics == {}
        other.calculate(atoms)
        np.testing.assert_allclose(other.diagnostics["forces_deviation"], expected, rtol=1e-12)


def test_any_calculators_may_be_members():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    members = [EMT(), LennardJones(sigma=2.3, epsilon=0.4, rc=6.0)]
    calculator = Ensemble(members)
    forces = [member.get_forces(atoms) for member in (EMT(), LennardJones(sigma=2.3, epsilon=0.4, rc=6.0))]
    np.testing.assert_allclose(calculator.get_property("forces", atoms), np.mean(forces, axis=0), atol=1e-12)
    assert calculator.species is None


# ---- a file while atoms move -------------------------------------------------------------------------------


def run_dynamics(paths, tmp_path, steps=4, interval=2, **settings):
    atoms = crystal()
    atoms.calc = Ensemble.from_files(paths, **options())
    dynamics = VelocityVerlet(atoms, timestep=0.1)
    frames = []
    writer = DeviationWriter(dynamics, tmp_path / "model_devi.out", **settings)
    dynamics.attach(lambda: frames.append(atoms.copy()), interval=interval)
    dynamics.attach(writer, interval=interval)
    dynamics.run(steps)
    return frames


def test_the_columns_are_those_of_deepmd(paths, tmp_path):
    frames = run_dynamics(paths, tmp_path)
    header, *lines = (tmp_path / "model_devi.out").read_text().splitlines()
    assert header.startswith(HEADER) and header.split()[-3:] == ["max_devi_f", "min_devi_f", "avg_devi_f"]
    rows = np.loadtxt(tmp_path / "model_devi.out")  # as DeePMD users read it
    assert rows[:, 0].tolist() == [0, 2, 4] and len(lines) == len(frames) == 3
    for row, atoms in zip(rows, frames, strict=True):
        alone = members_of(paths, atoms)
        forces = np.sqrt(((alone["forces"] - alone["forces"].mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
        virials = [-voigt_6_to_full_3x3_stress(s) * atoms.get_volume() / len(atoms) for s in alone["stress"]]
        virial = np.std(virials, axis=0)
        expected = [virial.max(), virial.min(), np.sqrt(np.mean(virial**2))]
        expected += [forces.max(), forces.min(), forces.mean()]
        np.testing.assert_allclose(row[1:], expected, rtol=1e-5)


def test_lines_are_as_wide_as_those_of_lammps(paths, tmp_path):
    run_dynamics(paths, tmp_path, steps=0)
    header, line = (tmp_path / "model_devi.out").read_text().splitlines()
    assert len(header) == len(line) == 12 + 6 * 19


def test_a_run_ends_above_the_threshold(paths, tmp_path):
    with pytest.raises(
        DeviationExceeded, match=r"step 0: .* atom \d deviate by .* `stop_above` = 0.001"
    ) as info:
        run_dynamics(paths, tmp_path, stop_above=1e-3)
    assert len((tmp_path / "model_devi.out").read_text().splitlines()) == 2  # with the line that ended it
    assert info.value.step == 0 and info.value.deviation > 1e-3
    assert len(run_dynamics(paths, tmp_path, stop_above=100.0)) == 3


def test_a_relaxation_without_a_cell_writes_too(paths, tmp_path):
    atoms = Atoms("SiO", positions=[[0, 0, 0], [0, 0.2, 1.9]])
    atoms.calc = Ensemble.from_files(paths, **options())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        relaxation = BFGS(atoms, logfile=None)
    path = tmp_path / "devi.txt"
    relaxation.attach(DeviationWriter(relaxation, path))
    relaxation.run(fmax=1e-9, steps=2)
    relaxation.attach(DeviationWriter(relaxation, path, append=True))
    rows = np.loadtxt(path)
    assert rows[:, 0].tolist() == [0, 1, 2] and not rows[:, 1:4].any() and rows[:, 4:].all()


# ---- what is refused ---------------------------------------------------------------------------------------


def test_what_is_no_committee(paths, tmp_path):
    with pytest.raises(MLIPError, match="expected one model, got 2 in a list; .* `Ensemble.from_files"):
        MLIPCalculator(paths[:2], **options())
    with pytest.raises(MLIPError, match="expected a list of models, got `pet-si`"):
        Ensemble.from_files("pet-si")
    with pytest.raises(MLIPError, match="at least two members, got 1"):
        Ensemble.from_files(paths[:1], **options())
    with pytest.raises(MLIPError, match="members 0 and 1 .* are the same, `.*member-0.pt`"):
        Ensemble.from_files([paths[0], paths[0]], **options())
    with pytest.raises(
        MLIPError, match="`forces` must be the same for all members, got conservative, direct"
    ):
        Ensemble([MLIPCalculator(paths[0], forces="direct"), MLIPCalculator(paths[1])])
    with pytest.raises(MLIPError, match="member 1 must be an ASE calculator, got str"):
        Ensemble([EMT(), "pet-si"])
    export_toy(tmp_path / "germanium.pt", PairNetwork([32], 4.0), reference_energies={})
    with pytest.raises(MLIPError, match="no element is known to all members .*germanium.pt`: Ge"):
        Ensemble.from_files([paths[0], tmp_path / "germanium.pt"], **options())


def test_an_element_that_one_member_does_not_know(paths, tmp_path):
    export_toy(tmp_path / "silicon.pt", PairNetwork([14], 4.0), reference_energies={})
    calculator = Ensemble.from_files([paths[0], tmp_path / "silicon.pt"], **options())
    assert calculator.species == [14]
    with pytest.raises(StructureError, match="member 1 .*silicon.pt`, does not know O; all members know Si"):
        calculator.get_property("energy", crystal())
    with pytest.raises(StructureError, match="does not know O"):
        calculator.evaluate([crystal()])
    with pytest.raises(MLIPError, match="`atoms`: expected a structure"):
        Ensemble.from_files(paths, **options()).calculate()


def test_the_writer_needs_a_committee(paths, tmp_path):
    atoms = crystal()
    atoms.calc = MLIPCalculator(paths[0], **options())
    with pytest.raises(
        MLIPError, match="`DeviationWriter` needs atoms with an `Ensemble`, got MLIPCalculator"
    ):
        DeviationWriter(VelocityVerlet(atoms, timestep=0.1), tmp_path / "x")
    atoms.calc = Ensemble.from_files(paths, **options())
    with pytest.raises(MLIPError, match="`stop_above` must be positive or None, got -1"):
        DeviationWriter(VelocityVerlet(atoms, timestep=0.1), tmp_path / "x", stop_above=-1)


def test_results_that_not_all_members_have_are_left_out():
    means, diagnostics = combine([{"energy": 1.0, "forces": np.zeros((1, 3))}, {"energy": 3.0}])
    assert means == {"energy": 2.0} and diagnostics == {"energy_deviation": 1.0}
