"""Molecular dynamics as a test: replicas at constant energy or temperature, watched by their criteria."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import iread

from .crystals import with_calculator
from .errors import MLIPError, StructureError
from .md import PICOSECOND, draw_velocities, energy_statistics
from .md_engines import EngineStopped, ase_frames, lammps_frames
from .provenance import plain
from .rdf import RDF, RDFAccumulator, rdf, rdf_error
from .stability import Criteria, Failure, Frame, Monitor
from .survival import Survival, survival
from .thermostats import Thermostat

ENGINES = ("ase", "lammps")
STATISTICS = ("drift", "fluctuation", "mean_temperature")
SHORTEST_DRIFT = 1.0  # ps; in shorter runs the slope is that of slow oscillations (docs/md_stability.md)


@dataclass
class Replica:
    """One simulation. Energies are those of the whole structure, eV.

    Attributes
    ----------
    seed: of its velocities and its noise
    survived: ps until the record that failed, or the length of the run
    failure: the first, or None
    times, total_energies, temperatures: of the sound records, ps, eV and K, [n]
    conserved_energies: what the dynamics conserves, eV, [n]: the total energy, with a thermostat less what
        that has given; NaN where the engine does not say
    drift: slope of the conserved energy, meV/atom/ps; NaN with fewer than three records after the
        equilibration, or where that energy is not known
    fluctuation: root mean square deviation from that line, meV/atom
    mean_temperature: K
    min_distance: shortest distance between two atoms in any record, Å
    broken_bonds, formed_bonds: in the last record, relative to the start, whether or not they are a failure
    lost_atoms: in the last record, or as LAMMPS counts them
    """

    seed: int
    survived: float
    failure: Failure | None
    times: np.ndarray = field(repr=False)
    total_energies: np.ndarray = field(repr=False)
    conserved_energies: np.ndarray = field(repr=False)
    temperatures: np.ndarray = field(repr=False)
    drift: float
    fluctuation: float
    mean_temperature: float
    min_distance: float
    broken_bonds: int
    formed_bonds: int
    lost_atoms: int


@dataclass
class StabilityResult:
    """What :func:`md_stability` found.

    Attributes
    ----------
    engine: "ase" or "lammps"
    n_atoms, temperature_K, timestep (fs), time (ps), record_interval (steps), equilibration (ps): of the runs
    thermostat: of the runs, None at constant energy
    criteria: what was called unstable
    replicas: one by one
    survival: estimated lifetimes with their intervals, see :class:`ase_mlip.survival.Survival`
    drift, drift_error: mean over replicas and its standard error, meV/atom/ps; NaN where not defined; in runs
        too short for ``shows_drift`` a slope only
    mean_temperature: K, over replicas
    rdf: of all sound records after the equilibration; None if there are none
    reference: of the reference; None without one
    rdf_error: ∫|g - g_ref| dr by pair of species, Å; None without reference
    rdf_noise: half of the same between two halves of the replicas (of the records, if there is one replica):
        about what chance alone contributes to ``rdf_error``; None if a half is empty
    """

    engine: str
    n_atoms: int
    temperature_K: float
    timestep: float
    time: float
    record_interval: int
    equilibration: float
    thermostat: Thermostat | None
    criteria: Criteria
    replicas: list[Replica]
    survival: Survival
    drift: float
    drift_error: float
    mean_temperature: float
    rdf: RDF | None = field(repr=False)
    reference: RDF | None = field(repr=False)
    rdf_error: dict[str, float] | None
    rdf_noise: dict[str, float] | None

    @property
    def stable(self) -> bool:
        """Whether no replica failed."""
        return not any(replica.failure for replica in self.replicas)

    @property
    def shows_drift(self) -> bool:
        """Whether the runs are long enough for the slope of their energy to be a drift."""
        return self.time > SHORTEST_DRIFT - 1e-6

    @property
    def knows_conserved(self) -> bool:
        """Whether there is a record whose conserved energy the engine says."""
        return any(np.isfinite(replica.conserved_energies).any() for replica in self.replicas)

    @property
    def min_distance(self) -> float:
        """The shortest distance in any replica, Å."""
        return min(replica.min_distance for replica in self.replicas)

    def to_dict(self) -> dict:
        """Everything as JSON values: lists for arrays, null for what is not finite."""
        more = {name: getattr(self, name) for name in ("stable", "shows_drift", "min_distance")}
        return plain(asdict(self) | more)


def md_stability(
    atoms: Atoms,
    temperature_K: float | None,
    timestep: float = 1.0 * units.fs,
    time: float = 1000.0 * units.fs,
    replicas: int = 4,
    *,
    engine: str = "ase",
    model: str | Path | None = None,
    lammps_options: Mapping[str, str] | None = None,
    thermostat: Thermostat | None = None,
    criteria: Criteria | None = None,
    reference: Iterable[Atoms] | str | Path | None = None,
    rmax: float = 6.0,
    record_interval: int = 10,
    equilibration: float | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
) -> StabilityResult:
    """Run replicas at constant energy, or with a thermostat, until they end or become unstable.

    Both engines start from the same velocities, and the same criteria are asked of their frames at the same
    steps, so that they give the same verdict as long as chaos has not separated their trajectories. (Their
    random numbers differ, so that Langevin's trajectories do from the first step.) A replica ends at its
    first failure.

    Parameters
    ----------
    atoms: structure with a calculator (``engine="ase"``); not modified
    temperature_K: velocities are drawn at exactly this temperature, K, without net momentum; a crystal that
        starts in its minimum keeps about half of it at constant energy. None keeps the momenta ``atoms`` has,
        for one replica.
    timestep, time: in ASE's unit of time; ``time`` is rounded up to whole record intervals
    replicas: simulations that differ in their velocities
    engine: "ase" or "lammps"
    model: model file for ``engine="lammps"``
    lammps_options: of ``pair_style mlip``: ``dtype``, ``device``, ``symmetrize``
    thermostat: holds or raises the temperature; None is constant energy
    criteria: what is unstable, by default ``Criteria()``
    reference: frames, or a file ASE reads, to compare the distribution of distances with
    rmax: longest distance in it, Å
    record_interval: steps from one examined frame to the next
    equilibration: what drift, temperature and distributions leave out, ASE's unit; None is a tenth of the run
    seed: of the first replica's velocities and noise; the others count on
    confidence: level of all intervals
    progress: called as ``progress(steps done, steps)`` of all replicas together

    Raises
    ------
    StructureError
        without calculator or atoms; a reference of another substance
    MLIPError
        unknown engine, a missing model, numbers out of range; an engine that fails before its first frame
    BuildError
        no LAMMPS is installed, or no plugin fits it
    """
    _check_arguments(len(atoms), engine, model, timestep, time, replicas, record_interval, temperature_K)
    start = with_calculator(atoms, "md_stability") if engine == "ase" else atoms.copy()
    wanted = _read_reference(reference, rmax)
    if wanted is not None:
        rdf_error(rdf([start], rmax), wanted)  # a reference of another substance is refused before the work
    steps = record_interval * math.ceil(max(1, round(time / timestep)) / record_interval)
    length = steps * timestep / PICOSECOND
    skipped = 0.1 * length if equilibration is None else equilibration / PICOSECOND
    if not 0.0 <= skipped < length:
        raise MLIPError(
            f"`equilibration`: expected less than the {length:g} ps of a replica, got {skipped:g} ps; "
            "averages would be over nothing"
        )
    thermostat = None if thermostat is None else thermostat.over(length)
    halves = RDFAccumulator(rmax), RDFAccumulator(rmax)
    found = []
    for n in range(replicas):
        work = start.copy()
        work.calc = start.calc
        if temperature_K is not None:
            draw_velocities(work, temperature_K, seed + n)

        def reached(step: int, before: int = n * steps) -> None:
            if progress is not None:
                progress(before + step, replicas * steps)

        if engine == "ase":
            frames = ase_frames(work, timestep, steps, record_interval, thermostat, seed + n)
        else:
            frames = lammps_frames(
                work, Path(model), timestep, steps, record_interval, lammps_options, thermostat, seed + n
            )
        monitor = Monitor(work, criteria, temperature_K)
        sound = _sound_frames(frames, monitor, record_interval, timestep, reached)
        found.append(
            _watch(work, monitor, sound, seed + n, skipped, length, halves, n if replicas > 1 else None)
        )
        reached(steps)
    return _summarize(
        found,
        _distributions(halves, wanted),
        engine=engine,
        n_atoms=len(atoms),
        temperature_K=float(monitor.temperature_K),
        timestep=timestep / units.fs,
        time=length,
        record_interval=record_interval,
        equilibration=skipped,
        thermostat=thermostat,
        criteria=monitor.criteria,
        survival=survival([r.survived for r in found], [r.failure is not None for r in found], confidence),
    )


def _sound_frames(
    frames: Iterator[Frame],
    monitor: Monitor,
    interval: int,
    timestep: float,
    reached: Callable[[int], None],
) -> Iterator[Frame]:
    """Frames up to the first failure. What stops an engine counts at the record it did not reach."""
    # the start's geometry comes first: a potential need not have an answer for atoms on top of each other
    start = Frame(0, 0.0, monitor.start)
    if monitor.check(start) is not None:
        return
    step = -interval
    try:
        for frame in frames:
            step = frame.step
            if monitor.check(frame) is not None:
                return
            reached(step)
            yield frame
    except EngineStopped as error:
        step += interval
        monitor.lost_atoms = error.lost_atoms
        monitor.stop(step, step * timestep / PICOSECOND, error.kind, str(error), error.positions)
    finally:
        frames.close()


def _watch(
    atoms: Atoms,
    monitor: Monitor,
    frames: Iterator[Frame],
    seed: int,
    equilibration: float,
    length: float,
    halves: tuple[RDFAccumulator, RDFAccumulator],
    index: int | None,
) -> Replica:
    """Read one simulation to its end; its distances go to a half by ``index``, by record if that is None."""
    rows, conserved = [], []
    cell, pbc, numbers = atoms.cell.array.copy(), np.array(atoms.pbc), atoms.numbers
    for frame in frames:
        rows.append((frame.time_ps * PICOSECOND, frame.potential_energy, frame.kinetic_energy))
        conserved.append(math.nan if frame.conserved is None else frame.conserved)
        if frame.time_ps >= equilibration:
            half = index % 2 if index is not None else int(frame.time_ps > 0.5 * (equilibration + length))
            halves[half].add(numbers, frame.positions, cell, pbc)
    statistics = energy_statistics(np.array(rows).reshape(-1, 3), atoms, equilibration, np.array(conserved))
    failure = monitor.failure
    return Replica(
        seed=seed,
        survived=length if failure is None else failure.time_ps,
        failure=failure,
        times=statistics["times"],
        total_energies=statistics["potential_energies"] + statistics["kinetic_energies"],
        conserved_energies=np.array(conserved),
        temperatures=statistics["temperatures"],
        **{name: statistics[name] for name in STATISTICS},
        min_distance=monitor.min_distance,
        broken_bonds=monitor.broken_bonds,
        formed_bonds=monitor.formed_bonds,
        lost_atoms=monitor.lost_atoms,
    )


def _distributions(halves: tuple[RDFAccumulator, RDFAccumulator], reference: RDF | None) -> dict:
    """The fields of StabilityResult that are distributions of distances."""
    parts = [half.result() for half in halves if half.frames]
    found = _average(parts) if parts else None
    noise = rdf_error(*parts) if len(parts) == 2 else None
    return {
        "rdf": found,
        "reference": reference,
        "rdf_error": None if found is None or reference is None else rdf_error(found, reference),
        "rdf_noise": None if noise is None else {name: 0.5 * value for name, value in noise.items()},
    }


def _average(parts: list[RDF]) -> RDF:
    """One distribution of several of the same structure, weighted by their frames."""
    frames = sum(part.frames for part in parts)
    first = parts[0]
    g = {name: sum(part.frames * part.g[name] for part in parts) / frames for name in first.g}
    return RDF(first.r, first.width, g, frames, first.periodic, first.species)


def _summarize(replicas: list[Replica], distributions: dict, **rest) -> StabilityResult:
    drifts = np.array([replica.drift for replica in replicas if np.isfinite(replica.drift)])
    temperatures = [r.mean_temperature for r in replicas if np.isfinite(r.mean_temperature)]
    error = drifts.std(ddof=1) / np.sqrt(len(drifts)) if len(drifts) > 1 else float("nan")
    return StabilityResult(
        replicas=replicas,
        drift=float(drifts.mean()) if len(drifts) else float("nan"),
        drift_error=float(error),
        mean_temperature=float(np.mean(temperatures)) if temperatures else float("nan"),
        **distributions,
        **rest,
    )


def _check_arguments(
    n_atoms: int,
    engine: str,
    model: str | Path | None,
    timestep: float,
    time: float,
    replicas: int,
    interval: int,
    temperature_K: float | None,
) -> None:
    if n_atoms == 0:
        raise StructureError("`md_stability` needs at least one atom, got a structure with none")
    if engine not in ENGINES:
        raise MLIPError(f'`engine`: expected "ase" or "lammps", got {engine!r}')
    if engine == "lammps" and model is None:
        raise MLIPError('`model`: `engine="lammps"` needs the path of a model file, got None')
    for name, value in (("timestep", timestep), ("time", time), ("replicas", replicas)):
        if not (math.isfinite(value) and value > 0):
            raise MLIPError(f"`{name}`: expected a positive number, got {value}")
    if temperature_K is not None and not 0.0 <= temperature_K < math.inf:
        raise MLIPError(f"`temperature_K`: expected zero or a positive number, got {temperature_K}")
    if interval < 1:
        raise MLIPError(f"`record_interval`: expected at least one step, got {interval}")
    if temperature_K is None and replicas > 1:
        raise MLIPError(
            f"`replicas`: with `temperature_K=None` all would be the same run, got {replicas}; give a "
            "temperature or ask for one replica"
        )


def _read_reference(reference: Iterable[Atoms] | str | Path | None, rmax: float) -> RDF | None:
    if reference is None:
        return None
    if isinstance(reference, str | Path):
        path = Path(reference)
        if not path.is_file():
            raise StructureError(f"`reference`: expected a file that ASE reads, `{path}` does not exist")
        reference = iread(path, index=":")
    return rdf(reference, rmax)
