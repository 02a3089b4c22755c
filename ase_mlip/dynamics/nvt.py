"""Molecular dynamics at constant or rising temperature for any ASE calculator, beside ``md``."""

from __future__ import annotations

import time as clock
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io.trajectory import Trajectory

from ..crystals import with_calculator
from ..errors import StructureError
from ..progress.form import Progress, told
from .md import PICOSECOND, MDResult, count_steps, draw_velocities, md_result
from .md_ase import EngineStopped, ase_frames
from .thermostats import Thermostat


def run_nvt(
    atoms: Atoms,
    thermostat: Thermostat,
    temperature_K: float | None = None,
    timestep: float = 1.0 * units.fs,
    time: float = 1000.0 * units.fs,
    *,
    equilibration: float = 0.0,
    seed: int = 0,
    trajectory: str | Path | None = None,
    interval: int = 10,
    progress: Progress | None = None,
) -> MDResult:
    """Dynamics with a thermostat at constant volume and number of atoms.

    Parameters
    ----------
    atoms : ase.Atoms
        structure with a calculator; not modified
    thermostat : Thermostat
        Langevin or Nosé-Hoover, at one temperature or in a ramp
    temperature_K : float, optional
        velocities are drawn at exactly this temperature, K, without net momentum; None keeps the momenta
        ``atoms`` has
    timestep : float
        in ASE's unit of time: ``1.0 * ase.units.fs``
    time : float
        length of the run, the same unit
    equilibration : float
        what drift, fluctuation and mean temperature leave out at the start, the same unit
    seed : int
        of the velocities and the noise
    trajectory : str or Path, optional
        write every ``interval``-th step to this ASE trajectory
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each step, see :mod:`ase_mlip.progress`
    interval : int
        steps from one frame of the trajectory to the next

    Returns
    -------
    MDResult
        energies and temperatures of every step. Drift and fluctuation are those of the conserved energy:
        potential and kinetic energy less the heat that the thermostat has given.

    Raises
    ------
    StructureError
        without calculator or atoms, or with constraints other than fixed atoms
    ArgumentError
        a ``time`` shorter than a step
    """
    progress = told(progress)
    work = with_calculator(atoms, "run_nvt")
    steps = count_steps(time, timestep)
    if temperature_K is not None:
        draw_velocities(work, temperature_K, seed)
    start = work.positions.copy()
    rows, conserved = [], []
    completed = True
    writer = None if trajectory is None else Trajectory(trajectory, "w", work)
    started = clock.perf_counter()
    try:
        thermostat = thermostat.over(steps * timestep / PICOSECOND)
        for frame in ase_frames(work, timestep, steps, 1, thermostat, seed):
            row = frame.step * timestep, frame.potential_energy, frame.kinetic_energy
            if not np.isfinite(row).all():
                completed = False
                break
            rows.append(row)
            conserved.append(frame.conserved)
            if writer is not None and frame.step % interval == 0:
                writer.write()
            if frame.step:
                progress(frame.step, steps, "")
    except EngineStopped:
        completed = False
    finally:
        if writer is not None:
            writer.close()
    elapsed = clock.perf_counter() - started
    if not rows:
        raise StructureError("`run_nvt` needs a start with a finite energy, got NaN or infinity")
    work.calc = None
    moved, conserved = work.positions - start, np.array(conserved)
    return md_result(rows, work, moved, timestep, equilibration, elapsed, completed, conserved)
