"""Replicas in step: each is its single run, whatever the others do; batches give the calculator's forces.

It also tests `calculators.batches.batch_evaluator`.
"""

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import CalculationFailed
from ase.calculators.emt import EMT

from ase_mlip import MLIPCalculator
from ase_mlip.calculators.batches.batch_evaluator import BatchEvaluator
from ase_mlip.dynamics.criteria import Criteria
from ase_mlip.dynamics.replicas import one_by_one, run_replicas
from ase_mlip.dynamics.thermostats import Thermostat
from ase_mlip.errors import MLIPError, StructureError
from ase_mlip.model_file.model import load_model
from ase_mlip.stability.runs import md_stability

FS = units.fs
LANGEVIN = Thermostat("langevin", 300.0, friction=20.0)
HOOVER = Thermostat("nose-hoover", 300.0, damping=0.02)
ANY = Criteria(bonds=False, temperature_factor=None)


LENGTHS = molecule("CH3CH2OH").get_all_distances()


def springs(positions):
    """Springs between all atoms of a molecule, computed for each replica alone."""
    away = positions[:, :, None] - positions[:, None]
    lengths = np.sqrt((away**2).sum(axis=-1))
    stretch = lengths - LENGTHS
    energies = np.array([0.5 * one.sum() for one in stretch**2])
    slopes = 2.0 * stretch / (lengths + np.eye(len(LENGTHS)))
    return energies, -(slopes[..., None] * away).sum(axis=2)


def starts(n):
    atoms = molecule("CH3CH2OH")
    found = []
    for seed in range(n):
        moved = atoms.copy()
        moved.rattle(0.02, seed=seed)
        found.append(moved)
    return found


def run(indices, thermostat, evaluate=springs, n=5, **options):
    arguments = {"temperature_K": 300.0, "criteria": ANY, "seeds": indices} | options
    given = [starts(n)[index] for index in indices]
    return run_replicas(given, evaluate, thermostat, 0.5 * FS, 60, **arguments)


