"""Transformer layers on atoms with given numbers of neighbours."""

import torch

from ase_mlip.networks.pet.neighbourhoods import Neighbourhoods
from ase_mlip.networks.pet.transformer import TransformerLayer

COUNTS = {
    "ordinary": [5, 9, 3],
    "no edges at all": [0, 0],
    "some nodes without edges": [0, 7, 0, 0, 33, 0],
    "no nodes": [],
    "many pieces": [28] * 70,
    "larger than a piece": [700, 2, 530],
}


def make(counts, size=64, heads=4, dtype=torch.float64, seed=0, d_node=None):
    """A layer, tokens of nodes and edges, and the neighbourhoods they belong to."""
    torch.manual_seed(seed)
    layer = TransformerLayer(size, d_node or size, 2 * size, heads, 1.3, "RMSNorm", 1e-6, "SwiGLU").to(dtype)
    for norm in (layer.norm_attention, layer.norm_feedforward):
        torch.nn.init.normal_(norm.weight, mean=1.0, std=0.3)
    layer.requires_grad_(False)
    counts = torch.tensor(counts, dtype=torch.int64)
    n, m = len(counts), int(counts.sum())
    centres = torch.repeat_interleave(torch.arange(n), counts)
    nothing = torch.zeros(m, dtype=torch.int64)
    log_weights = (-3.0 * torch.rand(m, dtype=dtype)).requires_grad_(True)
    graph = Neighbourhoods(
        torch.zeros(n, dtype=torch.int64),
        nothing,
        centres,
        nothing,
        torch.zeros(m, 3, dtype=dtype),
        log_weights,
    )
    nodes = torch.randn(n, d_node or size, dtype=dtype, requires_grad=True)
    edges = torch.randn(m, size, dtype=dtype, requires_grad=True)
    return layer, nodes, edges, graph
