"""Many replicas of one small system in step with each other, each with its own start, noise and end.

The dynamics is that of :mod:`ase_mlip.dynamics.integrators`, what ends a replica is
:mod:`ase_mlip.dynamics.criteria`. One
function evaluates all replicas, and may take them together; where it refuses them, they are asked one by one,
so that only the guilty one ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units

from ..crystals import MAX_COORDINATE
from ..errors import MLIPError, StructureError
from ..progress.form import Progress, told
from .criteria import Criteria, Failure, Frame, Monitor
from .integrators import Evaluate, State, make_integrator, start_state
from .md import PICOSECOND, draw_velocities
from .md_ase import REFUSALS, cause
from .thermostats import Thermostat


@dataclass
class ReplicaRun:
    """One replica's records, from its start to its failure or its end.

    Attributes
    ----------
    seed : int
        of its velocities and noise
    survived : float
        ps until the record that failed, or until the end of the run
    failure : Failure or None
        the first, or None: then the lifetime is censored at ``survived``
    steps, times : array
        of the sound records, the times in ps, [n]
    positions : array
        Å, [n, N, 3]
    potential_energies, kinetic_energies : array
        eV, [n]
    conserved_energies : array
        what the dynamics conserves, eV, [n]
    targets_K : array
        of the thermostat, [n]; NaN at constant energy
    min_distance : float
        shortest distance between two atoms in any finite record, Å
    atoms : ase.Atoms
        the last sound record with its momenta
    """

    seed: int
    survived: float
    failure: Failure | None
    steps: np.ndarray = field(repr=False)
    times: np.ndarray = field(repr=False)
    positions: np.ndarray = field(repr=False)
    potential_energies: np.ndarray = field(repr=False)
    kinetic_energies: np.ndarray = field(repr=False)
    conserved_energies: np.ndarray = field(repr=False)
    targets_K: np.ndarray = field(repr=False)
    min_distance: float
    atoms: Atoms


def run_replicas(
    starts: Sequence[Atoms],
    evaluate: Evaluate,
    thermostat: Thermostat | None,
    timestep: float,
    steps: int,
    interval: int = 10,
    *,
    temperature_K: float | None = None,
    seeds: Sequence[int] | None = None,
    criteria: Criteria | None = None,
    stop_fraction: float | None = None,
    progress: Progress | None = None,
) -> list[ReplicaRun]:
    """Run replicas until their time is up, each until it becomes unstable.

    A replica's run follows from its start and its seed: it is the same whichever others there are, as far as
    ``evaluate`` gives the same numbers for it (what
    :mod:`ase_mlip.calculators.batches.batch_evaluator` gives: to rounding).

    Parameters
    ----------
    starts : sequence of ase.Atoms
        one structure for each replica, of the same atoms, cell and constraints; not modified
    evaluate : callable
        positions [R, N, 3] (Å) to energies [R] (eV) and forces [R, N, 3] (eV/Å), of those replicas that are
        alive; may raise for positions it refuses
    thermostat : Thermostat, optional
        None is constant energy
    timestep : float
        in ASE's unit of time
    steps : int
        rounded up to whole intervals
    interval : int
        steps from one record to the next
    temperature_K : float, optional
        velocities are drawn at exactly this temperature without net momentum; None keeps the momenta of the
        starts
    seeds : sequence of int, optional
        of velocities and noise, by default 0, 1, …
    criteria : Criteria, optional
        what is unstable, by default ``Criteria()``
    stop_fraction : float, optional
        end all once this fraction of the replicas has failed
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each record, with steps, see :mod:`ase_mlip.progress`

    Returns
    -------
    list of ReplicaRun
        a :class:`ReplicaRun` for each start, in order

    Raises
    ------
    StructureError
        no starts, or starts of different systems
    MLIPError
        numbers out of range
    Exception
        what ``evaluate`` raises for a start
    """
    progress = told(progress)
    collected: list[list[tuple[Frame, np.ndarray]]] = [[] for _ in starts]
    replicas = Replicas(starts, evaluate, thermostat, timestep, interval, temperature_K, seeds, criteria)
    total = interval * -(-steps // interval)
    if stop_fraction is not None and not 0.0 < stop_fraction <= 1.0:
        raise MLIPError(f"`stop_fraction`: expected a number above 0 and at most 1, got {stop_fraction}")
    for step, frames in replicas.records(total):
        for index, frame, momenta in frames:
            collected[index].append((frame, momenta))
        progress(step, total, "")
        failed = sum(monitor.failure is not None for monitor in replicas.monitors)
        if stop_fraction is not None and failed >= stop_fraction * len(starts):
            break
    last = replicas.time_ps
    return [
        _run(start, seed, monitor, found, last)
        for start, seed, monitor, found in zip(
            starts, replicas.seeds, replicas.monitors, collected, strict=True
        )
    ]


def one_by_one(atoms: Atoms) -> Evaluate:
    """The forces of any ASE calculator for many replicas of ``atoms``, which has it; one after another."""
    work = atoms.copy()
    work.calc = atoms.calc
    if work.calc is None:
        raise StructureError("`one_by_one` needs a calculator on the structure; set `atoms.calc` first")

    def evaluate(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        energies, forces = np.empty(len(positions)), np.empty(positions.shape)
        for row, places in enumerate(positions):
            work.positions = places
            energies[row], forces[row] = work.get_potential_energy(), work.get_forces(md=True)
        return energies, forces

    return evaluate


class Replicas:
    """Replicas in step; :meth:`records` runs them. Parameters are those of :func:`run_replicas`.

    Attributes
    ----------
    monitors
        one for each replica, with its failure
    seeds : sequence of int or None
        of each
    time_ps
        how far they have come
    """

    def __init__(
        self,
        starts: Sequence[Atoms],
        evaluate: Evaluate,
        thermostat: Thermostat | None,
        timestep: float,
        interval: int,
        temperature_K: float | None,
        seeds: Sequence[int] | None,
        criteria: Criteria | None,
    ):
        self.seeds = list(range(len(starts)) if seeds is None else seeds)
        _check(starts, self.seeds, timestep, interval)
        self._starts = [start.copy() for start in starts]
        if temperature_K is not None:
            for start, seed in zip(self._starts, self.seeds, strict=True):
                draw_velocities(start, temperature_K, seed)
        target = temperature_K if thermostat is None else thermostat.temperature_K
        self.monitors = [Monitor(start, criteria, target) for start in self._starts]
        self.time_ps = 0.0
        self._guard = _Guard(evaluate)
        self._thermostat, self._timestep, self._interval = thermostat, timestep, interval

    def records(self, steps: int) -> Iterator[tuple[int, list[tuple[int, Frame, np.ndarray]]]]:
        """Step by step of the records: which replica, its frame and its momenta [N, 3], of those alive.

        ``steps`` is a multiple of the interval. It ends early where no replica is alive.
        """
        thermostat = self._thermostat
        if thermostat is not None:
            thermostat = thermostat.over(steps * self._timestep / PICOSECOND)
        # the start's geometry comes first: a potential need not have an answer for atoms on top of each other
        alive = np.array(
            [n for n, monitor in enumerate(self.monitors) if not monitor.check(Frame(0, 0.0, monitor.start))],
            dtype=int,
        )
        if not len(alive):
            return
        seeds = [self.seeds[n] for n in alive]
        integrator = make_integrator(self._starts[0], self._timestep, thermostat, seeds)
        positions, momenta = (
            np.array([values(self._starts[n]) for n in alive])
            for values in (Atoms.get_positions, Atoms.get_momenta)
        )
        state = start_state(integrator, positions, momenta, self._guard)
        self._guard.raise_at_start(alive)
        for step in range(0, steps + 1, self._interval):
            if step:
                with np.errstate(all="ignore"):  # infinities are the monitors' to judge
                    for done in range(step - self._interval, step):
                        integrator.step(state, self._guard, self._kT(thermostat, done + 0.5))
            self.time_ps = step * self._timestep / PICOSECOND
            frames = self._frames(step, state, alive, integrator, thermostat)
            kept = np.array([self._is_sound(row, alive[row], frame) for row, frame in enumerate(frames)])
            sound = np.flatnonzero(kept)
            yield step, [(int(alive[row]), frames[row], state.momenta[row].copy()) for row in sound]
            self._guard.refused.clear()
            if not len(sound):
                return
            if not kept.all():
                state, alive = state.select(kept), alive[kept]
                integrator.select(kept)

    def _kT(self, thermostat: Thermostat | None, step: float) -> float:
        target = 0.0 if thermostat is None else thermostat.target_K(step * self._timestep / PICOSECOND)
        return units.kB * target

    def _frames(self, step: int, state: State, alive, integrator, thermostat) -> list[Frame]:
        time = self.time_ps
        with np.errstate(all="ignore"):
            kinetic = integrator.bodies.kinetic_energies(state.momenta)
            conserved = state.energies + kinetic - state.heat
        known = {} if thermostat is None else {"target_K": thermostat.target_K(time)}
        return [
            Frame(
                step, time, state.positions[row].copy(), float(state.energies[row]), float(kinetic[row]),
                conserved_energy=float(conserved[row]), **known,
            )
            for row in range(len(alive))
        ]  # fmt: skip

    def _is_sound(self, row: int, index: int, frame: Frame) -> bool:
        monitor = self.monitors[index]
        if row in self._guard.refused:
            error, positions = self._guard.refused[row]
            monitor.stop(frame.step, frame.time_ps, "engine stopped", cause(error), positions)
            return False
        return monitor.check(frame) is None


class _Guard:
    """Evaluates so that one replica's trouble stays its own: it gets NaN, and the others their numbers.

    Attributes
    ----------
    refused: errors and positions by row, of those that the function refused since the last record
    """

    def __init__(self, evaluate: Evaluate):
        self._evaluate = evaluate
        self.refused: dict[int, tuple[Exception, np.ndarray]] = {}

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        furthest = np.abs(positions).reshape(len(positions), -1).max(axis=1)
        within = furthest <= MAX_COORDINATE  # False for NaN
        if within.all() and not self.refused:
            try:
                return self._evaluate(positions)
            except REFUSALS:
                pass
        for row in np.flatnonzero(np.isfinite(furthest) & ~within):
            self.refused.setdefault(int(row), (StructureError("an atom has left"), positions[row].copy()))
        energies, forces = np.full(len(positions), np.nan), np.full(positions.shape, np.nan)
        rows = np.array([row for row in np.flatnonzero(within) if int(row) not in self.refused], dtype=int)
        if len(rows):
            try:
                energies[rows], forces[rows] = self._evaluate(positions[rows])
            except REFUSALS:
                for row in rows:
                    try:
                        (energies[row],), (forces[row],) = self._evaluate(positions[row : row + 1])
                    except REFUSALS as error:
                        self.refused[int(row)] = error, positions[row].copy()
        return energies, forces

    def raise_at_start(self, alive: np.ndarray) -> None:
        """An error at the start is the user's."""
        for row, (error, _) in self.refused.items():
            raise type(error)(f"start {alive[row]}: {cause(error)}") from error


