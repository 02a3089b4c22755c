"""Geometry optimisation with ASE's optimisers: atoms, and where wanted the cell.

Takes any ASE calculator; the structure that is passed in stays as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from .crystals import SYMPRECS, largest_force, require_crystal, space_groups, with_calculator
from .errors import StructureError

OPTIMIZERS = {"FIRE": FIRE, "LBFGS": LBFGS, "BFGS": BFGS}
CELLS = (True, False, "shape", "volume")


@dataclass
class RelaxResult:
    """A relaxed structure and how it came about. Lengths in Å, energies in eV, stress in eV/Å^3 (Voigt-6).

    Attributes
    ----------
    atoms: the relaxed structure, without calculator
    converged: whether ``fmax`` was reached within ``steps``
    steps: optimiser steps taken
    energies: energy at the start and after each step, eV
    fmaxes: what the optimiser compares with ``fmax``, at the start and after each step
    fmax: largest force on an atom at the end, eV/Å
    stress: stress at the end, or None where the cell was kept
    volumes: volume at the start and after each step, Å^3; empty where the cell was kept
    spacegroup_before, spacegroup_after: space group by symprec (Å)
    rmsd: root mean square displacement of the atoms, without the cell's strain and any drift, Å
    wall_time: seconds
    """

    atoms: Atoms
    converged: bool
    steps: int
    optimizer: str
    cell: bool | str
    energies: list[float] = field(repr=False)
    fmaxes: list[float] = field(repr=False)
    volumes: list[float] = field(repr=False)
    fmax: float
    stress: np.ndarray | None
    spacegroup_before: dict[float, str]
    spacegroup_after: dict[float, str]
    rmsd: float
    wall_time: float

    @property
    def energy(self) -> float:
        """Energy of the relaxed structure, eV."""
        return self.energies[-1]


def relax(
    atoms: Atoms,
    fmax: float = 0.01,
    steps: int = 500,
    optimizer: str = "FIRE",
    cell: bool | str = False,
    *,
    symprecs: tuple[float, ...] = SYMPRECS,
    trajectory: str | Path | None = None,
    progress: Callable[[int, float, float], None] | None = None,
) -> RelaxResult:
    """Minimise the energy of ``atoms`` over positions and, if asked, the cell.

    Parameters
    ----------
    atoms: structure with a calculator; not modified
    fmax: stop when no force is larger, eV/Å. With a cell the same number bounds the energy's derivative per
        atom with respect to the logarithmic strain, eV/atom (volume × stress / number of atoms).
    steps: stop after so many steps, converged or not
    optimizer: ``"FIRE"``, ``"LBFGS"`` or ``"BFGS"``, ASE's
    cell: False keeps it, True relaxes it, ``"shape"`` at constant volume, ``"volume"`` at constant shape;
        directions that are not periodic are kept (``FrechetCellFilter`` of ASE)
    symprecs: tolerances at which space groups are looked for, Å
    trajectory: write each step to this ASE trajectory
    progress: called as ``progress(step, energy, fmax)`` at the start and after each step

    Raises
    ------
    StructureError
        without calculator or atoms, for a cell that cannot be relaxed, or when forces stop being finite
    ValueError
        for an unknown ``optimizer`` or ``cell``
    """
    work = with_calculator(atoms, "relax")
    target = _target(work, cell)
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"`optimizer` must be one of {', '.join(OPTIMIZERS)}, got `{optimizer}`")
    energies: list[float] = []
    fmaxes: list[float] = []
    volumes: list[float] = []
    started = time.perf_counter()
    path = None if trajectory is None else str(trajectory)
    minimizer = OPTIMIZERS[optimizer](target, logfile=None, trajectory=path)

    def observe() -> None:
        energies.append(float(work.get_potential_energy()))
        fmaxes.append(largest_force(target.get_forces()))
        if cell is not False:
            volumes.append(float(work.get_volume()))
        if not np.isfinite(energies[-1]):
            raise StructureError(
                f"`energy` must be finite, got {energies[-1]} eV at step {minimizer.nsteps}; check the start"
            )
        if progress is not None:
            progress(minimizer.nsteps, energies[-1], fmaxes[-1])

    minimizer.attach(observe, interval=1)
    converged = bool(minimizer.run(fmax=fmax, steps=steps))
    return RelaxResult(
        atoms=_bare(work),
        converged=converged,
        steps=minimizer.nsteps,
        optimizer=optimizer,
        cell=cell,
        energies=energies,
        fmaxes=fmaxes,
        volumes=volumes,
        fmax=largest_force(work.get_forces()),
        stress=None if cell is False else work.get_stress(),
        spacegroup_before=space_groups(atoms, symprecs),
        spacegroup_after=space_groups(work, symprecs),
        rmsd=displacement_rms(atoms, work),
        wall_time=time.perf_counter() - started,
    )


def displacement_rms(first: Atoms, second: Atoms) -> float:
    """Root mean square displacement between two states of one structure, same order of atoms, Å.

    Displacements are taken in the first structure's cell, so that a strain of the whole does not count, and
    their mean is removed.
    """
    if first.cell.rank == 3:
        moved = second.get_scaled_positions(wrap=False) - first.get_scaled_positions(wrap=False)
        moved = moved @ first.cell.array
    else:
        moved = second.positions - first.positions
    moved -= moved.mean(axis=0)
    return float(np.sqrt((moved**2).sum(axis=1).mean()))


def _target(atoms: Atoms, cell: bool | str):
    """What the optimiser moves: the atoms, or a filter that adds the cell."""
    if not any(cell is known or cell == known for known in CELLS):
        raise ValueError(f"`cell` must be one of {CELLS}, got {cell!r}")
    if cell is False:
        return atoms
    if not atoms.pbc.any():
        raise StructureError(f"`cell={cell!r}` needs a periodic structure, got a molecule; use `cell=False`")
    if cell is not True:
        require_crystal(atoms, f'relax(cell="{cell}")')
    mask = np.outer(atoms.pbc, atoms.pbc)
    return FrechetCellFilter(
        atoms, mask=mask, hydrostatic_strain=cell == "volume", constant_volume=cell == "shape"
    )


def _bare(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.calc = None
    return copy
