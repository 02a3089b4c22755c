"""CPU time of the s-NNP's operator by number of angular filters and angular cutoff, silicon, one thread.

    python benchmarks/snnp_operator.py     # a minute; benchmarks/results/snnp-operator.json

Energies and gradients of 4096 atoms with 28 neighbours within 5 Å, four radial filters, φ and 16 hidden units
with random weights, which decide nothing about the time; without neighbour lists. The least of interleaved
repeats: other work on the machine only adds to it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import snnp_studies as studies
import torch

CASES = ((0, 5.0), (4, 4.0), (8, 4.0), (4, 5.0), (8, 5.0))  # angular filters, angular cutoff in Å
DTYPES = {"float64": torch.float64, "float32": torch.float32}
ROUNDS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=8, help="conventional cells along each direction")
    studies.add_output(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    calls = {
        (filters, cutoff, name): operator(filters, cutoff, dtype, options.cells)
        for filters, cutoff in CASES
        for name, dtype in DTYPES.items()
    }
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for key, function in calls.items():
            start = time.process_time()
            function()
            best[key] = min(best[key], time.process_time() - start)
    atoms = 8 * options.cells**3
    rows = []
    for filters, cutoff in CASES:
        times = {name: 1e6 * best[filters, cutoff, name] / atoms for name in DTYPES}
        rows.append({"angular_filters": filters, "angular_cutoff": cutoff, **times})
        print(f"{filters} angular filters within {cutoff} Å: {times} µs/atom")
    studies.publish("operator", rows, options.output)


def operator(filters: int, cutoff: float, dtype: torch.dtype, cells: int) -> Callable[[], object]:
    """An evaluation of the crystal."""
    from ase.build import bulk

    from ase_mlip.building import _ops
    from ase_mlip.graph.neighbors import build_graph
    from ase_mlip.networks.snnp.hypers import SNNPHypers
    from ase_mlip.networks.snnp.snnp import SNNP

    _ops.load()
    torch.manual_seed(1)
    hypers = SNNPHypers(species=[14], cutoff=5.0, angular_cutoff=cutoff, angular_filters=filters)
    network = SNNP(hypers).to(dtype).eval().requires_grad_(False)
    atoms = bulk("Si", a=5.43, cubic=True).repeat(cells)
    atoms.positions += np.random.default_rng(1).uniform(-0.05, 0.05, atoms.positions.shape)
    graph = build_graph(atoms, 5.0)
    arguments = (graph.species, graph.edge_index, graph.edge_vectors.to(dtype), graph.reverse_edges, {})
    return lambda: network.energies_and_gradients(*arguments, graph.node_weights, [])


if __name__ == "__main__":
    main()
