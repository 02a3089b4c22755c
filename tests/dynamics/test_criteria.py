"""Each way to be unstable, on frames made for it; and what is not one."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule

from ase_mlip.dynamics.criteria import KINDS, Criteria, Frame, Monitor, first_failure, temperature
from ase_mlip.errors import MLIPError, StructureError


def frame(positions, step=1, potential=0.0, kinetic=0.0):
    return Frame(step, 0.001 * step, np.asarray(positions, dtype=float), potential, kinetic)


def kind(atoms, positions, criteria=None, **energies):
    failure = Monitor(atoms, criteria, 300.0).check(frame(positions, **energies))
    assert failure is None or failure.kind in KINDS
    return None if failure is None else failure.kind


@pytest.fixture
def water():
    return molecule("H2O")  # O, H, H


def moved(atoms, index, to):
    positions = atoms.positions.copy()
    positions[index] = to
    return positions


def test_the_start_itself_is_stable(water):
    assert kind(water, water.positions) is None
    assert kind(bulk("Cu"), bulk("Cu").positions) is None


def test_nan_and_infinity_are_named(water):
    assert kind(water, moved(water, 1, [0, np.nan, 0])) == "non-finite"
    assert kind(water, water.positions, potential=np.inf) == "non-finite"


def test_an_atom_that_left_is_lost(water):
    monitor = Monitor(water)
    assert monitor.check(frame(moved(water, 2, [0, 0, 30.0]))).kind == "lost atom"
    assert monitor.lost_atoms == 1
    assert kind(water, moved(water, 2, [0, 0, 1e9])) == "lost atom"


def test_an_atom_thrown_through_a_crystal_is_lost():
    atoms = bulk("Cu", cubic=True).repeat(3)
    far = atoms.positions[5] + atoms.cell[0]  # an image of its own place
    assert kind(atoms, moved(atoms, 5, far)) == "lost atom"
    slow = Frame(1000, 100.0, moved(atoms, 5, far), 0.0, 0.0)  # 10.8 Å in 100 ps
    assert Monitor(atoms, temperature_K=300.0).check(slow) is None


def test_atoms_that_are_alone_at_the_start_are_not_lost():
    gas = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 20.0]])
    assert kind(gas, gas.positions) is None
    assert kind(Atoms("Ar"), [[5.0, 0, 0]]) is None


def test_two_atoms_too_close(water):
    toward = water.positions[0] + 0.4 * (water.positions[1] - water.positions[0])
    failure = Monitor(water).check(frame(moved(water, 1, toward)))
    assert failure.kind == "close contact"
    # half of 0.66 + 0.31 Å; 0.4 of 0.9686 Å
    assert failure.detail == "O0 and H1 at 0.387 Å, allowed 0.485 Å"


def test_an_atom_too_close_to_its_own_image():
    atoms = Atoms("Cu", cell=[3.0, 3.0, 3.0], pbc=True)
    squeezed = Frame(1, 0.001, np.zeros((1, 3)), cell=np.diag([1.2, 3.0, 3.0]))
    assert Monitor(atoms).check(squeezed).kind == "close contact"


def test_an_absolute_distance_holds_as_well(water):
    assert kind(water, water.positions, Criteria(min_distance_absolute=1.0)) == "close contact"
    assert kind(water, water.positions, Criteria(min_distance_absolute=0.9)) is None


def test_a_stretched_bond_is_broken(water):
    bond = water.positions[1] - water.positions[0]
    assert kind(water, moved(water, 1, water.positions[0] + 1.49 * bond)) is None
    assert kind(water, moved(water, 1, water.positions[0] + 1.51 * bond)) == "broken bond"


def test_a_bond_fails_by_its_length_or_by_its_change(water):
    """The bond is 0.9686 Å long at the start."""
    bond = water.positions[1] - water.positions[0]
    unit = bond / np.linalg.norm(bond)
    longer, shorter = (moved(water, 1, water.positions[1] + change * unit) for change in (0.55, -0.35))
    within = moved(water, 1, water.positions[1] + 0.45 * unit)
    change = Criteria(bond_deviation=0.5)
    failure = Monitor(water, change).check(frame(longer))
    assert failure.kind == "bond length"
    assert failure.detail == "O0-H1 at 1.519 Å, 0.969 Å at the start, allowed a change of 0.5 Å"
    assert kind(water, within, change) is None
    assert kind(water, shorter, Criteria(bond_deviation=0.3)) == "bond length"
    assert kind(water, longer, Criteria(bond_length=1.5)) == "bond length"
    both = Monitor(water, Criteria(bond_length=1.6, bond_deviation=0.5)).check(frame(longer))
    assert both.detail.endswith("allowed at most 1.6 Å and a change of 0.5 Å")


def test_limits_on_bond_lengths_take_the_place_of_the_factor(water):
    bond = water.positions[1] - water.positions[0]
    stretched = moved(water, 1, water.positions[0] + 1.7 * bond)  # 1.65 Å
    monitor = Monitor(water, Criteria(bond_length=2.0))
    assert monitor.check(frame(stretched)) is None and monitor.broken_bonds == 1
    assert kind(water, stretched, Criteria(bond_length=2.0, bonds=True)) == "broken bond"
    crystal = bulk("Si", cubic=True)
    apart = moved(crystal, 0, crystal.positions[0] - [0.4] * 3)
    assert kind(crystal, apart, Criteria(bond_deviation=0.5)) == "bond length"  # whatever the boundaries


def test_a_new_bond_is_formed(water):
    other = water.positions[2] + [0.0, 0.65, 0.0]  # 0.65 Å < 1.1 * 0.62 Å
    near_oxygen = Criteria(bond_stretch=10.0)
    assert kind(water, moved(water, 1, other), near_oxygen) == "formed bond"


def test_bonds_of_crystals_are_counted_but_are_no_failure():
    atoms = bulk("Si", cubic=True)
    monitor = Monitor(atoms)
    positions = moved(
        atoms, 0, atoms.positions[0] + [1.3, -1.3, -1.3]
    )  # away from one of its four neighbours
    assert monitor.check(frame(positions)) is None or monitor.failure.kind == "close contact"
    assert monitor.broken_bonds >= 1
    assert kind(atoms, moved(atoms, 0, atoms.positions[0] - [0.65] * 3)) is None
    assert (
        kind(atoms, moved(atoms, 0, atoms.positions[0] - [0.75] * 3), Criteria(bonds=True)) == "broken bond"
    )


def test_bonds_follow_atoms_through_the_boundary():
    atoms = bulk("Si", cubic=True)
    monitor = Monitor(atoms, Criteria(bonds=True))
    for step in range(1, 6):
        assert monitor.check(frame(atoms.positions + step * np.array([1.9, 0.7, -2.3]), step)) is None
    assert (monitor.broken_bonds, monitor.formed_bonds) == (0, 0)
    assert monitor.min_distance == pytest.approx(5.43 * np.sqrt(3) / 4)


def test_temperature_is_bounded(water):
    hot = 0.5 * 6 * units.kB * 1600.0
    assert temperature(hot, 3) == pytest.approx(1600.0)
    assert kind(water, water.positions, kinetic=hot) == "temperature"
    assert kind(water, water.positions, kinetic=0.9 * hot) is None
    assert kind(water, water.positions, Criteria(temperature_factor=None), kinetic=hot) is None


def test_temperature_is_judged_by_the_present_target(water):
    hot = 0.5 * 6 * units.kB * 4000.0
    # of six degrees of freedom, one canonical record of a billion is hotter than 8.89 times the target
    for target, found in ((445.0, "temperature"), (455.0, None)):
        heated = Frame(1, 0.001, water.positions, 0.0, hot, target_K=target, conserved_energy=0.0)
        failure = Monitor(water, temperature_K=10.0).check(heated)
        assert (failure and failure.kind) == found


def test_canonical_fluctuations_of_few_atoms_are_no_failure():
    """Two atoms have three degrees of freedom; one record of 500 is hotter than five times the target."""
    atoms = Atoms("N2", positions=[[0, 0, 0], [0, 0, 1.1]])
    kinetic = 0.5 * units.kB * 300.0 * np.random.default_rng(0).chisquare(3, 5000)
    assert kinetic.max() > 5.0 * 1.5 * units.kB * 300.0
    frames = [
        Frame(n, 0.01 * n, atoms.positions, 0.0, energy, target_K=300.0) for n, energy in enumerate(kinetic)
    ]
    assert first_failure(atoms, frames) is None


def test_with_a_thermostat_the_energy_that_may_not_jump_is_the_conserved_one(water):
    def frames(conserved):
        for step, energy in enumerate(conserved):
            yield Frame(step, 0.001 * step, water.positions, 3.0 * step, 0.0, None, 300.0, energy)

    assert first_failure(water, frames([0.0, 0.1, 0.2])) is None
    failure = first_failure(water, frames([0.0, 0.1, 0.3]))
    assert (failure.kind, failure.step) == ("energy jump", 2)
    assert first_failure(water, frames([None, None, None])) is None  # what is not known is not asked
    assert first_failure(water, frames([0.0, np.nan])).kind == "non-finite"


def test_what_an_engine_refused_may_have_a_name(water):
    for positions, found in ((None, "engine stopped"), (water.positions, "engine stopped"),
                             (np.full((3, 3), np.nan), "non-finite")):  # fmt: skip
        monitor = Monitor(water)
        failure = monitor.stop(10, 0.01, "engine stopped", "no energy", positions)
        assert failure == monitor.failure and (failure.kind, failure.step) == (found, 10)


def test_a_jump_of_the_total_energy_counts_not_a_drift(water):
    energies = 3 * np.array([0.0, 0.04, 0.08, 0.12, 0.18])  # eV
    frames = [frame(water.positions, step, potential=energy) for step, energy in enumerate(energies)]
    failure = first_failure(water, iter(frames), temperature_K=300.0)
    assert (failure.kind, failure.step, failure.time_ps) == ("energy jump", 4, 0.004)
    assert first_failure(water, frames[:4], temperature_K=300.0) is None
    assert first_failure(water, frames, Criteria(energy_jump=None), 300.0) is None


def test_frames_after_the_failure_are_not_read(water):
    def frames():
        yield frame(water.positions)
        yield frame(np.full((3, 3), np.nan), 2)
        raise AssertionError("read on")

    assert first_failure(water, frames()).step == 2


def test_the_first_failure_is_kept(water):
    monitor = Monitor(water)
    monitor.check(frame(np.full((3, 3), np.nan), 5))
    monitor.check(frame(moved(water, 2, [0, 0, 30.0]), 6))
    assert monitor.failure.step == 5


def test_impossible_criteria_are_refused():
    with pytest.raises(MLIPError, match=r"`Criteria.bond_stretch`: expected a positive number"):
        Criteria(bond_stretch=-1.0)
    with pytest.raises(MLIPError, match=r"`Criteria.bond_length`: expected a positive number"):
        Criteria(bond_length=0.0)
    with pytest.raises(MLIPError, match=r"`Criteria.bonds`"):
        Criteria(bonds="sometimes")
    with pytest.raises(StructureError, match="at least one atom"):
        Monitor(Atoms())
