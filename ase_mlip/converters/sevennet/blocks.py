"""Blocks of centres with about as many edges each, for :mod:`ase_mlip.converters.sevennet.network`.

No ``from __future__ import annotations`` here: TorchScript compiles the annotations.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...networks.needed import counts_of_edges


class Block(NamedTuple):
    """Centres that are worked through together, each with as many edges as the first of them has."""

    centres: Tensor  # int64 [B]
    edges: Tensor  # int64 [B n], edge 0 where a neighbourhood is padded
    neighbours: Tensor  # int64 [B n]
    mask: Tensor  # [B n, 1], 0 where a neighbourhood is padded


class Kinds(NamedTuple):
    """Types of some nodes, and how many nodes of each type there are, which the host knows."""

    types: Tensor  # int64 [B]
    counts: list[int]


class Plan(NamedTuple):
    """The nodes of a layer: in its order, their types, and its blocks."""

    nodes: Tensor  # int64 [W]
    kinds: Kinds
    blocks: list[Block]


def plans(
    types: Tensor, edge_index: Tensor, needed: list[Tensor], n_types: int, target: int, like: Tensor
) -> list[Plan]:
    """For each layer its ``needed`` nodes, bool [N], in descending order of their number of edges.

    All layers are planned at once: the host reads values twice, however many layers and blocks there are.

    Parameters
    ----------
    types : Tensor
        int64 [N], each below ``n_types``
    edge_index : Tensor
        int64 [2, E], sorted by centre
    target : int
        edges per block, about
    like : Tensor
        has the masks' dtype
    """
    centres, neighbours = edge_index[0], edge_index[1]
    degrees = counts_of_edges(centres, types.size(0))
    starts = torch.cumsum(degrees, 0) - degrees
    counts = counts_of_types(types, needed, n_types)
    orders: list[Tensor] = []
    sizes: list[Tensor] = []
    for k, mask in enumerate(needed):
        places = torch.where(mask, degrees, torch.full_like(degrees, -1))
        order = torch.argsort(places, stable=True, descending=True)[: sum(counts[k])]
        orders.append(order)
        sizes.append(degrees[order])
    lengths: list[int] = torch.cat(sizes).tolist()
    found: list[Plan] = []
    done = 0
    for k, order in enumerate(orders):
        blocks: list[Block] = []
        start = 0
        while start < order.size(0):
            n = lengths[done + start]
            stop = min(order.size(0), start + max(1, target // max(n, 1)))
            chosen = order[start:stop]
            slots = torch.arange(n, device=centres.device)
            present = (slots[None, :] < sizes[k][start:stop, None]).flatten()
            edges = (starts[chosen][:, None] + slots[None, :]).flatten()
            edges = torch.where(present, edges, torch.zeros_like(edges))
            blocks.append(Block(chosen, edges, neighbours[edges], present[:, None].to(like.dtype)))
            start = stop
        found.append(Plan(order, Kinds(types[order], counts[k]), blocks))
        done += order.size(0)
    return found


def counts_of_types(types: Tensor, needed: list[Tensor], n_types: int) -> list[list[int]]:
    """Nodes of each type among the ``needed`` of each layer; the host waits for all of them once."""
    rows: list[Tensor] = []
    for mask in needed:
        nothing = torch.zeros(n_types, dtype=torch.int64, device=types.device)
        rows.append(nothing.index_add(0, types, mask.to(torch.int64)))
    found: list[list[int]] = torch.stack(rows).tolist()
    return found
