"""The edges of a stored neighbour list that are within the cutoff at the present positions."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _ops

Selected = tuple[Tensor, Tensor, Tensor, Tensor, float]


def near_edges(
    positions: Tensor,
    edge_index: Tensor,
    offsets: Tensor,
    reverse: Tensor,
    shifts: Tensor,
    squared_cutoffs: Tensor,
) -> Selected:
    """Choose among E candidates, in one pass on a CPU.

    Parameters
    ----------
    positions: float64 [N, 3], Å
    edge_index: int64 [2, E], centre and neighbour
    offsets: float64 [E, 3], what a neighbour's image is away from it, Å
    reverse: int64 [E], the candidate with the opposite vector
    shifts: int64 [E, 3], handed on
    squared_cutoffs: float64 [1] or [E], Å²

    Returns
    -------
    edge_index [2, K], vectors [K, 3], reverse [K] and shifts [K, 3] of those within the cutoff, in order, and
    the shortest distance of all candidates (Å; infinite without any)
    """
    if positions.is_cuda:
        return by_tensors(positions, edge_index, offsets, reverse, shifts, squared_cutoffs)
    _ops.load()
    return torch.ops.ase_mlip.near_edges(positions, edge_index, offsets, reverse, shifts, squared_cutoffs)


def by_tensors(
    positions: Tensor,
    edge_index: Tensor,
    offsets: Tensor,
    reverse: Tensor,
    shifts: Tensor,
    squared_cutoffs: Tensor,
) -> Selected:
    """The same to the last bit with torch's own operators."""
    # Element by element and in this order, so that r_ij and r_ji are each other's negative to the last
    # bit: otherwise one of the two could be cut off without the other.
    vectors = positions.index_select(0, edge_index[1])
    vectors -= positions.index_select(0, edge_index[0])
    vectors += offsets
    x, y, z = vectors.unbind(1)
    squares = x * x + y * y + z * z
    keep = squares <= squared_cutoffs
    kept = keep.nonzero().squeeze(1)
    new_index = torch.cumsum(keep, 0) - 1
    shortest = float(squares.min()) ** 0.5 if len(squares) else float("inf")
    return (
        edge_index.index_select(1, kept),
        vectors.index_select(0, kept),
        new_index.index_select(0, reverse.index_select(0, kept)),
        shifts.index_select(0, kept),
        shortest,
    )
