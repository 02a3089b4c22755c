"""One replica by itself, by ASE or by LAMMPS, and where those that are finished are kept."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase import Atoms

from ..calculators.averaged import average_model
from ..calculators.identity import is_known, parts_of
from ..calculators.inputs import structure_with_calculator
from ..dynamics.criteria import Criteria, Frame, Monitor
from ..dynamics.engines import ase_frames, lammps_frames
from ..dynamics.md import draw_velocities
from ..dynamics.thermostats import Thermostat
from ..provenance import Parts
from ..rotations.rotation_file import pair_style_words
from .replica import Watcher, sound_frames

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

    from ..calculators.averaged import Scheme
    from ..calculators.identity import Checkpoint

    # a model file or None, how it is averaged, within which tolerance, and options of the pair style
    ByLammps = tuple[Path | None, Scheme | None, float, Mapping[str, str] | None]


def kept_replicas(checkpoint: Checkpoint, start: Atoms, by_lammps: ByLammps, how: dict) -> Parts:
    """What is kept of finished replicas."""
    model, symmetrize, symprec, options = by_lammps
    by = start.calc
    if model is not None and isinstance(checkpoint, str | Path):
        by = _averaged(start, model, symmetrize, symprec)
    return parts_of(checkpoint, [start], by, **how, lammps_options=dict(options or {}))


@contextmanager
def engine_frames(
    start: Atoms,
    by_lammps: ByLammps,
    timestep: float,
    steps: int,
    interval: int,
    thermostat: Thermostat | None,
) -> Iterator[Callable[[Atoms, int, Monitor, Callable[[int], None]], Iterator[Frame]]]:
    """A function that gives sound frames: of a start with its momenta, a seed, a monitor, and who counts."""
    model, symmetrize, symprec, options = by_lammps
    run, watched = (timestep, steps, interval), (interval, timestep)
    if model is None:
        yield lambda work, seed, monitor, reached: sound_frames(
            ase_frames(work, *run, thermostat, seed), monitor, *watched, reached
        )
        return
    with tempfile.TemporaryDirectory(prefix="ase_mlip-md-") as folder:
        if symmetrize is not None:
            averaging = _averaged(start, model, symmetrize, symprec).averaging
            options = {**(options or {}), "symmetrize": pair_style_words(averaging, folder)}
        yield lambda work, seed, monitor, reached: sound_frames(
            lammps_frames(work, model, *run, options, thermostat, seed), monitor, *watched, reached
        )


def run_alone(
    start: Atoms,
    temperature_K: float | None,
    criteria: Criteria | None,
    frames_of: Callable,
    seed: int,
    watcher: Watcher,
    reached: Callable[[int], None],
) -> dict[str, Any]:
    """One replica, from its start to its failure or end, as :meth:`Watcher.part` has it."""
    work = start.copy()
    # as if there were no other replica: no neighbour list, or count of random rotations, is left from one
    work.calc = copy.deepcopy(start.calc) if start.calc is not None and is_known(start.calc) else start.calc
    if temperature_K is not None:
        draw_velocities(work, temperature_K, seed)
    monitor = Monitor(work, criteria, temperature_K)
    for frame in frames_of(work, seed, monitor, reached):
        watcher.add(frame)
    return watcher.part(monitor, seed)


def _averaged(atoms: Atoms, model: Path, symmetrize: Scheme | None, symprec: float) -> BaseCalculator:
    """The calculator that gives what LAMMPS is to give."""
    work = structure_with_calculator(atoms, model, "md_stability")
    average_model(work, symmetrize, "md_stability", symprec)
    return work.calc
