"""The lines for LAMMPS' thermostats: exact distributions in wells, and the dynamics of the ASE engine.

It also tests `dynamics.lammps_thermostats`.
"""

import subprocess

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from scipy import stats

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.dynamics.engines import ase_frames, lammps_frames
from ase_mlip.dynamics.lammps_thermostats import stages
from ase_mlip.dynamics.md import draw_velocities
from ase_mlip.dynamics.thermostats import Thermostat
from ase_mlip.lammps import lammps_run
from ase_mlip.model_file.info import find_model
from ase_mlip.stability.runs import md_stability

FS = units.fs
MASS, STIFFNESS = 40.0, 2.0  # u, eV/Å²
OMEGA = np.sqrt(STIFFNESS / MASS) * 1000.0 * FS  # 1/ps
kT = units.kB * 300.0
WELLS = """units metal
atom_style atomic
atom_modify map array
lattice sc 10
region box block 0 {side} 0 {side} 0 {side}
create_box 1 box
create_atoms 1 box
mass 1 {mass}
pair_style zero 1.0 nocoeff
pair_coeff * *
neighbor 0.5 bin
fix springs all spring/self {stiffness}
timestep {timestep}
{lines}
run {steps}
dump 1 all custom {every} frames.dump id xu yu zu vx vy vz
dump_modify 1 sort id first no
run {more}
"""


