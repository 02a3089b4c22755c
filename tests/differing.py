"""Two model files of one family: which of their tensors differ, and which are listed as weights."""

import torch
from ase import Atoms

from ase_mlip.graph.neighbors import build_graph
from ase_mlip.landscapes.weights import model_weights
from ase_mlip.model_file.model import Model


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


def assert_weights(model: Model, family: str, atoms: Atoms) -> None:
    """Filters cover the weights, which are moved in place, and are back bit by bit afterwards."""
    graph = build_graph(atoms, model.info.cutoff, model.info.pair_cutoffs)
    before, stored = model(graph), {k: v.clone() for k, v in model.module.state_dict().items()}
    weights = model_weights(model)
    assert weights.family == family
    assert [f.start for f in weights.filters[1:]] == [f.stop for f in weights.filters[:-1]]
    assert weights.filters[-1].stop == weights.size
    with weights.kept():
        generator = torch.Generator().manual_seed(0)
        step = torch.randn(weights.size, generator=generator, dtype=torch.float64)
        wanted = weights.start * (1.0 + 0.1 * step)
        weights.move(wanted)
        assert torch.allclose(weights.values(), wanted, rtol=1e-13, atol=0.0)
        assert not torch.allclose(model(graph)["energy"], before["energy"], rtol=1e-6)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.module.state_dict().items())
    assert torch.equal(model(graph)["forces"], before["forces"])