def assert_equal(one, other):
    for name in ("steps", "positions", "potential_energies", "kinetic_energies", "conserved_energies"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert np.array_equal(one.atoms.get_momenta(), other.atoms.get_momenta())


@pytest.mark.parametrize("thermostat", [None, LANGEVIN, HOOVER])
def test_a_replica_is_its_single_run(thermostat):
    together = run([0, 1, 2, 3, 4], thermostat)
    for index in (0, 3):
        (alone,) = run([index], thermostat)
        assert_equal(together[index], alone)
    assert_equal(run([4, 3, 2], thermostat)[1], together[3])
    assert not np.array_equal(together[0].positions, together[1].positions)
    assert together[0].steps.tolist() == list(range(0, 61, 10))


@pytest.mark.parametrize("thermostat", [None, LANGEVIN, HOOVER])
def test_replicas_are_those_of_the_test_of_stability(thermostat):
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    expected = md_stability(
        atoms, temperature_K=600.0, timestep=2 * FS, time=80 * FS, replicas=3, thermostat=thermostat, seed=4
    )
    found = run_replicas([atoms] * 3, one_by_one(atoms), thermostat, 2 * FS, 40, temperature_K=600.0,
                         seeds=[4, 5, 6])  # fmt: skip
    for ours, theirs in zip(found, expected.replicas, strict=True):
        total = ours.potential_energies + ours.kinetic_energies
        assert total == pytest.approx(theirs.total_energies, abs=1e-10)
        assert ours.conserved_energies == pytest.approx(theirs.conserved_energies, abs=1e-10)
        assert ours.times == pytest.approx(theirs.times)
        assert ours.survived == pytest.approx(theirs.survived) and ours.failure is None


def failing(kind, after):
    """Springs that fail, after some evaluations, for a replica that is far from the others."""
    calls = []

    def evaluate(positions):
        calls.append(len(positions))
        energies, forces = springs(positions)
        far = (positions[:, 0, 0] > 50.0) & (len(calls) > after)
        if kind == "raise" and far.any():
            raise CalculationFailed("no energy for this one")
        energies[far] = np.nan if kind == "nan" else energies[far]
        forces[far] = np.nan if kind == "nan" else 1e9
        return energies, forces

    return evaluate, calls


@pytest.mark.parametrize(
    ("kind", "expected"), [("nan", "non-finite"), ("raise", "engine stopped"), ("throw", "lost atom")]
)
@pytest.mark.parametrize("thermostat", [None, LANGEVIN, HOOVER])
def test_a_replica_that_fails_ends_alone(thermostat, kind, expected):
    sound = run([0, 1, 2, 3, 4], thermostat)
    evaluate, calls = failing(kind, after=35)
    given = starts(5)
    given[2].positions += 100.0
    found = run_replicas(given, evaluate, thermostat, 0.5 * FS, 60, temperature_K=300.0, criteria=ANY)
    failure = found[2].failure
    if kind == "throw" and thermostat is HOOVER:
        expected = "non-finite"  # the chain is thrown before the atom is
    assert failure.kind == expected and failure.step == 40
    assert found[2].survived == pytest.approx(0.02) and found[2].steps.tolist() == [0, 10, 20, 30]
    assert np.isfinite(found[2].atoms.positions).all()
    for index in (0, 1, 3, 4):
        assert found[index].failure is None
        assert_equal(found[index], sound[index])
    assert calls[-1] == 4  # it is not evaluated any more


def test_all_end_once_enough_have_failed():
    limits = Criteria(bonds=False, bond_deviation=0.08, temperature_factor=None)
    whole = run([0, 1, 2, 3, 4], LANGEVIN, criteria=limits)
    times = sorted(replica.survived for replica in whole if replica.failure)
    assert len(times) >= 2
    stopped = run([0, 1, 2, 3, 4], LANGEVIN, criteria=limits, stop_fraction=0.2)
    assert max(replica.survived for replica in stopped) == pytest.approx(times[0])
    for ours, theirs in zip(stopped, whole, strict=True):
        assert np.array_equal(ours.positions, theirs.positions[: len(ours.positions)])


def test_starts_on_top_of_each_other_are_not_evaluated():
    given = starts(3)
    given[1].positions[1] = given[1].positions[0] + 0.1
    seen = []

    def evaluate(positions):
        seen.append(len(positions))
        return springs(positions)

    found = run_replicas(given, evaluate, None, 0.5 * FS, 10)
    assert found[1].failure.kind == "close contact" and found[1].failure.step == 0
    assert len(found[1].positions) == 0 and set(seen) == {2}
    alone = run_replicas([given[1]], evaluate, None, 0.5 * FS, 10)
    assert alone[0].survived == 0.0


def test_errors_at_the_start_and_wrong_input_are_the_users():
    def refusing(positions):
        raise StructureError("not these")

    with pytest.raises(StructureError, match="start 0: not these"):
        run_replicas(starts(2), refusing, None, FS, 10)
    other = starts(1) + [molecule("H2O")]
    for given, options, match in (
        (other, {}, "one system"),
        ([], {}, "`starts`"),
        (starts(1)[0], {}, "`starts`: expected a list"),
        (starts(2), {"seeds": [1]}, "`seeds`"),
        (starts(2), {"interval": 0}, "`interval`"),
        (starts(2), {"stop_fraction": 0.0}, "`stop_fraction`"),
    ):
        with pytest.raises(MLIPError, match=match):
            run_replicas(given, springs, None, FS, 10, **options)
    with pytest.raises(StructureError, match="needs a calculator"):
        one_by_one(starts(1)[0])


# ---- batches of a model --------------------------------------------------------------------------


def clusters(n=6):
    """Silicon, as molecules and as crystals."""
    atoms = bulk("Si", cubic=True)
    found = []
    for seed in range(n):
        moved = atoms.copy()
        moved.rattle(0.1, seed=seed)
        found.append(moved)
    return found


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("name", ["snnp-si", "random", "pair"])
@pytest.mark.parametrize("largest", [None, 2, 100])
def test_batches_have_the_calculators_energies_and_forces(
    name, periodic, largest, random_path, pair_model_path
):
    path = {"random": random_path, "pair": pair_model_path}.get(name, name)
    model = load_model(path, "cpu", "float64")
    calculator = MLIPCalculator(model)
    structures = clusters()
    for atoms in structures:
        atoms.pbc = periodic
    evaluate = BatchEvaluator(model, structures[0], largest=largest)
    positions = np.array([atoms.positions for atoms in structures])
    rng = np.random.default_rng(0)
    for n in (6, 6, 4, 6):  # with fewer replicas in between, and after moving by more than the skin
        found = evaluate(positions[:n])
        for row in range(n):
            structures[row].positions = positions[row]
            structures[row].calc = calculator
            assert found[0][row] == pytest.approx(structures[row].get_potential_energy(), abs=1e-9)
            assert found[1][row] == pytest.approx(structures[row].get_forces(), abs=1e-9)
        positions = positions + rng.normal(scale=0.08, size=positions.shape)


def test_direct_forces_and_averaging_are_the_calculators(random_path):
    model = load_model(random_path, "cpu", "float64")
    for options in ({"forces": "direct"}, {"symmetrize": "octahedral"}):
        calculator = MLIPCalculator(model, **options)
        structures = clusters(3)
        evaluate = BatchEvaluator(
            model, structures[0], averaging=calculator.averaging, forces=calculator.forces
        )
        energies, forces = evaluate(np.array([atoms.positions for atoms in structures]))
        expected = calculator.evaluate(structures)
        assert energies == pytest.approx([one["energy"] for one in expected], abs=1e-9)
        assert forces == pytest.approx(np.array([one["forces"] for one in expected]), abs=1e-9)


def test_a_replica_of_the_native_kernel_is_its_single_run():
    model = load_model("snnp-si", "cpu")
    given = clusters(5)
    for atoms in given:
        atoms.pbc = False

    def found(indices):
        evaluate = BatchEvaluator(model, given[0])
        return run_replicas([given[n] for n in indices], evaluate, LANGEVIN, FS, 40,
                            temperature_K=300.0, seeds=indices, criteria=ANY)  # fmt: skip

    together = found([0, 1, 2, 3, 4])
    assert_equal(together[3], found([3])[0])
    again = found([0, 1, 2, 3, 4])
    for one, other in zip(together, again, strict=True):
        assert_equal(one, other)


def test_what_a_batch_refuses_is_one_replica(pair_model_path):
    model = load_model(pair_model_path, "cpu", "float64")
    given = clusters(4)
    evaluate = BatchEvaluator(model, given[0])

    def colliding(positions):
        places = positions.copy()
        third = positions[:, 0, 0] > 50.0
        if colliding.calls > 12:
            places[third, 1] = places[third, 0]
        colliding.calls += 1
        return evaluate(places)

    colliding.calls = 0
    given[2].positions += 100.0
    found = run_replicas(given, colliding, None, FS, 40, temperature_K=300.0, criteria=ANY)
    assert [replica.failure is None for replica in found] == [True, True, False, True]
    assert found[2].failure.kind == "engine stopped" and found[2].failure.step == 20
    assert "distances of at least" in found[2].failure.detail
    with pytest.raises(StructureError, match="does not know"):
        BatchEvaluator(model, bulk("Cu"))
