"""Networks of contract 1, whose methods are not told which outputs are wanted, as networks of contract 2.

They compute all they have at every call, and what nobody asked for is dropped behind them.

No ``from __future__ import annotations`` here: TorchScript compiles the annotations.
"""

import inspect

import torch
from torch import Tensor

from ... import _torchscript

FIRST = 5  # arguments of `forward` in contract 1


class FirstContract(torch.nn.Module):
    """A network of contract 1 in contract 2."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        outputs: list[str],
    ) -> dict[str, Tensor]:
        """All outputs of the network."""
        return self.network(species, edge_index, edge_vectors, reverse_edges, inputs)


class FirstContractWithGradients(FirstContract):
    """The same of a network that differentiates itself."""

    def energies_and_gradients(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        node_weights: Tensor,
        outputs: list[str],
    ) -> tuple[dict[str, Tensor], Tensor]:
        """What the network gives beside its derivatives, and these."""
        return self.network.energies_and_gradients(
            species, edge_index, edge_vectors, reverse_edges, inputs, node_weights
        )


def in_second_contract(network: torch.nn.Module) -> torch.nn.Module:
    """The network itself, or wrapped if its ``forward`` takes no ``outputs``.

    Parameters
    ----------
    network : torch.nn.Module
        of either contract, scripted or not

    Returns
    -------
    torch.nn.Module
        itself, or a wrapper whose ``forward`` takes ``outputs``
    """
    if _arguments(network) != FIRST:
        return network
    blocked = hasattr(network, "energies_and_gradients")
    return FirstContractWithGradients(network) if blocked else FirstContract(network)


def unwrapped(network: torch.nn.Module) -> torch.nn.Module:
    """The network that :func:`in_second_contract` was given, also of a scripted one.

    Parameters
    ----------
    network : torch.nn.Module
        wrapped or not, scripted or not

    Returns
    -------
    torch.nn.Module
        of either contract
    """
    name = getattr(network, "original_name", type(network).__name__)
    return network.network if name.startswith(FirstContract.__name__) else network


def _arguments(network: torch.nn.Module) -> int:
    """Number of arguments that ``forward`` takes."""
    if _torchscript.is_scripted(network):
        return len(network.forward.schema.arguments) - 1  # without `self`
    parameters = inspect.signature(network.forward).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return FIRST + 1
    return len(parameters)
