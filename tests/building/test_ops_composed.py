"""The operators composed of torch's own, for GPUs without compiled kernels, against the CPU's kernels."""

import pytest
import torch
from ase.build import bulk
from random_edges import Edges, as_tensors, random_periodic_edges
from snnp_kinds import KINDS, example
from transformer_cases import COUNTS, make

from ase_mlip.building import _ops
from ase_mlip.graph.neighbors import NeighborList

DTYPES = [torch.float32, torch.float64]
TRAINED = {name: hypers for name, hypers in KINDS.items() if name != "embedding"}


@pytest.fixture(scope="module", autouse=True)
def operators():
    _ops.load()


def both(name: str, *arguments):
    """What the kernel and the composed operator give, each as a list."""
    found = [getattr(ops, name)(*arguments) for ops in (torch.ops.ase_mlip, torch.ops.ase_mlip_composed)]
    return [list(out) if isinstance(out, (tuple, list)) else [out] for out in found]


def assert_same(kernels, composed, tolerance):
    assert len(kernels) == len(composed)
    for expected, found in zip(kernels, composed, strict=True):
        if not isinstance(expected, torch.Tensor):
            assert found == pytest.approx(expected)
            continue
        assert found.dtype == expected.dtype and found.shape == expected.shape
        scale = max(1.0, float(expected.detach().abs().max())) if expected.numel() else 1.0
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


def tolerance(dtype: torch.dtype) -> float:
    return 1e-12 if dtype == torch.float64 else 1e-5


# ---- edges ------------------------------------------------------------------------------------------------


def sums_over(edges: Edges, n_nodes: int) -> dict[str, tuple]:
    return {
        "forces_from_gradients": (edges.gradients, edges.index, n_nodes),
        "virials_from_gradients": (edges.gradients, edges.vectors, edges.index, n_nodes),
        "virial_from_gradients": (edges.gradients, edges.vectors, edges.structure, 3),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_edges", [0, 1, 3000])
@pytest.mark.parametrize("name", ["forces_from_gradients", "virials_from_gradients", "virial_from_gradients"])
def test_sums_and_their_derivatives(name, n_edges, dtype):
    edges = Edges(n_edges, dtype=dtype)
    arguments = sums_over(edges, edges.n_nodes)[name]
    found = []
    for outputs in both(name, *[x.requires_grad_() if _is_real(x) else x for x in arguments]):
        torch.manual_seed(0)
        factors = torch.randn_like(outputs[0])
        real = [x for x in arguments if _is_real(x)]
        first = torch.autograd.grad((factors * outputs[0]).sum(), real, create_graph=True)
        squares = sum((x * x).sum() for x in first)
        second = torch.autograd.grad(squares, real, allow_unused=True) if len(real) > 1 else []
        found.append([outputs[0], *first, *(x for x in second if x is not None)])
    assert_same(*found, tolerance(dtype) * max(n_edges, 1))


def _is_real(x) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def test_reverse_edges():
    edges = random_periodic_edges()
    assert_same(*both("reverse_edges", *as_tensors(edges)), 0)
    edges.pop(7)  # one has no reverse now
    kernel, composed = both("reverse_edges", *as_tensors(edges))
    assert (kernel[0] == -1).any()
    assert_same(kernel, composed, 0)
    lonely = torch.tensor([[1, 1, 1, 3], [0, 2, 9, 1]]), torch.zeros(4, 3, dtype=torch.int64)
    assert_same(*both("reverse_edges", *lonely), 0)


@pytest.mark.parametrize("n_edges", [0, 1])
def test_reverse_edges_of_few(n_edges):
    index = torch.zeros(2, n_edges, dtype=torch.int64)
    shifts = torch.ones(n_edges, 3, dtype=torch.int64)
    assert_same(*both("reverse_edges", index, shifts), 0)


@pytest.mark.parametrize("by_pairs", [False, True])
@pytest.mark.parametrize("reach", [0.1, 4.3])
def test_edges_within_the_cutoff(by_pairs, reach):
    atoms = bulk("NaCl", "rocksalt", a=5.6) * (2, 1, 1)
    stored = NeighborList(reach, 0.7).stored(atoms)
    moved = torch.from_numpy(atoms.positions + 0.1)
    moved[0, 0] += 0.2
    limits = torch.full((1,), reach**2, dtype=torch.float64)
    if by_pairs:
        limits = limits.expand(stored.edge_index.shape[1]).contiguous()
    reverse = stored.reverse.clone()
    reverse[::5] = -1  # as for ghosts
    arguments = moved, stored.edge_index, stored.offsets, reverse, stored.shifts, limits
    kernel, composed = both("near_edges", *arguments)
    assert 0 < kernel[0].shape[1] < stored.edge_index.shape[1] or reach < 1
    assert_same(kernel, composed, 0)


# ---- transformer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("counts", [name for name in COUNTS if name != "many pieces"])
def test_transformer_blocks(counts, dtype):
    layer, nodes, edges, graph = make(COUNTS[counts], size=32, dtype=dtype)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), torch.tensor(COUNTS[counts]).long().cumsum(0)])
    attention = layer.attention
    tokens = [nodes, edges, graph.log_weights]
    weights = [layer.norm_attention.weight, attention.project.weight, attention.project.bias]
    weights += [attention.leave.weight, attention.leave.bias, attention.n_heads, attention.scale, 1e-6]
    assert_same(*with_gradients("attention_block", tokens, [starts, *weights]), 30 * tolerance(dtype))
    forward = layer.feedforward
    weights = [layer.norm_feedforward.weight, forward.enter.weight, forward.enter.bias]
    weights += [forward.leave.weight, forward.leave.bias, 1e-6]
    assert_same(*with_gradients("feedforward_block", [edges], weights), 30 * tolerance(dtype))


