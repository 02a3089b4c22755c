"""Centres in blocks, and tables of their edges: how a graph is worked through."""

import torch
from torch import Tensor

from ..needed import counts_of_edges


def block_size(vectors: Tensor) -> int:
    """Number of edges that are worked through together: a core's cache on a CPU, memory on a GPU.

    Parameters
    ----------
    vectors : Tensor
        any tensor on the device that is meant

    Returns
    -------
    int
        edges per block, for :func:`neighbourhoods`
    """
    return 524288 if vectors.is_cuda else 1536


def neighbourhoods(
    centres: Tensor, n_nodes: int, wanted: list[Tensor], size: int
) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    """Blocks of the nodes that each layer ``wanted``, and the edges of each node of a block in a table.

    All layers at once, because the host has to wait for the numbers of edges.

    Parameters
    ----------
    centres : Tensor
        int64 [E], sorted
    n_nodes : int
        number of nodes N
    wanted : list of Tensor
        int64 [M], the nodes of each layer
    size : int
        edges per block, about

    Returns
    -------
    nodes : list of list of Tensor
        int64 [b] of each block, for each layer
    tables : list of list of Tensor
        int64 [b, n], edges of these nodes. Where a node has fewer edges than n, the table has E, the index of
        an edge that a network must give no weight
    """
    counts = counts_of_edges(centres, n_nodes)
    starts = torch.cumsum(counts, 0) - counts
    most = largest([counts[nodes] for nodes in wanted])
    blocks: list[list[Tensor]] = []
    numbers: list[Tensor] = []
    for nodes, edges in zip(wanted, most):  # noqa: B905 (TorchScript knows no `strict`)
        parts: list[Tensor] = []
        if nodes.size(0) > 0:
            for part in nodes.split(max(1, size // edges)):
                parts.append(part)
                numbers.append(counts[part])
        blocks.append(parts)
    widths = largest(numbers)
    tables: list[list[Tensor]] = []
    done = 0
    for parts in blocks:
        of_layer: list[Tensor] = []
        for part in parts:
            columns = torch.arange(widths[done], device=centres.device)
            table = starts[part].unsqueeze(1) + columns
            inside = columns < numbers[done].unsqueeze(1)
            of_layer.append(torch.where(inside, table, torch.full_like(table, centres.size(0))))
            done += 1
        tables.append(of_layer)
    return blocks, tables


def largest(numbers: list[Tensor]) -> list[int]:
    """The largest of each tensor, at least 1; in one transfer from a GPU.

    Parameters
    ----------
    numbers : list of Tensor
        int64 [n] each; n may be zero

    Returns
    -------
    list of int
        one for each tensor
    """
    if len(numbers) == 0:
        nothing: list[int] = []
        return nothing
    maxima: list[Tensor] = []
    for values in numbers:
        maxima.append(torch.cat([values, values.new_ones([1])]).max())
    found: list[int] = torch.stack(maxima).tolist()
    return found


def with_empty_row(x: Tensor) -> Tensor:
    """The same rows and one of zeros, for places where the tables of :func:`neighbourhoods` have no edge.

    Parameters
    ----------
    x : Tensor
        [E, F]

    Returns
    -------
    Tensor
        [E + 1, F]
    """
    return torch.cat([x, torch.zeros(1, x.size(1), dtype=x.dtype, device=x.device)])


def rows_of(x: Tensor, table: Tensor) -> Tensor:
    """The rows that a table names, faster than by indexing.

    Parameters
    ----------
    x : Tensor
        [E, F]
    table : Tensor
        int64 [b, n], numbers of rows

    Returns
    -------
    Tensor
        [b, n, F]
    """
    return x.index_select(0, table.flatten()).view(table.size(0), table.size(1), x.size(1))
