"""Structures that each exercise something in an engine's graph; all in LAMMPS' frame, Si or Si and O."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, diamond100
from harness import Case, in_lammps_frame

PETS = ["one", "two", "one-adaptive", "two-adaptive"]  # names of conftest.py's models


def diamond(repeat=2, rattle=0.0) -> Atoms:
    atoms = bulk("Si", a=5.43, cubic=True).repeat(repeat)
    atoms.rattle(rattle, seed=1)
    atoms.positions += 0.01  # no atom on the border of the box, where rounding decides who owns it
    return atoms


def triclinic(repeat=2) -> Atoms:
    """A strained, rattled supercell of the primitive cell with three tilts."""
    atoms = bulk("Si", a=5.43).repeat(repeat)
    strain = np.array([[1.02, 0.03, 0.0], [0.0, 0.98, 0.05], [0.02, 0.0, 1.01]])
    atoms.set_cell(np.asarray(atoms.cell) @ strain, scale_atoms=True)
    atoms.rattle(0.1, seed=2)
    return in_lammps_frame(atoms)


def slab() -> Atoms:
    atoms = diamond100("Si", size=(2, 2, 6), a=5.43, vacuum=4.0)
    atoms.pbc = (True, True, False)
    atoms.rattle(0.05, seed=3)
    return atoms


def cluster(side=24.0) -> Atoms:
    """A rattled piece of crystal in the middle of a box without periodicity."""
    atoms = bulk("Si", a=5.43, cubic=True).repeat(2)
    centre = atoms.positions.mean(axis=0)
    atoms = atoms[np.argsort(np.linalg.norm(atoms.positions - centre, axis=1))[:29]]
    atoms.set_cell([side, side, side])
    atoms.pbc = False
    atoms.center()
    atoms.rattle(0.1, seed=4)
    return atoms


def one_atom() -> Atoms:
    return Atoms(
        "Si", positions=[[0.3, 0.2, 0.1]], cell=[[2.6, 0, 0], [0.4, 2.5, 0], [0.2, 0.5, 2.7]], pbc=True
    )


def two_atoms() -> Atoms:
    atoms = bulk("Si", a=5.5)
    atoms.rattle(0.1, seed=5)
    return in_lammps_frame(atoms)


def silicon_oxygen(repeat=1) -> Atoms:
    """Two elements; a rattled rock salt."""
    atoms = bulk("SiO", "rocksalt", a=4.4, cubic=True).repeat(repeat)
    atoms.rattle(0.15, seed=6)
    atoms.positions += 0.3
    return atoms


def corner(side=20.0) -> Atoms:
    """Atoms in one corner of a periodic box, so that most of four ranks own none."""
    atoms = diamond(1, rattle=0.1)
    atoms.set_cell([side, side, side])
    return atoms


STRUCTURES = {
    "diamond": lambda: diamond(2),
    "rattled": lambda: diamond(1, rattle=0.15),
    "triclinic": triclinic,
    "slab": slab,
    "cluster": cluster,
    "one_atom": one_atom,
    "two_atoms": two_atoms,
    "silicon_oxygen": silicon_oxygen,
    "corner": corner,
}
LARGE = {"216": lambda: diamond(3, rattle=0.1), "1000": lambda: diamond(5, rattle=0.1)}


def case_of(models, model: str, name: str, **changes) -> Case:
    """A structure with a model."""
    case = Case((STRUCTURES | LARGE)[name](), **changes)
    case.pair = models.pair(model, case.elements)
    return case


def slow_unless(quick, values) -> list:
    """Parameters of tests, of which `make test` runs the quick ones only."""
    return [
        pytest.param(*value, marks=() if value in quick else pytest.mark.slow, id="-".join(map(str, value)))
        for value in sorted(values)
    ]
