"""Pairs of atoms within a distance, for the analysis of trajectories; no torch needed."""

from __future__ import annotations

import numpy as np
import vesin
from ase.neighborlist import primitive_neighbor_list

FEW = 64  # atoms without boundaries up to which all distances are quicker than any list
MAX_CELLS = 5e4  # of side `cutoff`: far below the 1e5 from which vesin coarsens its grid


def find_pairs(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All ordered pairs within ``cutoff``, images of an atom as its own neighbour included.

    Parameters
    ----------
    positions : array
        [N, 3], Å, finite; atoms may be outside the cell
    cell : array
        [3, 3], Å
    pbc : array
        bool [3]
    cutoff : float
        Å, may exceed the cell

    Returns
    -------
    tuple of array
        i, j: [M]; S: images, int [M, 3]; d: distances |r_j - r_i + S·cell|, Å, [M]
    """
    periodic = np.asarray(pbc, dtype=bool)
    if not periodic.any() and len(positions) <= FEW:
        vectors = positions[None] - positions[:, None]
        distances = np.sqrt(np.einsum("ijk,ijk->ij", vectors, vectors))
        near = distances < cutoff
        np.fill_diagonal(near, False)
        i, j = near.nonzero()
        return i, j, np.zeros((len(i), 3), dtype=int), distances[i, j]
    if periodic.all() and abs(np.linalg.det(cell)) < MAX_CELLS * cutoff**3:
        engine = vesin.NeighborList(cutoff=float(cutoff), full_list=True)
        found = engine.compute(np.ascontiguousarray(positions), np.ascontiguousarray(cell), periodic, "ijSd")
        i, j, shifts, distances = found
    else:  # ASE's list copes with gaps of any size, such as those around an atom that left a molecule
        i, j, shifts, distances = primitive_neighbor_list("ijSd", periodic, cell, positions, float(cutoff))
    return i.astype(int), j.astype(int), shifts.astype(int), distances
