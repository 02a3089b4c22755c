"""What is compared with a reference: values of single frames, and how they are made of single atoms.

Every observable is a sum over atoms, g = Σ_i g_i, which the local estimator needs; pressure is the exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, shortest_path

from ...dynamics.criteria import BOND
from ...errors import StructureError
from ...graph.pairs import find_pairs
from .. import gradients
from ..trainable import Trainable
from .distances import Distances, UnseenDistances


class BondLengths:
    """Mean lengths of bonds, one for each pair of elements, or of every bond; Å.

    Parameters
    ----------
    start : ase.Atoms
        structure that defines the bonds: pairs closer than 1.25 times the sum of their covalent radii, as in
        :mod:`ase_mlip.stability`; frames have the same atoms in the same order and the same periodic images
        of them, which :meth:`in_one_piece` sees to
    each : bool
        whether every bond is by itself

    Raises
    ------
    StructureError
        a structure without bonds
    """

    name = "bond lengths"
    unit = "Å"
    depends_on_weights = False
    never_negative = False

    def __init__(self, start: Atoms, each: bool = False):
        i, j, shifts, _ = find_bonds(start)
        first = (i < j) | ((i == j) & (shifts @ [10000, 100, 1] > 0))
        self._i, self._j, self._shifts = i[first], j[first], shifts[first]
        if not len(self._i):
            raise StructureError(
                f"`bond_lengths`: expected a structure with bonds, got none among the atoms of "
                f"{start.symbols}; use another observable, or other starting frames"
            )
        symbols = np.array(start.get_chemical_symbols())
        pairs = zip(self._i, self._j, strict=True)
        names = ["-".join(sorted((str(symbols[a]), str(symbols[b])))) for a, b in pairs]
        if each:
            names = [f"{n} {a}-{b}" for n, a, b in zip(names, self._i, self._j, strict=True)]
        self._kinds = list(dict.fromkeys(names))
        self._kind = np.array([self._kinds.index(name) for name in names])
        self._share = 0.5 / np.bincount(self._kind)[self._kind]  # of a bond, to either atom
        self._at_start = self._vectors(start)
        self._branches = _branches(len(start), self._i, self._j)

    def labels(self) -> list[str]:
        """Pairs of elements, or bonds with the numbers of their atoms."""
        return list(self._kinds)

    def default_scale(self, mean: np.ndarray) -> float:
        """0.1 Å"""
        return 0.1

    def _vectors(self, atoms: Atoms) -> np.ndarray:
        return atoms.positions[self._j] - atoms.positions[self._i] + self._shifts @ atoms.cell.array

    def in_one_piece(self, atoms: Atoms) -> Atoms:
        """A copy in which every atom is the periodic image that its bonds lead to, as in the start.

        Frames of other programs are often wrapped into the cell, which takes molecules apart.

        Raises
        ------
        StructureError
            a structure with other bonds
        """
        if not atoms.pbc.any():
            return atoms.copy()
        whole = atoms.copy()
        steps = self._shifts @ atoms.cell.array
        for before, after, bond, sign in self._branches:
            vector = whole.positions[after] - whole.positions[before] + sign * steps[bond]
            whole.positions[after] -= _lattice_vector(vector - sign * self._at_start[bond], atoms)
        left = _lattice_vector(self._vectors(whole) - self._at_start, atoms)
        if np.abs(left).max() > 1e-6:
            raise StructureError(
                f"`bond_lengths`: expected frames with the bonds of the first training start, got "
                f"{atoms.symbols} in which other images of the atoms are bonded; use frames of the same "
                "substance in which no bond is broken, or another observable"
            )
        return whole

    def contributions(self, atoms: Atoms) -> np.ndarray:
        """Of each atom, [N, kinds]: half of each of its bonds."""
        shares = self._share * np.linalg.norm(self._vectors(atoms), axis=1)
        found = np.zeros((len(atoms), len(self._kinds)))
        for end in (self._i, self._j):
            np.add.at(found, (end, self._kind), shares)
        return found

    def values(self, frames: Sequence[Atoms], trainable: Trainable | None = None) -> np.ndarray:
        """Of each frame, [n, kinds], Å."""
        return np.array([self.contributions(atoms).sum(axis=0) for atoms in frames])


class NonbondedDistance:
    """The smallest distance of atoms that are at least ``apart`` bonds from each other, Å.

    Parameters
    ----------
    start : ase.Atoms
        structure that defines the bonds, as for :class:`BondLengths`
    apart : int
        bonds between the atoms of a pair, at least; 3 leaves out bonds and the ends of angles
    of_each_atom : bool
        whether it is the mean over atoms of their smallest distances, instead of the smallest of all; the
        local estimator sees more in it
    reach : float
        atoms without one within this distance count as this far from it, Å
    """

    name = "smallest non-bonded distance"
    unit = "Å"
    depends_on_weights = False
    never_negative = False

    def __init__(self, start: Atoms, apart: int = 3, of_each_atom: bool = False, reach: float = 6.0):
        self.of_each_atom, self.reach = of_each_atom, reach
        i, j, _, _ = find_bonds(start)
        n = len(start)
        graph = coo_array((np.ones(len(i)), (i, j)), shape=(n, n)).tocsr()
        steps = shortest_path(graph, unweighted=True)
        self._near = steps < apart
        np.fill_diagonal(self._near, False)  # images of an atom are other atoms

    def labels(self) -> list[str]:
        return ["mean of all atoms" if self.of_each_atom else "of all pairs"]

    def default_scale(self, mean: np.ndarray) -> float:
        """0.1 Å"""
        return 0.1

    def contributions(self, atoms: Atoms) -> np.ndarray:
        """Of each atom, [N, 1]: its share of the mean, or half the smallest distance at either end."""
        i, j, shifts, distances = find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, self.reach)
        allowed = ~(self._near[i, j] & self._same_molecule(atoms, i, j, shifts))
        i, j, distances = i[allowed], j[allowed], distances[allowed]
        found = np.zeros((len(atoms), 1))
        if self.of_each_atom:
            smallest = np.full(len(atoms), self.reach)
            np.minimum.at(smallest, i, distances)
            found[:, 0] = smallest / len(atoms)
        elif len(distances):
            worst = int(distances.argmin())
            found[i[worst], 0] += 0.5 * distances[worst]
            found[j[worst], 0] += 0.5 * distances[worst]
        else:
            found[:, 0] = self.reach / len(atoms)
        return found

    @staticmethod
    def _same_molecule(atoms: Atoms, i: np.ndarray, j: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """Of all images of a pair the nearest is the one that bonds lead to."""
        if not atoms.pbc.any():
            return np.ones(len(i), dtype=bool)
        vectors = atoms.positions[j] - atoms.positions[i] + shifts @ atoms.cell.array
        distances = np.linalg.norm(vectors, axis=1)
        order = np.lexsort((distances, j, i))
        first = np.ones(len(order), dtype=bool)
        first[1:] = (i[order][1:] != i[order][:-1]) | (j[order][1:] != j[order][:-1])
        nearest = np.zeros(len(order), dtype=bool)
        nearest[order] = first
        return nearest

    def values(self, frames: Sequence[Atoms], trainable: Trainable | None = None) -> np.ndarray:
        """Of each frame, [n, 1], Å."""
        return np.array([self.contributions(atoms).sum(axis=0) for atoms in frames])


@dataclass(frozen=True)
class Pressure:
    """N k_B T/V and what the model's virial gives, GPa. It depends on the weights itself.

    Attributes
    ----------
    temperature_K : float
        of the run: momenta are not sampled twice
    """

    temperature_K: float

    name = "pressure"
    unit = "GPa"
    depends_on_weights = True
    never_negative = False

    def labels(self) -> list[str]:
        return ["pressure"]

    def default_scale(self, mean: np.ndarray) -> float:
        """1 GPa"""
        return 1.0

    def ideal(self, atoms: Atoms) -> float:
        """N k_B T/V, GPa."""
        return len(atoms) * units.kB * self.temperature_K / atoms.get_volume() / units.GPa

    def values(self, frames: Sequence[Atoms], trainable: Trainable | None = None) -> np.ndarray:
        """Of each frame, [n, 1], GPa; of a model's weights, or without a model of the frames' own stresses.

        Raises StructureError for frames that are not periodic, or have no stress where it is needed.
        """
        for atoms in frames:
            if not atoms.pbc.all():
                raise StructureError(
                    "`pressure`: expected frames periodic in three directions, got others, without volume"
                )
        ideal = np.array([self.ideal(atoms) for atoms in frames])
        if trainable is not None:
            return (ideal + gradients.pressures(trainable, frames) / units.GPa)[:, None]
        stresses = [atoms.calc.results.get("stress") if atoms.calc else None for atoms in frames]
        if any(stress is None for stress in stresses):
            raise StructureError(
                "`pressure`: expected a stress in every frame of the reference, got frames without; give the "
                "reference as a number"
            )
        return (ideal - np.array([s[:3].mean() for s in stresses]) / units.GPa)[:, None]


Observable = Distances | UnseenDistances | BondLengths | NonbondedDistance | Pressure


def _branches(n: int, i: np.ndarray, j: np.ndarray) -> list[tuple[int, int, int, int]]:
    """A tree of bonds through each molecule: from atom, to atom, number of the bond i-j, 1 or -1 for j-i."""
    bonds = {(int(b), int(a)): (k, -1) for k, (a, b) in enumerate(zip(i, j, strict=True))}
    bonds |= {(int(a), int(b)): (k, 1) for k, (a, b) in enumerate(zip(i, j, strict=True))}
    graph = coo_array((np.ones(len(i)), (i, j)), shape=(n, n)).tocsr()
    _, molecule = connected_components(graph, directed=False)
    found = []
    for first in np.unique(molecule, return_index=True)[1]:
        order, before = breadth_first_order(graph, first, directed=False)
        found += [(int(before[a]), int(a), *bonds[int(before[a]), int(a)]) for a in order[1:]]
    return found


def _lattice_vector(vectors: np.ndarray, atoms: Atoms) -> np.ndarray:
    """The periodic image that each of the vectors [..., 3] is nearest to in fractions of the cell, Å."""
    cell = atoms.cell.complete().array
    return np.where(atoms.pbc, np.round(vectors @ np.linalg.inv(cell)), 0.0) @ cell


def find_bonds(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ordered pairs closer than 1.25 times the sum of their covalent radii: i, j, images, distances in Å."""
    radii = covalent_radii[atoms.numbers]
    reach = 2.0 * BOND * radii.max()
    i, j, shifts, distances = find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, reach)
    bonded = distances < BOND * (radii[i] + radii[j])
    return i[bonded], j[bonded], shifts[bonded], distances[bonded]


def mean_square_displacement(positions: Sequence[np.ndarray]) -> np.ndarray:
    """⟨|r(t) - r(0)|²⟩ over atoms and replicas: for reports, as it is no average over frames.

    Parameters
    ----------
    positions : sequence of float [T, N, 3]
        trajectories of the replicas in Å, not wrapped, which may differ in length

    Returns
    -------
    float64 [T]
        Å², as long as the longest; each entry is the mean over the replicas that got there
    """
    longest = max(len(one) for one in positions)
    sums, counts = np.zeros(longest), np.zeros(longest)
    for one in positions:
        squares = ((np.asarray(one) - one[0]) ** 2).sum(axis=2).mean(axis=1)
        sums[: len(squares)] += squares
        counts[: len(squares)] += 1
    return sums / counts
