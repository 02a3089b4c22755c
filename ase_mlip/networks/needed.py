"""Which nodes each layer of message passing has to give, and how many edges they have.

No ``from __future__ import annotations`` here: TorchScript compiles the annotations.
"""

import torch
from torch import Tensor


def needed_by_layers(centres: Tensor, neighbours: Tensor, wanted: Tensor, n_layers: int) -> list[Tensor]:
    """The nodes that each layer has to give: the last the ``wanted``, each what the next one reads.

    A layer reads its nodes and their neighbours. Masks have a fixed size, so no host waits for a GPU.

    Parameters
    ----------
    centres, neighbours : Tensor
        int64 [E], the two ends of each edge
    wanted : Tensor
        bool [N]
    n_layers : int
        at least 1

    Returns
    -------
    list of Tensor
        bool [N] for each layer
    """
    masks = [wanted]
    for _ in range(1, n_layers):
        mask = masks[-1]
        reads = mask[centres].to(torch.int64)
        seen = torch.zeros_like(mask, dtype=torch.int64).index_add(0, neighbours, reads)
        masks.append(mask | (seen > 0))
    masks.reverse()
    return masks


def counts_of_edges(centres: Tensor, n_nodes: int) -> Tensor:
    """Number of edges of each centre; unlike ``bincount`` it makes no host wait for a GPU.

    Parameters
    ----------
    centres : Tensor
        int64 [E]
    n_nodes : int
        number of nodes N

    Returns
    -------
    Tensor
        int64 [N]
    """
    nothing = torch.zeros(n_nodes, dtype=torch.int64, device=centres.device)
    return nothing.index_add(0, centres, torch.ones_like(centres))
