"""A LAMMPS process of its own with ``pair_style mlip`` and a structure, whose output is read as it comes."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.lammpsdata import write_lammps_data

from ..errors import MLIPError
from ..lammps import lammps_run
from .md import PICOSECOND

INPUT = """units metal
atom_style atomic
boundary {boundary}
read_data start.data
pair_style mlip {options}
pair_coeff * * "{model}" {symbols}
timestep {timestep:.17g}
{commands}
"""


@contextmanager
def running(
    atoms: Atoms, model: Path, options: Mapping[str, str], timestep: float, commands: str
) -> Iterator[tuple[subprocess.Popen, Path]]:
    """LAMMPS at work on ``atoms``, and the folder it writes to; it is ended when the block is left.

    Parameters
    ----------
    atoms : ase.Atoms
        with a cell in LAMMPS' frame (:func:`require_frame`) and momenta
    model : Path
        model file
    options : mapping of str
        of the pair style
    timestep : float
        in ASE's unit of time
    commands : str
        lines of the input behind the time step

    Raises
    ------
    BuildError
        no LAMMPS is installed, or no plugin fits it
    """
    program, environment = lammps_run.prepare()
    symbols = sorted(set(atoms.get_chemical_symbols()))
    with tempfile.TemporaryDirectory(prefix="ase_mlip-lammps-") as name:
        folder = Path(name)
        write_lammps_data(
            folder / "start.data", atoms, specorder=symbols, masses=True, velocities=True, units="metal"
        )
        text = INPUT.format(
            boundary="p p p" if atoms.pbc.all() else "m m m",
            options=" ".join(f"{key} {value}" for key, value in options.items()),
            model=Path(model).absolute(),
            symbols=" ".join(symbols),
            timestep=timestep / PICOSECOND,
            commands=commands,
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
                yield process, folder
            finally:
                process.kill()


def require_frame(atoms: Atoms, expected: str) -> None:
    """Raise MLIPError, naming what was ``expected``, for a crystal that LAMMPS would rotate."""
    if not atoms.pbc.all() or np.abs(np.triu(atoms.cell.array, 1)).max() > 1e-12:
        raise MLIPError(
            f"`atoms`: expected {expected} with a lower triangular cell, because LAMMPS rotates others; "
            "rotate it with `atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)`"
        )


def numbers_of(line: str) -> tuple[float, ...] | None:
    """The four numbers of a line of thermodynamic output, the step first; None for other output."""
    words = line.split()
    if len(words) != 4 or not words[0].isdigit():
        return None
    try:
        return tuple(map(float, words))
    except ValueError:
        return None


def why_stopped(status: int, lines: Sequence[str]) -> str:
    """The error that LAMMPS printed, or else its last line."""
    errors = [text for text in lines if "ERROR" in text] or list(lines[-1:]) or ["no output"]
    return f"LAMMPS stopped (exit status {status}): {' '.join(errors[0].split())}"
