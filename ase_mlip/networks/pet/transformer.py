"""The transformer that PET runs inside every neighbourhood: one node token, one token per edge.

Tokens are kept in one flat array, first the B node tokens, then the E edge tokens, so that all
linear algebra skips padding; only the attention itself unfolds them to a dense [B, M + 1] table.

To evaluate on a CPU, the default layer (RMSNorm, SwiGLU) runs as two compiled operators, attention and
feed-forward, each with its norm and residual (``csrc/transformer/cpu.cpp``). They unfold nothing and
keep nothing but their input for the gradient.
"""

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import LayerNorm, Linear, RMSNorm, SiLU


class Layout(NamedTuple):
    """Where the tokens of a block's neighbourhoods stand.

    Attributes
    ----------
    slots : Tensor
        int64 [B + E], row of each token in the flattened [B, M + 1] table
    bias : Tensor
        [B, M + 1], log of the cutoff weight per token, -inf in empty slots
    starts : Tensor
        int64 [B + 1], first edge of each node, and E
    log_weights : Tensor
        [E], logarithm of the cutoff weight
    compiled : bool
        through the operators, to which slots and bias are nothing; or through torch's own
    """

    slots: Tensor
    bias: Tensor
    starts: Tensor
    log_weights: Tensor
    compiled: bool


def normalization(name: str, size: int, eps: float | None) -> torch.nn.Module:
    """The normalisation of that name.

    Parameters
    ----------
    name : str
        "RMSNorm" or "LayerNorm"
    size : int
        number of features
    eps : float or None
        epsilon of RMSNorm; None for torch's, which depends on the dtype

    Returns
    -------
    torch.nn.Module
        [..., size] → [..., size]

    Raises
    ------
    ValueError
        another name
    """
    if name == "RMSNorm":
        return RMSNorm(size, eps=eps)
    if name == "LayerNorm":
        return LayerNorm(size)
    raise ValueError(f"`normalization` must be 'RMSNorm' or 'LayerNorm', got {name!r}")


class FeedForward(torch.nn.Module):
    """Two linear maps with SwiGLU (value · sigmoid(gate)) or SiLU in between.

    Parameters
    ----------
    size, hidden : int
        widths of the tokens and in between
    activation : str
        "SwiGLU" or "SiLU"

    Raises
    ------
    ValueError
        another activation
    """

    gated: Final[bool]

    def __init__(self, size: int, hidden: int, activation: str):
        super().__init__()
        if activation not in ("SwiGLU", "SiLU"):
            raise ValueError(f"`activation` must be 'SwiGLU' or 'SiLU', got {activation!r}")
        self.gated = activation == "SwiGLU"
        self.enter = Linear(size, 2 * hidden if self.gated else hidden)
        self.leave = Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        """[..., size], as is ``x``."""
        x = self.enter(x)
        if self.gated:
            x = torch.nn.functional.glu(x, dim=-1)
        else:
            x = torch.nn.functional.silu(x)
        return self.leave(x)


