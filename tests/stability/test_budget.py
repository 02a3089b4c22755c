"""A minute of dynamics: its length follows the calculator's speed, its verdict the definition of unstable."""

import json
import time

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from ase_mlip.stability import budget as md_budget
from ase_mlip.stability.budget import (
    affordable_dynamics,
    calmest,
    default_timestep,
    seconds_per_step,
    verdict,
)


class Slow(EMT):
    """EMT that takes a known time."""

    def calculate(self, *args, **kwargs):
        time.sleep(0.02)
        super().calculate(*args, **kwargs)


class Collapsing(Calculator):
    """Atoms attract each other without end: what a hole in a potential does."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        vectors = atoms.positions[:, None] - atoms.positions[None]
        square = (vectors**2).sum(axis=2) + np.eye(len(atoms))
        energy = -40.0 * (1.0 / square * (1 - np.eye(len(atoms)))).sum() / 2
        forces = -(80.0 * vectors / square[..., None] ** 2).sum(axis=1)
        self.results = {"energy": energy, "forces": forces}


def copper(calculator):
    atoms = bulk("Cu", cubic=True, a=3.6)
    atoms.calc = calculator
    return atoms


def test_length_follows_the_time_of_an_evaluation():
    result = affordable_dynamics(copper(Slow()), seconds=1.0, replicas=2)
    steps = round(result.time / 0.001)
    assert 10 <= steps <= 30  # 1 s / (2 x 0.02 s) = 25, rounded up to whole records, or fewer
    assert result.stable


def test_a_least_length_is_run_and_the_longest_is_not_exceeded(monkeypatch):
    result = affordable_dynamics(copper(EMT()), seconds=0.0, least=0.03, replicas=1)
    assert result.time == pytest.approx(0.03)
    assert md_budget.LONGEST == 20.0
    monkeypatch.setattr(md_budget, "LONGEST", 0.05)
    assert affordable_dynamics(copper(EMT()), seconds=1e9, replicas=1).time == pytest.approx(0.05)


def test_the_structure_stays_as_it_was():
    atoms = copper(EMT())
    before = atoms.positions.copy()
    assert seconds_per_step(atoms) > 0.0
    affordable_dynamics(atoms, seconds=0.0, least=0.01, replicas=1)
    assert np.array_equal(atoms.positions, before)


def test_hydrogen_halves_the_timestep_and_deuterium_too():
    water = molecule("H2O")
    assert default_timestep(water) == 0.5 * units.fs
    water.set_masses([15.999, 2.014, 2.014])
    assert default_timestep(water) == 0.5 * units.fs
    assert default_timestep(copper(None)) == 1.0 * units.fs


def test_the_calmest_frame_has_the_smallest_reference_forces():
    frames = [Atoms("Cu2"), Atoms("Cu2"), Atoms("Cu2"), Atoms("Cu")]
    forces = [np.full((2, 3), 2.0), np.full((2, 3), -1.0), None, np.zeros((1, 3))]
    assert calmest(frames, forces) is frames[1]
    assert calmest([frames[3], frames[2]], [forces[3], None]) is frames[2]


def test_verdicts_name_the_first_failure():
    stable = affordable_dynamics(copper(EMT()), seconds=0.0, least=0.01, replicas=1)
    assert verdict(stable) == "dynamics of 4 atoms, 1 x 0.01 ps from 300 K with steps of 1 fs: stable"
    pair = Atoms("Cu2", positions=[[0, 0, 0], [2.5, 0, 0]])
    pair.calc = Collapsing()
    failed = verdict(affordable_dynamics(pair, seconds=0.0, least=0.5, replicas=2))
    assert "UNSTABLE, 2 of 2 replicas failed, the first after 0." in failed
    assert json.loads(json.dumps(failed)) == failed