def with_gradients(name: str, tokens: list, others: list):
    found = []
    for outputs in both(name, *tokens, *others):
        torch.manual_seed(1)
        total = sum((torch.randn_like(x) * x).sum() for x in outputs)
        gradients = torch.autograd.grad(total, tokens, allow_unused=True)
        gradients = [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, tokens, strict=True)]
        found.append([*outputs, *gradients])
    return found


# ---- s-NNP ------------------------------------------------------------------------------------------------


def operator_arguments(kind: str, dtype: torch.dtype, monkeypatch, edges: bool = True) -> list:
    """What `SNNP.energies_and_gradients` gives to the operator."""
    network, arguments = example(kind, dtype)
    if not edges:
        species, *_, weights, wanted = arguments
        nothing = torch.zeros(2, 0, dtype=torch.int64)
        arguments = species, nothing, torch.zeros(0, 3, dtype=dtype), nothing[0], {}, weights, wanted
    seen = []

    def listen(*given):
        seen.extend(given)
        return torch.zeros(len(given[2]), dtype=dtype), torch.zeros_like(given[0])

    with monkeypatch.context() as patch:
        patch.setattr(torch.ops.ase_mlip, "snnp", listen)
        network.energies_and_gradients(*arguments)
    return seen


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_snnp(kind, edges, dtype, monkeypatch):
    kernel, composed = both("snnp", *operator_arguments(kind, dtype, monkeypatch, edges))
    assert bool(kernel[1].abs().max() > 0.01) if edges else kernel[1].numel() == 0
    assert_same(kernel, composed, 1e-11 if dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("kind", TRAINED)
def test_features_of_an_snnp_and_their_derivatives(kind, monkeypatch):
    vectors, starts, types, kinds, _, banks, grids, cases, *_, cutoff, angular = operator_arguments(
        kind, torch.float64, monkeypatch
    )
    inputs = vectors, starts, types, kinds, [b.detach() for b in banks[:4]], grids[:4], cases[:3]
    inputs = *inputs, cutoff, angular
    kernel, composed = both("snnp_features", *inputs)
    assert_same(kernel, composed, 1e-11)
    torch.manual_seed(2)
    values, slopes = torch.randn_like(kernel[0]), torch.randn_like(kernel[0])
    directions = torch.randn_like(vectors)
    assert_same(*both("snnp_features_backward", slopes, *inputs), 1e-10)
    assert_same(*both("snnp_features_parameters", values, slopes, directions, *inputs), 1e-10)


def test_every_operator_of_tensors_has_a_version_for_cuda():
    """Registered for CUDA: compiled kernels where they fit, composed ones elsewhere."""
    names = torch._C._dispatch_get_all_op_names()
    ours = {name for name in names if name.startswith("ase_mlip::")}
    without_tensors = {
        "tune_allocator", "schema_version", "cuda_build", "cuda_kernels_fit", "require_threads",
    }  # fmt: skip
    composed = {name.partition("::")[2] for name in names if name.startswith("ase_mlip_composed::")}
    assert composed == {name.partition("::")[2] for name in ours} - without_tensors
    for name in composed:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"ase_mlip::{name}", "CUDA"), name


def test_a_build_without_kernels_says_so():
    if _ops.build_info()["cuda_kernels"]:
        pytest.skip("the kernels were compiled")
    assert torch.ops.ase_mlip.cuda_build() == ("", [])
    assert not torch.ops.ase_mlip.cuda_kernels_fit(0)
