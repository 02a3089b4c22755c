"""Species as a network counts them."""

import torch
from torch import Tensor

MAX_ATOMIC_NUMBER = 118


def types_of(species: list[int], other: int = -1) -> Tensor:
    """Type of each atomic number: its place among the species of a network.

    Parameters
    ----------
    species : list of int
        atomic numbers
    other : int, optional
        type of atomic numbers that are not among them

    Returns
    -------
    Tensor
        int64 [119], by atomic number
    """
    types = torch.full((MAX_ATOMIC_NUMBER + 1,), other, dtype=torch.int64)
    types[torch.tensor(species)] = torch.arange(len(species))
    return types
