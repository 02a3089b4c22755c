"""Thermostats against exact distributions in wells, against ASE's own, and against constant energy.

It also tests `integrators`, `md_ase`, `nvt`.
"""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLengths
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.nose_hoover_chain import NoseHooverChainNVT
from ase.md.verlet import VelocityVerlet
from scipy import stats

from ase_mlip.cli.simulations.thermostat import DEFAULTS
from ase_mlip.dynamics.engines import ase_frames
from ase_mlip.dynamics.integrators import Bodies, Noise, make_integrator, start_state
from ase_mlip.dynamics.md import PICOSECOND, draw_velocities
from ase_mlip.dynamics.nvt import run_nvt
from ase_mlip.dynamics.thermostats import Thermostat
from ase_mlip.errors import MLIPError, StructureError
from ase_mlip.stability.runs import md_stability

FS = units.fs
kT = units.kB * 300.0


def wells(stiffness):
    """Energies [R] and forces of atoms that springs of ``stiffness`` (eV/Å², [N, 1]) hold at the origin."""
    return lambda x: (0.5 * (stiffness * x * x).sum(axis=(1, 2)), -stiffness * x)


def sample(integrator, evaluate, shape, masses, steps, skipped, rng):
    """Positions [n, R, N, 3] and momenta of every step after ``skipped``."""
    momenta = np.sqrt(kT * masses) * rng.standard_normal(shape)
    state = start_state(integrator, np.zeros(shape), momenta, evaluate)
    found = []
    for step in range(steps):
        integrator.step(state, evaluate, kT)
        if step >= skipped:
            found.append((state.positions.copy(), state.momenta.copy()))
    positions, momenta = (np.array(values) for values in zip(*found, strict=True))
    return positions, momenta, state


def mean_and_error(values):
    """Over replicas [n, R, ...], whose means in time are independent."""
    of_replica = values.mean(axis=0).reshape(values.shape[1], -1).mean(axis=1)
    return of_replica.mean(), of_replica.std(ddof=1) / np.sqrt(len(of_replica))


@pytest.mark.parametrize("step", [0.1, 1.0, 1.7])  # in units of 1/ω; 2 is the limit of stability
def test_baoab_samples_a_well_exactly(step):
    """<x²> = kT/k at every stable step, <p²>/m = kT (1 - ω²h²/4)."""
    rng = np.random.default_rng(7)
    atoms = Atoms("Ar", positions=[[0, 0, 0]])
    mass, k = atoms.get_masses()[0], 2.0
    h = step / np.sqrt(k / mass)
    thermostat = Thermostat("langevin", 300.0, friction=0.5 / h * PICOSECOND, hold_centre=False)
    integrator = make_integrator(atoms, h, thermostat, range(400))
    steps = int(40 + 60 / min(step, 1.0))
    x, p, _ = sample(integrator, wells(k), (400, 1, 3), mass, steps, 40, rng)
    mean, error = mean_and_error(k * x**2 / kT)
    assert abs(mean - 1.0) < 4.0 * error < 0.1
    mean, error = mean_and_error(p**2 / (mass * kT))
    assert abs(mean - (1.0 - step**2 / 4.0)) < 4.0 * error < 0.1
    assert stats.kstest(x[-1].ravel() / np.sqrt(kT / k), "norm").pvalue > 1e-3


def test_baoab_without_friction_is_the_dynamics_at_constant_energy():
    expected, found = (bulk("Cu", cubic=True) for _ in range(2))
    for atoms in (expected, found):
        atoms.calc = EMT()
        draw_velocities(atoms, 600.0, seed=3)
    frames = list(ase_frames(found, 2 * FS, 100, 10, Thermostat("langevin", 300.0, friction=0.0)))
    for frame in frames:
        if frame.step:
            VelocityVerlet(expected, 2 * FS).run(10)
        assert frame.positions == pytest.approx(expected.positions, abs=1e-11)
        assert frame.kinetic_energy == pytest.approx(expected.get_kinetic_energy(), abs=1e-11)
        assert frame.conserved == pytest.approx(frame.potential_energy + frame.kinetic_energy, abs=1e-12)


class Numbers:
    """Gives ASE's integrator the numbers that ours draws."""

    def __init__(self, seed, n_atoms):
        self.noise = Noise([seed], n_atoms)

    def normal(self, size):
        return self.noise.draw()[0]


