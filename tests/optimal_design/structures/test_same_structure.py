"""Equal up to translation, order and rounding; nothing else."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from ase_mlip.optimal_design.structures.same_structure import KnownStructures, is_same

DIGITS = 5


def crystal(seed: int = 0) -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * np.arange(9).reshape(3, 3) / 9), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def moved(atoms: Atoms, seed: int = 1) -> Atoms:
    """Translated, wrapped, with atoms in another order, and rounded as a file does it."""
    generator = np.random.default_rng(seed)
    other = atoms[generator.permutation(len(atoms))]
    other.translate(generator.uniform(-9.0, 9.0, 3))
    if other.pbc.any():
        other.wrap()
    other.positions = np.round(other.positions, DIGITS)
    other.set_cell(np.round(other.cell.array, DIGITS))
    return other


@pytest.mark.parametrize("atoms", [crystal(), bulk("Mo", cubic=True) * (2, 2, 2), molecule("C2H6")], ids=str)
def test_translation_order_and_rounding_leave_a_structure_the_same(atoms):
    for seed in range(5):
        assert is_same(atoms, moved(atoms, seed))
        assert KnownStructures([crystal(9), atoms]).same_as(moved(atoms, seed)) == [1]


def test_a_slab_is_periodic_in_two_directions_only():
    slab = crystal()
    slab.pbc = (True, True, False)
    slab.cell[2] = 0.0
    assert is_same(slab, moved(slab))
    shifted = slab.copy()
    shifted.positions[:, 0] += slab.cell.array[0, 0]
    assert is_same(slab, shifted)
    shifted.positions[0, 2] += 5.6  # no image of itself, along the direction that is not periodic
    assert not is_same(slab, shifted)


@pytest.mark.parametrize("what", ["displaced", "strained", "rotated", "swapped", "repeated", "not periodic"])
def test_what_changes_energy_or_forces_is_another_structure(what):
    atoms = crystal()
    other = atoms.copy()
    if what == "displaced":  # as for force constants
        other.positions[3, 1] += 0.01
    elif what == "strained":
        other.set_cell(other.cell.array * 1.001, scale_atoms=True)
    elif what == "rotated":
        other.rotate(30, "z", rotate_cell=True)
    elif what == "swapped":
        other.numbers[[0, 1]] = other.numbers[[1, 0]]
    elif what == "repeated":
        other = other.repeat((2, 1, 1))
    else:
        other.pbc = False
    assert not is_same(atoms, other)
    assert KnownStructures([atoms]).same_as(other) == []


def test_the_fast_search_finds_what_comparing_all_pairs_finds():
    structures = [crystal(seed) for seed in range(6)]
    structures += [moved(structures[k], seed) for seed, k in enumerate((0, 2, 2, 5))]
    structures += [molecule("H2O"), moved(molecule("H2O"))]
    known = KnownStructures(structures)
    for atoms in structures:
        assert known.same_as(atoms) == [k for k, other in enumerate(structures) if is_same(other, atoms)]


def test_many_frames_take_seconds():
    structures = [bulk("Mo", cubic=True) * (3, 3, 3) for _ in range(300)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.05, seed=seed)
    known = KnownStructures(structures)
    assert all(known.same_as(atoms) == [k] for k, atoms in enumerate(structures))
