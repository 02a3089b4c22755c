"""The host does not wait for a GPU at every layer: counted on the CPU, with tensors that say they are on one.

A wait is a value that the host reads (`item`, `bool`, `tolist`) or a result whose size depends on values
(`nonzero`, masks as indices). Each call may have a few; their number must not grow with the layers.
"""

from collections import Counter

import pytest
import torch
from ase.build import bulk
from random_nequip import random_nequip
from torch.utils._python_dispatch import TorchDispatchMode

from ase_mlip import _ops
from ase_mlip.architectures.pet import PET, PETHypers
from ase_mlip.architectures.snnp import SNNP, SNNPHypers
from ase_mlip.neighbors import Graph, build_graph

READS = {"tolist", "cpu", "numpy", "__bool__", "__int__", "__float__"}
SIZED_BY_VALUES = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "bincount",
    "_unique2",
    "unique_consecutive",
    "equal",
}


class OnGPU(torch.Tensor):
    """A tensor that says it is on a GPU, and counts what reads it without the dispatcher."""

    is_cuda = property(lambda self: True)
    reads: Counter = Counter()

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in READS:
            cls.reads[function.__name__] += 1
        return super().__torch_function__(function, types, args, kwargs or {})


class Waits(TorchDispatchMode):
    """Counts the operators that a host has to wait for."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        masks = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        repeats = name == "repeat_interleave" and (kwargs or {}).get("output_size") is None
        if name in SIZED_BY_VALUES or masks or repeats:
            self.found[name] += 1
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module", autouse=True)
def operators():
    _ops.load()


def graph_on_gpu() -> Graph:
    atoms = bulk("Si", cubic=True)
    atoms.numbers[::3] = 8
    atoms.rattle(0.1, seed=0)
    graph = build_graph(atoms, 4.0)
    return Graph(
        **{k: v.as_subclass(OnGPU) if isinstance(v, torch.Tensor) else v for k, v in vars(graph).items()}
    )


def waits(network: torch.nn.Module, training: bool, owned: int | None = None) -> Counter:
    """Of energies and gradients; ``owned``: the first atoms are, the others are ghosts."""
    graph = graph_on_gpu()
    network.train(training)
    dtype = next(network.parameters()).dtype
    vectors = graph.edge_vectors.to(dtype)
    graph.node_weights[owned or len(graph.species) :] = 0.0
    arguments = graph.species, graph.edge_index, vectors, graph.reverse_edges, {}
    wanted = ["energies"]
    OnGPU.reads.clear()
    with Waits() as counted:
        if training:
            vectors.requires_grad_(True)
            energy = network(*arguments, wanted)["energies"].sum()
            torch.autograd.grad(energy, vectors, create_graph=True)[0].square().sum().backward()
        else:
            network.energies_and_gradients(*arguments, graph.node_weights.to(dtype), wanted)
    return counted.found + OnGPU.reads


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