def test_langevin_follows_ases_own_with_the_same_noise():
    ours, theirs = (molecule("CH3CH2OH") for _ in range(2))
    for atoms in (ours, theirs):
        atoms.calc = EMT()
        draw_velocities(atoms, 300.0, seed=1)
    thermostat = Thermostat("langevin", 300.0, friction=20.0, hold_centre=False)
    *_, last = ase_frames(ours, 0.5 * FS, 70, 10, thermostat, seed=5)
    rng = np.random.Generator(np.random.PCG64(0))
    dynamics = LangevinBAOAB(theirs, 0.5 * FS, temperature_K=300.0, T_tau=PICOSECOND / 20.0, rng=rng)
    dynamics.rng = Numbers(5, len(theirs))
    dynamics.run(70)
    assert last.positions == pytest.approx(theirs.positions, abs=1e-10)
    assert ours.get_momenta() == pytest.approx(theirs.get_momenta(), abs=1e-10)


def test_nose_hoover_follows_ases_own_where_all_degrees_of_freedom_count():
    ours, theirs = (bulk("Cu", cubic=True) for _ in range(2))
    for atoms in (ours, theirs):
        atoms.calc = EMT()
        draw_velocities(atoms, 600.0, seed=1)
    thermostat = Thermostat("nose-hoover", 300.0, damping=0.05, hold_centre=False)
    *_, last = ase_frames(ours, 2 * FS, 60, 10, thermostat)
    dynamics = NoseHooverChainNVT(theirs, 2 * FS, 300.0, tdamp=0.05 * PICOSECOND)
    dynamics.run(60)
    assert last.positions == pytest.approx(theirs.positions, abs=1e-9)
    assert last.conserved == pytest.approx(dynamics.get_conserved_energy(), abs=1e-9)


def uneven_wells(x):
    """Wells of other stiffness in each direction, with a quartic part that makes Nosé-Hoover ergodic."""
    k = np.linspace(1.0, 4.0, 12).reshape(4, 3)
    quartic = 40.0
    energies = (0.5 * k * x**2 + quartic * x**4).sum(axis=(1, 2))
    return energies, -k * x - 4.0 * quartic * x**3


def test_nose_hoover_conserves_its_quantity_and_is_canonical():
    """The kinetic energy of N_f degrees of freedom at kT has a gamma distribution of shape N_f/2."""
    rng = np.random.default_rng(2)
    atoms = Atoms("Ar4", positions=np.zeros((4, 3)))
    masses = atoms.get_masses()[:, None]
    h = 0.1 / np.sqrt(7.0 / masses[0, 0])
    thermostat = Thermostat("nose-hoover", 300.0, damping=30.0 * h / PICOSECOND, hold_centre=False)
    integrator = make_integrator(atoms, h, thermostat, [0])
    x, p, state = sample(integrator, uneven_wells, (60, 4, 3), masses, 4000, 1000, rng)
    kinetic = 0.5 * (p**2 / masses).sum(axis=(2, 3)) / kT
    virial = -x * uneven_wells(x.reshape(-1, 4, 3))[1].reshape(x.shape) / kT
    for values, expected in ((kinetic, 6.0), (kinetic**2, 42.0), (virial, 1.0)):
        mean, error = mean_and_error(values)
        assert abs(mean - expected) < 4.0 * error + 0.005 * expected < 0.1 * expected
    assert stats.kstest(kinetic[::1000].ravel(), stats.gamma(6.0).cdf).pvalue > 1e-3
    momenta = np.sqrt(kT * masses) * np.random.default_rng(2).standard_normal((60, 4, 3))
    start = 0.5 * (momenta**2 / masses).sum(axis=(1, 2))  # at the minimum
    end = state.energies + kT * kinetic[-1] - state.heat
    assert np.abs(end - start).max() < 0.01 * np.abs(state.heat).max()
    assert np.abs(state.heat).max() > 5.0 * kT


