"""Structures on which an adapted network must give its family's numbers: ten, and more for many species."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ..checks.structures import disordered_structure, tiny_structure, without_boundaries

MAX_SPECIES = 4
TOGETHER = 8  # species in each of the crystals that are added until every species has been in one


def parity_structures(species: list[int], cutoff: float, seed: int = 0) -> dict[str, Atoms]:
    """Molecule, cluster, slab, wire, crystals of 1 to 200 atoms and an isolated atom, of the given species.

    Where these do not hold every species beside other atoms, as for more than about a dozen, crystals follow
    in which each of the others is twice among eight others, named by their elements.

    Parameters
    ----------
    species: atomic numbers; up to four of them, drawn at random, are in one of the first ten structures
    cutoff: Å; the cells of one and two atoms are narrower
    """
    rng = np.random.default_rng(seed)

    def made(size: int, pbc) -> Atoms:
        chosen = rng.permutation(species)[:MAX_SPECIES]
        return disordered_structure(np.resize(chosen, size), pbc, rng)

    large = made(25, True).repeat(2)
    large.rattle(0.05, seed=seed)
    found = {
        "molecule": made(5, False),
        "cluster": without_boundaries(made(20, True)),
        "slab": made(8, (True, True, False)),
        "wire": made(6, (True, False, False)),
        "1-atom cell": tiny_structure(species, 1, cutoff, seed),
        "2-atom cell": tiny_structure(species, 2, cutoff, seed),
        "triclinic crystal": made(12, True),
        "another triclinic crystal": made(16, True),
        "200 atoms": large,
        "isolated atom": Atoms(numbers=[species[0]], positions=[[0.0, 0.0, 0.0]]),
    }
    seen = {number for atoms in found.values() if len(set(atoms.numbers)) > 1 for number in atoms.numbers}
    missing = (
        rng.permutation([number for number in species if number not in seen]) if len(species) > 1 else []
    )
    for start in range(0, len(missing), TOGETHER):
        group = missing[start : start + TOGETHER]
        others = rng.permutation(species)[:TOGETHER]  # so that the last group, too, meets other species
        atoms = disordered_structure(np.concatenate([group, group, others]), True, rng)
        found["crystal with " + " ".join(chemical_symbols[number] for number in group)] = atoms
    return found
