"""How often a host would wait for a GPU, counted on the CPU with tensors that say they are on one.

A wait is a value that the host reads (`item`, `bool`, `tolist`) or a result whose size depends on values
(`nonzero`, masks as indices).
"""

from collections import Counter

import torch
from ase.build import bulk
from torch.utils._python_dispatch import TorchDispatchMode

from ase_mlip.graph.neighbors import Graph, build_graph

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
        if name in ("equal", "_local_scalar_dense") and not isinstance(args[0], torch.Tensor):
            return args[0] == args[1] if name == "equal" else args[0]  # numbers of a scripted module
        masks = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        repeats = name == "repeat_interleave" and (kwargs or {}).get("output_size") is None
        if name in SIZED_BY_VALUES or masks or repeats:
            self.found[name] += 1
        return function(*args, **(kwargs or {}))


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
