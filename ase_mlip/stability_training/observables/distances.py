"""Distributions of distances as observables: how many there are of each length, and where none should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ...dynamics.rdf import pair_groups
from ...errors import StructureError
from ...graph.pairs import find_pairs
from ..trainable import Trainable


@dataclass(frozen=True)
class Distances:
    """The distribution of distances, as :mod:`ase_mlip.dynamics.rdf` defines it.

    g(r) for structures periodic in three directions; else h(r), 1/Å, the density of all distances.

    Attributes
    ----------
    pairs : str
        "all", or a pair of elements in alphabetical order such as "H-O"
    rmax, width : float
        range and width of the bins, Å
    """

    pairs: str = "all"
    rmax: float = 6.0
    width: float = 0.1

    name = "distances"
    unit = ""
    depends_on_weights = False
    never_negative = False

    @property
    def bins(self) -> int:
        return round(self.rmax / self.width)

    def labels(self) -> list[str]:
        """Centres of the bins, Å."""
        return [f"{(k + 0.5) * self.width:.6g}" for k in range(self.bins)]

    def default_scale(self, mean: np.ndarray) -> float:
        """Root mean square of the reference: the loss is relative, ∫(g - g₀)² / ∫g₀²."""
        return max(float(np.sqrt((mean**2).mean())), 1e-12)

    def contributions(self, atoms: Atoms) -> np.ndarray:
        """Of each atom, [N, bins]."""
        periodic = bool(atoms.pbc.all())
        edges = np.linspace(0.0, self.bins * self.width, self.bins + 1)
        i, j, _, distances = find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, edges[-1])
        unit = np.full(self.bins, self.width)
        if periodic:
            unit = 4.0 / 3.0 * np.pi * np.diff(edges**3) / atoms.get_volume()
        groups = {name: (n, chosen) for name, n, chosen in pair_groups(atoms.numbers, i, j, periodic)}
        if self.pairs not in groups:
            raise StructureError(
                f'`pairs`: expected "all" or one of {", ".join(groups)}, got {self.pairs!r} of a structure '
                f"{atoms.symbols}; correct the pair or leave it out"
            )
        count, chosen = groups[self.pairs]
        bins = np.minimum((distances / self.width).astype(int), self.bins - 1)
        found = np.zeros((len(atoms), self.bins))
        np.add.at(found, (i[chosen], bins[chosen]), 1.0)
        return found / (max(count, 1) * unit)

    def values(self, frames: Sequence[Atoms], trainable: Trainable | None = None) -> np.ndarray:
        """Of each frame, [n, bins]."""
        return np.array([self.contributions(atoms).sum(axis=0) for atoms in frames])


class UnseenDistances:
    """How many distances lie where a reference has none: bins of a pair of elements without a single one.

    A potential is in no way bound there; a run that gets there is about to fall into a hole, or has. The
    number is never negative, and zero in the reference.

    Parameters
    ----------
    reference : sequence of ase.Atoms
        frames, as many as there are: what is rare in them is unseen in a part of them
    pairs : str
        "all", for each pair of elements its own bins, or one pair such as "H-O"
    rmax, width : float
        range and width of the bins, Å; longer distances do not count

    Raises
    ------
    StructureError
        elements that the frames do not have
    """

    name = "unseen distances"
    unit = ""
    depends_on_weights = False
    never_negative = True

    def __init__(self, reference: Sequence[Atoms], pairs: str = "all", rmax: float = 6.0, width: float = 0.1):
        self.pairs, self.width, self.bins = pairs, width, round(rmax / width)
        self._seen: dict[str, np.ndarray] = {}
        for atoms in reference:
            for name, _, bins in self._found(atoms):
                self._seen.setdefault(name, np.zeros(self.bins, dtype=bool))[bins] = True
        if pairs != "all" and pairs not in self._seen:
            raise StructureError(
                f"`pairs`: expected a pair of elements with distances below {rmax:g} Å in the reference "
                f"({', '.join(sorted(self._seen)) or 'it has none'}), got {pairs!r}"
            )

    def _found(self, atoms: Atoms) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """For each pair of elements: its name, first atoms and bins of its distances, each way."""
        i, j, _, distances = find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, self.bins * self.width)
        numbers = np.sort(np.stack([atoms.numbers[i], atoms.numbers[j]]), axis=0)
        bins = np.minimum((distances / self.width).astype(np.int64), self.bins - 1)
        kinds, kind = np.unique(numbers, axis=1, return_inverse=True)
        for k, pair in enumerate(kinds.T):
            chosen = kind.ravel() == k
            name = "-".join(sorted(chemical_symbols[number] for number in pair))
            yield name, i[chosen], bins[chosen]

    def labels(self) -> list[str]:
        return [f"where no {'' if self.pairs == 'all' else f'{self.pairs} '}distance of the reference is"]

    def default_scale(self, mean: np.ndarray) -> float:
        """One distance."""
        return 1.0

    def contributions(self, atoms: Atoms) -> np.ndarray:
        """Of each atom, [N, 1]: half of each of its unseen distances."""
        found = np.zeros((len(atoms), 1))
        for name, i, bins in self._found(atoms):
            if self.pairs in ("all", name):
                unseen = ~self._seen[name][bins] if name in self._seen else np.ones(len(bins), dtype=bool)
                np.add.at(found[:, 0], i[unseen], 0.5)
        return found

    def values(self, frames: Sequence[Atoms], trainable: Trainable | None = None) -> np.ndarray:
        """Of each frame, [n, 1]."""
        return np.array([self.contributions(atoms).sum(axis=0) for atoms in frames])
