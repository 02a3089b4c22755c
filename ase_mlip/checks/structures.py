"""Small disordered structures of a model's own species, for checks that were given no structure."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from ..crystals import heights

VOLUME_FACTOR = 1.8  # volume per atom over (2 r_cov)^3: 19.7 Å^3 for silicon, whose crystal has 20.0
MIN_VOLUME_PER_ATOM = 10.0  # Å^3; water has 10.0, and hydrogen's radius would make it far too dense
CONTACT = 0.85  # shortest distance over the sum of the covalent radii
SHORTEST = 0.9  # Å, for pairs of hydrogen
MAX_SPECIES = 4  # per structure
IMAGES = np.array(list(np.ndindex(3, 3, 3))) - 1


def default_structures(species: list[int], seed: int = 0) -> list[Atoms]:
    """A disordered triclinic crystal (12 atoms), a slab (8) and a molecule (5) of up to four species each."""
    rng = np.random.default_rng(seed)
    structures = []
    for size, pbc in ((12, True), (8, (True, True, False)), (5, False)):
        chosen = rng.permutation(species)[:MAX_SPECIES]
        numbers = np.resize(chosen, size)
        structures.append(disordered_structure(numbers, pbc, rng))
    return structures


def disordered_structure(numbers: np.ndarray, pbc, rng: np.random.Generator) -> Atoms:
    """Atoms placed at random in a sheared box, none closer than 0.85 of the sum of their covalent radii.

    The box grows by a tenth in volume whenever it cannot be filled. Non-periodic directions end in vacuum.
    """
    radii = covalent_radii[numbers]
    volume = np.maximum(VOLUME_FACTOR * (2 * radii) ** 3, MIN_VOLUME_PER_ATOM).sum()
    shear = np.eye(3) + rng.uniform(-0.12, 0.12, (3, 3))
    while True:
        cell = shear * (volume / np.linalg.det(shear)) ** (1 / 3)
        positions = _fill(cell, radii, rng)
        if positions is not None:
            return Atoms(numbers, positions=positions, cell=cell, pbc=pbc)
        volume *= 1.1


def tiny_structure(species: list[int], n_atoms: int, cutoff: float, seed: int = 0) -> Atoms:
    """One or two atoms in a periodic triclinic cell whose heights are all shorter than ``cutoff`` (Å)."""
    rng = np.random.default_rng(seed)
    atoms = disordered_structure(np.resize(rng.permutation(species), n_atoms), True, rng)
    tallest = heights(atoms.cell.array).max()
    if tallest >= cutoff:
        atoms.set_cell(atoms.cell.array * (0.9 * cutoff / tallest), scale_atoms=True)
    return atoms


def diluted(atoms: Atoms, cutoff: float, n_neighbours: float) -> Atoms:
    """The crystal scaled so that on average ``n_neighbours`` lie within ``cutoff`` (Å); never denser."""
    volume = 4 / 3 * np.pi * cutoff**3 / n_neighbours * len(atoms)
    thin = atoms.copy()
    thin.set_cell(atoms.cell.array * max(1.0, (volume / atoms.get_volume()) ** (1 / 3)), scale_atoms=True)
    return thin


def without_boundaries(atoms: Atoms) -> Atoms:
    """The same atoms without a cell: a cluster in vacuum."""
    return Atoms(atoms.numbers, positions=atoms.positions)


def _fill(
    cell: np.ndarray, radii: np.ndarray, rng: np.random.Generator, attempts: int = 200
) -> np.ndarray | None:
    """Positions [N, 3] in Å by random sequential addition, or None where an atom found no room."""
    images = IMAGES @ cell
    lengths = np.linalg.norm(images, axis=1)
    if lengths[lengths > 0].min() < CONTACT * 2 * radii.max():
        return None
    placed = np.zeros((0, 3))
    for index, radius in enumerate(radii):
        shortest = np.maximum(CONTACT * (radii[:index] + radius), SHORTEST)
        for _ in range(attempts):
            trial = rng.random(3) @ cell
            distances = np.linalg.norm(placed[:, None] + images[None] - trial, axis=2).min(axis=1)
            if np.all(distances >= shortest):
                placed = np.vstack([placed, trial])
                break
        else:
            return None
    return placed
