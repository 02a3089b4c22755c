"""Runs of LAMMPS at constant energy, for the benchmarks: the lines of inputs, and the times LAMMPS tells.

An input is a structure, a pair style and steps, in this order::

    silicon(8) + mlip("pet-si", "Si") + nve(0.001, 20)

Files beside this one import it before they remove this folder from ``sys.path``, where ``lammps.py`` would be
taken for the package. Only the standard library is needed, and ASE to write a structure.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

LATTICE = 5.43  # Å, of silicon
HEAD = """units metal
atom_style atomic
"""
SILICON = f"""lattice diamond {LATTICE}
region box block 0 {{cells}} 0 {{cells}} 0 {{cells}}
create_box 1 box
create_atoms 1 box
mass 1 28.0855
displace_atoms all random 0.05 0.05 0.05 1
velocity all create 300 1
"""


def silicon(cells: int) -> str:
    """Lines of a silicon crystal of ``cells`` conventional cells along each direction, at 300 K."""
    return HEAD + SILICON.format(cells=cells)


def structure(folder: Path, atoms, masses: Mapping[str, float], velocity: str = "") -> str:
    """Lines that read ``atoms`` (:class:`ase.Atoms`, periodic), which are written into the folder.

    ``masses`` in u, by element, whose order is that of LAMMPS' types; ``velocity``: arguments of the command
    that draws them, none by default.
    """
    from ase.io import write

    write(folder / "structure.data", atoms, format="lammps-data", specorder=list(masses), masses=False)
    lines = ["read_data structure.data"]
    lines += [f"mass {kind} {mass}" for kind, mass in enumerate(masses.values(), start=1)]
    lines += [f"velocity all create {velocity}"] if velocity else []
    return HEAD + "\n".join(lines) + "\n"


def pair(style: str, coeff: str) -> str:
    """Lines of any pair style, with the arguments of its commands."""
    return f"pair_style {style}\npair_coeff * * {coeff}".rstrip() + "\n"


def mlip(model: str | Path, elements: str, options: str = "") -> str:
    """Lines of ``pair_style mlip`` on the CPU; ``elements`` by type, ``options`` more of its keywords."""
    return pair(f"mlip device cpu {options}".rstrip(), f'"{model}" {elements}')


def nve(timestep: float, *steps: int) -> str:
    """Lines of runs at constant energy, one behind the other, of so many steps of ``timestep`` ps."""
    runs = "".join(f"run {count}\n" for count in steps)
    return f"timestep {timestep}\nfix 1 all nve\n{runs}"


def command(
    program: str | Path, file: str, *arguments: str, ranks: int = 1, mpirun: Path | None = None
) -> list[str]:
    """The command line that runs an input; ``mpirun`` is by default the one beside this Python."""
    launcher = (
        [str(mpirun or Path(sys.executable).with_name("mpirun")), "-np", str(ranks)] if ranks > 1 else []
    )
    return [*launcher, str(program), "-in", file, "-log", "none", *arguments]


def seconds_per_step(output: str) -> list[float]:
    """Of each run, from what LAMMPS printed: its loop, without setup."""
    loops = re.findall(r"Loop time of (\S+) on \d+ procs for (\d+) steps", output)
    return [float(seconds) / int(steps) for seconds, steps in loops]
