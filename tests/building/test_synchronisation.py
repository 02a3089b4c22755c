"""The host does not wait for a GPU at every layer: counted on the CPU, with tensors that say they are on one.

Each call may have a few waits; their number must not grow with the layers.
"""

import re

import pytest
import torch
from doc_tables import sentences
from random_nequip import random_nequip
from waits import graph_on_gpu, waits

from ase_mlip.building import _ops
from ase_mlip.networks.pet.hypers import PETHypers
from ase_mlip.networks.pet.pet import PET
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP


@pytest.fixture(scope="module", autouse=True)
def operators():
    _ops.load()


def pet(layers: int, **changes) -> PET:
    torch.manual_seed(0)
    hypers = {"species": [8, 14], "cutoff": 4.0, "d_pet": 16, "d_node": 16, "num_heads": 2}
    return PET(PETHypers(**{**hypers, "num_gnn_layers": layers, **changes}))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("adaptive", [None, 6.0])
def test_pet_waits_as_often_with_two_layers_as_with_four(training, adaptive):
    few, many = (waits(pet(n, num_neighbors_adaptive=adaptive), training) for n in (2, 4))
    assert few == many, many - few
    assert 0 < many.total() < 15, many


@pytest.mark.parametrize("owned", [None, 2])
def test_nequip_waits_as_often_with_two_layers_as_with_four(owned):
    few, many = (waits(random_nequip(n, [8, 14], 4.0), False, owned) for n in (2, 4))
    assert few == many, many - few
    assert 0 < many.total() < 10, many


def test_the_page_says_how_often():
    pattern = (
        r"counts (\d) waits in a call of PET for energies and gradients, (\d) with the adaptive cutoff, (\d) "
        r"for NequIP, as many with four layers as with two"
    )
    (stated,) = re.findall(pattern, sentences("gpu.md"))
    networks = pet(2), pet(2, num_neighbors_adaptive=6.0), random_nequip(2, [8, 14], 4.0)
    assert list(map(int, stated)) == [waits(network, False).total() for network in networks]


def test_matrices_of_types_node_by_node_give_the_same_numbers():
    """As on a GPU, where the nodes of each type cannot be picked without waiting."""
    network, graph = random_nequip(3, [8, 14], 4.0), graph_on_gpu()
    tensors = graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges
    on_gpu = network(*tensors, {}, ["energies"])["energies"].as_subclass(torch.Tensor)
    on_cpu = network(*(tensor.as_subclass(torch.Tensor) for tensor in tensors), {}, ["energies"])["energies"]
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-12, atol=1e-12)
    assert float(on_cpu.abs().max()) > 1e-3


@pytest.mark.parametrize("composed", [False, True])
def test_an_snnp_waits_for_the_number_of_angles_at_most(composed, monkeypatch):
    torch.manual_seed(0)
    network = SNNP(SNNPHypers(species=[8, 14], cutoff=4.0, hidden=[6, 5]))
    if composed:
        monkeypatch.setattr(torch.ops.ase_mlip, "snnp", torch.ops.ase_mlip_composed.snnp)
    counted = waits(network, False)
    counted.pop("_local_scalar_dense", None)  # the scale, which the CPU's kernel reads and a GPU's does not
    assert counted.total() == (2 if composed else 0), counted
