"""Every kind of s-NNP on one small structure."""

import torch
from ase import Atoms
from ase.build import bulk

from ase_mlip.graph.neighbors import build_graph
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP

KINDS = {
    "two layers": {"hidden": [6, 9]},
    "shared": {"filters": "neighbour", "networks": "shared", "hidden": [5], "skip": False},
    "embedding": {"hidden": [], "pair": False, "embedding": [-3.0, 3.0, 6], "angular_intervals": 20},
    "radial": {"filters": "shared", "core": False, "angular_filters": 0, "hidden": [20, 2]},
    "pair": {"radial_filters": 0, "angular_filters": 0, "hidden": []},
}


def structure() -> Atoms:
    atoms = bulk("Si", cubic=True, a=4.9) * (2, 1, 1)
    atoms.numbers[::3] = 8
    atoms.rattle(0.15, seed=1)
    atoms.positions[0] += (atoms.positions[1] - atoms.positions[0]) * 0.5  # closer than the first knot
    return atoms


def example(kind: str, dtype: torch.dtype) -> tuple[SNNP, tuple]:
    """A network and what its `energies_and_gradients` takes."""
    torch.manual_seed(0)
    hypers = {"species": [8, 14], "cutoff": 4.5, "inner": 1.6, "angular_cutoff": 4.0, **KINDS[kind]}
    network = SNNP(SNNPHypers(**hypers)).to(dtype)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    network.energy_scale.fill_(1.7)
    graph = build_graph(structure(), 4.7)  # with edges beyond the cutoff
    weights = torch.ones(len(graph.species), dtype=torch.float64)
    weights[[3, 7]] = 0.0  # ghosts
    edges = graph.edge_index, graph.edge_vectors.to(dtype), graph.reverse_edges
    return network, (graph.species, *edges, {}, weights, [])
