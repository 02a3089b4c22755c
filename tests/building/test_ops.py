"""The compiled operators against plain numpy sums, numerical derivatives and each other."""

import numpy as np
import pytest
import torch
from random_edges import Edges, as_tensors, random_periodic_edges

from ase_mlip import _torchscript
from ase_mlip.building import _ops


@pytest.fixture(scope="module")
def ops():
    _ops.load()
    return torch.ops.ase_mlip


def numpy_forces(edges):
    gradients, (centres, neighbours) = edges.gradients.double().numpy(), edges.index.numpy()
    forces = np.zeros((edges.n_nodes, 3))
    np.add.at(forces, centres, gradients)
    np.add.at(forces, neighbours, -gradients)
    return forces


def numpy_virials(edges):
    products = np.einsum("ea,eb->eab", edges.vectors.double().numpy(), edges.gradients.double().numpy())
    virials = np.zeros((edges.n_nodes, 3, 3))
    for ends in edges.index.numpy():
        np.add.at(virials, ends, -0.5 * products)
    return virials


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_edges", [1, 40, 30_000])
def test_sums_equal_numpy(ops, dtype, n_edges):
    edges = Edges(n_edges, dtype=dtype)
    tolerance = {"rtol": 0, "atol": n_edges * torch.finfo(dtype).eps}
    forces = ops.forces_from_gradients(edges.gradients, edges.index, edges.n_nodes)
    virials = ops.virials_from_gradients(edges.gradients, edges.vectors, edges.index, edges.n_nodes)
    virial = ops.virial_from_gradients(edges.gradients, edges.vectors, edges.structure, 3)
    assert forces.dtype == virials.dtype == virial.dtype == dtype
    np.testing.assert_allclose(forces, numpy_forces(edges), **tolerance)
    expected = numpy_virials(edges)
    np.testing.assert_allclose(virials, expected, **tolerance)
    np.testing.assert_allclose(virial.sum(0), expected.sum(0), **tolerance)
    assert not virial[2].any()


def test_structures_get_their_own_edges(ops):
    edges = Edges()
    both = ops.virial_from_gradients(edges.gradients, edges.vectors, edges.structure, 2)
    for n in range(2):
        mine = edges.structure == n
        alone = torch.zeros(int(mine.sum()), dtype=torch.int64)
        one = ops.virial_from_gradients(edges.gradients[mine], edges.vectors[mine], alone, 1)
        torch.testing.assert_close(both[n], one[0])


def test_forces_cancel(ops):
    edges = Edges()
    total = ops.forces_from_gradients(edges.gradients, edges.index, edges.n_nodes).sum(0)
    torch.testing.assert_close(total, torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)


def with_threads(counts, call):
    before = torch.get_num_threads()
    try:
        for count in counts:
            torch.set_num_threads(count)
            yield call()
    finally:
        torch.set_num_threads(before)


SUMS = {
    "forces": lambda ops, e: ops.forces_from_gradients(e.gradients, e.index, e.n_nodes),
    "virials": lambda ops, e: ops.virials_from_gradients(e.gradients, e.vectors, e.index, e.n_nodes),
    "virial": lambda ops, e: ops.virial_from_gradients(e.gradients, e.vectors, e.structure, 3),
}


@pytest.mark.parametrize("n_nodes", [3, 64, 500, 40_000])
@pytest.mark.parametrize("name", SUMS)
def test_sums_do_not_depend_on_the_number_of_threads(ops, name, n_nodes):
    """To the last bit. With 3 nodes a row is the work of many chunks of edges; 500 are several to a block."""
    edges = Edges(50_000, n_nodes=n_nodes, dtype=torch.float32)
    first, *others = with_threads((1, 2, 3, 7), lambda: SUMS[name](ops, edges))
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("n_nodes", [6, 5000])
def test_sums_of_unsorted_edges(ops, threads, n_nodes):
    edges = Edges(30_000, n_nodes=n_nodes)
    order = torch.randperm(30_000, generator=torch.Generator().manual_seed(1))
    for name in ("index", "structure", "gradients", "vectors"):
        tensor = getattr(edges, name)
        setattr(edges, name, tensor[..., order] if name == "index" else tensor[order])
    forces, virials, virial = next(
        with_threads([threads], lambda: [SUMS[name](ops, edges) for name in ("forces", "virials", "virial")])
    )
    np.testing.assert_allclose(forces, numpy_forces(edges), rtol=0, atol=1e-10)
    np.testing.assert_allclose(virials, numpy_virials(edges), rtol=0, atol=1e-10)
    np.testing.assert_allclose(virial.sum(0), numpy_virials(edges).sum(0), rtol=0, atol=1e-10)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_index_out_of_range_is_found_by_every_thread(ops, threads):
    edges = Edges(50_000, n_nodes=500)
    for place, wrong in ((0, -1), (49_999, 500), (25_000, 500)):
        index = edges.index.clone()
        index[1, place] = wrong
        with pytest.raises(RuntimeError, match=rf"`edge_index` must lie in \[0, 500\), got {wrong}"):
            next(with_threads([threads], lambda i=index: ops.forces_from_gradients(edges.gradients, i, 500)))


