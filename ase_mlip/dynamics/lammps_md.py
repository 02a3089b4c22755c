"""The dynamics of :mod:`ase_mlip.dynamics.md` run by LAMMPS instead of ASE, with the same model file."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units

from ..errors import MLIPError
from ..lammps import lammps_run
from ..progress.form import Progress, told
from .lammps_process import numbers_of, require_frame, running, why_stopped
from .md import PICOSECOND, MDResult, count_steps, md_result

COMMANDS = """{respa}
{integrate}
thermo 1
thermo_style custom step pe ke temp
thermo_modify format float %.17g
run {steps}
write_dump all custom last.dump id x y z vx vy vz fx fy fz modify sort id format float %.17g"""
# LAMMPS wants two distances after `inner`, which have no meaning for the style
RESPA = "run_style respa 2 {} inner 1 3.0 4.0 outer 2"


@dataclass
class LammpsMD:
    """What LAMMPS did.

    Attributes
    ----------
    result : MDResult
        energies, drift and last structure as :func:`ase_mlip.dynamics.md.run_nve` returns them
    energy : float
        potential energy of the last structure, eV
    forces : array
        on its atoms, eV/Å, [N, 3]
    log : str
        what LAMMPS printed
    """

    result: MDResult
    energy: float
    forces: np.ndarray
    log: str


def run_nve_lammps(
    atoms: Atoms,
    model: Path,
    timestep: float = 1.0 * units.fs,
    time: float = 1000.0 * units.fs,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    equilibration: float = 0.0,
    respa: int = 1,
    progress: Progress | None = None,
) -> LammpsMD:
    """Velocity-Verlet dynamics at constant energy in a LAMMPS process of its own, with ``pair_style mlip``.

    Parameters
    ----------
    atoms : ase.Atoms
        periodic structure with momenta, in LAMMPS' frame (a lower triangular cell, as cubic ones are)
    model : Path
        model file
    timestep, time, equilibration : float
        in ASE's unit of time, as for :func:`ase_mlip.dynamics.md.run_nve`
    dtype, device : str
        of the network
    respa : int
        if above 1, direct forces at every step and what the conservative ones add to them at every
        ``respa``-th (LAMMPS' ``run_style respa``); energies are those of the latter steps
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each step, see :mod:`ase_mlip.progress`

    Raises
    ------
    ArgumentError
        a ``time`` shorter than a step, or with ``respa`` than the outer one
    BuildError
        no LAMMPS is installed, or no plugin fits it
    MLIPError
        a cell LAMMPS would rotate; LAMMPS stopped with an error
    """
    require_frame(atoms, "a periodic structure")
    timestep *= respa
    steps = count_steps(time, timestep)
    commands = COMMANDS.format(
        integrate=lammps_run.nve_lines(atoms), respa=RESPA.format(respa) if respa > 1 else "", steps=steps
    )
    options = {"dtype": dtype, "device": device}
    with running(atoms, model, options, timestep, commands) as (process, folder):
        rows, log = _read(process, steps, told(progress))
        table = np.loadtxt(folder / "last.dump", skiprows=9, ndmin=2)
    return _collect(atoms, rows, table, log, timestep, equilibration)


def _read(process: subprocess.Popen, steps: int, progress: Progress) -> tuple[np.ndarray, str]:
    """Rows (step, potential and kinetic energy in eV, temperature in K), and all output."""
    rows, lines = [], []
    for line in process.stdout:
        lines.append(line)
        if (row := numbers_of(line)) is not None:
            rows.append(row)
            if row[0]:
                progress(int(row[0]), steps, "")
    status = process.wait()
    if status != 0 or len(rows) != steps + 1:
        raise MLIPError(why_stopped(status, lines))
    return np.array(rows), "".join(lines)


def _collect(
    atoms: Atoms,
    rows: np.ndarray,
    table: np.ndarray,
    log: str,
    timestep: float,
    equilibration: float,
) -> LammpsMD:
    loop = re.search(r"^Loop time of (\S+) on", log, re.MULTILINE)
    last = atoms.copy()
    last.positions = table[:, 1:4]
    last.set_velocities(table[:, 4:7] / PICOSECOND)
    moved = last.positions - atoms.positions
    moved -= np.round(moved @ np.linalg.inv(atoms.cell.array)) @ atoms.cell.array  # LAMMPS wraps
    energies = np.column_stack([rows[:, 0] * timestep, rows[:, 1], rows[:, 2]])
    seconds = float(loop[1]) if loop else float("nan")
    result = md_result(energies, last, moved, timestep, equilibration, seconds)
    return LammpsMD(result, float(rows[-1, 1]), table[:, 7:10], log)
