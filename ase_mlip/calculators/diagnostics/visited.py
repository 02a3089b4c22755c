"""Where the training data of an s-NNP are: neighbours and angles in every knot interval of its splines.

The counts stand in the model file (``training["visits"]``). An interval without a single one is one where a
spline was continued rather than learned, and a structure that comes there is extrapolated.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from itertools import combinations_with_replacement, product

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from ...errors import users_line
from ...graph.neighbors import Graph
from ...model_file.info import ModelInfo
from ...networks.snnp.hypers import SNNPHypers
from ...networks.snnp.parts import case_tables, find_triplets
from ...networks.species import types_of

LISTED = 8  # combinations of elements that a message names


class Grid:
    """Equidistant knots; interval 0 lies before the first knot, 1 to ``count`` between the knots."""

    def __init__(self, first: float, last: float, count: int):
        self.first, self.last, self.count = first, last, count

    def interval(self, x: Tensor) -> Tensor:
        """int64, the interval of each ``x``; what lies behind the last knot counts to the last interval."""
        u = (x - self.first) * (self.count / (self.last - self.first))
        return (torch.floor(u).to(torch.int64) + 1).clamp(0, self.count)

    def ends(self, interval: int) -> tuple[float, float]:
        """Beginning and end of an interval."""
        step = (self.last - self.first) / self.count
        return (0.0 if interval == 0 else self.first + (interval - 1) * step), self.first + interval * step


def grids(hypers: SNNPHypers) -> dict[str, Grid]:
    """The knots of φ and ρ ("radial"), of f ("angular") and of g ("angle"); Å, and cosines for g."""
    last = hypers.angular_cutoff or hypers.cutoff
    return {
        "radial": Grid(hypers.inner, hypers.cutoff, hypers.radial_intervals),
        "angular": Grid(hypers.inner, last, hypers.angular_intervals),
        "angle": Grid(-1.0, 1.0, hypers.angle_intervals),
    }


def count_visits(graphs: Iterable[Graph], hypers: SNNPHypers) -> dict[str, dict[str, list[int]]]:
    """Neighbours and angles in every interval, by elements.

    Returns
    -------
    dict of dict of list of int
        ``radial`` and ``angular``: for pairs such as ``"Si-O"`` the number of directed pairs in each
        interval; ``angle``: for ``"Si: Si-O"``, centre and neighbours, the number of angles in each.
        Combinations of elements that no graph holds are left out.
    """
    symbols = [chemical_symbols[z] for z in hypers.species]
    knots, n = grids(hypers), len(symbols)
    totals = {
        "radial": torch.zeros(n, n, knots["radial"].count + 1, dtype=torch.int64),
        "angular": torch.zeros(n, n, knots["angular"].count + 1, dtype=torch.int64),
        "angle": torch.zeros(n, n, n, knots["angle"].count + 1, dtype=torch.int64),
    }
    types = types_of(hypers.species)
    for graph in graphs:
        for name, (elements, interval, _) in _places(graph, types, knots, hypers.angular_filters > 0).items():
            totals[name].index_put_((*elements, interval), torch.ones_like(interval), accumulate=True)
    return {name: _by_elements(table, symbols) for name, table in totals.items()}


def unseen_combinations(visits: Mapping[str, Mapping[str, list[int]]], species: list[int]) -> list[str]:
    """Pairs of the elements that no training structure holds within the cutoff, such as ``"Si-O"``."""
    symbols = [chemical_symbols[z] for z in species]
    pairs = [f"{a}-{b}" for a, b in combinations_with_replacement(symbols, 2)]
    return [pair for pair in pairs if pair not in visits["radial"]]


def unseen_triples(visits: Mapping[str, Mapping[str, list[int]]], species: list[int]) -> list[str]:
    """Centres and two neighbours that no training structure holds, such as ``"Si: O-O"``.

    Those with a pair that was not seen either are left out, and all where the network has no angles.
    """
    symbols = [chemical_symbols[z] for z in species]
    pairs = [f"{a}-{b}" for a, b in combinations_with_replacement(symbols, 2)]
    found = []
    for centre, pair in product(symbols, pairs) if visits["angle"] else []:
        both = [f"{min(centre, other)}-{max(centre, other)}" for other in pair.split("-")]
        if f"{centre}: {pair}" not in visits["angle"] and all(p in visits["radial"] for p in both):
            found.append(f"{centre}: {pair}")
    return found


class Coverage:
    """Which intervals of an s-NNP its training data visited.

    ``radial``, ``angular`` bool [n, n, intervals + 1], ``angle`` bool [n, n, n, intervals + 1]: True where
    the spline that serves these elements has data in the interval, and these elements were seen together: as
    neighbours, or around a centre. That follows from the counts alone, whatever the age of a file.

    Parameters
    ----------
    hypers : SNNPHypers
        of the network
    visits : mapping of str
        counts in each knot interval, as the model file has them
    """

    def __init__(self, hypers: SNNPHypers, visits: Mapping[str, Mapping[str, list[int]]]):
        self.hypers, self.visits = hypers, visits
        self.grids = grids(hypers)
        self.symbols = [chemical_symbols[z] for z in hypers.species]
        self.types = types_of(hypers.species)
        n, cases = len(self.symbols), case_tables(len(hypers.species), hypers.filters, hypers.networks)
        counts = {name: self._counts(name, n) for name in ("radial", "angular", "angle")}
        together = counts["radial"].sum(dim=2, keepdim=True) > 0
        by_rho = _served(counts["radial"], cases["radial_cases"])
        self.radial = together & (by_rho if hypers.radial_filters > 0 else torch.ones_like(by_rho))
        if hypers.pair:
            self.radial &= _served(counts["radial"], cases["pair_cases"])
        self.angular = together & _served(counts["angular"], cases["radial_cases"])
        around = counts["angle"].sum(dim=3, keepdim=True) > 0
        self.angle = around & _served(counts["angle"], cases["angle_cases"])
        self.angle[..., 0] = True  # no cosine lies there
        if hypers.angular_filters == 0:
            self.angular[:], self.angle[:] = True, True
        self.all_angles = bool(self.angle.all())
        self.reach = max(self._reach("radial"), self._reach("angular"))

    @classmethod
    def of(cls, info: ModelInfo) -> Coverage | None:
        """Of a model file; None where the file says nothing about it."""
        visits = info.training.get("visits")
        if info.architecture.get("name") != "snnp" or not visits:
            return None
        known = SNNPHypers.__dataclass_fields__
        return cls(SNNPHypers(**{k: v for k, v in info.architecture.items() if k in known}), visits)

    def extrapolating(self, graph: Graph) -> np.ndarray:
        """int64 [N], the neighbours and the angles of each atom that lie in intervals without data."""
        vectors = graph.edge_vectors
        total = torch.zeros(len(graph.species), dtype=torch.int64, device=vectors.device)
        x, y, z = vectors.unbind(1)  # four times as fast as a sum over the last dimension
        if len(vectors) == 0 or (self.all_angles and float((x * x + y * y + z * z).min()) >= self.reach**2):
            return total.cpu().numpy()
        graph, total = graph.to("cpu"), total.cpu()
        alone = torch.zeros(len(vectors), dtype=torch.bool)  # edges in an interval without data
        for name, place in _places(graph, self.types, self.grids, not self.all_angles).items():
            elements, interval, owners = place
            missing = ~getattr(self, name)[(*elements, interval)]
            if name == "angle":
                total += torch.bincount(owners[missing], minlength=len(total))
            else:
                alone[owners[missing]] = True
        total += torch.bincount(graph.edge_index[0][alone], minlength=len(total))
        return total.numpy()

    def unvisited(self) -> list[str]:
        """The intervals between knots without data in words, such as ``Si-Si 2.34 to 2.61 Å``, each once."""
        found = []
        for name in ("radial", "angular", "angle"):
            table = getattr(self, name)
            for place in (~table).nonzero().tolist():
                elements, interval = place[:-1], place[-1]
                if interval == 0 or elements[-2:] != sorted(elements[-2:]):
                    continue  # before the first knot, where no data are expected; the pair in the other order
                low, high = self.grids[name].ends(interval)
                where = f"{low:.2f} to {high:.2f} Å" if name != "angle" else f"cosine {low:.1f} to {high:.1f}"
                words = f"{_label([self.symbols[t] for t in elements])} {where}"
                found += [words] if words not in found else []
        return found

    def _counts(self, name: str, n: int) -> Tensor:
        size = self.grids[name].count + 1
        table = torch.zeros(*([n] * (3 if name == "angle" else 2)), size, dtype=torch.int64)
        for place in np.ndindex(*table.shape[:-1]):
            key = _label([self.symbols[t] for t in (*place[:-2], *sorted(place[-2:]))])
            table[place] = torch.tensor(self.visits[name].get(key, [0] * size))
        return table

    def _reach(self, name: str) -> float:
        """The end of the farthest interval without data, Å."""
        table = getattr(self, name)
        missing = (~table).flatten(0, -2).any(dim=0).nonzero()
        return self.grids[name].ends(int(missing.max()))[1] if len(missing) else 0.0


class ExtrapolationWatch:
    """Counts of a :class:`Coverage` for a calculator, and one warning."""

    def __init__(self, info: ModelInfo):
        self.name = info.name
        self.coverage = Coverage.of(info)
        self.warned = False

    def of_graph(self, graph: Graph) -> dict[str, np.ndarray]:
        """``extrapolating`` int64 [N]; nothing where the file does not say what its data visited."""
        if self.coverage is None:
            return {}
        counts = self.coverage.extrapolating(graph)
        shortest = float(graph.edge_vectors.norm(dim=1).min()) if counts.any() else np.inf
        return self.of_counts(counts, shortest)

    def of_counts(self, counts: np.ndarray, shortest: float) -> dict[str, np.ndarray]:
        """The same from counts [N] that are there already, and the shortest distance (Å)."""
        if self.coverage is None:
            return {}
        if not self.warned and counts.any():
            self.warned = True
            warnings.warn(self._message(counts, shortest), RuntimeWarning, stacklevel=users_line())
        return {"extrapolating": counts}

    def _message(self, counts: np.ndarray, shortest: float) -> str:
        visits, species = self.coverage.visits, self.coverage.hypers.species
        unseen = unseen_combinations(visits, species) + unseen_triples(visits, species)
        pairs = f"; never seen together: {_listed(unseen)}" if unseen else ""
        return (
            f"{np.count_nonzero(counts)} atoms have neighbours or angles where `{self.name}` has no training "
            f"data (the shortest distance is {shortest:.2f} Å{pairs}): energy and forces are extrapolated. "
            "`calculator.diagnostics['extrapolating']` counts them for each atom; this is said once"
        )


def warn_of_unseen(graphs: Iterable[Graph], hypers: SNNPHypers) -> None:
    """Warn of elements that no training structure holds as neighbours, or as two of a centre."""
    if len(hypers.species) == 1:
        return
    visits = count_visits(graphs, hypers)
    for how, unseen in (
        ("as neighbours", unseen_combinations(visits, hypers.species)),
        ("around a centre", unseen_triples(visits, hypers.species)),
    ):
        if unseen:
            warnings.warn(
                f"`data.train` never holds these elements {how}: {_listed(unseen)}. Nothing is learned about "
                "how they act on each other; add structures with them, or use the potential without them",
                RuntimeWarning,
                stacklevel=users_line(),
            )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _places(
    graph: Graph, types: Tensor, knots: dict[str, Grid], with_angles: bool
) -> dict[str, tuple[tuple[Tensor, ...], Tensor, Tensor]]:
    """For each kind of spline the element indices, intervals and owners (edges; centres) of its arguments."""
    distances = graph.edge_vectors.norm(dim=1)
    centres, own = graph.edge_index[0], types[graph.species]
    first, second = own[centres], own[graph.edge_index[1]]
    near = (distances < knots["angular"].last).nonzero().squeeze(1)
    c, t, r = centres[near], second[near], distances[near]
    found: dict[str, tuple[tuple[Tensor, ...], Tensor, Tensor]] = {
        "radial": ((first, second), knots["radial"].interval(distances), torch.arange(len(distances))),
        "angular": ((first[near], t), knots["angular"].interval(r), near),
    }
    if with_angles:
        directions = graph.edge_vectors[near] / r[:, None]
        triplets = find_triplets(c, len(graph.species))
        j, k = triplets.first, triplets.second
        cosines = (directions[j] * directions[k]).sum(dim=1)
        low, high = torch.minimum(t[j], t[k]), torch.maximum(t[j], t[k])
        interval = knots["angle"].interval(cosines).clamp(min=1)  # -1 may round to less
        found["angle"] = ((own[c[j]], low, high), interval, c[j])
    return found


def _by_elements(table: Tensor, symbols: list[str]) -> dict[str, list[int]]:
    found = {}
    for place in np.ndindex(*table.shape[:-1]):
        if list(place[-2:]) == sorted(place[-2:]) and int(table[place].sum()) > 0:
            found[_label([symbols[t] for t in place])] = table[place].tolist()
    return found


def _label(symbols: list[str]) -> str:
    pair = "-".join(symbols[-2:])
    return f"{symbols[0]}: {pair}" if len(symbols) == 3 else pair


def _served(counts: Tensor, cases: Tensor) -> Tensor:
    """Whether the spline that serves each combination of elements has data in each interval."""
    flat = cases.flatten()
    sums = torch.zeros(int(flat.max()) + 1, counts.shape[-1], dtype=torch.int64)
    sums.index_add_(0, flat, counts.flatten(0, -2))
    return sums[flat].view(counts.shape) > 0