def test_reverse_edges_do_not_depend_on_the_number_of_threads(ops):
    edges = Edges(50_000, n_nodes=5000)
    shifts = torch.zeros(50_000, 3, dtype=torch.int64)
    one, three = with_threads((1, 3), lambda: ops.reverse_edges(edges.index, shifts))
    assert torch.equal(one, three)
    found = one >= 0
    assert torch.equal(edges.index[:, one[found]].flip(0), edges.index[:, found])


def test_threads_that_can_be_made_are_granted(ops):
    ops.require_threads(3)


@pytest.mark.parametrize("order", ["gradcheck", "gradgradcheck"])
def test_derivatives_equal_finite_differences(ops, order):
    edges = Edges(12)
    check = getattr(torch.autograd, order)
    gradients = edges.gradients.requires_grad_()
    vectors = edges.vectors.requires_grad_()
    n_nodes = edges.n_nodes
    assert check(lambda g: ops.forces_from_gradients(g, edges.index, n_nodes), gradients)
    pair = (gradients, vectors)
    assert check(lambda g, r: ops.virials_from_gradients(g, r, edges.index, n_nodes), pair)
    assert check(lambda g, r: ops.virial_from_gradients(g, r, edges.structure, 2), pair)


def test_gradient_of_one_argument_only(ops):
    edges = Edges()
    vectors = edges.vectors.requires_grad_()
    ops.virials_from_gradients(edges.gradients, vectors, edges.index, edges.n_nodes).sum().backward()
    expected = -edges.gradients.sum(1, keepdim=True).expand(-1, 3)
    torch.testing.assert_close(vectors.grad, expected)


def test_a_loss_on_forces_reaches_parameters(ops):
    """Training differentiates forces, themselves derivatives, with respect to weights."""
    edges = Edges()
    stiffness = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)

    def loss(stiffness):
        vectors = edges.vectors.detach().requires_grad_()
        energy = stiffness**2 * (vectors**4).sum()
        gradients = torch.autograd.grad(energy, vectors, create_graph=True)[0]
        virial = ops.virial_from_gradients(gradients, vectors, edges.structure, 2)
        return ops.forces_from_gradients(gradients, edges.index, edges.n_nodes).pow(2).sum() + virial.sum()

    assert torch.autograd.gradcheck(loss, stiffness)


def test_reverse_edges_equal_a_search_of_all(ops):
    edges = random_periodic_edges()
    expected = [edges.index((j, i, tuple(-n for n in shift))) for i, j, shift in edges]
    reverse = ops.reverse_edges(*as_tensors(edges))
    assert reverse.tolist() == expected
    assert torch.equal(reverse[reverse], torch.arange(len(edges)))


def test_missing_reverse_edges_are_minus_one(ops):
    edges = random_periodic_edges()
    removed = edges.pop(7)
    reverse = ops.reverse_edges(*as_tensors(edges))
    lonely = edges.index((removed[1], removed[0], tuple(-n for n in removed[2])))
    assert (reverse == -1).nonzero().flatten().tolist() == [lonely]


def test_neighbours_without_edges_have_no_reverse(ops):
    index = torch.tensor([[1, 1, 1, 3], [0, 2, 9, 1]])  # 0 and 2 are no centres, 9 is beyond the last one
    reverse = ops.reverse_edges(index, torch.zeros(4, 3, dtype=torch.int64))
    assert reverse.tolist() == [-1, -1, -1, -1]


@pytest.mark.parametrize("n_nodes", [0, 4])
def test_no_edges(ops, n_nodes):
    index, vectors = torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, 3, requires_grad=True)
    forces = ops.forces_from_gradients(vectors, index, n_nodes)
    virials = ops.virials_from_gradients(vectors, vectors, index, n_nodes)
    virial = ops.virial_from_gradients(vectors, vectors, index[0], n_nodes)
    assert forces.shape == (n_nodes, 3)
    assert virials.shape == virial.shape == (n_nodes, 3, 3)
    (forces.sum() + virials.sum() + virial.sum()).backward()
    assert vectors.grad.shape == (0, 3)
    assert ops.reverse_edges(index, torch.zeros(0, 3, dtype=torch.int64)).shape == (0,)


def test_arguments_need_not_be_contiguous(ops):
    edges = Edges()
    gradients, vectors = (x.t().contiguous().t() for x in (edges.gradients, edges.vectors))
    index = edges.index.t().contiguous().t()
    assert not index.is_contiguous()
    assert not gradients.is_contiguous()
    plain = ops.virials_from_gradients(edges.gradients, edges.vectors, edges.index, edges.n_nodes)
    assert torch.equal(ops.virials_from_gradients(gradients, vectors, index, edges.n_nodes), plain)
    forces = ops.forces_from_gradients(edges.gradients, edges.index, edges.n_nodes)
    assert torch.equal(ops.forces_from_gradients(gradients, index, edges.n_nodes), forces)


