"""Which optimizer gets which parameter, and what Muon does to a matrix."""

import pytest
import torch
from toy_training import needs_muon

from ase_mlip.configuration.run import OptimizerConfig
from ase_mlip.errors import DataError
from ase_mlip.networks.pet.hypers import PETHypers
from ase_mlip.networks.pet.pet import PET
from ase_mlip.training.optimizer import make_optimizers, split_parameters


@pytest.fixture
def network() -> PET:
    return PET(PETHypers(species=[8, 14], d_pet=16, d_node=24, d_head=16, d_feedforward=32, num_heads=2))


@needs_muon
def test_every_parameter_has_one_optimizer(network):
    optimizers = make_optimizers(network, OptimizerConfig(kind="muon"))
    held = [id(p) for one in optimizers for group in one.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in network.parameters())


def test_embeddings_and_vectors_are_left_to_adamw(network):
    matrices, rest = split_parameters(network)
    embeddings = [m.weight for m in network.modules() if isinstance(m, torch.nn.Embedding)]
    assert embeddings and all(any(e is p for p in rest) for e in embeddings)
    assert all(p.ndim == 2 for p in matrices)
    assert sum(p.numel() for p in matrices) > sum(p.numel() for p in rest)


@needs_muon
def test_muon_steps_along_the_orthogonalised_gradient():
    """Oracle: for the gradient U S V^T the step is along U V^T (singular value decomposition)."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(12, 16, bias=False)
    before = layer.weight.detach().clone()
    muon = make_optimizers(layer, OptimizerConfig(kind="muon", learning_rate=0.1))[0]
    gradient = torch.randn(16, 12)
    layer.weight.grad = gradient.clone()
    muon.step()
    step = (before - layer.weight.detach()).double()
    u, _, v = torch.linalg.svd(gradient.double(), full_matrices=False)
    alignment = float((step * (u @ v)).sum() / (step.norm() * (u @ v).norm()))
    assert alignment > 0.95  # the iteration leaves the singular values between 0.7 and 1.2


def test_an_older_torch_gets_a_remedy(network, monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(DataError, match="torch 2.9 or newer"):
        make_optimizers(network, OptimizerConfig(kind="muon"))
    assert len(make_optimizers(network, OptimizerConfig(kind="adamw"))) == 1
