"""A constant energy of every atom that has neighbours, kept by the network itself.

A least-squares fit of sums over neighbours wants a constant for each element, which makes nonsense of the
energy of an atom alone. Where that energy is given, two units of the hidden layer take the constant: the
difference of two SiLU a unit apart rises from zero to one with the number of near neighbours and is flat from
there on.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..data.batches import GraphDataset
from ..networks.repulsion import fade
from ..networks.snnp.snnp import SNNP

# Of x near neighbours: SiLU(STEEP x - LATE) - SiLU(STEEP x - LATE - 1)
STEEP, LATE = 6.0, 3.0
NEAR = (1.05, 1.6)  # distances between which a neighbour fades, over that of the nearest neighbours


def can_hold(network: SNNP) -> bool:
    """Whether the network has the filters and units for it, and one network for each element."""
    hypers = network.hypers
    one_each = hypers.networks == "element" or len(hypers.species) == 1
    return one_each and hypers.radial_filters > 0 and len(hypers.hidden) == 1 and hypers.hidden[0] >= 2


def hold_constants(network: SNNP, constants: Mapping[int, float], data: GraphDataset) -> None:
    """Give the first ρ and the first two hidden units to ``constants``, in place.

    Parameters
    ----------
    network: one that :func:`can_hold` them
    constants: eV by atomic number
    data: structures whose nearest neighbours tell which are near
    """
    nearest = typical_distance(data)
    begin, end = (min(factor * nearest, network.cutoff) for factor in NEAR)
    alone = torch.nn.functional.silu(torch.tensor([-LATE, -LATE - 1.0], dtype=torch.float64))
    rise = 1.0 - float(alone[0] - alone[1])
    with torch.no_grad():
        for case in range(network.rho.coefficients.size(0)):
            origin, step, _ = network.rho.grid[case].tolist()
            places = origin + step * (torch.arange(network.rho.coefficients.size(2)) - 1.0)
            network.rho.coefficients[case, 0] = fade(places, begin, end)
        layer, last = network.networks.layers[0], network.networks.last
        layer.weight[:, :, :2] = 0.0
        layer.weight[:, 0, :2] = STEEP
        layer.bias[:, 0], layer.bias[:, 1] = -LATE, -LATE - 1.0
        for t, number in enumerate(network.hypers.species):
            case = int(network.network_cases[t])
            amplitude = constants[number] / float(network.energy_scale) / rise
            last.weight[case, 0, 0], last.weight[case, 1, 0] = amplitude, -amplitude


def typical_distance(data: GraphDataset) -> float:
    """Median over all atoms of the distance to the nearest neighbour, Å."""
    found = []
    for index in range(len(data)):
        graph = data.graph(index)
        nearest = torch.full((len(graph.species),), torch.inf, dtype=torch.float64)
        distances = graph.edge_vectors.norm(dim=1).double()
        found.append(nearest.scatter_reduce(0, graph.edge_index[0], distances, "amin"))
    every = torch.cat(found)
    return float(every[every.isfinite()].median())
