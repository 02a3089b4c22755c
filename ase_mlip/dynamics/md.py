"""Molecular dynamics at constant energy: the plainest test of a potential's forces.

Forces that are the gradient of an energy keep the sum of potential and kinetic energy up to an error of the
order of the squared timestep, which oscillates; what drifts is the potential's roughness or a wrong force.
"""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed
from ase.md.verlet import VelocityVerlet

from ..crystals import require_positive, with_calculator
from ..errors import ArgumentError, StructureError
from ..progress.form import Progress, told

PICOSECOND = 1000.0 * units.fs


@dataclass
class MDResult:
    """A trajectory's energies. Energies are those of the whole structure, eV.

    Attributes
    ----------
    times : array
        ps, [n]
    potential_energies, kinetic_energies : array
        [n]
    temperatures : array
        K, of 3N - 3 degrees of freedom, [n]
    equilibration : float
        ps at the start that the next three leave out
    drift : float
        slope of a straight line through the total energy, meV/atom/ps
    fluctuation : float
        root mean square deviation of the total energy from that line, meV/atom
    mean_temperature : float
        K
    max_displacement : float
        longest way from an atom's start to its end, Å
    atoms : ase.Atoms
        the last structure with its momenta, without calculator
    completed : bool
        False where energies or positions stopped being finite
    steps : int
        steps taken
    timestep : float
        in fs
    seconds_per_step : float
        wall time, mean
    """

    times: np.ndarray = field(repr=False)
    potential_energies: np.ndarray = field(repr=False)
    kinetic_energies: np.ndarray = field(repr=False)
    temperatures: np.ndarray = field(repr=False)
    equilibration: float
    drift: float
    fluctuation: float
    mean_temperature: float
    max_displacement: float
    atoms: Atoms
    completed: bool
    steps: int
    timestep: float
    seconds_per_step: float

    @property
    def total_energies(self) -> np.ndarray:
        """Potential and kinetic energy, eV, [n]."""
        return self.potential_energies + self.kinetic_energies


def run_nve(
    atoms: Atoms,
    temperature_K: float | None,
    timestep: float = 1.0 * units.fs,
    time: float = 1000.0 * units.fs,
    *,
    equilibration: float = 0.0,
    seed: int = 0,
    trajectory: str | Path | None = None,
    interval: int = 10,
    progress: Progress | None = None,
) -> MDResult:
    """Velocity-Verlet dynamics at constant energy, volume and number of atoms.

    Parameters
    ----------
    atoms : ase.Atoms
        structure with a calculator; not modified
    temperature_K : float, optional
        velocities are drawn at exactly this temperature, K, without net momentum; a crystal that starts in
        its minimum keeps about half of it. None keeps the momenta ``atoms`` has.
    timestep : float
        in ASE's unit of time: ``1.0 * ase.units.fs``
    time : float
        length of the run, the same unit
    equilibration : float
        what drift, fluctuation and mean temperature leave out at the start, the same unit
    seed : int
        of the velocities
    trajectory : str or Path, optional
        write every ``interval``-th step to this ASE trajectory
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each step, see :mod:`ase_mlip.progress`
    interval : int
        steps from one frame of the trajectory to the next

    Returns
    -------
    MDResult
        energies, drift and the last structure

    Raises
    ------
    StructureError
        without calculator or atoms
    ArgumentError
        a ``time`` shorter than a step
    """
    progress = told(progress)
    work = with_calculator(atoms, "run_nve")
    steps = count_steps(time, timestep)
    if temperature_K is not None:
        draw_velocities(work, temperature_K, seed)
    start = work.positions.copy()
    path = None if trajectory is None else str(trajectory)
    dynamics = VelocityVerlet(work, timestep=timestep, trajectory=path, loginterval=interval, logfile=None)
    rows: list[tuple[float, float, float]] = []

    def record() -> None:
        row = (dynamics.nsteps * timestep, work.get_potential_energy(), work.get_kinetic_energy())
        rows.append(row)
        if not np.isfinite(row).all():
            raise FloatingPointError
        if dynamics.nsteps:
            progress(dynamics.nsteps, steps, "")

    dynamics.attach(record, interval=1)
    started = clock.perf_counter()
    completed = True
    try:
        dynamics.run(steps)
    except FloatingPointError:
        completed = False
        rows.pop()
    except (StructureError, CalculationFailed):
        if not rows:  # at the start it is the user's input, later it is where the dynamics led to
            raise
        completed = False
    elapsed = clock.perf_counter() - started
    work.calc = None
    return md_result(rows, work, work.positions - start, timestep, equilibration, elapsed, completed)


