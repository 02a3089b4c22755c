"""Group averages of symmetric structures from few rotations.

A structure x that an operation h of the group G maps onto itself, h x = P x with a permutation P of atoms,
has E(g h x) = E(g x) for every g. The average over G is therefore that over one g of each left coset gH of
the structure's own symmetry H, and its forces follow from those by H: 12 rotations instead of 48 for silicon
with one atom displaced along a cubic axis.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..crystals import symmetry_dataset
from ..rotations.averaging import Averaging

TOLERANCE = 1e-6  # of matrix elements: whether two rotations are the same


def averaged_forces(atoms: Atoms, calculator, symprec: float = 1e-5) -> tuple[np.ndarray, int]:
    """Forces of ``atoms`` (eV/Å, [N, 3]), and the evaluations they took.

    Parameters
    ----------
    atoms : ase.Atoms
        a crystal; not modified
    calculator
        any; one that averages over a group evaluates a rotation per coset only
    symprec : float
        within which the structure's own symmetry is taken as exact, Å
    """
    averaging = getattr(calculator, "averaging", None)
    work = atoms.copy()
    if averaging is not None and is_group(averaging):
        rotations, permutations = own_symmetry(atoms, averaging, symprec)
        chosen = coset_representatives(averaging, rotations)
        if len(chosen.rotations) < len(averaging.rotations):
            work.calc = _with_averaging(calculator, chosen)
            forces = work.get_forces()
            rotated = [forces[p] @ rotation for rotation, p in zip(rotations, permutations, strict=True)]
            return np.mean(rotated, axis=0), len(chosen.rotations)
    work.calc = calculator
    return work.get_forces(), 1 if averaging is None else averaging.evaluations


def is_group(averaging: Averaging) -> bool:
    """Whether the rotations are closed under multiplication and of equal weight."""
    rotations = averaging.rotations
    if len(rotations) < 2 or np.ptp(averaging.weights) > TOLERANCE:
        return False
    products = rotations[:, None] @ rotations[None]
    return bool((_find(products.reshape(-1, 3, 3), rotations) >= 0).all())


def own_symmetry(atoms: Atoms, averaging: Averaging, symprec: float) -> tuple[np.ndarray, np.ndarray]:
    """Operations of ``averaging`` that map ``atoms`` onto itself, translations included.

    Returns
    -------
    tuple of array
        rotations [H, 3, 3], Cartesian, and permutations int [H, N]: atom i goes to where atom ``p[h, i]`` is
    """
    found = symmetry_dataset(atoms, symprec)
    if found is None:
        return np.eye(3)[None], np.arange(len(atoms))[None]
    lattice = atoms.cell.array.T
    cartesian = lattice @ found.rotations @ np.linalg.inv(lattice)
    index = _find(cartesian, averaging.rotations, tolerance=1e-3)
    scaled = atoms.get_scaled_positions()
    rotations, permutations = [], []
    for rotation, translation, which in zip(found.rotations, found.translations, index, strict=True):
        if which >= 0:
            rotations.append(averaging.rotations[which])
            permutations.append(_permutation(scaled, scaled @ rotation.T + translation))
    return np.array(rotations), np.array(permutations)


def coset_representatives(averaging: Averaging, subgroup: np.ndarray) -> Averaging:
    """One rotation of each left coset of ``subgroup`` [H, 3, 3] (repetitions allowed), equally weighted."""
    rotations = averaging.rotations
    left = np.ones(len(rotations), dtype=bool)
    chosen = []
    for index, rotation in enumerate(rotations):
        if left[index]:
            chosen.append(rotation)
            left[_find(rotation @ subgroup, rotations)] = False
    weights = np.full(len(chosen), 1.0 / len(chosen))
    return Averaging(averaging.name, np.array(chosen), weights, lattice=averaging.lattice)


def _with_averaging(calculator, averaging: Averaging):
    from ..calculators.symmetrized_calculator import (
        symmetrized,  # late: it knows model files, and those torch
    )

    return symmetrized(calculator, averaging, calculator.check_lattice)


def _find(wanted: np.ndarray, rotations: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Index in ``rotations`` [G, 3, 3] of each of ``wanted`` [n, 3, 3], -1 where it is none of them."""
    # the trace of A Bᵀ is 3 for equal rotations and at most 3
    overlap = wanted.reshape(-1, 9) @ rotations.reshape(-1, 9).T
    best = overlap.argmax(axis=1)
    error = np.abs(wanted - rotations[best]).max(axis=(1, 2))
    return np.where(error < tolerance, best, -1)


def _permutation(scaled: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """For each of ``moved`` [N, 3] the index of the atom that is there, periodic images included."""
    difference = moved[:, None] - scaled[None]
    difference -= difference.round()
    return (difference**2).sum(axis=2).argmin(axis=1)
