"""Replicas of dynamics with the present weights: which samples they gave, and when they failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
from ase import Atoms, units

from ..calculators.batches.batch_evaluator import BatchEvaluator
from ..dynamics.criteria import Criteria, Failure, Monitor
from ..dynamics.engines import lammps_frames
from ..dynamics.replicas import run_replicas
from ..dynamics.thermostats import Thermostat
from ..progress.form import Progress, told
from ..stability.replica import sound_frames
from .settings import SimulationConfig
from .trainable import Trainable


@dataclass
class Track:
    """What one replica did.

    Attributes
    ----------
    start, end: where it began and the last sound record, without momenta
    frames: sound records after the equilibration, the samples
    lived: ps until the record that failed, or the time it was followed
    failure: the first, or None
    """

    start: Atoms
    end: Atoms
    frames: list[Atoms]
    lived: float
    failure: Failure | None


class Sampler(Protocol):
    """What the loop needs of dynamics."""

    def __call__(
        self,
        trainable: Trainable,
        starts: Sequence[Atoms],
        seeds: Sequence[int],
        time: float,
        stop_at: float = 1.0,
        progress: Progress | None = None,
    ) -> list[Track]:
        """Run a replica from each start for ``time`` ps with the weights as they are.

        All end when at least the fraction ``stop_at`` of them has failed. ``seeds`` are of momenta and noise.
        ``progress(done, total, stage)`` is called with the steps of all replicas: :mod:`ase_mlip.progress`.
        """


class EngineSampler:
    """Dynamics at constant temperature, by replicas in step or by LAMMPS; criteria are those of ``md``."""

    def __init__(self, simulation: SimulationConfig, criteria: Criteria):
        self.simulation, self.criteria = simulation, criteria
        self.thermostat = Thermostat(
            simulation.ensemble,
            simulation.temperature_K,
            friction=simulation.friction,
            damping=simulation.damping,
            hold_centre=simulation.hold_centre,
        )

    def __call__(
        self,
        trainable: Trainable,
        starts: Sequence[Atoms],
        seeds: Sequence[int],
        time: float,
        stop_at: float = 1.0,
        progress: Progress | None = None,
    ) -> list[Track]:
        """See :class:`Sampler`. Replicas in one cell advance together; those of LAMMPS one after another."""
        settings = self.simulation
        interval = settings.record_interval
        steps = interval * max(1, math.ceil(time * 1000.0 / settings.timestep / interval))
        moving = [
            with_momenta(start, settings.temperature_K, seed, settings.hold_centre)
            for start, seed in zip(starts, seeds, strict=True)
        ]
        if settings.engine == "lammps":
            return self._by_lammps(trainable, moving, seeds, steps, progress)
        tracks: dict[int, Track] = {}
        for places in _cells(moving):
            group = [moving[n] for n in places]
            runs = run_replicas(
                group,
                BatchEvaluator(trainable.model(), group[0]),
                self.thermostat,
                settings.timestep * units.fs,
                steps,
                interval,
                seeds=[seeds[n] for n in places],
                criteria=self.criteria,
                stop_fraction=stop_at,
                progress=_share(told(progress), len(tracks), len(places), len(moving)),
            )
            for n, run in zip(places, runs, strict=True):
                tracks[n] = self._track(starts[n], run.positions, run.times, run.survived, run.failure)
        return [tracks[n] for n in range(len(starts))]

    def _by_lammps(
        self,
        trainable: Trainable,
        moving: Sequence[Atoms],
        seeds: Sequence[int],
        steps: int,
        progress: Progress | None,
    ) -> list[Track]:
        settings, tracks = self.simulation, []
        timestep, interval = settings.timestep * units.fs, settings.record_interval
        with TemporaryDirectory(prefix="ase_mlip-stabilize-") as folder:
            file = Path(folder) / "model.pt"
            trainable.export_for_dynamics(file)
            for n, (work, seed) in enumerate(zip(moving, seeds, strict=True)):
                monitor = Monitor(work, self.criteria, settings.temperature_K)
                frames = lammps_frames(work, file, timestep, steps, interval, None, self.thermostat, seed)
                sound = list(sound_frames(frames, monitor, interval, timestep, reached=lambda step: None))
                failure = monitor.failure
                last = sound[-1].time_ps if sound else 0.0
                positions = np.array([frame.positions for frame in sound]).reshape(-1, len(work), 3)
                times = np.array([frame.time_ps for frame in sound])
                lived = last if failure is None else failure.time_ps
                tracks.append(self._track(work, positions, times, lived, failure))
                told(progress)((n + 1) * steps, len(moving) * steps, "")
        return tracks

    def _track(
        self, start: Atoms, positions: np.ndarray, times: np.ndarray, lived: float, failure: Failure | None
    ) -> Track:
        """Sound records as a track; the start itself is no sample."""
        plain = start.copy()
        plain.arrays.pop("momenta", None)
        used = (times > 0.0) & (times >= self.simulation.equilibration - 1e-9)
        samples = [_placed(plain, places) for places in positions[used]]
        end = _placed(plain, positions[-1]) if len(positions) else plain.copy()
        return Track(plain, end, samples, float(lived), failure)


def _cells(starts: Sequence[Atoms]) -> list[list[int]]:
    """Places of starts that share their cell."""
    groups: dict[bytes, list[int]] = {}
    for n, atoms in enumerate(starts):
        groups.setdefault(atoms.cell.array.tobytes() if atoms.pbc.any() else b"", []).append(n)
    return list(groups.values())


def _share(progress: Progress, before: int, size: int, n: int) -> Progress:
    """What ``size`` replicas that advance together call, after ``before`` of all ``n``."""
    return lambda step, steps, stage: progress(before * steps + size * step, n * steps, stage)


def _placed(start: Atoms, positions: np.ndarray) -> Atoms:
    atoms = start.copy()
    atoms.positions = positions
    return atoms


def with_momenta(start: Atoms, temperature_K: float, seed: int, hold_centre: bool) -> Atoms:
    """A copy with momenta of the Maxwell-Boltzmann distribution: their kinetic energy fluctuates.

    With the centre of mass held, the motion of the whole is taken out: 3N - 3 degrees of freedom.
    """
    work = start.copy()
    masses = work.get_masses()[:, None]
    spread = np.sqrt(masses * units.kB * temperature_K)
    momenta = spread * np.random.default_rng(seed).standard_normal((len(work), 3))
    if hold_centre and len(work) > 1 and not work.constraints:
        momenta -= masses / masses.sum() * momenta.sum(axis=0)
    work.set_momenta(momenta)  # in which constraints take part
    return work