def md_result(
    rows: Sequence[Sequence[float]] | np.ndarray,
    atoms: Atoms,
    moved: np.ndarray,
    timestep: float,
    equilibration: float,
    seconds: float,
    completed: bool = True,
    conserved: np.ndarray | None = None,
) -> MDResult:
    """What a run gives, of whatever engine.

    Parameters
    ----------
    rows : sequence or array
        time (ASE's unit), potential and kinetic energy (eV) at the start and after each step, [n, 3]
    atoms : ase.Atoms
        the last structure with its momenta
    moved : array
        each atom's way from start to end, Å, [N, 3]
    timestep, equilibration : float
        ASE's unit of time
    seconds : float
        wall time of all steps
    completed : bool
        whether all went well
    conserved : array, optional
        see :func:`energy_statistics`

    Returns
    -------
    MDResult
        of that run
    """
    table = np.array(rows).reshape(-1, 3)
    steps = max(0, len(table) - 1)
    return MDResult(
        **energy_statistics(table, atoms, equilibration / PICOSECOND, conserved),
        max_displacement=float(np.linalg.norm(moved, axis=1).max()),
        atoms=atoms,
        completed=completed,
        steps=steps,
        timestep=timestep / units.fs,
        seconds_per_step=seconds / max(1, steps),
    )


def count_steps(time: float, timestep: float) -> int:
    """How many steps a run takes, rounded.

    Parameters
    ----------
    time, timestep : float
        of the run and of a step, ASE's unit

    Returns
    -------
    int
        at least 1

    Raises
    ------
    ArgumentError
        one of them is not positive, or the run is shorter than a step
    """
    require_positive(timestep=timestep, time=time)
    if time < timestep * (1.0 - 1e-9):  # 0.001 ps may be a little less than 1 fs
        raise ArgumentError(
            f"`time`: expected at least one step of {timestep / units.fs:g} fs (`timestep`), got "
            f"{time / units.fs:g} fs; run for longer"
        )
    return max(1, round(time / timestep))


def draw_velocities(atoms: Atoms, temperature_K: float, seed: int) -> None:
    """Give ``atoms`` random velocities of exactly ``temperature_K`` in their degrees of freedom.

    Without constraints there is no net momentum; what constraints hold does not move.
    """
    masses = atoms.get_masses()[:, None]
    velocities = np.random.default_rng(seed).normal(size=(len(atoms), 3)) / np.sqrt(masses)
    if len(atoms) > 1 and not atoms.constraints:
        velocities -= (masses * velocities).sum(axis=0) / masses.sum()
    atoms.set_velocities(velocities)  # in which constraints take part
    velocities = atoms.get_velocities()
    kinetic = 0.5 * (masses * velocities**2).sum()
    if kinetic > 0.0:
        velocities *= np.sqrt(0.5 * degrees_of_freedom(atoms) * units.kB * temperature_K / kinetic)
    atoms.set_velocities(velocities)


def degrees_of_freedom(atoms: Atoms) -> int:
    """That share the kinetic energy: without constraints the centre of mass rests, with them they hold it."""
    free = 3 * len(atoms) - sum(constraint.get_removed_dof(atoms) for constraint in atoms.constraints)
    return max(1, free - 3 if len(atoms) > 1 and not atoms.constraints else free)


def energy_statistics(
    rows: np.ndarray, atoms: Atoms, equilibration: float, conserved: np.ndarray | None = None
) -> dict:
    """The fields of MDResult that follow from times (ASE units), potential and kinetic energies, [n, 3].

    ``conserved`` [n] is the energy (eV) whose drift is asked for; by default the sum of the two. NaN where it
    is not known, and then there is no drift.
    """
    n_atoms = len(atoms)
    times, potential, kinetic = rows[:, 0] / PICOSECOND, rows[:, 1], rows[:, 2]
    temperatures = 2.0 * kinetic / (degrees_of_freedom(atoms) * units.kB)
    used = times >= equilibration
    slope = fluctuation = mean_temperature = float("nan")
    if used.sum() > 2:
        per_atom = 1000.0 * (potential + kinetic if conserved is None else conserved)[used] / n_atoms
        if np.isfinite(per_atom).all():
            # relative to the mean, so that the fit is not lost in the size of total energies
            slope = np.polyfit(times[used], per_atom - per_atom.mean(), 1)[0]
            fluctuation = np.std(per_atom - slope * times[used])
        mean_temperature = temperatures[used].mean()
    return {
        "times": times,
        "potential_energies": potential,
        "kinetic_energies": kinetic,
        "temperatures": temperatures,
        "equilibration": equilibration,
        "drift": float(slope),
        "fluctuation": float(fluctuation),
        "mean_temperature": float(mean_temperature),
    }
