"""Parts of the s-NNP: triplets of a graph, which spline serves which species, the small networks."""

from typing import Final, NamedTuple

import torch
from torch import Tensor


class Triplets(NamedTuple):
    """T pairs of edges with one centre, each once.

    Attributes
    ----------
    first, second : Tensor
        int64 [T], indices of edges; the first comes before the second
    """

    first: Tensor
    second: Tensor


def find_triplets(centres: Tensor, n: int) -> Triplets:
    """All pairs of edges with the same centre.

    Parameters
    ----------
    centres : Tensor
        int64 [E], sorted, below ``n``
    n : int
        number of nodes

    Returns
    -------
    Triplets
        sorted by the second edge
    """
    counts = torch.bincount(centres, minlength=n)
    start = (counts.cumsum(0) - counts)[centres]
    edges = torch.arange(centres.size(0), device=centres.device)
    before = edges - start  # number of edges of this centre that come first
    second = torch.repeat_interleave(edges, before)
    offset = torch.arange(second.size(0), device=centres.device) - (before.cumsum(0) - before)[second]
    return Triplets(start[second] + offset, second)


def case_tables(n: int, filters: str, networks: str) -> dict[str, Tensor]:
    """Number of the spline or network that serves each combination of the species.

    φ is symmetric in both atoms and g in both neighbours.

    Parameters
    ----------
    n : int
        number of species
    filters : str
        "shared": one spline for all; "neighbour": by the species of the neighbours; "pair": by that of the
        centre, too
    networks : str
        "element": one network for each species; "shared": one for all

    Returns
    -------
    dict of Tensor
        int64 ``pair_cases`` and ``radial_cases`` [n, n] (centre, neighbour), ``angle_cases`` [n, n, n]
        (centre, neighbours), ``network_cases`` [n]
    """
    i = torch.arange(n)
    low, high = torch.minimum(i[:, None], i), torch.maximum(i[:, None], i)
    # (0, 0), (0, 1), ..., (0, n - 1), (1, 1), ... count from zero: the order of LAMMPS' files
    unordered = low * (2 * n - low - 1) // 2 + high
    same = torch.zeros(n, n, dtype=torch.int64)
    if filters == "shared":
        tables = {"pair_cases": same, "radial_cases": same, "angle_cases": same.expand(n, n, n)}
    elif filters == "neighbour":
        tables = {
            "pair_cases": unordered,
            "radial_cases": i.expand(n, n),
            "angle_cases": unordered.expand(n, n, n),
        }
    else:
        pairs = n * (n + 1) // 2
        tables = {
            "pair_cases": unordered,
            "radial_cases": n * i[:, None] + i,
            "angle_cases": pairs * i[:, None, None] + unordered,
        }
    tables["network_cases"] = i if networks == "element" else torch.zeros_like(i)
    return {name: table.contiguous().clone() for name, table in tables.items()}


class Layer(torch.nn.Module):
    """M linear maps of the same size: ``weight`` [M, in, out], ``bias`` [M, out].

    Parameters
    ----------
    count, enter, leave : int
        M, in and out
    """

    def __init__(self, count: int, enter: int, leave: int):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(count, enter, leave) / max(enter, 1) ** 0.5)
        self.bias = torch.nn.Parameter(0.5 * torch.randn(count, leave))

    def forward(self, x: Tensor) -> Tensor:
        """[M, N, out] of ``x`` [M, N, in]."""
        return torch.baddbmm(self.bias[:, None], x, self.weight)


class ElementNetworks(torch.nn.Module):
    """M perceptrons of the same widths and one output; SiLU between the layers.

    Parameters
    ----------
    count, enter : int
        M, and the width of the input
    hidden : list of int
        widths of the hidden layers
    """

    one: Final[bool]

    def __init__(self, count: int, enter: int, hidden: list[int]):
        super().__init__()
        self.one = count == 1
        self.count = count
        sizes = [enter, *hidden]
        layers = [Layer(count, a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        self.layers = torch.nn.ModuleList(layers)
        self.last = Layer(count, sizes[-1], 1)
        with torch.no_grad():
            self.last.weight *= 0.1
            self.last.bias.zero_()
        self.last.bias.requires_grad_(False)  # the energy without neighbours is taken off

    def forward(self, x: Tensor, cases: Tensor) -> Tensor:
        """The output of the network of each node; every network sees all nodes, the case's result is taken.

        Parameters
        ----------
        x : Tensor
            [N, in]
        cases : Tensor
            int64 [N], the network of each node

        Returns
        -------
        Tensor
            [N]
        """
        h = x.expand(self.count, -1, -1)
        for layer in self.layers:
            h = torch.nn.functional.silu(layer(h))
        h = self.last(h).squeeze(2)
        if self.one:
            return h[0]
        return h.gather(0, cases[None]).squeeze(0)

    def weights_and_biases(self) -> list[Tensor]:
        """Those of the hidden layers and of the last one, in order."""
        found: list[Tensor] = []
        for layer in self.layers:
            found.append(layer.weight)
            found.append(layer.bias)
        found.append(self.last.weight)
        found.append(self.last.bias)
        return found
