"""Small pools for the tests of the command and of its function."""

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.singlepoint import SinglePointCalculator


def copper(group: str, seed: int, a: float = 3.6, rattle: float = 0.08) -> Atoms:
    atoms = bulk("Cu", "fcc", a=a, cubic=True)
    atoms.rattle(rattle, seed=seed)
    atoms.info["group"] = group
    return atoms


def slab(seed: int) -> Atoms:
    atoms = fcc111("Cu", (1, 1, 4), a=3.6, vacuum=5.0)
    atoms.pbc = True
    atoms.rattle(0.06, seed=seed)
    atoms.info = {"group": "surface"}
    return atoms


def pool(seed: int = 0) -> list[Atoms]:
    """Eight crystals, eight strained ones and four slabs."""
    solid = [copper("bulk", seed + k) for k in range(8)]
    strained = [copper("strained", seed + 20 + k, a) for k, a in enumerate(np.linspace(3.4, 3.85, 8))]
    return solid + strained + [slab(seed + 40 + k) for k in range(4)]


def labelled(frames: list[Atoms], calculator) -> list[Atoms]:
    """Copies with energy, forces and stress of ``calculator``."""
    found = []
    for atoms in frames:
        atoms = atoms.copy()
        atoms.calc = calculator
        results = {key: atoms.calc.get_property(key, atoms) for key in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    return found
