"""Blocks of centres of one species with equally many edges each, for :mod:`ase_mlip.adapters.mace_network`.

No ``from __future__ import annotations`` here: TorchScript compiles the annotations.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Basis(NamedTuple):
    """Functions of the edges alone: harmonics [E, (l+1)²], radial [E, n], cutoffs [E, 1]."""

    harmonics: Tensor
    radial: Tensor
    cutoffs: Tensor  # used where the radial functions do not contain it


class Block(NamedTuple):
    """B centres of one species, and J edges of each; edges that do not exist have the index E."""

    kind: int  # index of the species
    nodes: Tensor  # int64 [B]
    edges: Tensor  # int64 [B · J]
    neighbours: Tensor  # int64 [B · J], 0 where there is no edge


def plan(types: Tensor, edge_index: Tensor, wanted: Tensor, target: int) -> list[Block]:
    """The nodes ``wanted`` (bool [N]) in blocks of about ``target`` edges.

    Nodes are sorted by species and by their number of edges, so that hardly any edge has to be invented.
    """
    n_edges = edge_index.size(1)
    counts = torch.bincount(edge_index[0], minlength=types.size(0))
    first = counts.cumsum(0) - counts
    chosen = torch.nonzero(wanted).squeeze(1)
    chosen = chosen[torch.argsort(types[chosen] * (n_edges + 1) + counts[chosen], stable=True)]
    ends = torch.cat([edge_index[1], torch.zeros(1, dtype=torch.int64, device=types.device)])
    blocks: list[Block] = []
    kinds, numbers = torch.unique_consecutive(types[chosen], return_counts=True)
    totals: list[int] = numbers.tolist()
    start = 0
    for k, total in enumerate(totals):
        most = int(counts[chosen[start + total - 1]].item())
        size = max(1, target // max(1, most))
        for nodes in chosen.narrow(0, start, total).split(size):
            own = counts[nodes]
            slots = torch.arange(max(1, int(own[-1].item())), device=types.device)
            edges = torch.where(slots < own[:, None], first[nodes][:, None] + slots, n_edges).flatten()
            blocks.append(Block(int(kinds[k].item()), nodes, edges, ends[edges]))
        start += total
    return blocks


def reached(wanted: Tensor, edge_index: Tensor) -> Tensor:
    """The nodes ``wanted`` (bool [N]) and their neighbours, bool [N]."""
    neighbours = edge_index[1][wanted[edge_index[0]]]
    return wanted.index_fill(0, neighbours, True)


def with_zero_row(x: Tensor) -> Tensor:
    """x [E, n] and a row of zeros, for edges that do not exist."""
    return torch.cat([x, torch.zeros(1, x.size(1), dtype=x.dtype, device=x.device)])


def rows_of(basis: Basis, edges: Tensor) -> Basis:
    """The basis of some edges."""
    return Basis(
        basis.harmonics.index_select(0, edges),
        basis.radial.index_select(0, edges),
        basis.cutoffs.index_select(0, edges),
    )


def gather(tables: list[Tensor], rows: Tensor, differentiate: bool) -> list[Tensor]:
    """Rows of each table; they want a gradient if ``differentiate``."""
    found: list[Tensor] = []
    for table in tables:
        chosen = table.index_select(0, rows)
        found.append(chosen.requires_grad_(True) if differentiate else chosen)
    return found


def add_rows(totals: list[Tensor], gradients: list[Tensor | None], rows: Tensor) -> None:
    """Add each gradient to the rows of its table."""
    for k, gradient in enumerate(gradients):
        if gradient is not None:
            totals[k].index_add_(0, rows, gradient)
