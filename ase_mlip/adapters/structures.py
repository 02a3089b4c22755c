"""Ten structures on which an adapted network must give its family's numbers."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..check_structures import disordered_structure, tiny_structure, without_boundaries

MAX_SPECIES = 4


def parity_structures(species: list[int], cutoff: float, seed: int = 0) -> dict[str, Atoms]:
    """Molecule, cluster, slab, wire, crystals of 1 to 200 atoms and an isolated atom, of the given species.

    Parameters
    ----------
    species: atomic numbers; up to four of them, drawn at random, are in one structure
    cutoff: Å; the cells of one and two atoms are narrower
    """
    rng = np.random.default_rng(seed)

    def made(size: int, pbc) -> Atoms:
        chosen = rng.permutation(species)[:MAX_SPECIES]
        return disordered_structure(np.resize(chosen, size), pbc, rng)

    large = made(25, True).repeat(2)
    large.rattle(0.05, seed=seed)
    return {
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
