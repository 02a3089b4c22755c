"""A graph as the wrappers of a network hand it on, and what follows from its derivatives by the edge vectors.

No ``from __future__ import annotations`` here: TorchScript compiles the annotations.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Graph(NamedTuple):
    """One or more structures of N nodes and E edges."""

    species: Tensor  # int64 [N], atomic numbers
    edge_index: Tensor  # int64 [2, E], centre and neighbour, sorted by centre
    edge_vectors: Tensor  # [E, 3], Å, in the network's dtype
    reverse_edges: Tensor  # int64 [E], or -1
    inputs: dict[str, Tensor]  # per node
    node_weights: Tensor  # float64 [N]
    structure: Tensor  # int64 [N]
    n_structures: int


def needs_gradients(outputs: list[str]) -> bool:
    """Whether anything wanted is a derivative of the energy."""
    return "forces" in outputs or "virial" in outputs or "virials" in outputs or "gradients" in outputs


def of_network(outputs: list[str]) -> list[str]:
    """The names among ``outputs`` that only a network can give, beside its energies."""
    others = ["energy", "energies", "forces", "virial", "virials", "gradients", "spread"]
    found: list[str] = []
    for name in outputs:
        if name not in others:  # no comprehension: TorchScript has none with a condition
            found.append(name)
    return found


def derived(gradients: Tensor, vectors: Tensor, graph: Graph, outputs: list[str]) -> dict[str, Tensor]:
    """What ``outputs`` want of ``forces``, ``virial``, ``virials`` and ``gradients``.

    Parameters
    ----------
    gradients, vectors: float64 [E, 3], ∂E/∂edge_vectors in eV/Å and the edge vectors in Å
    graph: the rest of the graph
    outputs: names of what is wanted

    Returns
    -------
    as :class:`ase_mlip.model_file.potential.Potential` has them
    """
    found: dict[str, Tensor] = {}
    n_nodes = graph.species.size(0)
    if "gradients" in outputs:
        found["gradients"] = gradients
    if "forces" in outputs:
        found["forces"] = torch.ops.ase_mlip.forces_from_gradients(gradients, graph.edge_index, n_nodes)
    if "virials" in outputs:
        found["virials"] = torch.ops.ase_mlip.virials_from_gradients(
            gradients, vectors, graph.edge_index, n_nodes
        )
    if "virial" in outputs:
        found["virial"] = torch.ops.ase_mlip.virial_from_gradients(
            gradients, vectors, graph.structure[graph.edge_index[0]], graph.n_structures
        )
    return found
