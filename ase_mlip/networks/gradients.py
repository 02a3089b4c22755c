"""Derivatives of parts of a network, taken by hand.

No ``from __future__ import annotations`` here: TorchScript compiles the annotations.
"""

import torch
from torch import Tensor


def or_zeros(gradient: Tensor | None, like: Tensor) -> Tensor:
    """A gradient, which is None of what did not take part."""
    if gradient is None:
        return torch.zeros_like(like)
    return gradient


def pulled_back(outputs: list[Tensor], given: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Gradients by the inputs from ``given`` gradients by the outputs; zero where nothing depends on one."""
    optional: list[Tensor | None] = []
    for gradient in given:
        optional.append(gradient)
    found = torch.autograd.grad(outputs, inputs, optional, allow_unused=True)
    gradients: list[Tensor] = []
    for k, gradient in enumerate(found):
        gradients.append(or_zeros(gradient, inputs[k]))
    return gradients
