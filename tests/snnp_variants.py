"""s-NNPs with random weights, one of each variant, and a crystal for them."""

import torch
from ase import Atoms
from ase.build import bulk

from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP

SMALL = {"radial_filters": 2, "angular_filters": 3, "radial_intervals": 6, "angular_intervals": 5}
VARIANTS = {
    "pair": {"filters": "pair"},
    "neighbour": {"filters": "neighbour", "angular_cutoff": 3.6},
    "shared, two layers": {"filters": "shared", "hidden": [5, 7], "core": False},
    "close atoms": {"inner": 2.6},
    "one network": {"networks": "shared"},
    "linear": {"hidden": []},
    "no skip": {"skip": False, "pair": False},
    "pair term alone": {"radial_filters": 0, "angular_filters": 0, "hidden": []},
    "embedding": {"embedding": [-2.0, 3.0, 5.0]},
    "no angles": {"angular_filters": 0},
    "no radial filters": {"radial_filters": 0},
}


def make(species=(14, 8), seed=0, **hypers) -> SNNP:
    """With random weights of order one everywhere."""
    torch.manual_seed(seed)
    network = SNNP(
        SNNPHypers(species=list(species), cutoff=3.9, **{**SMALL, "hidden": [6], **hypers})
    ).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network.eval().requires_grad_(False)


def structure(rattle=0.15) -> Atoms:
    atoms = bulk("Si", cubic=True, a=5.2)
    atoms.symbols[[0, 3, 5]] = "O"
    atoms.rattle(rattle, seed=1)
    return atoms


def arguments(graph, vectors=None) -> tuple:
    vectors = graph.edge_vectors if vectors is None else vectors
    return graph.species, graph.edge_index, vectors, graph.reverse_edges, {}
