"""The parts of PET: one message-passing layer, the combination of edges, the read-out."""

from typing import Final

import torch
from torch import Tensor

from .hypers import PETHypers
from .transformer import Layout, Perceptron, TransformerLayer


class GNNLayer(torch.nn.Module):
    """Edge tokens from geometry, neighbour species and message; then the transformer layers.

    Parameters
    ----------
    hypers : PETHypers
        of the network
    first : bool
        whether it is the first message-passing layer, whose messages depend on the neighbour's type only
    """

    first: Final[bool]

    def __init__(self, hypers: PETHypers, first: bool):
        super().__init__()
        d = hypers.d_pet
        self.first = first
        self.embed_geometry = torch.nn.Linear(4, d)
        # Features that vary over a bond length from the start leave the initial plateau sooner.
        with torch.no_grad():
            self.embed_geometry.weight *= 4.0
        if not first:
            self.embed_neighbour = torch.nn.Embedding(len(hypers.species), d)
        self.compress = Perceptron((2 if first else 3) * d, d, d)
        self.layers = torch.nn.ModuleList(
            TransformerLayer(
                d,
                hypers.d_node,
                hypers.d_feedforward,
                hypers.num_heads,
                hypers.attention_temperature,
                hypers.normalization,
                hypers.norm_eps,
                hypers.activation,
                hypers.transformer_type == "PostLN",
            )
            for _ in range(hypers.num_attention_layers)
        )

    def forward(
        self,
        nodes: Tensor,
        messages: Tensor,
        neighbour_types: Tensor,
        vectors: Tensor,
        layout: Layout,
    ) -> tuple[Tensor, Tensor]:
        """New node tokens and edge tokens.

        Parameters
        ----------
        nodes : Tensor
            [B, d_node]
        messages : Tensor
            [E, d_pet]; of the first layer [number of types, d_pet], one per neighbour's type
        neighbour_types : Tensor
            int64 [E]
        vectors : Tensor
            [E, 3], Å
        layout : Layout
            where the tokens stand

        Returns
        -------
        tuple of Tensor
            nodes [B, d_node], edges [E, d_pet]
        """
        distances = torch.sqrt((vectors * vectors).sum(dim=-1, keepdim=True) + 1e-15)
        edges = self._enter(torch.cat([vectors, distances], dim=-1), messages, neighbour_types)
        edges = self.compress.leave(torch.nn.functional.silu(edges))
        for layer in self.layers:
            nodes, edges = layer(nodes, edges, layout)
        return nodes, edges

    def _enter(self, geometry: Tensor, messages: Tensor, neighbour_types: Tensor) -> Tensor:
        """``compress.enter`` of [embedded geometry, embedded neighbour, message], [E, d].

        The linear maps in a row are multiplied first, and what depends on the neighbour's type only is
        looked up afterwards: per edge, only a message passes through a square matrix.
        """
        enter = self.compress.enter
        parts = enter.weight.split(messages.size(1), dim=1)
        weight = torch.mm(parts[0], self.embed_geometry.weight)
        bias = enter.bias + torch.mv(parts[0], self.embed_geometry.bias)
        hidden = torch.addmm(bias, geometry, weight.t())
        if self.first:
            table = torch.mm(messages, parts[1].t())
            return hidden.add_(torch.nn.functional.embedding(neighbour_types, table))
        table = torch.mm(self.embed_neighbour.weight, parts[1].t())
        hidden = hidden.add_(torch.nn.functional.embedding(neighbour_types, table))
        return hidden.addmm_(messages, parts[2].t())


class Combination(torch.nn.Module):
    """Message of an edge from its own token and its reverse edge's.

    Parameters
    ----------
    d_pet : int
        width of a token
    """

    def __init__(self, d_pet: int):
        super().__init__()
        self.norm = torch.nn.LayerNorm(2 * d_pet)
        self.perceptron = Perceptron(2 * d_pet, 2 * d_pet, d_pet)

    def forward(self, messages: Tensor, edges: Tensor, reversed_edges: Tensor) -> Tensor:
        """The messages of the next layer, [E, d_pet], as are all arguments."""
        mixed = self.perceptron(self.norm(torch.cat([edges, reversed_edges], dim=-1)))
        return messages + edges + mixed


class Readout(torch.nn.Module):
    """Sum of a node's and its edges' contributions, edges weighted by the cutoff.

    Parameters
    ----------
    hypers : PETHypers
        of the network
    size : int
        how many numbers are read per node
    """

    def __init__(self, hypers: PETHypers, size: int):
        super().__init__()
        self.node_head = Perceptron(hypers.d_node, hypers.d_head, hypers.d_head, activated=True)
        self.edge_head = Perceptron(hypers.d_pet, hypers.d_head, hypers.d_head, activated=True)
        self.node_last = torch.nn.Linear(hypers.d_head, size)
        self.edge_last = torch.nn.Linear(hypers.d_head, size)
        # A sum over tens of edges of random numbers would start training far from zero.
        with torch.no_grad():
            self.node_last.weight *= 0.1
            self.edge_last.weight *= 0.1
            self.edge_last.bias.zero_()

    def forward(
        self, nodes: Tensor, edges: Tensor, centres: Tensor, weights: Tensor, features: bool = False
    ) -> tuple[Tensor, Tensor]:
        """What is read, and the features that it is a linear map of, if they are wanted.

        Parameters
        ----------
        nodes : Tensor
            [B, d_node]
        edges : Tensor
            [E, d_pet]
        centres : Tensor
            int64 [E]
        weights : Tensor
            [E], of the cutoff
        features : bool, optional
            whether the second result is wanted

        Returns
        -------
        read : Tensor
            [B, size]
        features : Tensor
            [B, 2 d_head], of the node, then the weighted sum of its edges'; or [B, 0]
        """
        of_nodes, of_edges = self.node_head(nodes), self.edge_head(edges)
        per_edge = self.edge_last(of_edges) * weights[:, None]
        read = self.node_last(of_nodes).index_add(0, centres, per_edge)
        if not features:
            return read, read[:, :0]
        summed = torch.zeros_like(of_nodes).index_add(0, centres, of_edges * weights[:, None])
        return read, torch.cat([of_nodes, summed], dim=1)
