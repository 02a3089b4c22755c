"""The demo's crystal, and what is known about it from experiment and density-functional theory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk

START = 5.431  # Å; the experimental lattice constant, not the model's
TO_CONVENTIONAL = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])  # of ASE's primitive fcc cell


@dataclass(frozen=True)
class Known:
    """A number of silicon from PBE calculations and from experiment; None where no source is at hand."""

    name: str
    unit: str
    pbe: float | None
    experiment: float | None
    digits: int = 2


LATTICE_CONSTANT = Known("lattice constant", "Å", 5.4695, 5.4310, 4)
BULK_MODULUS = Known("bulk modulus", "GPa", 88.5, 97.9, 1)
BULK_MODULUS_DERIVATIVE = Known("its pressure derivative", "", 4.31, None)
GAMMA_OPTICAL = Known("optical mode at Γ", "THz", 15.11, 15.53)
X_TRANSVERSE = Known("transverse acoustic mode at X", "THz", 4.39, 4.49)
L_TRANSVERSE = Known("transverse acoustic mode at L", "THz", 3.33, 3.43)

SOURCES = (
    "PBE lattice constant, bulk modulus and derivative: all-electron WIEN2k, K. Lejaeghere et al., "
    "Science 351, aad3000 (2016).",
    "PBE frequencies: VASP forces of phonopy's silicon example (lattice constant 5.466 Å), a supercell of "
    "16 atoms, with which Γ, X and L are commensurate.",
    "Experiment: lattice constant, CODATA 2018 (22.5 °C); bulk modulus (C11 + 2 C12)/3, H. J. McSkimin and "
    "P. Andreatch, J. Appl. Phys. 35, 2161 (1964), 25 °C; frequencies by neutron scattering, G. Nilsson and "
    "G. Nelin, Phys. Rev. B 6, 3777 (1972), and G. Dolling (1963), room temperature.",
)

# THz by special point, for the picture
PBE_FREQUENCIES = {
    "Γ": (15.11,),
    "X": (4.39, 12.05, 13.43),
    "L": (3.33, 11.14, 12.02, 14.33),
}
MEASURED_FREQUENCIES = {
    "Γ": (15.53,),
    "X": (4.49, 12.32, 13.90),
    "L": (3.43, 11.35, 12.60, 14.68),
}


def diamond(lattice_constant: float) -> Atoms:
    """Silicon's conventional cell, 8 atoms."""
    return bulk("Si", "diamond", a=lattice_constant, cubic=True)


def primitive(lattice_constant: float) -> Atoms:
    """Silicon's primitive cell, 2 atoms."""
    return bulk("Si", "diamond", a=lattice_constant)


def distorted(displacement: float = 0.1, strain: float = 0.03, seed: int = 0) -> Atoms:
    """The conventional cell with its symmetry destroyed.

    Every atom is moved, by ``displacement`` Å on average (root mean square), and the cell is sheared and
    stretched by a symmetric strain whose largest principal value is ``strain``.
    """
    return distort(diamond(START), displacement, strain, seed)


def distort(crystal: Atoms, displacement: float, strain: float, seed: int = 0) -> Atoms:
    """A copy of any crystal distorted as :func:`distorted` says (Å; no unit)."""
    rng = np.random.default_rng(seed)
    atoms = crystal.copy()
    tensor = rng.normal(size=(3, 3))
    tensor += tensor.T
    tensor *= strain / np.abs(np.linalg.eigvalsh(tensor)).max()
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + tensor), scale_atoms=True)
    moves = rng.normal(size=(len(atoms), 3))
    moves -= moves.mean(axis=0)
    atoms.positions += moves * displacement / np.sqrt((moves**2).sum(axis=1).mean())
    return atoms