def wells(folder, thermostat, step, side=10):
    """Displacements [n, N, 3] (Å) and velocities (Å/ps) of side³ atoms in wells, at every 50th step."""
    timestep = step / OMEGA
    atoms = Atoms(f"Ar{side**3}", positions=np.zeros((side**3, 3)))
    ((lines, _),) = stages(atoms, thermostat, timestep, 2000, seed=3)
    steps, more = round(30 / step), 600
    text = WELLS.format(side=side, mass=MASS, stiffness=STIFFNESS, timestep=f"{timestep:.17g}",
                        lines=lines, steps=steps, every=50, more=more)  # fmt: skip
    (folder / "in.wells").write_text(text)
    program, environment = lammps_run.prepare()
    command = [str(program), "-in", "in.wells", "-log", "none"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    lines = (folder / "frames.dump").read_text().split("ITEM: TIMESTEP\n")[1:]
    frames = np.array([np.loadtxt(block.splitlines()[8:]) for block in lines])
    places = 10.0 * np.indices((side, side, side))[::-1].reshape(3, -1).T
    return frames[:, :, 1:4] - places, frames[:, :, 4:7]


@pytest.mark.parametrize("step", [0.3, 1.2])
def test_fix_gjf_samples_a_well_exactly_with_the_velocities_of_baoab(tmp_path, step):
    """<x²> = kT/k and <p²>/m = kT (1 - ω²h²/4), whatever the step."""
    thermostat = Thermostat("langevin", 300.0, friction=0.5 * OMEGA / step, hold_centre=False)
    x, v = wells(tmp_path, thermostat, step)
    error = np.sqrt(2.0 / (3 * 1000 * 6))  # of records that hardly depend on each other
    assert (STIFFNESS * x**2).mean() / kT == pytest.approx(1.0, abs=4 * error)
    kinetic = MASS * (v / (1000.0 * FS)) ** 2
    assert kinetic.mean() / kT == pytest.approx(1.0 - step**2 / 4.0, abs=4 * error)
    assert stats.kstest(x[-1].ravel() / np.sqrt(kT / STIFFNESS), "norm").pvalue > 1e-3


@pytest.fixture
def crystal():
    atoms = bulk("Si", cubic=True)
    draw_velocities(atoms, 600.0, seed=1)
    return atoms


OPTIONS = {"dtype": "float64", "device": "cpu"}


def both(atoms, path, thermostat, steps=40, interval=10):
    """Frames of the same run by both engines."""
    found = [list(lammps_frames(atoms, path, FS, steps, interval, OPTIONS, thermostat, 5))]
    atoms = atoms.copy()
    atoms.calc = MLIPCalculator(path, **OPTIONS)
    return [list(ase_frames(atoms, FS, steps, interval, thermostat, 5)), *found]


def test_nose_hoover_follows_the_ase_engine(sw_path, crystal):
    ase, lammps = both(crystal, sw_path, Thermostat("nose-hoover", 300.0, damping=0.02))
    assert [frame.step for frame in ase] == [frame.step for frame in lammps] == [0, 10, 20, 30, 40]
    for a, b in zip(ase, lammps, strict=True):
        # the chain's own step is of another order
        assert a.positions == pytest.approx(b.positions, abs=2e-4)
        assert a.conserved == pytest.approx(b.conserved, abs=2e-3)
        assert a.target_K == b.target_K == 300.0
    total = [frame.potential_energy + frame.kinetic_energy for frame in lammps]
    assert np.ptp(total) > 20.0 * np.ptp([frame.conserved for frame in lammps])


@pytest.mark.parametrize("thermostat", [None, Thermostat("nose-hoover", 300.0, damping=0.02)])
def test_a_plane_molecule_has_a_box_that_lammps_can_use(thermostat):
    atoms = molecule("H2O")
    draw_velocities(atoms, 300.0, seed=0)
    ase, lammps = both(atoms, find_model("snnp-water"), thermostat)
    for a, b in zip(ase, lammps, strict=True):
        assert a.positions == pytest.approx(b.positions, abs=5e-4)
        assert a.conserved == pytest.approx(b.conserved, abs=2e-3)


def test_langevin_holds_the_centre_and_without_friction_conserves_the_energy(sw_path, crystal):
    free = list(lammps_frames(crystal, sw_path, FS, 40, 10, OPTIONS))
    same = list(lammps_frames(crystal, sw_path, FS, 40, 10, OPTIONS, Thermostat("langevin", 300.0, 0.0)))
    for a, b in zip(free, same, strict=True):
        assert np.array_equal(a.positions, b.positions)
        assert a.conserved == pytest.approx(b.conserved, abs=1e-9)
    noisy = list(lammps_frames(crystal, sw_path, FS, 40, 10, OPTIONS, Thermostat("langevin", 300.0, 50.0)))
    # the velocity of the centre is taken away after each step, whose noise has moved it a little
    moved = noisy[-1].positions.mean(axis=0) - noisy[0].positions.mean(axis=0)
    assert np.abs(noisy[-1].positions - noisy[0].positions).max() > 0.05 > 5.0 * np.abs(moved).max()
    assert noisy[-1].conserved is None and noisy[-1].target_K == 300.0


def test_a_ramp_that_ends_before_the_run_is_a_second_stage(sw_path, crystal):
    ramp = Thermostat("nose-hoover", 300.0, damping=0.02, ramp_K=900.0, ramp_time=0.105)
    texts = stages(crystal, ramp, 0.001, 300, 0)
    assert texts == [("fix 1 all nvt temp 300 900 0.02", 105), ("fix 1 all nvt temp 900 900 0.02", 195)]
    for kind in ("nose-hoover", "langevin"):
        heated = Thermostat(kind, 300.0, friction=50.0, damping=0.02, ramp_K=900.0, ramp_time=0.105)
        frames = list(lammps_frames(crystal, sw_path, FS, 300, 10, OPTIONS, heated))
        assert [frame.step for frame in frames] == list(range(0, 301, 10))
        assert [round(frame.target_K) for frame in frames[:12]] == [
            300, 357, 414, 471, 529, 586, 643, 700, 757, 814, 871, 900,
        ]  # fmt: skip
        kinetic = np.mean([frame.kinetic_energy for frame in frames[15:]])
        assert 500.0 < 2.0 * kinetic / (21 * units.kB) < 1300.0


def test_fixed_atoms_stay(sw_path, crystal):
    crystal.set_constraint(FixAtoms([2]))
    text = "\n".join(lines for lines, _ in stages(crystal, Thermostat("nose-hoover", 300.0), 0.001, 10, 0))
    assert "fix 1 free nvt" in text and "compute_modify 1_temp extra/dof 0" in text
    for kind in ("langevin", "nose-hoover"):
        *_, last = lammps_frames(crystal, sw_path, FS, 20, 10, OPTIONS, Thermostat(kind, 300.0))
        moved = np.linalg.norm(last.positions - crystal.positions, axis=1)
        assert moved[2] < 1e-12 < 0.01 < np.delete(moved, 2).min()


def test_the_test_of_stability_says_what_lammps_does_not_know(sw_path):
    arguments = (bulk("Si", cubic=True), sw_path)
    options = {"temperature_K": 300.0, "timestep": FS, "time": 60 * FS, "replicas": 2}
    options |= {"engine": "lammps", "lammps_options": OPTIONS}
    langevin = md_stability(*arguments, thermostat=Thermostat("langevin", 300.0), **options)
    assert langevin.stable and not langevin.knows_conserved and np.isnan(langevin.drift)
    again = md_stability(*arguments, thermostat=Thermostat("langevin", 300.0), **options)
    for a, b in zip(langevin.replicas, again.replicas, strict=True):
        assert np.array_equal(a.total_energies, b.total_energies)
    first, second = langevin.replicas
    assert not np.array_equal(first.total_energies, second.total_energies)
