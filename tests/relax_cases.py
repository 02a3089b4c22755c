"""Crystals that are relaxed in the tests, with EMT."""

import functools

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from scipy.optimize import minimize_scalar


def distorted_copper(scale: float = 1.0) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    strain = scale * np.array([[0.03, 0.004, 0.0], [0.004, -0.01, 0.002], [0.0, 0.002, 0.02]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.1 * scale, seed=1)
    atoms.calc = EMT()
    return atoms


def simple_cubic(rattle: float = 0.0) -> Atoms:
    """Aluminium where it does not stay: EMT's simple cubic crystal is a saddle."""
    atoms = bulk("Al", "sc", a=2.6) * (2, 2, 2)
    if rattle:
        atoms.rattle(rattle, seed=0)
    atoms.calc = EMT()
    return atoms


@functools.cache
def lattice_constant() -> float:
    """EMT copper's, from a one-dimensional minimisation that knows nothing of forces and stresses."""

    def energy(a: float) -> float:
        atoms = bulk("Cu", a=a)
        atoms.calc = EMT()
        return atoms.get_potential_energy()

    return minimize_scalar(energy, bounds=(3.4, 3.8), method="bounded", options={"xatol": 1e-8}).x
