"""Dynamics as a stream of frames, by ASE or by LAMMPS: the reader decides when to stop."""

from __future__ import annotations

import itertools
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
from ase import Atoms
from ase.io.lammpsdata import write_lammps_data

from ..errors import MLIPError
from ..lammps import lammps_run
from .criteria import Frame
from .lammps_thermostats import stages
from .md import PICOSECOND
from .md_ase import EngineStopped, ase_frames
from .thermostats import Thermostat

__all__ = ["EngineStopped", "ase_frames", "lammps_frames"]

# Å around a molecule in its box, which grows with it; one that fits a plane molecule is too thin for LAMMPS
MARGIN = 5.0
INPUT = """units metal
atom_style atomic
boundary {boundary}
read_data start.data
pair_style mlip {options}
pair_coeff * * "{model}" {symbols}
timestep {timestep:.17g}
dump 1 all custom {interval} frames.dump id xu yu zu
dump_modify 1 sort id format float %.17g flush yes
thermo {interval}
thermo_style custom step pe ke econserve
thermo_modify format float %.17g flush yes
{stages}
"""


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
    atoms: periodic in all directions or in none, with momenta, in LAMMPS' frame (a lower triangular cell)
    model: model file
    timestep, steps, interval, thermostat, seed: as for :func:`ase_frames`
    options: of the pair style: ``dtype``, ``device``, ``symmetrize``

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
    program, environment = lammps_run.prepare()
    symbols = sorted(set(atoms.get_chemical_symbols()))
    parts = stages(atoms, thermostat, timestep / PICOSECOND, steps, seed)
    with tempfile.TemporaryDirectory(prefix="ase_mlip-lammps-") as name:
        folder = Path(name)
        write_lammps_data(
            folder / "start.data", boxed, specorder=symbols, masses=True, velocities=True, units="metal"
        )
        text = INPUT.format(
            boundary="p p p" if atoms.pbc.all() else "m m m",
            options=" ".join(f"{key} {value}" for key, value in (options or {}).items()),
            model=Path(model).absolute(),
            symbols=" ".join(symbols),
            timestep=timestep / PICOSECOND,
            interval=interval,
            stages="\n".join(f"{lines}\nrun {length}" for lines, length in parts),
        )
        (folder / "in.md").write_text(text, encoding="utf-8")
        with subprocess.Popen(
            [str(program), "-in", "in.md", "-log", "none"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                dump = folder / "frames.dump"
                for frame in _read(process, dump, len(atoms), shift, timestep, steps, interval):
                    yield frame if thermostat is None else _with_thermostat(frame, thermostat)
            finally:
                process.kill()


def _boxed(atoms: Atoms) -> tuple[Atoms, np.ndarray]:
    """``atoms`` as LAMMPS can take them, and what was added to their positions, Å."""
    if not atoms.pbc.any():
        boxed = atoms.copy()
        boxed.set_cell(np.ptp(atoms.positions, axis=0) + 2.0 * MARGIN)
        shift = MARGIN - atoms.positions.min(axis=0)
        boxed.positions += shift
        return boxed, shift
    if not atoms.pbc.all() or np.abs(np.triu(atoms.cell.array, 1)).max() > 1e-12:
        raise MLIPError(
            "`atoms`: expected a structure periodic in three directions or in none, with a lower triangular "
            "cell, because LAMMPS rotates others; turn it with "
            "`atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)`"
        )
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
            numbers = _numbers(line)
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
    errors = [text for text in others if "ERROR" in text] or others[-1:] or ["no output"]
    message = f"LAMMPS stopped (exit status {status}): {' '.join(errors[0].split())}"
    raise MLIPError(message) if last is None else EngineStopped(message)


def _numbers(line: str) -> tuple[float, ...] | None:
    """Step, potential, kinetic and conserved energy (eV); None for other output."""
    words = line.split()
    if len(words) != 4 or not words[0].isdigit():
        return None
    try:
        return tuple(map(float, words))
    except ValueError:
        return None


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
