"""Blocks of centres of one species with equally many edges each, for :mod:`ase_mlip.converters.mace.network`.

No ``from __future__ import annotations`` here: TorchScript compiles the annotations.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...networks.needed import counts_of_edges


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


def plans(
    types: Tensor, edge_index: Tensor, needed: list[Tensor], n_kinds: int, target: int
) -> list[list[Block]]:
    """For each layer its ``needed`` nodes (bool [N]) in blocks of about ``target`` edges.

    Nodes are sorted by species and by their number of edges, so that hardly any edge has to be invented. All
    layers are planned at once: the host reads values twice, however many layers and blocks there are.
    """
    n_edges = edge_index.size(1)
    counts = counts_of_edges(edge_index[0], types.size(0))
    orders: list[Tensor] = []
    for mask in needed:
        places = torch.where(mask, types, n_kinds) * (n_edges + 1) + counts
        orders.append(torch.argsort(places, stable=True))
    cuts = _cuts(types, counts, needed, n_kinds, target)
    widest: list[Tensor] = [counts[:0]]
    for k, cut in enumerate(cuts):
        last = torch.tensor([stop - 1 for _, _, stop in cut], dtype=torch.int64, device=types.device)
        widest.append(counts[orders[k][last]])
    widths: list[int] = torch.cat(widest).tolist()
    first = counts.cumsum(0) - counts
    ends = torch.cat([edge_index[1], torch.zeros(1, dtype=torch.int64, device=types.device)])
    found: list[list[Block]] = []
    done = 0
    for k, cut in enumerate(cuts):
        blocks: list[Block] = []
        for kind, start, stop in cut:
            nodes = orders[k][start:stop]
            slots = torch.arange(max(1, widths[done]), device=types.device)
            edges = torch.where(slots < counts[nodes][:, None], first[nodes][:, None] + slots, n_edges)
            edges = edges.flatten()
            blocks.append(Block(kind, nodes, edges, ends[edges]))
            done += 1
        found.append(blocks)
    return found


def _cuts(
    types: Tensor, counts: Tensor, needed: list[Tensor], n_kinds: int, target: int
) -> list[list[tuple[int, int, int]]]:
    """The blocks of each layer: species, and the first place and the one behind the last in its order."""
    rows: list[Tensor] = []
    for mask in needed:
        present = mask.to(torch.int64)
        nothing = torch.zeros(n_kinds, dtype=torch.int64, device=types.device)
        rows.append(nothing.index_add(0, types, present))
        rows.append(nothing.scatter_reduce(0, types, counts * present, "amax"))
    numbers: list[list[int]] = torch.stack(rows).tolist()
    cuts: list[list[tuple[int, int, int]]] = []
    for k in range(len(needed)):
        totals, most = numbers[2 * k], numbers[2 * k + 1]
        cut: list[tuple[int, int, int]] = []
        start = 0
        for kind in range(n_kinds):
            size = max(1, target // max(1, most[kind]))
            stop = start + totals[kind]
            while start < stop:
                cut.append((kind, start, min(start + size, stop)))
                start = min(start + size, stop)
        cuts.append(cut)
    return cuts


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
