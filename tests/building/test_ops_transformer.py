"""The compiled attention and feed-forward blocks against torch's own operators and finite differences.

It also tests `networks.pet.neighbourhoods`.
"""

import subprocess
from pathlib import Path

import pytest
import torch
from transformer_cases import COUNTS, make

from ase_mlip.building import _build, _ops
from ase_mlip.networks.pet.neighbourhoods import layout_of

ROOT = Path(__file__).parents[2]
# width of a head: a whole vector, half of one, and no multiple of either
SIZES = {"wide heads": (64, 4), "narrow heads": (32, 4), "odd heads": (20, 4), "one head": (24, 1)}
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5}


@pytest.fixture(autouse=True)
def operators():
    _ops.load()


def evaluate(compiled, layer, nodes, edges, graph):
    """Outputs, and the gradients of an arbitrary function of them."""
    out = layer(nodes, edges, layout_of(graph, compiled))
    torch.manual_seed(1)
    total = sum((torch.randn_like(x) * x).sum() for x in out)
    inputs = [nodes, edges, graph.log_weights]
    return [*out, *torch.autograd.grad(total, inputs, allow_unused=True)]


def assert_equal_to_torch(*parts):
    dtype = parts[1].dtype
    for mine, theirs in zip(evaluate(True, *parts), evaluate(False, *parts), strict=True):
        scale = max(1.0, float(theirs.detach().abs().max())) if theirs.numel() else 1.0
        torch.testing.assert_close(mine, theirs, atol=TOLERANCE[dtype] * scale, rtol=0)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("sizes", SIZES)
def test_layer_is_torchs_own(sizes, dtype):
    size, heads = SIZES[sizes]
    assert_equal_to_torch(*make(COUNTS["ordinary"], size, heads, dtype))


@pytest.mark.parametrize("counts", COUNTS)
def test_any_neighbourhoods(counts):
    assert_equal_to_torch(*make(COUNTS[counts], size=32))


def test_wide_nodes():
    assert_equal_to_torch(*make(COUNTS["ordinary"], size=32, d_node=48))


def test_gradients_against_finite_differences():
    layer, nodes, edges, graph = make([3, 0, 5], size=8, heads=2)

    def function(nodes, edges, log_weights):
        return layer(nodes, edges, layout_of(graph._replace(log_weights=log_weights), True))

    assert torch.autograd.gradcheck(function, (nodes, edges, graph.log_weights), atol=1e-7)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_edges_at_the_cutoff_and_beyond(dtype):
    """The logarithm of a weight of zero is -6e5 in PET; scores far apart leave one token with all weight."""
    layer, nodes, edges, graph = make([6, 6], dtype=dtype)
    with torch.no_grad():
        graph.log_weights[:4] = torch.tensor([-6e5, -87.0, -88.5, -745.0], dtype=dtype)
        layer.attention.project.weight *= 6.0  # scores of hundreds
    parts = (layer, nodes, edges, graph)
    assert all(bool(torch.isfinite(x).all()) for x in evaluate(True, *parts))
    assert_equal_to_torch(*parts)


def test_nan_is_not_hidden():
    layer, nodes, edges, graph = make([6, 6])
    with torch.no_grad():
        edges[2, 3] = float("nan")
    new_nodes, new_edges = layer(nodes, edges, layout_of(graph, True))
    assert bool(torch.isnan(new_nodes[0]).all())
    assert bool(torch.isnan(new_edges[:6]).all())
    assert bool(torch.isfinite(new_edges[6:]).all())


def test_threads_do_not_change_the_numbers():
    parts = make(COUNTS["many pieces"], size=32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = evaluate(True, *parts)
        torch.set_num_threads(2)
        two = evaluate(True, *parts)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a, b)


def test_what_has_no_gradient_is_refused():
    layer, nodes, edges, graph = make([3, 4], size=8, heads=2)
    out = layer(nodes, edges, layout_of(graph, True))[1].sum()
    with pytest.raises(RuntimeError, match="second derivatives in evaluation mode"):
        torch.autograd.grad(out, edges, create_graph=True)
    layer.requires_grad_(True)
    for module in (layer.attention, layer.feedforward):
        out = layer(nodes, edges, layout_of(graph, True))[1].sum()
        with pytest.raises(RuntimeError, match="gradients by the weights in evaluation mode"):
            torch.autograd.grad(out, next(module.parameters()))


def test_every_instruction_set_of_this_processor(tmp_path):
    """The program compares what AVX-512, AVX2 and plain code find, and exp with the standard library's."""
    compiler = _build.require_compiler()
    program = tmp_path / "test_simd"
    flags = ["-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", "-I", str(_build.source_folder())]
    subprocess.run([compiler, *flags, str(ROOT / "tests/cpp/test_simd.cpp"), "-o", str(program)], check=True)
    result = subprocess.run([program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "plain" in result.stdout


def _attention(**changes):
    arguments = {
        "nodes": torch.zeros(2, 8),
        "edges": torch.zeros(3, 8),
        "log_weights": torch.zeros(3),
        "starts": torch.tensor([0, 1, 3]),
        "norm": torch.ones(8),
        "enter_weight": torch.zeros(24, 8),
        "enter_bias": torch.zeros(24),
        "leave_weight": torch.zeros(8, 8),
        "leave_bias": torch.zeros(8),
        "heads": 2,
        "scale": 1.0,
        "eps": 1e-6,
    }
    return torch.ops.ase_mlip.attention_block(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"starts": torch.tensor([0, 1, 4])}, "must run from 0 to the number of edges, 3, got 0 to 4"),
        ({"starts": torch.tensor([0, 4, 3])}, "must not decrease, got 4 before 3"),
        ({"starts": torch.tensor([0, 3])}, r"`starts` must have shape \[3\]"),
        ({"starts": torch.tensor([0, 1, 3], dtype=torch.int32)}, "must have dtype int64"),
        ({"edges": torch.zeros(3, 7)}, r"`edges` must have shape \[3, 8\]"),
        ({"edges": torch.zeros(3, 8, dtype=torch.float64)}, "`edges` must have the dtype of the tokens"),
        ({"log_weights": torch.zeros(2)}, r"`log_weights` must have shape \[3\]"),
        ({"enter_weight": torch.zeros(16, 8)}, r"`enter_weight` must have shape \[24, 8\]"),
        ({"heads": 3}, "`heads` must divide the size of a token, 8, got 3"),
    ],
)
def test_malformed_input_is_named(changes, message):
    _attention()
    with pytest.raises(RuntimeError, match=message):
        _attention(**changes)
