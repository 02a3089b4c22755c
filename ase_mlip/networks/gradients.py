"""Derivatives of parts of a network, taken by hand.

No ``from __future__ import annotations`` here: TorchScript compiles the annotations.
"""

import torch
from torch import Tensor


def or_zeros(gradient: Tensor | None, like: Tensor) -> Tensor:
    """A gradient, which autograd gives as None for what did not take part.

    Parameters
    ----------
    gradient : Tensor or None
        of any shape
    like : Tensor
        what it is the gradient by

    Returns
    -------
    Tensor
        the gradient, or zeros of the shape of ``like``
    """
    if gradient is None:
        return torch.zeros_like(like)
    return gradient


def pulled_back(outputs: list[Tensor], given: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Gradients by the inputs from gradients by the outputs; zero where nothing depends on an input.

    Parameters
    ----------
    outputs : list of Tensor
        what was computed of the inputs
    given : list of Tensor
        the gradient by each output, of its shape
    inputs : list of Tensor
        leaves that want a gradient

    Returns
    -------
    list of Tensor
        the gradient by each input, of its shape
    """
    optional: list[Tensor | None] = []
    for gradient in given:
        optional.append(gradient)
    found = torch.autograd.grad(outputs, inputs, optional, allow_unused=True)
    gradients: list[Tensor] = []
    for k, gradient in enumerate(found):
        gradients.append(or_zeros(gradient, inputs[k]))
    return gradients
