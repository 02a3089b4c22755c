"""Two model files of one family: which of their tensors differ, and which are listed as weights."""

import torch

from ase_mlip.landscapes.weights import model_weights
from ase_mlip.model import Model


def tensors(model: Model) -> dict[str, torch.Tensor]:
    """Parameters and buffers by the names that :mod:`ase_mlip.landscapes` gives them, halves added."""
    network = model.module.network.network
    while hasattr(network, "network"):
        network = network.network
    found: dict[str, torch.Tensor] = {}
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        name = name.removesuffix(".high").removesuffix(".low")
        found[name] = found[name] + tensor.double() if name in found else tensor.double()
    return found


def differing(first: Model, second: Model) -> set[str]:
    """Names of the tensors that differ."""
    of_first, of_second = tensors(first), tensors(second)
    assert of_first.keys() == of_second.keys()
    return {name for name, tensor in of_first.items() if not torch.equal(tensor, of_second[name])}


def listed(model: Model) -> set[str]:
    """Names of the tensors in which weights lie."""
    return {tensor.name for tensor in model_weights(model).tensors}
