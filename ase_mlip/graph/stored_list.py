"""A neighbour list that reaches beyond the cutoff, and what it takes to use it while atoms move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from ..errors import StructureError

MIN_VOLUME = 1e-3  # Å^k of the k periodic cell vectors; below it the number of images explodes


@dataclass
class GhostList:
    """The list as LAMMPS would have it: of N atoms and, after them, G ghost atoms, which are their images.

    Attributes
    ----------
    owners : torch.Tensor
        int32 [G], the atom that each ghost atom is an image of
    edges : torch.Tensor
        int64 [G], a pair of the list that leads to the ghost atom
    starts : torch.Tensor
        int32 [N + 1], first pair of each atom; the last is E
    neighbours : torch.Tensor
        int32 [E], an atom below N, else a ghost atom
    """

    owners: torch.Tensor
    edges: torch.Tensor
    starts: torch.Tensor
    neighbours: torch.Tensor


@dataclass
class StoredList:
    """A list that reaches further than the cutoff, and the structure it was made for."""

    positions: np.ndarray
    numbers: np.ndarray
    pbc: np.ndarray
    given_cell: np.ndarray  # as the atoms have it; `cell` has its non-periodic vectors replaced
    cell: np.ndarray
    edge_index: torch.Tensor
    shifts: torch.Tensor
    reverse: torch.Tensor
    offsets: torch.Tensor  # S·h of the present cell
    squared_cutoffs: torch.Tensor | None  # per edge, if there are pair cutoffs
    species: torch.Tensor
    structure: torch.Tensor
    node_weights: torch.Tensor
    offsets_cell: np.ndarray | None = None  # the present cell, where it differs from `given_cell`
    _with_ghosts: GhostList | None = None

    def covers(self, atoms: Atoms, cutoff: float, skin: float) -> bool:
        """Whether every pair now within ``cutoff`` is in the list; brings ``offsets`` up to date if so."""
        if not np.array_equal(self.numbers, atoms.numbers) or not np.array_equal(self.pbc, atoms.pbc):
            return False
        present = np.array(atoms.cell)
        reference, stretch, cell = self.positions, 1.0, None
        if not np.array_equal(present, self.given_cell):
            cell = spanning_cell(atoms)
            deformation = np.linalg.solve(self.cell, cell)
            stretch = float(np.linalg.norm(np.linalg.inv(deformation), 2))
            reference = self.positions @ deformation
        displacement = atoms.positions - reference
        furthest = np.sqrt(np.max(np.einsum("na,na->n", displacement, displacement)))
        if (cutoff + 2 * furthest) * stretch > cutoff + skin:
            return False
        offsets_cell = self.given_cell if self.offsets_cell is None else self.offsets_cell
        if not np.array_equal(present, offsets_cell):
            self.offsets = lattice_vectors(self.shifts, self.cell if cell is None else cell)
            self.offsets_cell = present
        return True

    def with_ghosts(self) -> GhostList:
        """The same list with images as ghost atoms; made once."""
        if self._with_ghosts is None:
            self._with_ghosts = _add_ghosts(len(self.numbers), self.edge_index, self.shifts)
        return self._with_ghosts


def spanning_cell(atoms: Atoms) -> np.ndarray:
    """The cell with non-periodic vectors replaced by orthonormal ones, so that it always spans space.

    Images along the replaced vectors never occur, so they decide nothing; given ones may be zero or parallel.
    """
    cell, pbc = np.array(atoms.cell, dtype=np.float64), np.asarray(atoms.pbc)
    if pbc.all():
        volume = abs(np.linalg.det(cell))
    else:
        cell[~pbc] = 0.0
        _, singular, directions = np.linalg.svd(cell)
        rank = int(pbc.sum())
        volume = float(np.prod(singular[:rank]))
        cell[~pbc] = directions[rank:]
    if volume < MIN_VOLUME:
        raise StructureError(
            "`atoms.cell`: expected linearly independent vectors along the periodic directions "
            f"pbc={pbc.tolist()}, got\n{np.asarray(atoms.cell)}\nof zero volume; set the cell, or pbc to "
            "False where the structure ends"
        )
    return cell


def lattice_vectors(shifts: torch.Tensor, cell: np.ndarray) -> torch.Tensor:
    """S·h, float64 [E, 3] in Å; exactly antisymmetric in S, which a matrix product does not promise."""
    rows = torch.from_numpy(cell).to(shifts.device)
    a, b, c = shifts.to(torch.float64).unsqueeze(-1).unbind(1)
    return a * rows[0] + b * rows[1] + c * rows[2]


def _add_ghosts(n_atoms: int, edge_index: torch.Tensor, shifts: torch.Tensor) -> GhostList:
    centres, neighbours = edge_index.numpy()
    away = np.abs(shifts.numpy())
    images = np.flatnonzero(away.any(axis=1))
    width = 2 * int(away.max(initial=0)) + 1
    a, b, c = shifts.numpy()[images].T
    keys = ((neighbours[images] * width + a) * width + b) * width + c  # a number for each atom and image
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)
    with_ghosts = neighbours.astype(np.int32)
    with_ghosts[images] = n_atoms + number.ravel()
    edges = images[first]
    return GhostList(
        owners=torch.from_numpy(neighbours[edges].astype(np.int32)),
        edges=torch.from_numpy(edges),
        starts=torch.from_numpy(np.searchsorted(centres, np.arange(n_atoms + 1)).astype(np.int32)),
        neighbours=torch.from_numpy(with_ghosts),
    )
