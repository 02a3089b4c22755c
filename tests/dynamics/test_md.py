"""Constant-energy dynamics: order of the integrator, conservation, reproducibility."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from ase_mlip import md_stability
from ase_mlip.dynamics.lammps_md import run_nve_lammps
from ase_mlip.dynamics.md import count_steps, draw_velocities, run_nve
from ase_mlip.dynamics.nvt import run_nvt
from ase_mlip.dynamics.thermostats import Thermostat
from ase_mlip.errors import ArgumentError, StructureError


def copper():
    atoms = bulk("Cu", cubic=True, a=3.59) * (2, 1, 1)
    atoms.calc = EMT()
    return atoms


def worst_error(timestep_fs: float) -> float:
    result = run_nve(copper(), 600.0, timestep_fs * units.fs, 200.0 * units.fs, seed=2)
    return np.abs(result.total_energies - result.total_energies[0]).max()


def test_energy_error_is_of_second_order_in_the_timestep():
    assert worst_error(4.0) / worst_error(2.0) == pytest.approx(4.0, rel=0.1)
    assert worst_error(2.0) / worst_error(1.0) == pytest.approx(4.0, rel=0.1)


def test_energy_is_conserved_and_shared_between_potential_and_kinetic():
    result = run_nve(copper(), 600.0, 2.0 * units.fs, 1000.0 * units.fs, equilibration=100.0 * units.fs)
    assert result.completed
    assert result.steps == 500
    assert abs(result.drift) < 0.05
    assert result.fluctuation < 0.1
    # half of 600 K, within what 8 atoms fluctuate
    assert result.mean_temperature == pytest.approx(300.0, rel=0.25)
    assert result.times[-1] == pytest.approx(1.0)


class Heating(Calculator):
    """No potential, and a force along the momenta: the total energy grows at a rate that is known."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.tile([0.001, 0.0, 0.0], (len(self.atoms), 1))}


def test_drift_has_the_unit_it_claims():
    """Under a constant force f the energy of an atom that moves at v grows at f v."""
    atoms = bulk("Cu", cubic=True)
    atoms.calc = Heating()
    velocity = 0.05  # Å per ASE unit of time
    atoms.set_velocities(np.tile([velocity, 0.0, 0.0], (len(atoms), 1)))
    result = run_nve(atoms, None, 1.0 * units.fs, 50.0 * units.fs)
    mean_velocity = velocity + 0.5 * 0.001 / atoms.get_masses()[0] * 50.0 * units.fs
    assert result.drift == pytest.approx(0.001 * mean_velocity * 1000.0 * (1000.0 * units.fs), rel=1e-3)


def test_velocities_have_the_temperature_and_no_momentum():
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    draw_velocities(atoms, 250.0, seed=4)
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-12
    degrees = 3 * len(atoms) - 3
    assert 2 * atoms.get_kinetic_energy() / (degrees * units.kB) == pytest.approx(250.0)


def test_velocities_are_maxwellian_with_the_masses():
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (5, 5, 5)
    draw_velocities(atoms, 300.0, seed=0)
    for number in (11, 17):
        chosen = atoms.numbers == number
        variance = (atoms.get_velocities()[chosen] ** 2).mean() * atoms.get_masses()[chosen][0]
        assert variance == pytest.approx(units.kB * 300.0, rel=0.06)


def test_a_seed_repeats_a_run_and_another_does_not():
    runs = [run_nve(copper(), 300.0, 2.0 * units.fs, 20.0 * units.fs, seed=seed) for seed in (7, 7, 8)]
    assert np.array_equal(runs[0].total_energies, runs[1].total_energies)
    assert not np.array_equal(runs[0].total_energies, runs[2].total_energies)


def test_a_run_continues_from_the_momenta_it_ended_with():
    whole = run_nve(copper(), 300.0, 2.0 * units.fs, 40.0 * units.fs)
    half = run_nve(copper(), 300.0, 2.0 * units.fs, 20.0 * units.fs)
    half.atoms.calc = EMT()
    rest = run_nve(half.atoms, None, 2.0 * units.fs, 20.0 * units.fs)
    assert rest.atoms.positions == pytest.approx(whole.atoms.positions, abs=1e-9)


def test_input_is_kept_and_progress_counts_steps():
    atoms = copper()
    seen = []
    run_nve(atoms, 300.0, 2.0 * units.fs, 6.0 * units.fs, progress=lambda *row: seen.append(row))
    assert seen == [(1, 3, ""), (2, 3, ""), (3, 3, "")]
    assert not atoms.get_momenta().any()


class Exploding(EMT):
    """NaN from the sixth evaluation on."""

    count = 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.count += 1
        if self.count > 5:
            self.results["energy"] = float("nan")


def test_a_run_that_explodes_returns_what_it_has():
    atoms = copper()
    atoms.calc = Exploding()
    result = run_nve(atoms, 300.0, 2.0 * units.fs, 100.0 * units.fs)
    assert not result.completed
    assert result.steps == len(result.times) - 1 == 4
    assert np.isfinite(result.total_energies).all()


def test_missing_calculator_is_named():
    with pytest.raises(StructureError, match="`run_nve` needs a calculator"):
        run_nve(bulk("Cu"), 300.0)


@pytest.mark.parametrize(
    "run",
    [
        lambda **times: run_nve(copper(), 300.0, **times),
        lambda **times: run_nvt(copper(), Thermostat("langevin", 300.0), 300.0, **times),
        lambda **times: run_nve_lammps(bulk("Si", cubic=True), "snnp-si", **times),
        lambda **times: md_stability(copper(), temperature_K=300.0, **times),
    ],
    ids=["run_nve", "run_nvt", "run_nve_lammps", "md_stability"],
)
def test_a_run_shorter_than_a_step_is_refused(run):
    """It was lengthened to one."""
    with pytest.raises(ArgumentError, match=r"`time`: expected at least one step of 2 fs .*, got 0.5 fs"):
        run(timestep=2.0 * units.fs, time=0.5 * units.fs)
    with pytest.raises(ArgumentError, match="`time`: expected a positive number, got -1"):
        run(timestep=2.0 * units.fs, time=-1.0)


def test_steps_of_a_time_in_decimal_places():
    """A thousandth of a picosecond is one step of a femtosecond, however it is rounded."""
    assert [count_steps(ps * 1000.0 * units.fs, units.fs) for ps in (0.001, 0.003, 0.0049)] == [1, 3, 5]