def _run(
    start: Atoms, seed: int, monitor: Monitor, found: list[tuple[Frame, np.ndarray]], last: float
) -> ReplicaRun:
    frames = [frame for frame, _ in found]
    atoms = start.copy()
    atoms.calc = None
    if found:
        atoms.positions = frames[-1].positions
        atoms.set_momenta(found[-1][1], apply_constraint=False)
    failure = monitor.failure
    names = ("potential_energy", "kinetic_energy", "conserved_energy", "target_K")
    columns = [np.array([getattr(frame, name) for frame in frames], dtype=float) for name in names]
    return ReplicaRun(
        seed,
        last if failure is None else failure.time_ps,
        failure,
        np.array([frame.step for frame in frames], dtype=int),
        np.array([frame.time_ps for frame in frames]),
        np.array([frame.positions for frame in frames]).reshape(-1, len(start), 3),
        *columns,
        monitor.min_distance,
        atoms,
    )


def _check(starts: Sequence[Atoms], seeds: Sequence[int], timestep: float, interval: int) -> None:
    if isinstance(starts, Atoms) or not len(starts) or not len(starts[0]):
        got = "one structure" if isinstance(starts, Atoms) else "none, or one without atoms"
        raise StructureError(f"`starts`: expected a list of structures, one for each replica, got {got}")
    first = starts[0]
    for n, start in enumerate(starts):
        same = (
            np.array_equal(start.numbers, first.numbers)
            and np.array_equal(start.get_masses(), first.get_masses())
            and np.array_equal(start.pbc, first.pbc)
            and (not first.pbc.any() or np.array_equal(start.cell.array, first.cell.array))
            and [c.todict() for c in start.constraints] == [c.todict() for c in first.constraints]
        )
        if not same:
            raise StructureError(
                f"`starts`: expected replicas of one system, but start {n} differs from the first in its "
                "atoms, masses, cell or constraints; run each system by itself"
            )
        if not np.isfinite(start.positions).all():
            raise StructureError(f"`starts`: expected finite positions, got NaN or infinity in start {n}")
    if len(seeds) != len(starts):
        raise MLIPError(f"`seeds`: expected one for each of {len(starts)} starts, got {len(seeds)}")
    if not 0.0 < timestep < np.inf:
        raise MLIPError(f"`timestep`: expected a positive number, got {timestep}")
    if interval < 1:
        raise MLIPError(f"`interval`: expected at least one step, got {interval}")
