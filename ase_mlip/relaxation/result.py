"""What a relaxation returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms

from ..provenance import plain
from .force_noise import ForceNoise
from .symmetry import Refinement


@dataclass
class RelaxResult:
    """A relaxed structure and how it came about. Lengths in Å, energies in eV, stress in eV/Å^3 (Voigt-6).

    Attributes
    ----------
    atoms : ase.Atoms
        the relaxed structure, without calculator
    converged : bool
        whether ``fmax``, and ``smax`` where it was asked for, were reached within ``steps``
    steps : int
        optimiser steps taken, since the start or since the relaxation was resumed; so are the lists
    optimizer, cell, keep_space_group : str, bool or str, bool
        as they were asked for
    averaging : str
        what the model was averaged over, "none" for nothing
    energies : list of float
        energy at the start and after each step, eV
    fmaxes : list of float
        what the optimiser compares with ``fmax``, at the start and after each step
    volumes : list of float
        volume at the start and after each step, Å^3; empty where the cell was kept
    forces : float64 [N, 3]
        at the end, eV/Å; with ``keep_space_group`` their symmetric part
    fmax : float
        the largest of them
    stress : float64 [6] or None
        stress at the end; None for what is not a crystal, and where the calculator has none
    volume : float or None
        at the end, Å^3, or None where the structure has none
    spacegroup_before, spacegroup_after : dict
        space group by symprec (Å)
    rmsd : float
        root mean square displacement of the atoms, without the cell's strain and any drift, Å
    rmsd_to_reference : float or None
        the same to ``reference``; None without one, or where it does not match
    noise : ForceNoise or None
        noise of the forces of the relaxed structure, or None where it was not measured
    trajectory : Path or None
        where each step was written
    wall_time : float
        seconds
    refinement : Refinement or None
        with ``keep_space_group`` how far the start was from that symmetry
    """

    atoms: Atoms
    converged: bool
    steps: int
    optimizer: str
    cell: bool | str
    keep_space_group: bool
    averaging: str
    energies: list[float] = field(repr=False)
    fmaxes: list[float] = field(repr=False)
    volumes: list[float] = field(repr=False)
    forces: np.ndarray = field(repr=False)
    fmax: float
    stress: np.ndarray | None
    volume: float | None
    spacegroup_before: dict[float, str]
    spacegroup_after: dict[float, str]
    rmsd: float
    rmsd_to_reference: float | None
    noise: ForceNoise | None
    trajectory: Path | None
    wall_time: float
    refinement: Refinement | None = None

    @property
    def energy(self) -> float:
        """Energy of the relaxed structure, eV."""
        return self.energies[-1]

    def to_dict(self) -> dict:
        """Everything as JSON values: lists for arrays, numbers, positions, cell and pbc of the structure."""
        atoms = {name: getattr(self.atoms, name) for name in ("numbers", "positions", "pbc")}
        more = {
            "atoms": atoms | {"cell": self.atoms.cell.array},
            "energy": self.energy,
            "noise": None if self.noise is None else asdict(self.noise),
            "refinement": None if self.refinement is None else asdict(self.refinement),
            "trajectory": None if self.trajectory is None else str(self.trajectory),
        }
        return plain(vars(self) | more)

    def plot(self, path: str | Path) -> None:
        """Draw energy and gradient by step into a PNG, PDF or SVG."""
        from ..pictures.plots import plot_relaxation, save_figure

        save_figure(plot_relaxation(self), path)
