"""Long use of one calculator: memory stays flat, energy stays conserved, nothing is compiled late."""

import gc
import resource
import time
from pathlib import Path

import pytest
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from ase_mlip import MLIPCalculator
from ase_mlip.dynamics.md import draw_velocities

pytestmark = pytest.mark.slow


def resident_bytes() -> int:
    gc.collect()  # calculators and atoms refer to each other
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident size from /proc")
def test_twenty_thousand_steps_leak_nothing():
    """The number of edges differs at nearly every step, so that every shape is met."""
    atoms = bulk("Si", cubic=True)
    atoms.calc = MLIPCalculator("pet-si")
    draw_velocities(atoms, temperature_K=900.0, seed=0)
    dynamics = VelocityVerlet(atoms, timestep=1 * units.fs)
    dynamics.run(2000)
    before, energy = resident_bytes(), atoms.get_total_energy()
    started = time.perf_counter()
    dynamics.run(1000)
    first = time.perf_counter() - started
    dynamics.run(16000)
    started = time.perf_counter()
    dynamics.run(1000)
    last = time.perf_counter() - started
    assert resident_bytes() < 1.01 * before
    assert abs(atoms.get_total_energy() - energy) / len(atoms) < 5e-3
    assert last < 1.5 * first


def test_many_calculators_leak_nothing():
    """Loading, using and dropping a model; at first the allocator's own reserve grows, then nothing does."""
    atoms = bulk("Si", cubic=True)

    def use() -> None:
        MLIPCalculator("pet-si").get_potential_energy(atoms)

    for _ in range(80):
        use()
    before = resident_bytes()
    for _ in range(80):
        use()
    assert resident_bytes() < 1.01 * before
