"""Neighbourhoods of a block of centres, and how a graph is cut into blocks and put together again."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..needed import counts_of_edges
from .transformer import Layout


class Neighbourhoods(NamedTuple):
    """Species types and edges of some centres: B nodes, E edges, the latter sorted by centre.

    Attributes
    ----------
    types, neighbour_types, centres : Tensor
        int64 [B], [E] and [E]; centres are counted within these B
    reverse : Tensor
        int64 [E], the reverse edges, counted in the whole graph; -1 where there is none
    vectors, log_weights : Tensor
        [E, 3] in Å, and [E], logarithm of the cutoff weight
    """

    types: Tensor
    neighbour_types: Tensor
    centres: Tensor
    reverse: Tensor
    vectors: Tensor
    log_weights: Tensor


class State(NamedTuple):
    """What one stage hands to the next.

    Attributes
    ----------
    nodes : Tensor
        [B, d_node]
    messages, edges, reversed_edges : Tensor
        [E, d_pet], tokens into the last transformer, out of it, and those of the reverse edges out of it
    read, features : Tensor
        [B, 0 to 13], sum of what the layers before read out, where each has a read-out; and [B, F], what
        their energies are linear maps of, side by side, F = 0 unless wanted
    """

    nodes: Tensor
    messages: Tensor
    edges: Tensor
    reversed_edges: Tensor
    read: Tensor
    features: Tensor


def of_reverse(edges: Tensor, reverse: Tensor) -> Tensor:
    """The tokens of the reverse edges; zero where there is none.

    Parameters
    ----------
    edges : Tensor
        [E, d]
    reverse : Tensor
        int64 [E], index of the reverse edge or -1

    Returns
    -------
    Tensor
        [E, d]
    """
    found = edges.index_select(0, reverse.clamp(min=0))
    return found * (reverse >= 0).to(edges.dtype)[:, None]


def renumber(reverse: Tensor, kept: Tensor) -> Tensor:
    """Indices of reverse edges where only some edges are kept.

    Parameters
    ----------
    reverse : Tensor
        int64 [E], index of the reverse edge or -1
    kept : Tensor
        int64 [E'], the edges that are kept

    Returns
    -------
    Tensor
        int64 [E'], counted among the kept edges; -1 where the reverse was dropped
    """
    number = torch.full((reverse.size(0) + 1,), -1, dtype=torch.int64, device=reverse.device)
    number[kept] = torch.arange(kept.size(0), device=kept.device)
    return number[reverse[kept]]  # -1 picks the last entry, which is -1


def upto_last_nonzero(weights: Tensor) -> int:
    """Number of leading weights behind which all are zero.

    Parameters
    ----------
    weights : Tensor
        [N]

    Returns
    -------
    int
        0 to N
    """
    found = torch.nonzero(weights)
    if found.size(0) == 0:
        return 0
    return int(found[-1].item()) + 1


def starts_of(graph: Neighbourhoods) -> Tensor:
    """First edge of each node, and the number of edges.

    Parameters
    ----------
    graph : Neighbourhoods
        B nodes

    Returns
    -------
    Tensor
        int64 [B + 1]
    """
    counts = torch.bincount(graph.centres, minlength=graph.types.size(0))
    return torch.cat([torch.zeros(1, dtype=torch.int64, device=counts.device), counts.cumsum(0)])


def widest(graph: Neighbourhoods) -> int:
    """The most tokens of a neighbourhood, for which the host waits; see :class:`Cut`.

    Parameters
    ----------
    graph : Neighbourhoods
        a block

    Returns
    -------
    int
        M + 1, with the node token
    """
    if graph.types.size(0) == 0:
        return 1
    return int(counts_of(graph).max().item()) + 1


def counts_of(graph: Neighbourhoods) -> Tensor:
    """Number of edges of each node.

    Parameters
    ----------
    graph : Neighbourhoods
        B nodes

    Returns
    -------
    Tensor
        int64 [B]
    """
    return counts_of_edges(graph.centres, graph.types.size(0))


def unfold(graph: Neighbourhoods, width: int) -> tuple[Tensor, Tensor]:
    """Where each token stands in a table of neighbourhoods, and what is added to the scores there.

    Parameters
    ----------
    graph : Neighbourhoods
        a block
    width : int
        M + 1, columns of the table

    Returns
    -------
    slots : Tensor
        int64 [B + E], row of each token in the flat [B, M + 1] table, nodes first
    bias : Tensor
        [B, M + 1], logarithm of the cutoff weight, -inf in empty slots
    """
    n, centres = graph.types.size(0), graph.centres
    counts = counts_of(graph)
    first = counts.cumsum(0) - counts
    rank = torch.arange(centres.size(0), device=centres.device) - first[centres]
    node_slots = torch.arange(n, device=centres.device) * width
    slots = torch.cat([node_slots, centres * width + 1 + rank])
    log_weights = graph.log_weights
    values = torch.cat([torch.zeros_like(node_slots, dtype=log_weights.dtype), log_weights])
    empty = torch.full((n * width,), -float("inf"), dtype=log_weights.dtype, device=centres.device)
    return slots, empty.index_copy(0, slots, values).view(n, width)


def layout_of(graph: Neighbourhoods, compiled: bool, width: int = 0) -> Layout:
    """Where the tokens of a block stand.

    Parameters
    ----------
    graph : Neighbourhoods
        the block
    compiled : bool
        whether the compiled operators run, which need no table
    width : int, optional
        tokens of the largest neighbourhood; 0: it is asked for (:func:`widest`)

    Returns
    -------
    Layout
        for the transformer
    """
    if compiled:
        nothing = graph.centres[:0]
        return Layout(nothing, nothing, starts_of(graph), graph.log_weights, compiled)
    slots, bias = unfold(graph, width if width > 0 else widest(graph))
    return Layout(slots, bias, slots, graph.log_weights, compiled)


class Cut(NamedTuple):
    """A graph in blocks of centres. Made once for all stages: the host waits for the numbers of edges.

    Attributes
    ----------
    nodes, edges, widths : list of int
        centres and edges of each block, and tokens of its largest neighbourhood
    """

    nodes: list[int]
    edges: list[int]
    widths: list[int]


def cut_of(graph: Neighbourhoods, sizes: list[int]) -> Cut:
    """How a graph is cut into blocks of given sizes.

    Parameters
    ----------
    graph : Neighbourhoods
        the whole graph
    sizes : list of int
        centres of each block, all nodes together

    Returns
    -------
    Cut
        for :func:`split`
    """
    counts = counts_of(graph)
    nothing = counts.new_zeros([1])
    rows: list[Tensor] = []
    for part in counts.split_with_sizes(sizes):
        rows.append(part.sum())
        rows.append(torch.cat([nothing, part]).max())
    numbers: list[int] = torch.stack(rows).tolist()
    edges: list[int] = []
    widths: list[int] = []
    for b in range(len(sizes)):
        edges.append(numbers[2 * b])
        widths.append(numbers[2 * b + 1] + 1)
    return Cut(sizes, edges, widths)


def split(graph: Neighbourhoods, cut: Cut) -> list[Neighbourhoods]:
    """The blocks of a graph.

    Parameters
    ----------
    graph : Neighbourhoods
        the whole graph
    cut : Cut
        of that graph

    Returns
    -------
    list of Neighbourhoods
        whose ``centres`` are counted within each block
    """
    edge_sizes = cut.edges
    types = graph.types.split_with_sizes(cut.nodes)
    neighbour_types = graph.neighbour_types.split_with_sizes(edge_sizes)
    centres = graph.centres.split_with_sizes(edge_sizes)
    reverse = graph.reverse.split_with_sizes(edge_sizes)
    vectors = graph.vectors.split_with_sizes(edge_sizes)
    log_weights = graph.log_weights.split_with_sizes(edge_sizes)
    blocks: list[Neighbourhoods] = []
    start = 0
    for b, size in enumerate(cut.nodes):
        blocks.append(
            Neighbourhoods(
                types[b], neighbour_types[b], centres[b] - start, reverse[b], vectors[b], log_weights[b]
            )
        )
        start += size
    return blocks


def split_state(state: State, cut: Cut) -> list[State]:
    """The state of each block.

    Parameters
    ----------
    state : State
        of the whole graph
    cut : Cut
        of that graph

    Returns
    -------
    list of State
        in order
    """
    edge_sizes = cut.edges
    nodes = state.nodes.split_with_sizes(cut.nodes)
    messages = state.messages.split_with_sizes(edge_sizes)
    edges = state.edges.split_with_sizes(edge_sizes)
    reversed_edges = state.reversed_edges.split_with_sizes(edge_sizes)
    read = state.read.split_with_sizes(cut.nodes)
    features = state.features.split_with_sizes(cut.nodes)
    return [
        State(nodes[b], messages[b], edges[b], reversed_edges[b], read[b], features[b])
        for b in range(len(cut.nodes))
    ]


def as_leaf(x: Tensor) -> Tensor:
    """The same values cut off from what they came from.

    Parameters
    ----------
    x : Tensor
        of any shape

    Returns
    -------
    Tensor
        a leaf that wants a gradient if ``x`` did
    """
    return x.detach().requires_grad_(x.requires_grad)


def as_leaves(block: Neighbourhoods, state: State) -> tuple[Neighbourhoods, State]:
    """A block and its state cut off from what they came from; see :func:`as_leaf`.

    Parameters
    ----------
    block : Neighbourhoods
        one block
    state : State
        of that block

    Returns
    -------
    tuple
        the same of leaves, but for ``features``, which have no gradient
    """
    leaves = Neighbourhoods(
        block.types,
        block.neighbour_types,
        block.centres,
        block.reverse,
        as_leaf(block.vectors),
        as_leaf(block.log_weights),
    )
    return leaves, State(
        as_leaf(state.nodes),
        as_leaf(state.messages),
        as_leaf(state.edges),
        as_leaf(state.reversed_edges),
        as_leaf(state.read),
        state.features,
    )


def differentiable(graph: Neighbourhoods, state: State) -> list[Tensor]:
    """Those of the float tensors that want a gradient.

    Parameters
    ----------
    graph : Neighbourhoods
        the whole graph or a block
    state : State
        of it

    Returns
    -------
    list of Tensor
        in one order for the graph and for its blocks
    """
    wanted: list[Tensor] = []
    for x in (
        graph.vectors,
        graph.log_weights,
        state.nodes,
        state.messages,
        state.edges,
        state.reversed_edges,
        state.read,
    ):
        if x.requires_grad:
            wanted.append(x)
    return wanted