def test_arguments_stay_as_they_were(ops):
    edges = Edges()
    before = edges.gradients.clone(), edges.vectors.clone(), edges.index.clone()
    ops.virials_from_gradients(edges.gradients, edges.vectors, edges.index, edges.n_nodes)
    ops.forces_from_gradients(edges.gradients, edges.index, edges.n_nodes)
    after = edges.gradients, edges.vectors, edges.index
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


class Scripted(torch.nn.Module):
    def forward(self, vectors: torch.Tensor, index: torch.Tensor, n_nodes: int) -> torch.Tensor:
        gradients = 2 * vectors
        virials = torch.ops.ase_mlip.virials_from_gradients(gradients, vectors, index, n_nodes)
        return virials.sum() + torch.ops.ase_mlip.forces_from_gradients(gradients, index, n_nodes).sum()


def test_usable_from_a_saved_script(ops, tmp_path):
    edges = Edges()
    _torchscript.save(_torchscript.script(Scripted()), tmp_path / "scripted.pt")
    loaded = _torchscript.load(tmp_path / "scripted.pt", "cpu")
    vectors = edges.vectors.requires_grad_()
    result = loaded(vectors, edges.index, edges.n_nodes)
    torch.testing.assert_close(result, Scripted()(vectors, edges.index, edges.n_nodes))
    (gradient,) = torch.autograd.grad(result, vectors)
    assert gradient.abs().sum() > 0


def wrong_arguments():
    edges = Edges(4)
    g, r, index, structure, n = edges.gradients, edges.vectors, edges.index, edges.structure, edges.n_nodes
    reversed_index, shifts = index.flip(1), torch.zeros(4, 3, dtype=torch.int64)
    reversed_index[0] = torch.tensor([3, 2, 1, 0])
    forces, virials, virial = "forces_from_gradients", "virials_from_gradients", "virial_from_gradients"
    return [
        (forces, (g, index[0], n), r"`edge_index` must have shape \[2, n_edges\].*got \[4\]"),
        (forces, (g, index.int(), n), r"`edge_index` must have dtype int64.*got Int.*to\(torch.int64\)"),
        (forces, (g[:2], index, n), r"`gradients` must have shape \[4, 3\].*got \[2, 3\]"),
        (forces, (g.half(), index, n), r"`gradients` must have dtype float32 or float64, got Half"),
        (forces, (g, index, 1), r"`edge_index` must lie in \[0, 1\), got \d.*number of nodes"),
        (forces, (g, index - 9, n), r"`edge_index` must lie in \[0, 6\), got -"),
        (forces, (g, index, -1), r"`n_nodes` must be 0 or more, got -1"),
        (virials, (g, r[:, :2], index, n), r"`edge_vectors` must have shape \[4, 3\].*got \[4, 2\]"),
        (virials, (g, r.float(), index, n), r"`gradients` and `edge_vectors` must have one dtype"),
        (virial, (g, r, index, 1), r"`edge_structure` must have shape \[n_edges\] and dtype int64"),
        (virial, (g, r, structure + 2, 2), r"`edge_structure` must lie in \[0, 2\), got \d.*structures"),
        ("reverse_edges", (reversed_index, shifts), r"`edge_index` must be sorted by centre.*stable sort"),
        ("reverse_edges", (index - 9, shifts), r"`edge_index` must hold numbers of nodes, got -"),
        ("reverse_edges", (index, shifts[:1]), r"`shifts` must have shape \[4, 3\].*got \[1, 3\]"),
        ("reverse_edges", (index, shifts.int()), r"`shifts` must have dtype int64, got Int"),
    ]


@pytest.mark.parametrize(("name", "arguments", "message"), wrong_arguments())
def test_wrong_arguments_are_named(ops, name, arguments, message):
    with pytest.raises(RuntimeError, match=message):
        getattr(ops, name)(*arguments)


def test_allocator_refuses_what_mallopt_cannot_take(ops):
    assert not ops.tune_allocator(-1, 0)
    assert not ops.tune_allocator(1 << 40, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu(ops):
    if not _ops.build_info()["cuda_kernels"]:
        pytest.skip("the operators were built without CUDA (nvcc of torch's CUDA version not found)")
    edges = Edges(30_000, n_nodes=300)
    for name, arguments in [
        ("forces_from_gradients", (edges.gradients, edges.index, 300)),
        ("virials_from_gradients", (edges.gradients, edges.vectors, edges.index, 300)),
        ("virial_from_gradients", (edges.gradients, edges.vectors, edges.structure, 2)),
        ("reverse_edges", as_tensors(random_periodic_edges())),
    ]:
        moved = [x.cuda() if isinstance(x, torch.Tensor) else x for x in arguments]
        torch.testing.assert_close(getattr(ops, name)(*moved).cpu(), getattr(ops, name)(*arguments))