def test_nose_hoover_is_not_canonical_where_equal_oscillators_do_not_mix():
    """What docs/md_stability.md warns of; above, uneven and anharmonic ones are right."""
    rng = np.random.default_rng(2)
    atoms = Atoms("Ar4", positions=np.zeros((4, 3)))
    masses = atoms.get_masses()[:, None]
    h = 0.1 / np.sqrt(7.0 / masses[0, 0])
    thermostat = Thermostat("nose-hoover", 300.0, damping=30.0 * h / PICOSECOND, hold_centre=False)
    integrator = make_integrator(atoms, h, thermostat, [0])
    _, p, _ = sample(integrator, wells(7.0), (60, 4, 3), masses, 4000, 1000, rng)
    mean, error = mean_and_error((0.5 * (p**2 / masses).sum(axis=(2, 3)) / kT) ** 2)
    assert mean - 42.0 > 4.0 * error


def test_what_is_conserved_improves_with_the_square_of_the_step():
    def error(kind, step):
        atoms = bulk("Cu", cubic=True)
        atoms.calc = EMT()
        draw_velocities(atoms, 600.0, seed=4)
        thermostat = Thermostat(kind, 300.0, friction=5.0, damping=0.05, ramp_K=500.0, ramp_time=0.4)
        frames = list(ase_frames(atoms, step * FS, round(400 / step), round(20 / step), thermostat))
        conserved = np.array([frame.conserved for frame in frames])
        heat = np.array([f.potential_energy + f.kinetic_energy for f in frames]) - conserved
        assert np.ptp(heat) > 0.02
        return np.abs(conserved - conserved[0]).max()

    for kind in ("langevin", "nose-hoover"):
        coarse, fine = error(kind, 4.0), error(kind, 1.0)
        assert fine < coarse / 6.0 and coarse < 5e-3


@pytest.mark.parametrize("kind", ["langevin", "nose-hoover"])
def test_the_centre_of_mass_rests(kind):
    """And the temperature is that of 3N - 3 degrees of freedom, also of a molecule of three atoms."""
    atoms = molecule("H2O")
    k, quartic = np.array([5.0, 12.0, 20.0]), 2000.0

    def evaluate(x):
        """Wells around the centre, so that only that is free; uneven, for what Nosé-Hoover needs."""
        share = bodies.masses / bodies.masses.sum()
        away = x - (share * x).sum(axis=1, keepdims=True)
        energies = (bodies.masses * (0.5 * k * away**2 + quartic * away**4)).sum(axis=(1, 2))
        push = -bodies.masses * (k * away + 4.0 * quartic * away**3)
        return energies, push - share * push.sum(axis=1, keepdims=True)

    bodies = Bodies(atoms)
    assert bodies.degrees_of_freedom == 6
    h = 0.1 / np.sqrt(60.0)
    thermostat = Thermostat(kind, 300.0, friction=0.3 / h * PICOSECOND, damping=20 * h / PICOSECOND)
    integrator = make_integrator(atoms, h, thermostat, range(300))
    rng = np.random.default_rng(1)
    momenta = bodies.without_drift(np.sqrt(kT * bodies.masses) * rng.standard_normal((300, 3, 3)))
    state = start_state(integrator, np.zeros((300, 3, 3)), momenta, evaluate)
    kinetic = []
    for _ in range(1500):
        integrator.step(state, evaluate, kT)
        kinetic.append(bodies.kinetic_energies(state.momenta))
    assert np.abs(state.momenta.sum(axis=1)).max() < 1e-12
    centre = (bodies.masses * state.positions).sum(axis=1) / bodies.masses.sum()
    assert np.abs(centre).max() < 1e-11
    mean, error = mean_and_error(np.array(kinetic)[500:])
    assert abs(mean - 3.0 * kT) < 4.0 * error + 0.02 * kT < 0.2 * kT


def test_fixed_atoms_stay_and_the_others_have_the_temperature():
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.set_constraint(FixAtoms([0, 5]))
    atoms.calc = EMT()
    draw_velocities(atoms, 600.0, seed=0)
    start = atoms.positions.copy()
    for kind in ("langevin", "nose-hoover"):
        assert make_integrator(atoms, FS, Thermostat(kind, 300.0), [0]).bodies.degrees_of_freedom == 90
        *_, last = ase_frames(atoms, 2 * FS, 20, 10, Thermostat(kind, 300.0))
        moved = np.linalg.norm(last.positions - start, axis=1)
        assert (moved[[0, 5]] == 0.0).all() and np.delete(moved, [0, 5]).min() > 0.01
    atoms.set_constraint(FixBondLengths([[0, 1]]))
    with pytest.raises(StructureError, match="FixAtoms.*FixBondLengths"):
        md_stability(atoms, temperature_K=300.0, thermostat=Thermostat("langevin", 300.0))


