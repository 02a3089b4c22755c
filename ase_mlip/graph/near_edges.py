"""The edges of a stored neighbour list that are within the cutoff at the present positions."""

from __future__ import annotations

import torch
from torch import Tensor

from ..building import _ops

Selected = tuple[Tensor, Tensor, Tensor, Tensor, float]


def near_edges(
    positions: Tensor,
    edge_index: Tensor,
    offsets: Tensor,
    reverse: Tensor,
    shifts: Tensor,
    squared_cutoffs: Tensor,
) -> Selected:
    """Choose the edges among E pairs: in one pass on a CPU, by torch's own operators on a GPU.

    Parameters
    ----------
    positions : Tensor
        float64 [N, 3], Å
    edge_index : Tensor
        int64 [2, E], centre and neighbour
    offsets : Tensor
        float64 [E, 3], what a neighbour's image is away from it, Å
    reverse : Tensor
        int64 [E], the pair with the opposite vector
    shifts : Tensor
        int64 [E, 3], handed on
    squared_cutoffs : Tensor
        float64 [1] or [E], Å²

    Returns
    -------
    Selected
        edge_index [2, K], vectors [K, 3], reverse [K] and shifts [K, 3] of those within the cutoff, in order,
        and the shortest distance of all pairs (Å; infinite without any)
    """
    _ops.load()
    return torch.ops.ase_mlip.near_edges(positions, edge_index, offsets, reverse, shifts, squared_cutoffs)
