"""Random edges, sorted by their centres, for the tests of operators."""

import numpy as np
import torch


class Edges:
    """Random sorted edges of 6 nodes; the last node has none."""

    def __init__(self, n_edges=40, n_nodes=6, dtype=torch.float64, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.n_nodes = n_nodes
        centres = torch.randint(0, n_nodes - 1, (n_edges,), generator=generator).sort().values
        neighbours = torch.randint(0, n_nodes - 1, (n_edges,), generator=generator)
        self.index = torch.stack([centres, neighbours])
        self.structure = (centres >= n_nodes // 2).long()
        self.gradients = torch.randn(n_edges, 3, dtype=dtype, generator=generator)
        self.vectors = torch.randn(n_edges, 3, dtype=dtype, generator=generator)


def random_periodic_edges(seed=1):
    """A full list of periodic edges, sorted by centre, built pair by pair."""
    rng = np.random.default_rng(seed)
    edges = set()
    for _ in range(60):
        i, j = (int(n) for n in rng.integers(0, 5, 2))
        shift = tuple(int(n) for n in rng.integers(-1, 2, 3))
        if (i, shift) != (j, (0, 0, 0)):
            edges |= {(i, j, shift), (j, i, tuple(-n for n in shift))}
    return sorted(edges)


def as_tensors(edges):
    index = torch.tensor([[i for i, _, _ in edges], [j for _, j, _ in edges]])
    return index, torch.tensor([shift for _, _, shift in edges])
