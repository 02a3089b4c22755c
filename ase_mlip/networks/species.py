"""Species as a network counts them."""

import torch
from torch import Tensor

MAX_ATOMIC_NUMBER = 118


def types_of(species: list[int], other: int = -1) -> Tensor:
    """Type of each atomic number, int64 [119]: its place among ``species``, ``other`` where there is none."""
    types = torch.full((MAX_ATOMIC_NUMBER + 1,), other, dtype=torch.int64)
    types[torch.tensor(species)] = torch.arange(len(species))
    return types