def test_a_ramp_heats_linearly_and_then_stays():
    ramp = Thermostat("langevin", 300.0, ramp_K=1600.0, ramp_time=1.5)
    assert [ramp.target_K(time) for time in (0.0, 0.75, 1.5, 6.0)] == [300.0, 950.0, 1600.0, 1600.0]
    whole = Thermostat("langevin", 300.0, ramp_K=100.0)
    with pytest.raises(MLIPError, match="over"):
        whole.target_K(1.0)
    assert whole.over(2.0).target_K(1.0) == 200.0
    assert ramp.over(6.0) == ramp
    assert str(ramp) == "Langevin, friction 10 / ps, 300 to 1600 K in 1.5 ps"
    assert str(Thermostat("nose-hoover", 300.0)) == "Nosé-Hoover, damping 0.1 ps, 300 K"


@pytest.mark.parametrize("kind", ["langevin", "nose-hoover"])
def test_a_heated_crystal_is_judged_by_the_present_target(kind):
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.calc = EMT()
    heated = Thermostat(kind, 50.0, friction=50.0, damping=0.03, ramp_K=1000.0)
    run = {"temperature_K": 50.0, "timestep": 4 * FS, "time": 800 * FS, "replicas": 2}
    result = md_stability(atoms, **run, thermostat=heated)
    assert result.stable  # at the end it is 20 times as hot as at the start
    assert result.thermostat.ramp_time == pytest.approx(0.8)
    for replica in result.replicas:
        assert 600.0 < replica.temperatures[-10:].mean() < 1400.0
        jumps = np.abs(np.diff(replica.conserved_energies)).max()
        assert jumps < 0.05 * np.abs(np.diff(replica.total_energies)).max()
    assert abs(result.drift) < 5.0


def test_seeds_give_the_same_run_and_others_another():
    def run(seed):
        thermostat = Thermostat("langevin", 300.0)
        atoms = bulk("Cu", cubic=True)
        atoms.calc = EMT()
        result = md_stability(
            atoms,
            temperature_K=300.0,
            timestep=2 * FS,
            time=100 * FS,
            replicas=2,
            thermostat=thermostat,
            seed=seed,
        )
        return [replica.total_energies for replica in result.replicas]

    first, again, shifted = run(3), run(3), run(4)
    assert np.array_equal(first, again)
    assert np.array_equal(first[1], shifted[0]) and not np.array_equal(first[0], first[1])


def test_run_nvt_reports_the_conserved_energy():
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.calc = EMT()
    seen = []
    result = run_nvt(atoms, Thermostat("langevin", 300.0, friction=5.0), 600.0, 2 * FS, 300 * FS, seed=1,
                     progress=lambda *done: seen.append(done))  # fmt: skip
    assert result.completed and result.steps == 150 and seen[-1] == (150, 150, "")
    assert 150.0 < result.mean_temperature < 450.0
    total = 1000.0 * result.total_energies / len(atoms)
    slope = np.polyfit(result.times, total, 1)[0]
    assert abs(result.drift) < 0.1 * abs(slope)
    assert result.atoms.calc is None and atoms.get_momenta().any() == np.False_


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"kind": "andersen"}, "kind"),
        ({"temperature_K": 0.0}, "temperature_K"),
        ({"temperature_K": float("nan")}, "temperature_K"),
        ({"friction": -1.0}, "friction"),
        ({"friction": float("inf")}, "friction"),
        ({"damping": 0.0}, "damping"),
        ({"ramp_K": -5.0}, "ramp_K"),
        ({"ramp_K": 500.0, "ramp_time": 0.0}, "ramp_time"),
        ({"ramp_time": 1.0}, "ramp_time"),
    ],
)
def test_wrong_settings_are_named(changes, name):
    with pytest.raises(MLIPError, match=rf"`Thermostat\.{name}`"):
        Thermostat(**({"kind": "langevin", "temperature_K": 300.0} | changes))


def test_defaults_shown_are_those_used():
    thermostat = Thermostat("langevin", 300.0)
    assert {name: f"{getattr(thermostat, name):g}" for name in DEFAULTS} == DEFAULTS
