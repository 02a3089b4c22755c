"""The dynamics of :mod:`ase_mlip.dynamics.md` run by LAMMPS instead of ASE, with the same model file."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io.lammpsdata import write_lammps_data

from ..errors import MLIPError
from ..lammps import lammps_run
from .md import PICOSECOND, MDResult, energy_statistics

INPUT = """units metal
atom_style atomic
boundary p p p
read_data start.data
pair_style mlip dtype {dtype} device {device}
pair_coeff * * "{model}" {symbols}
timestep {timestep:.17g}
{respa}
{integrate}
thermo 1
thermo_style custom step pe ke temp
thermo_modify format float %.17g
run {steps}
write_dump all custom last.dump id x y z vx vy vz fx fy fz modify sort id format float %.17g
"""
# LAMMPS wants two distances after `inner`, which have no meaning for the style
RESPA = "run_style respa 2 {} inner 1 3.0 4.0 outer 2"


@dataclass
class LammpsMD:
    """What LAMMPS did.

    Attributes
    ----------
    result: energies, drift and last structure as :func:`ase_mlip.dynamics.md.run_nve` returns them
    energy: potential energy of the last structure, eV
    forces: on its atoms, eV/Å, [N, 3]
    log: what LAMMPS printed
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
    progress: Callable[[int, int], None] | None = None,
) -> LammpsMD:
    """Velocity-Verlet dynamics at constant energy in a LAMMPS process of its own, with ``pair_style mlip``.

    Parameters
    ----------
    atoms: periodic structure with momenta, in LAMMPS' frame (a lower triangular cell, as cubic ones are)
    model: model file
    timestep, time, equilibration: in ASE's unit of time, as for :func:`ase_mlip.dynamics.md.run_nve`
    dtype, device: of the network
    respa: if above 1, direct forces at every step and what the conservative ones add to them at every
        ``respa``-th (LAMMPS' ``run_style respa``); energies are those of the latter steps
    progress: called as ``progress(step, steps)`` after each step

    Raises
    ------
    BuildError
        no LAMMPS is installed, or no plugin fits it
    MLIPError
        a cell LAMMPS would rotate; LAMMPS stopped with an error
    """
    if not atoms.pbc.all() or np.abs(np.triu(atoms.cell.array, 1)).max() > 1e-12:
        raise MLIPError(
            "`atoms`: expected a periodic structure with a lower triangular cell, because LAMMPS rotates "
            "others; turn it with `atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)`"
        )
    program, environment = lammps_run.prepare()
    timestep *= respa
    steps = max(1, round(time / timestep))
    symbols = sorted(set(atoms.get_chemical_symbols()))
    with tempfile.TemporaryDirectory(prefix="ase_mlip-lammps-") as name:
        folder = Path(name)
        write_lammps_data(
            folder / "start.data", atoms, specorder=symbols, masses=True, velocities=True, units="metal"
        )
        text = INPUT.format(
            dtype=dtype,
            device=device,
            model=model,
            symbols=" ".join(symbols),
            timestep=timestep / PICOSECOND,
            integrate=lammps_run.nve_lines(atoms),
            respa=RESPA.format(respa) if respa > 1 else "",
            steps=steps,
        )
        (folder / "in.nve").write_text(text)
        command = [str(program), "-in", "in.nve", "-log", "none"]
        rows, log = _run(command, folder, environment, steps, progress)
        table = np.loadtxt(folder / "last.dump", skiprows=9, ndmin=2)
    return _collect(atoms, rows, table, log, timestep, equilibration)


def _run(
    command: list[str],
    folder: Path,
    environment: dict[str, str],
    steps: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, str]:
    """Rows (step, potential and kinetic energy in eV, temperature in K), and all output."""
    rows, lines = [], []
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            lines.append(line)
            if (row := _numbers(line)) is not None:
                rows.append(row)
                if progress is not None and row[0]:
                    progress(int(row[0]), steps)
    log = "".join(lines)
    if process.returncode != 0 or len(rows) != steps + 1:
        errors = [line for line in lines if "ERROR" in line] or lines[-1:] or [""]
        raise MLIPError(f"LAMMPS stopped (exit status {process.returncode}): {errors[0].strip()}")
    return np.array(rows), log


def _numbers(line: str) -> list[float] | None:
    words = line.split()
    if len(words) != 4 or not words[0].isdigit():
        return None
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


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
    result = MDResult(
        **energy_statistics(energies, atoms, equilibration / PICOSECOND),
        max_displacement=float(np.linalg.norm(moved, axis=1).max()),
        atoms=last,
        completed=True,
        steps=len(rows) - 1,
        timestep=timestep / units.fs,
        seconds_per_step=float(loop[1]) / max(1, len(rows) - 1) if loop else float("nan"),
    )
    return LammpsMD(result, float(rows[-1, 1]), table[:, 7:10], log)
