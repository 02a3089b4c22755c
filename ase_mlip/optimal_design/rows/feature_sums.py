"""Sums of a model's features over the atoms of one structure, and their derivatives by central differences.

With G(x) = Σ_i f_i, averaged over rotations g of weight w_g, dG/dx along v is (G(x + hv) - G(x - hv))/2h up
to h². Where the rotations fall into two halves of equal weight, one half sees the step ahead and the other
the step back, s_g = ±1,

    dG/dx v = Σ_g w_g s_g (G_g(x + s_g h v) - G_g(x)) / h,

for half the evaluations. What is left of first order is h/4 times the difference of the halves' second
derivatives, which the rotations have made small, and changes sign with v: the mean of a Gram matrix over
random signs of v has no error but that of h².
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from ase import Atoms

from ... import _torchscript
from ...graph.neighbors import Graph, NeighborList, check_species, concatenate
from ...model_file.model import Model
from ...rotations.averaging import PLAIN, Averaging
from ...voigt import PAIRS

DISPLACEMENT = 1e-5  # Å, of each coordinate
STRAIN = 2e-6
SKIN = 0.05  # Å, so that one neighbour list serves all displacements and strains of a structure
NODES_AT_ONCE = {"cpu": 256, "cuda": 16384}  # of rotated and displaced copies; one by one: a fifth slower

Change = Callable[[float], Atoms]  # the structure after a step of this length, ahead or back


class FeatureSums:
    """Features of one structure, and the derivatives of their sums.

    Parameters
    ----------
    model: in float64, with features
    averaging: over which they are averaged
    atoms: the structure

    Raises
    ------
    StructureError
        a structure that the model cannot evaluate
    """

    def __init__(self, model: Model, averaging: Averaging, atoms: Atoms):
        check_species(atoms.numbers, model.info.species)
        self.atoms = atoms.copy()
        self.atoms.calc = None
        self._model = model
        self._rotations, self._weights = averaging.at(0).matrices()
        self._sides = _sides(self._weights)
        self._neighbors = NeighborList(model.info.cutoff, SKIN, model.info.pair_cutoffs, model.device)
        self._at_rest = self._features([(self._graph(self.atoms), rotation) for rotation in self._rotations])

    def of_atoms(self) -> np.ndarray:
        """[N, F]"""
        return np.einsum("g,gnf->nf", self._weights, self._at_rest)

    def along(self, directions: Iterable[np.ndarray]) -> np.ndarray:
        """dG/dx along each of K directions [N, 3]: [K, F] in 1/Å."""

        def displaced(direction: np.ndarray) -> Change:
            def change(step: float) -> Atoms:
                moved = self.atoms.copy()
                moved.positions += step * direction
                return moved

            return change

        return self._derivatives(map(displaced, directions), DISPLACEMENT)

    def by_strain(self) -> np.ndarray:
        """dG/dε for symmetric strains in Voigt order, [6, F]."""

        def strained(x: int, y: int) -> Change:
            def change(step: float) -> Atoms:
                strain = np.zeros((3, 3))
                strain[x, y] += 0.5 * step
                strain[y, x] += 0.5 * step
                moved = self.atoms.copy()
                moved.set_cell(moved.cell.array @ (np.eye(3) + strain), scale_atoms=True)
                return moved

            return change

        return self._derivatives(itertools.starmap(strained, PAIRS), STRAIN)

    def _derivatives(self, changes: Iterable[Change], step: float) -> np.ndarray:
        count = len(self._rotations)
        if self._sides is None:
            sums = self._sums(item for change in changes for item in self._both_ends(change, step))
            ends = sums.reshape(-1, 2, count, sums.shape[1])
            return np.einsum("g,kgf->kf", self._weights, ends[:, 0] - ends[:, 1]) / (2.0 * step)
        sums = self._sums(item for change in changes for item in self._one_end_each(change, step))
        gained = sums.reshape(-1, count, sums.shape[1]) - self._at_rest.sum(axis=1)
        return np.einsum("g,kgf->kf", self._weights * self._sides, gained) / step

    def _both_ends(self, change: Change, step: float) -> Iterator[tuple[Graph, np.ndarray]]:
        ends = [self._graph(change(side * step)) for side in (1.0, -1.0)]
        return itertools.product(ends, self._rotations)

    def _one_end_each(self, change: Change, step: float) -> Iterator[tuple[Graph, np.ndarray]]:
        ends = {side: self._graph(change(side * step)) for side in (1.0, -1.0)}
        pairs = zip(self._sides, self._rotations, strict=True)
        return ((ends[side], rotation) for side, rotation in pairs)

    def _graph(self, atoms: Atoms) -> Graph:
        return self._neighbors.update(atoms)

    def _sums(self, items: Iterable[tuple[Graph, np.ndarray]]) -> np.ndarray:
        """[items, F]"""
        waiting = iter(items)
        found = []
        while batch := list(itertools.islice(waiting, self._at_once())):
            found.append(self._together(batch).sum(axis=1))
        return np.concatenate(found)

    def _features(self, items: list[tuple[Graph, np.ndarray]]) -> np.ndarray:
        """[items, N, F]"""
        size = self._at_once()
        batches = [items[start : start + size] for start in range(0, len(items), size)]
        return np.concatenate([self._together(batch) for batch in batches])

    def _at_once(self) -> int:
        return max(1, NODES_AT_ONCE[self._model.device.type] // len(self.atoms))

    @_torchscript.calling()
    def _together(self, items: list[tuple[Graph, np.ndarray]]) -> np.ndarray:
        """Features [items, N, F] of rotated copies that are evaluated in one call."""
        graph = concatenate([_rotated(graph, rotation) for graph, rotation in items])
        found = self._model(graph, ["features"], PLAIN)["features"]
        return found.detach().cpu().numpy().reshape(len(items), len(self.atoms), -1)


def _rotated(graph: Graph, rotation: np.ndarray) -> Graph:
    matrix = torch.from_numpy(np.ascontiguousarray(rotation.T)).to(graph.edge_vectors.device)
    return replace(graph, edge_vectors=graph.edge_vectors @ matrix)


def _sides(weights: np.ndarray) -> np.ndarray | None:
    """Ahead (1) or back (-1) for each rotation, in turn; None where that is no two halves of equal weight."""
    sides = np.where(np.arange(len(weights)) % 2 == 0, 1.0, -1.0)
    return sides if abs(float(weights @ sides)) < 1e-12 else None
