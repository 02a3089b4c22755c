"""Scripts that time a silicon crystal's steps at 300 K with ASE; ``lammps_input.py`` is for LAMMPS."""

from __future__ import annotations

from lammps_input import LATTICE

ASE = f"""
import time
import numpy as np, torch
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from ase_mlip import MLIPCalculator
from ase_mlip.dynamics.md import draw_velocities
{{first}}
atoms = bulk("Si", a={LATTICE}, cubic=True).repeat({{cells}})
atoms.positions += np.random.default_rng(1).uniform(-0.05, 0.05, atoms.positions.shape)
draw_velocities(atoms, 300, 1)
atoms.calc = MLIPCalculator({{model!r}}, device="cpu"{{keywords}})
dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
dynamics.run({{warm}})
start = time.perf_counter()
dynamics.run({{steps}})
print((time.perf_counter() - start) / {{steps}})
"""


def ase_script(
    model: str, cells: int, steps: int, warm: int = 0, keywords: str = "", one_thread: bool = True
) -> str:
    """A script that prints the seconds of a step, of ``steps`` that follow ``warm`` others.

    ``keywords`` are more arguments of the calculator, each after a comma. Torch takes the threads that it
    finds unless there is to be ``one_thread``.
    """
    first = "torch.set_num_threads(1)" if one_thread else ""
    return ASE.format(model=model, cells=cells, steps=steps, warm=warm, keywords=keywords, first=first)
