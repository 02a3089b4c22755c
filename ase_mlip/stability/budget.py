"""Dynamics for as long as a given time of the clock affords: the run that every new potential should stand.

Errors on frames do not show whether dynamics leads to places that no data ruled out. A minute of dynamics
often does.
"""

from __future__ import annotations

import time as clock
from collections.abc import Sequence

import numpy as np
from ase import Atoms, units

from ..dynamics.criteria import Criteria
from ..dynamics.md import PICOSECOND
from ..progress.form import Progress
from .result import StabilityResult
from .runs import md_stability

LONGEST = 20.0  # ps; longer runs are `ase-mlip md`'s
LIGHT = 2.5  # u; bonds of atoms lighter than this vibrate within 9 fs


def affordable_dynamics(
    atoms: Atoms,
    temperature_K: float = 300.0,
    *,
    seconds: float = 60.0,
    least: float = 0.0,
    replicas: int = 2,
    criteria: Criteria | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> StabilityResult:
    """Replicas at constant energy, together as long as ``seconds`` allow, but at most 20 ps each.

    Parameters
    ----------
    atoms : ase.Atoms
        structure with a calculator; not modified
    temperature_K : float
        of the velocities at the start, K
    seconds : float
        of the clock, for all replicas together
    least : float
        length of a replica that is run whatever it takes, ps
    replicas, criteria, seed, progress : int, Criteria, callable
        as for :func:`ase_mlip.stability.runs.md_stability`

    Returns
    -------
    StabilityResult
        as of :func:`ase_mlip.md_stability`

    Raises
    ------
    MLIPError, StructureError
        as from :func:`ase_mlip.stability.runs.md_stability`
    """
    timestep = default_timestep(atoms)
    steps = seconds / (replicas * seconds_per_step(atoms))
    time = min(max(least, steps * timestep / PICOSECOND), LONGEST) * PICOSECOND
    return md_stability(
        atoms,
        temperature_K=temperature_K,
        timestep=timestep,
        time=max(time, 10 * timestep),
        replicas=replicas,
        criteria=criteria,
        seed=seed,
        progress=progress,
    )


def default_timestep(atoms: Atoms) -> float:
    """A step in ASE's unit of time that the fastest vibrations allow: 0.5 fs with hydrogen, else 1 fs."""
    return (0.5 if atoms.get_masses().min() < LIGHT else 1.0) * units.fs


def seconds_per_step(atoms: Atoms, evaluations: int = 3) -> float:
    """The clock's time of one evaluation of slightly moved ``atoms`` by their calculator, s.

    The first evaluation, which may compile or allocate, is left out.
    """
    work = atoms.copy()
    work.calc = atoms.calc
    generator = np.random.default_rng(0)
    times = []
    for _ in range(1 + evaluations):
        work.positions += generator.normal(scale=1e-4, size=work.positions.shape)
        start = clock.perf_counter()
        work.get_forces()
        times.append(clock.perf_counter() - start)
    return min(times[1:])


def calmest(frames: Sequence[Atoms], forces: Sequence[np.ndarray | None]) -> Atoms:
    """The frame with the smallest reference forces, from which dynamics at a low temperature can start.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        at least one
    forces : sequence of array
        of each, eV/Å, [N, 3], or None where there are none; a frame of one atom comes last
    """

    def size(index: int) -> tuple[bool, float]:
        force = forces[index]
        alone = len(frames[index]) < 2
        return alone, np.inf if force is None else float(np.sqrt(np.mean(np.square(force))))

    return frames[min(range(len(frames)), key=size)]


def verdict(result: StabilityResult) -> str:
    """The result in one line: how long how many replicas stood, or which failed how."""
    what = (
        f"dynamics of {result.n_atoms} atoms, {len(result.replicas)} x {result.time:.3g} ps from "
        f"{result.temperature_K:g} K with steps of {result.timestep:g} fs"
    )
    failed = [replica.failure for replica in result.replicas if replica.failure]
    if not failed:
        return f"{what}: stable"
    first = min(failed, key=lambda failure: failure.time_ps)
    return (
        f"{what}: UNSTABLE, {len(failed)} of {len(result.replicas)} replicas failed, the first after "
        f"{first.time_ps:.3g} ps ({first.kind}: {first.detail})"
    )
