"""Radial distribution functions of trajectories and data sets, and the distance between two of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ..errors import MLIPError, StructureError
from ..graph.pairs import find_pairs


@dataclass
class RDF:
    """Distributions of distances, averaged over frames.

    Attributes
    ----------
    r : array
        centres of the bins, Å, [n]
    width : float
        of a bin, Å
    g : dict of array
        by pair of species, "O-Si" with the symbols in alphabetical order, and "all": [n]. For crystals and
        liquids g(r), no unit, 1 for an ideal gas; for what is not periodic in three directions h(r), 1/Å, the
        density of the distances of all N(N - 1) pairs (of X and Y: N_X N_Y)
    frames : int
        how many were averaged
    periodic : bool
        which of the two it is
    species : tuple of int
        atomic numbers in any of the frames, in ascending order
    """

    r: np.ndarray = field(repr=False)
    width: float
    g: dict[str, np.ndarray] = field(repr=False)
    frames: int
    periodic: bool
    species: tuple[int, ...]


class RDFAccumulator:
    """Adds frames one after another; :meth:`result` is their average.

    Parameters
    ----------
    rmax : float
        longest distance, Å; may exceed the cell
    width : float
        of the bins, Å

    Raises
    ------
    MLIPError
        ``rmax`` or ``width`` not positive, or no bin fits
    """

    def __init__(self, rmax: float = 6.0, width: float = 0.05):
        if not (width > 0.0 and rmax >= width):
            raise MLIPError(f"`rmax`, `width`: expected 0 < width <= rmax, got {rmax} and {width} Å")
        self.bins = round(rmax / width)
        self.edges = np.linspace(0.0, self.bins * width, self.bins + 1)
        self.width = width
        self._sums: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}  # a data set may hold frames without some species
        self._periodic: bool | None = None
        self._species: set[int] = set()
        self.frames = 0

    def add(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
        """One frame: atomic numbers [N], positions [N, 3] and cell [3, 3] in Å, bool [3].

        Raises StructureError where crystals and molecules are mixed.
        """
        periodic = bool(np.all(pbc))
        if self._periodic not in (None, periodic):
            raise StructureError(
                "`rdf` needs frames that are all periodic in three directions or none of them, got both kinds"
            )
        self._periodic = periodic
        self._species |= set(np.asarray(numbers).tolist())
        i, j, _, distances = find_pairs(positions, cell, pbc, self.edges[-1])
        bins = np.minimum((distances / self.width).astype(int), self.bins - 1)
        unit = (
            4.0 / 3.0 * np.pi * np.diff(self.edges**3) / abs(np.linalg.det(cell)) if periodic else self.width
        )
        for name, count, chosen in pair_groups(numbers, i, j, periodic):
            if count:
                histogram = np.bincount(bins[chosen], minlength=self.bins)
                self._sums[name] = self._sums.get(name, 0.0) + histogram / (count * unit)
                self._counts[name] = self._counts.get(name, 0) + 1
        self.frames += 1

    def state(self) -> dict:
        """All that is known of the frames, as JSON has it; :meth:`include` takes it."""
        return {
            "sums": {name: values.tolist() for name, values in self._sums.items()},
            "counts": dict(self._counts),
            "periodic": self._periodic,
            "species": sorted(self._species),
            "frames": self.frames,
        }

    def include(self, state: dict) -> None:
        """The frames of another accumulator with the same bins."""
        for name, values in state["sums"].items():
            self._sums[name] = self._sums.get(name, 0.0) + np.array(values)
            self._counts[name] = self._counts.get(name, 0) + state["counts"][name]
        if state["frames"]:
            self._periodic = state["periodic"]
        self._species |= set(state["species"])
        self.frames += state["frames"]

    def result(self) -> RDF:
        """The average of the frames so far. Raises StructureError without any."""
        if not self.frames:
            raise StructureError("`rdf` needs at least one frame, got none")
        centres = 0.5 * (self.edges[1:] + self.edges[:-1])
        g = {name: values / self._counts[name] for name, values in self._sums.items()}
        return RDF(centres, self.width, g, self.frames, bool(self._periodic), tuple(sorted(self._species)))


def pair_groups(numbers: np.ndarray, i: np.ndarray, j: np.ndarray, periodic: bool):
    """Name, number of ordered pairs in the structure, and the pairs (i, j) of each kind (bool [M])."""
    n = len(numbers)
    # a crystal's pairs include those of an atom with its own images, a molecule's do not
    yield "all", n * n if periodic else n * (n - 1), np.ones(len(i), dtype=bool)
    species = sorted(set(numbers.tolist()), key=lambda z: chemical_symbols[z])
    if len(species) == 1:
        return
    for a, b in combinations_with_replacement(species, 2):
        n_a, n_b = int((numbers == a).sum()), int((numbers == b).sum())
        count = n_a * (n_b if periodic or a != b else n_a - 1)
        chosen = (numbers[i] == a) & (numbers[j] == b)
        yield f"{chemical_symbols[a]}-{chemical_symbols[b]}", count, chosen


def rdf(frames: Iterable[Atoms], rmax: float = 6.0, width: float = 0.05) -> RDF:
    """Distributions of ``frames`` up to ``rmax`` with bins of ``width`` (Å).

    The normalisation is that of infinitely many images: g(r) = V n(r) / (N_X N_Y v(r)), with n(r) ordered
    pairs in a shell of volume v(r). Cells smaller than ``rmax`` are no obstacle.

    Parameters
    ----------
    frames : iterable of ase.Atoms
        of the same substance
    rmax : float
        longest distance, Å
    width : float
        of a bin, Å

    Returns
    -------
    RDF
        g(r) of each pair of species and of all

    Raises
    ------
    StructureError
        no frames, or crystals and molecules mixed
    """
    accumulator = RDFAccumulator(rmax, width)
    for atoms in frames:
        accumulator.add(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    return accumulator.result()


def rdf_error(found: RDF, reference: RDF) -> dict[str, float]:
    """∫ |g - g_ref| dr by pair of species, in Å for g(r) and without unit for h(r).

    The "RDF MAE" of X. Fu et al., arXiv:2210.07237, with the integral cut off at the last bin.

    Raises
    ------
    StructureError
        different bins, g(r) against h(r), or other species
    """
    if found.periodic != reference.periodic:
        raise StructureError("`reference`: expected g(r) of a crystal against g(r), got one of a molecule")
    if len(found.r) != len(reference.r) or not np.isclose(found.width, reference.width):
        raise StructureError(
            f"`reference`: expected {len(found.r)} bins of {found.width} Å, got {len(reference.r)} of "
            f"{reference.width} Å; compute both with the same `rmax` and `width`"
        )
    if found.species != reference.species:
        raise StructureError(
            f"`reference`: expected frames of {_symbols(found.species)}, got {_symbols(reference.species)}; "
            "use a reference of the same substance"
        )
    common = [name for name in found.g if name in reference.g]
    return {name: float(np.abs(found.g[name] - reference.g[name]).sum() * found.width) for name in common}


def _symbols(species: tuple[int, ...]) -> str:
    return " and ".join(sorted(chemical_symbols[number] for number in species))
