"""The first knot `inner` of an s-NNP's radial splines, from the distances in its training data.

Below it the trained splines are straight lines, and only the fixed repulsion of the nuclei bends: the force
of a bond there does not depend on its length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from ase.data import chemical_symbols

from ..graph.neighbors import Graph

SHARE = 0.96  # of the shortest distance: of the shipped potentials' data it gives their first knots
STEP = 0.05  # Å, to which it is rounded down


@dataclass
class Distances:
    """Distances of pairs of atoms, Å, ascending, and the elements of the shortest, as in ``"O-H"``."""

    values: torch.Tensor  # float64 [P], every pair once
    shortest: str

    @classmethod
    def of(cls, graphs: Iterable[Graph]) -> Distances:
        """Of the edges of graphs, each of which stands there in both directions."""
        values, best, names = [torch.zeros(0, dtype=torch.float64)], math.inf, ""
        for graph in graphs:
            lengths = graph.edge_vectors.double().norm(dim=1)
            if len(lengths) == 0:
                continue
            values.append(lengths.sort().values[::2])
            place = int(lengths.argmin())
            if float(lengths[place]) < best:
                best = float(lengths[place])
                ends = graph.species[graph.edge_index[:, place]].tolist()
                names = "-".join(chemical_symbols[z] for z in ends)
        return cls(torch.cat(values).sort().values, names)

    def automatic(self, fallback: float = 1.5) -> float:
        """The first knot that these distances ask for, Å; ``fallback`` where there are none."""
        if len(self.values) == 0:
            return fallback
        return max(STEP, round(STEP * math.floor(SHARE * float(self.values[0]) / STEP + 1e-9), 2))

    def below(self, distance: float) -> int:
        """The number of pairs closer than ``distance`` (Å)."""
        return int((self.values < distance).sum())

    def sentence(self, inner: float) -> str:
        """What there is to say of a first knot (Å)."""
        total, below = len(self.values), self.below(inner)
        share = f"{below} of {total} pairs ({100 * below / max(total, 1):.2g} %) are closer"
        where = f"; the shortest, {self.shortest}, has {float(self.values[0]):.3f} Å" if total else ""
        return f"first knot `inner` = {inner:g} Å: {share}{where}"
