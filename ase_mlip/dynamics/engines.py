"""Dynamics as a stream of frames, by ASE or by LAMMPS: the reader decides when to stop."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
from ase import Atoms

from ..errors import MLIPError
from .criteria import Frame
from .lammps_process import numbers_of, require_frame, running, why_stopped
from .lammps_thermostats import stages
from .md import PICOSECOND
from .md_ase import EngineStopped, ase_frames
from .thermostats import Thermostat

__all__ = ["EngineStopped", "ase_frames", "lammps_frames"]

# Å around a molecule in its box, which grows with it; one that fits a plane molecule is too thin for LAMMPS
MARGIN = 5.0
COMMANDS = """dump 1 all custom {interval} frames.dump id xu yu zu
dump_modify 1 sort id format float %.17g flush yes
thermo {interval}
thermo_style custom step pe ke econserve
thermo_modify format float %.17g flush yes
{stages}"""


def lammps_frames(
    atoms: Atoms,
    model: Path,
    timestep: float,
    steps: int,
    interval: int,
    options: Mapping[str, str] | None = None,
    thermostat: Thermostat | None = None,
    seed: int = 0,
) -> Iterator[Frame]:
    """The same dynamics by a LAMMPS process of its own with ``pair_style mlip``, ended when the reader stops.

    Parameters
    ----------
    atoms : ase.Atoms
        periodic in all directions or in none, with momenta, in LAMMPS' frame (a lower triangular cell)
    model : Path
        model file
    timestep, steps, interval, thermostat, seed : float, int, Thermostat
        as for :func:`ase_frames`
    options : mapping of str, optional
        of the pair style: ``dtype``, ``device``, ``symmetrize``

    Raises
    ------
    EngineStopped
        LAMMPS ended with an error after the first frame, such as lost atoms
    BuildError
        no LAMMPS is installed, or no plugin fits it
    MLIPError
        a cell LAMMPS would rotate; LAMMPS ended with an error at the start
    """
    boxed, shift = _boxed(atoms)
    parts = stages(atoms, thermostat, timestep / PICOSECOND, steps, seed)
    text = "\n".join(f"{lines}\nrun {length}" for lines, length in parts)
    commands = COMMANDS.format(interval=interval, stages=text)
    with running(boxed, model, options or {}, timestep, commands) as (process, folder):
        dump = folder / "frames.dump"
        for frame in _read(process, dump, len(atoms), shift, timestep, steps, interval):
            yield frame if thermostat is None else _with_thermostat(frame, thermostat)


def _boxed(atoms: Atoms) -> tuple[Atoms, np.ndarray]:
    """``atoms`` as LAMMPS can take them, and what was added to their positions, Å."""
    if not atoms.pbc.any():
        boxed = atoms.copy()
        boxed.set_cell(np.ptp(atoms.positions, axis=0) + 2.0 * MARGIN)
        shift = MARGIN - atoms.positions.min(axis=0)
        boxed.positions += shift
        return boxed, shift
    require_frame(atoms, "a structure periodic in three directions or in none,")
    return atoms, np.zeros(3)


def _with_thermostat(frame: Frame, thermostat: Thermostat) -> Frame:
    """The frame with its target. LAMMPS' account of the heat is that of ``fix nvt`` at a constant target."""
    conserves = thermostat.kind == "nose-hoover" and thermostat.ramp_K is None
    conserves |= thermostat.kind == "langevin" and thermostat.friction == 0.0
    energy = frame.conserved_energy if conserves else None
    return replace(frame, target_K=thermostat.target_K(frame.time_ps), conserved_energy=energy)


def _read(
    process: subprocess.Popen,
    path: Path,
    n_atoms: int,
    shift: np.ndarray,
    timestep: float,
    steps: int,
    interval: int,
) -> Iterator[Frame]:
    """A frame for each line of thermodynamic output, but those where one `run` ends and the next starts.

    The positions of a line are certain to be in the dump when the next line has come, or the end.
    """
    others: list[str] = []
    row = last = None
    with ExitStack() as stack:
        dump = None
        for line in itertools.chain(process.stdout, [""]):
            numbers = numbers_of(line)
            if numbers is None and line:
                others.append(line)
                continue
            if numbers is not None and (numbers[0] % interval or (row and numbers[0] == row[0])):
                continue
            if row is not None:
                dump = dump or stack.enter_context(path.open(encoding="utf-8"))
                positions = _next_positions(dump, n_atoms)
                if positions is None:
                    break
                last = int(row[0])
                yield Frame(
                    last,
                    last * timestep / PICOSECOND,
                    positions - shift,
                    row[1],
                    row[2],
                    conserved_energy=row[3],
                )
            row = numbers
    status = process.wait()
    if status == 0 and last == steps:
        return
    message = why_stopped(status, others)
    raise MLIPError(message) if last is None else EngineStopped(message)


def _next_positions(dump: IO[str], n_atoms: int) -> np.ndarray | None:
    """Positions [N, 3] (Å) of the next frame; None if it is not complete.

    Raises EngineStopped if atoms are missing.
    """
    header = [dump.readline() for _ in range(9)]
    if not header[-1].endswith("\n"):
        return None
    found = int(header[3])
    lines = [dump.readline() for _ in range(found)]
    if found != n_atoms:
        raise EngineStopped(f"Lost atoms: original {n_atoms} current {found}")
    if not lines[-1].endswith("\n"):
        return None
    return np.array([line.split() for line in lines], dtype=float)[:, 1:4]
