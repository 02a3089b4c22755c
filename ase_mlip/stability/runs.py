"""Molecular dynamics as a test: replicas at constant energy or temperature, watched by their criteria."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms, units

from ..calculators.averaged import average_model
from ..calculators.inputs import as_model_file, as_structure, renamed, structure_with_calculator
from ..crystals import (
    SYMPREC,
    require_between,
    require_none_or,
    require_not_negative,
    require_positive,
    require_whole,
)
from ..data.frames import read_structures
from ..dynamics.criteria import Criteria, Monitor
from ..dynamics.integrators import Evaluate
from ..dynamics.md import PICOSECOND, count_steps
from ..dynamics.rdf import RDF, RDFAccumulator, rdf, rdf_error
from ..dynamics.replicas import Replicas
from ..dynamics.thermostats import Thermostat
from ..errors import ArgumentError, StructureError, users_line
from ..progress.form import Progress, told
from .alone import engine_frames, kept_replicas, run_alone
from .replica import Replica, Watcher
from .result import StabilityResult
from .survival import survival

if TYPE_CHECKING:
    from ..calculators.averaged import Scheme
    from ..calculators.identity import Checkpoint
    from ..calculators.inputs import Potential, Structure

ENGINES = ("ase", "lammps")
# Hydrogen vibrates once in about 9 fs, and no integrator follows heavier atoms for long in such steps
LONG_STEP = 8.0 * units.fs


@renamed(reference="rdf_frames", record_interval="interval")
def md_stability(
    atoms: Structure,
    calculator: Potential | None = None,
    *,
    temperature_K: float | None = 300.0,
    timestep: float = 1.0 * units.fs,
    time: float = 1000.0 * units.fs,
    replicas: int = 4,
    engine: str = "ase",
    lammps_options: Mapping[str, str] | None = None,
    symmetrize: Scheme | None = None,
    symprec: float = SYMPREC,
    thermostat: Thermostat | None = None,
    evaluate: Evaluate | None = None,
    criteria: Criteria | None = None,
    rdf_frames: Iterable[Atoms] | str | Path | None = None,
    rmax: float = 6.0,
    interval: int = 10,
    equilibration: float | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    checkpoint: Checkpoint = None,
    progress: Progress | None = None,
) -> StabilityResult:
    """Run replicas at constant energy, or with a thermostat, until they end or become unstable.

    Parameters
    ----------
    atoms : ase.Atoms, str or Path
        the structure, or a file with it; not modified
    calculator : ASE calculator, Model, str or Path, optional
        an ASE calculator, a loaded model, a model file or the name of a shipped potential; None takes the
        calculator that ``atoms`` has. ``engine="lammps"`` needs one of the latter three
    temperature_K : float or None
        velocities are drawn at exactly this temperature, K, without net momentum; a crystal that starts in
        its minimum keeps about half of it at constant energy. None keeps the momenta ``atoms`` has, for one
        replica
    timestep, time : float
        in ASE's unit of time; ``time`` is rounded up to whole intervals
    replicas : int
        simulations that differ in their velocities
    engine : str
        "ase" or "lammps"
    lammps_options : mapping of str, optional
        of ``pair_style mlip``: ``dtype``, ``device``, ``check_lattice``
    symmetrize : str, ase.Atoms or Averaging, optional
        average the model over rotations, with either engine, see
        :func:`ase_mlip.rotations.schemes.find_averaging`; None takes it as it is. Pass the undisplaced
        crystal for its point group; ``"crystal"`` is that of ``atoms``, ``"auto"`` chooses by them
    symprec : float
        tolerance for the symmetry of that crystal, Å
    thermostat : Thermostat, optional
        holds or raises the temperature; None is constant energy
    evaluate : callable, optional
        energies and forces of many replicas at once in place of the calculator
        (:class:`ase_mlip.calculators.batches.batch_evaluator.BatchEvaluator`): the replicas of
        ``engine="ase"`` then run in step
    criteria : Criteria, optional
        what is unstable, by default ``Criteria()``
    rdf_frames : iterable of ase.Atoms, str or Path, optional
        frames, or a file ASE reads, to compare the distribution of distances with
    rmax : float
        longest distance in it, Å
    interval : int
        steps from one examined frame to the next
    equilibration : float, optional
        what drift, temperature and distributions leave out, ASE's unit; None is a tenth of the run
    seed : int
        of the first replica's velocities and noise; the others count on
    confidence : float
        level of all intervals
    checkpoint : str or Path, optional
        keep finished replicas in this JSON file, from which a run that was ended goes on; one that was not
        finished, and replicas in step (``evaluate``), start again
    progress : callable, optional
        called as ``progress(done, total, stage)`` with the steps of all replicas together,
        see :mod:`ase_mlip.progress`

    Returns
    -------
    StabilityResult
        the replicas, their lifetimes and what they have in common

    Raises
    ------
    StructureError
        without calculator or atoms; a reference of another substance
    ArgumentError
        unknown engine or ``symmetrize``, options of another type, numbers out of range, a ``time`` shorter
        than a step
    MLIPError
        a calculator where a model file is needed; an engine that fails before its first frame
    BuildError
        no LAMMPS is installed, or no plugin fits it

    Warns
    -----
    UserWarning
        for steps above 8 fs, which no atoms follow, and for a ``checkpoint`` of another run, whose replicas
        are run anew

    Notes
    -----
    Both engines start from the same velocities, and the same criteria are asked of their frames at the same
    steps, so that they give the same verdict as long as chaos has not separated their trajectories. (Their
    random numbers differ, so that Langevin's trajectories do from the first step.) A replica ends at its
    first failure.

    Examples
    --------
    >>> from ase import units
    >>> from ase.build import bulk
    >>> from ase_mlip import md_stability
    >>> crystal = bulk("Si", cubic=True)
    >>> found = md_stability(crystal, "snnp-si", temperature_K=300.0, time=50 * units.fs, replicas=2)
    >>> found.stable
    True
    """
    progress = told(progress)
    _check_kinds(thermostat, evaluate, criteria, lammps_options)
    require_positive("Å", symprec=symprec, rmax=rmax)
    require_whole(0, seed=seed)
    require_between(0.0, 1.0, confidence=confidence)
    if equilibration is not None:
        require_not_negative(equilibration=equilibration)
    atoms = as_structure(atoms)
    _check_arguments(len(atoms), engine, timestep, time, replicas, interval, temperature_K)
    _warn_of_long_steps(timestep)
    model = as_model_file(calculator, '`engine="lammps"`') if engine == "lammps" else None
    _check_averaging(symmetrize, evaluate, lammps_options)
    if engine == "lammps" or evaluate is not None:
        start = atoms.copy()
    else:
        start = structure_with_calculator(atoms, calculator, "md_stability")
        average_model(start, symmetrize, "md_stability", symprec)
    wanted = _read_frames(rdf_frames, rmax)
    if wanted is not None:
        rdf_error(rdf([start], rmax), wanted)  # a reference of another substance is refused before the work
    steps = interval * math.ceil(count_steps(time, timestep) / interval)
    length = steps * timestep / PICOSECOND
    skipped = 0.1 * length if equilibration is None else equilibration / PICOSECOND
    if not 0.0 <= skipped < length:
        raise ArgumentError(
            f"`equilibration`: expected less than the {length:g} ps of a replica, got {skipped:g} ps; "
            "averages would be over nothing"
        )
    thermostat = None if thermostat is None else thermostat.over(length)
    watched = partial(Watcher, start, skipped, length, rmax)
    watchers = [watched(n if replicas > 1 else None) for n in range(replicas)]
    seeds = [seed + n for n in range(replicas)]
    watching = Monitor(start, criteria, temperature_K)
    if evaluate is not None:
        settings = timestep, interval, temperature_K, seeds, criteria
        together = Replicas([start] * replicas, evaluate, thermostat, *settings)
        _run_together(together, steps, watchers, progress)
        watching = together.monitors[0]
        found = [w.part(*own) for w, *own in zip(watchers, together.monitors, seeds, strict=True)]
    else:
        how = {"timestep": timestep, "steps": steps, "interval": interval, "temperature_K": temperature_K}
        how |= {"equilibration": skipped, "rmax": rmax, "seed": seed, "one": replicas == 1, "engine": engine}
        how |= {"thermostat": thermostat and asdict(thermostat), "criteria": asdict(watching.criteria)}
        how |= {"momenta": None if temperature_K is not None else start.get_momenta()}
        by_lammps = model, symmetrize, symprec, lammps_options
        with (
            kept_replicas(checkpoint, start, by_lammps, how) as kept,
            engine_frames(start, by_lammps, timestep, steps, interval, thermostat) as frames_of,
        ):
            found = []
            for n, watcher in enumerate(watchers):
                reached = _counted(progress, n * steps, replicas * steps)
                own = frames_of, seeds[n], watcher, reached
                run = partial(run_alone, start, temperature_K, criteria, *own)
                found.append(kept.once(f"replica {n}", run))
                reached(steps)
    runs = [Replica.from_part(part["replica"]) for part in found]
    halves = RDFAccumulator(rmax), RDFAccumulator(rmax)
    for part in found:
        for half, distances in zip(halves, part["distances"], strict=True):
            half.include(distances)
    return _summarize(
        runs,
        _distributions(halves, wanted),
        engine=engine,
        n_atoms=len(atoms),
        temperature_K=float(watching.temperature_K),
        timestep=timestep / units.fs,
        time=length,
        record_interval=interval,
        equilibration=skipped,
        thermostat=thermostat,
        criteria=watching.criteria,
        survival=survival([r.survived for r in runs], [r.failure is not None for r in runs], confidence),
    )


def _run_together(
    together: Replicas,
    steps: int,
    watchers: list[Watcher],
    progress: Progress,
) -> None:
    """All replicas in step, those alive."""
    for step, frames in together.records(steps):
        for index, frame, _ in frames:
            watchers[index].add(frame)
        progress(step * len(watchers), steps * len(watchers), "")
    progress(steps * len(watchers), steps * len(watchers), "")


def _counted(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    """What one replica after ``before`` steps of others calls with its own."""

    def reached(step: int) -> None:
        progress(before + step, total, "")

    return reached


def _check_averaging(
    symmetrize: Scheme | None, evaluate: Evaluate | None, lammps_options: Mapping[str, str] | None
) -> None:
    """Raise MLIPError for an averaging that would be said twice, or that nothing would do."""
    if symmetrize is None:
        return
    if evaluate is not None:
        raise ArgumentError(
            f"`symmetrize`: expected none beside `evaluate`, which computes in place of the calculator, got "
            f"{symmetrize!r}; give the averaging to it: `BatchEvaluator(model, atoms, averaging)`"
        )
    if "symmetrize" in (lammps_options or {}):
        raise ArgumentError(
            f"`lammps_options`: expected no `symmetrize` beside `symmetrize={symmetrize!r}`, got "
            f"{lammps_options['symmetrize']!r}; leave one of them out"
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


def _warn_of_long_steps(timestep: float) -> None:
    """Steps are in ASE's unit of time, which is easily forgotten: 1 of it is 10 fs."""
    if timestep > LONG_STEP:
        warnings.warn(
            f"`timestep`: expected a few fs at most, got {timestep / units.fs:.4g} fs, in which light atoms "
            "vibrate once; Python takes ASE's unit of time, in which 1 fs is `ase.units.fs`",
            UserWarning,
            stacklevel=users_line(),
        )


def _check_arguments(
    n_atoms: int,
    engine: str,
    timestep: float,
    time: float,
    replicas: int,
    interval: int,
    temperature_K: float | None,
) -> None:
    if n_atoms == 0:
        raise StructureError("`md_stability` needs at least one atom, got a structure with none")
    if engine not in ENGINES:
        raise ArgumentError(f'`engine`: expected "ase" or "lammps", got {engine!r}')
    count_steps(time, timestep)
    require_whole(1, replicas=replicas, interval=interval)
    if temperature_K is not None:
        require_not_negative("K", temperature_K=temperature_K)
    if temperature_K is None and replicas > 1:
        raise ArgumentError(
            f"`replicas`: with `temperature_K=None` all would be the same run, got {replicas}; give a "
            "temperature or ask for one replica"
        )


def _check_kinds(thermostat: object, evaluate: object, criteria: object, lammps_options: object) -> None:
    """Raise ArgumentError for what is of another type than it has to be."""
    require_none_or(Thermostat, "a `Thermostat`", thermostat=thermostat)
    require_none_or(Callable, "a function such as a `BatchEvaluator`", evaluate=evaluate)
    require_none_or(Criteria, "`Criteria`", criteria=criteria)
    options = "options by name such as {'dtype': 'float64'}"
    require_none_or(Mapping, options, lammps_options=lammps_options)


def _read_frames(frames: Iterable[Atoms] | str | Path | None, rmax: float) -> RDF | None:
    if frames is None:
        return None
    if isinstance(frames, str | Path):
        path = Path(frames)
        if not path.is_file():
            raise StructureError(f"`rdf_frames`: expected a file that ASE reads, `{path}` does not exist")
        frames = read_structures(path)
    given = [frames] if isinstance(frames, Atoms) or not isinstance(frames, Iterable) else list(frames)
    if not all(isinstance(frame, Atoms) for frame in given):
        raise ArgumentError(
            f"`rdf_frames`: expected structures (ase.Atoms) or the path of a file with them, got {frames!r}"
        )
    return rdf(given, rmax)
