"""Calling a potential, eager or scripted, with a graph as engines do."""

from collections.abc import Sequence

import torch

from ase_mlip import _torchscript
from ase_mlip.graph.neighbors import Graph
from ase_mlip.rotations.averaging import PLAIN, Averaging

EVERYTHING = ("forces", "virial", "virials", "gradients")


def call(
    potential, graph: Graph, outputs: Sequence[str] = EVERYTHING, averaging: Averaging = PLAIN, at_once=0
) -> dict[str, torch.Tensor]:
    """Outputs of a :class:`ase_mlip.model_file.potential.Potential`."""
    rotations = torch.from_numpy(averaging.rotations), torch.from_numpy(averaging.weights)
    with _torchscript.calling():
        return potential(
            *(graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges),
            *(graph.node_weights, graph.structure, graph.n_structures),
            {},
            *rotations,
            at_once,
            list(outputs),
        )