class Attention(torch.nn.Module):
    """Multi-head self-attention within each neighbourhood; scores carry + log(cutoff weight).

    Parameters
    ----------
    size, n_heads : int
        width of the tokens, a multiple of the number of heads
    temperature : float
        divides the scores, beside the root of a head's width

    Raises
    ------
    ValueError
        a width that is no multiple of the heads
    """

    def __init__(self, size: int, n_heads: int, temperature: float):
        super().__init__()
        if size % n_heads != 0:
            raise ValueError(f"`d_pet` must be a multiple of `num_heads`, got {size} and {n_heads}")
        self.n_heads = n_heads
        self.scale = 1.0 / (math.sqrt(size // n_heads) * temperature)
        self.project = Linear(size, 3 * size)
        self.leave = Linear(size, size)

    def forward(self, tokens: Tensor, slots: Tensor, bias: Tensor) -> Tensor:
        """What each token takes from its neighbourhood, without a residual.

        Parameters
        ----------
        tokens : Tensor
            [B + E, size], node tokens first
        slots : Tensor
            int64 [B + E], row of each token in the flattened [B, M + 1] table
        bias : Tensor
            [B, M + 1], log of the cutoff weight per token, -inf in empty slots

        Returns
        -------
        Tensor
            [B + E, size]
        """
        n, m = bias.size(0), bias.size(1)
        size, heads = tokens.size(1), self.n_heads
        width = size // heads
        projected = self.project(tokens)
        table = torch.zeros(n * m, 3 * size, dtype=tokens.dtype, device=tokens.device)
        table = table.index_copy(0, slots, projected)
        table = table.view(n, m, 3, heads, width).permute(2, 0, 3, 1, 4)
        # Not scaled_dot_product_attention: with a gradient to the bias it takes a slower path on CPUs
        query, key, value = table.reshape(3, n * heads, m, width).unbind(0)
        mask = bias[:, None, None, :].expand(n, heads, 1, m).reshape(n * heads, 1, m)
        scores = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=self.scale)
        mixed = torch.bmm(torch.softmax(scores, dim=-1), value)
        mixed = mixed.view(n, heads, m, width).transpose(1, 2).reshape(n * m, size)
        return self.leave(mixed.index_select(0, slots))


class TransformerLayer(torch.nn.Module):
    """Attention and feed-forward on edges; nodes have their own width and feed-forward.

    Norms come before attention and feed-forward, or with ``post_norm`` after them; then both act on the
    node token, too. Pre-norm with ``d_node == d_pet`` gives the node token no residual and no feed-forward
    of its own, as in the public PET, so that its checkpoints mean the same here.

    Parameters
    ----------
    d_pet, d_node, d_feedforward : int
        widths of edge tokens, node tokens and the feed-forward of edges
    n_heads : int
        a divisor of ``d_pet``
    temperature : float
        of the attention
    norm : str
        a name of :func:`normalization`
    norm_eps : float or None
        epsilon of RMSNorm; None for that of the dtype
    activation : str
        of :class:`FeedForward`
    post_norm : bool, optional
        norms after attention and feed-forward
    """

    wide_node: Final[bool]
    post_norm: Final[bool]

    def __init__(
        self,
        d_pet: int,
        d_node: int,
        d_feedforward: int,
        n_heads: int,
        temperature: float,
        norm: str,
        norm_eps: float | None,
        activation: str,
        post_norm: bool = False,
    ):
        super().__init__()
        self.norm_eps = norm_eps or 0.0  # of the operators; 0 stands for that of the dtype
        self.post_norm = post_norm
        self.attention = Attention(d_pet, n_heads, temperature)
        self.norm_attention = normalization(norm, d_pet, norm_eps)
        self.norm_feedforward = normalization(norm, d_pet, norm_eps)
        self.feedforward = FeedForward(d_pet, d_feedforward, activation)
        self.wide_node = d_node != d_pet
        if d_node != d_pet:
            self.contract = Linear(d_node, d_pet)
            self.expand = Linear(d_pet, d_node)
            self.norm_node = normalization(norm, d_node, norm_eps)
            self.feedforward_node = FeedForward(d_node, 2 * d_node, activation)

    def forward(self, nodes: Tensor, edges: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """New tokens of nodes and edges.

        Parameters
        ----------
        nodes : Tensor
            [B, d_node]
        edges : Tensor
            [E, d_pet]
        layout : Layout
            where the tokens stand

        Returns
        -------
        tuple of Tensor
            nodes [B, d_node], edges [E, d_pet]
        """
        node_tokens = nodes
        if self.wide_node:
            node_tokens = self.contract(nodes)
        if self.post_norm:
            new_nodes, edges = self._norm_afterwards(node_tokens, edges, layout)
        else:
            new_nodes, edges = self._attend(node_tokens, edges, layout)
            edges = self._feed_forward(edges, layout)
        if self.wide_node:
            new_nodes = nodes + self.expand(new_nodes)
            new_nodes = new_nodes + self.feedforward_node(self.norm_node(new_nodes))
        return new_nodes, edges

    def _norm_afterwards(self, nodes: Tensor, edges: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Attention and feed-forward of all tokens, each with its residual and its norm after it."""
        tokens = torch.cat([nodes, edges], dim=0)
        tokens = self.norm_attention(tokens + self.attention(tokens, layout.slots, layout.bias))
        tokens = self.norm_feedforward(tokens + self.feedforward(tokens))
        new_nodes, new_edges = tokens.split_with_sizes([nodes.size(0), edges.size(0)])
        return new_nodes, new_edges

    def _eps(self, x: Tensor) -> float:
        if self.norm_eps > 0.0:
            return self.norm_eps
        return 2.0**-23 if x.dtype == torch.float32 else 2.0**-52

    def _attend(self, nodes: Tensor, edges: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Attention's output for the nodes, without a residual, and for the edges, with it."""
        if layout.compiled:
            return torch.ops.ase_mlip.attention_block(
                nodes,
                edges,
                layout.log_weights,
                layout.starts,
                self.norm_attention.weight,
                self.attention.project.weight,
                self.attention.project.bias,
                self.attention.leave.weight,
                self.attention.leave.bias,
                self.attention.n_heads,
                self.attention.scale,
                self._eps(edges),
            )
        tokens = torch.cat([nodes, edges], dim=0)
        mixed = self.attention(self.norm_attention(tokens), layout.slots, layout.bias)
        new_nodes, new_edges = mixed.split_with_sizes([nodes.size(0), edges.size(0)])
        return new_nodes, edges + new_edges

    def _feed_forward(self, edges: Tensor, layout: Layout) -> Tensor:
        if layout.compiled:
            return torch.ops.ase_mlip.feedforward_block(
                edges,
                self.norm_feedforward.weight,
                self.feedforward.enter.weight,
                self.feedforward.enter.bias,
                self.feedforward.leave.weight,
                self.feedforward.leave.bias,
                self._eps(edges),
            )
        return edges + self.feedforward(self.norm_feedforward(edges))


class Perceptron(torch.nn.Module):
    """Linear – SiLU – Linear.

    Parameters
    ----------
    size, hidden, out : int
        widths before, in between and after
    activated : bool, optional
        with a final SiLU, as read-out heads have
    """

    def __init__(self, size: int, hidden: int, out: int, activated: bool = False):
        super().__init__()
        self.enter = Linear(size, hidden)
        self.leave = Linear(hidden, out)
        self.activation = SiLU() if activated else torch.nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[..., out] of ``x`` [..., size]."""
        return self.activation(self.leave(torch.nn.functional.silu(self.enter(x))))
