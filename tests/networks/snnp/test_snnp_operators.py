"""The compiled operators of an s-NNP, for energies and for training, against the differentiable path.

It also tests `training`.
"""

import subprocess
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch
from snnp_variants import VARIANTS, arguments, make, structure

from ase_mlip.building import _build, _ops
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.networks.snnp.snnp import SNNP


@pytest.fixture(autouse=True)
def operators():
    _ops.load()


def differentiable(network: SNNP, graph, weights, dtype) -> tuple[torch.Tensor, torch.Tensor]:
    network.compiled_training = False
    vectors = graph.edge_vectors.to(dtype).requires_grad_(True)
    energies = network(*arguments(graph, vectors), [])["energies"]
    (gradients,) = torch.autograd.grad((weights.to(dtype) * energies).sum(), vectors)
    return energies.detach(), gradients


def compiled(network: SNNP, graph, weights, dtype) -> tuple[torch.Tensor, torch.Tensor]:
    vectors = graph.edge_vectors.to(dtype)
    outputs, gradients = network.energies_and_gradients(*arguments(graph, vectors), weights, [])
    return outputs["energies"], gradients


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 2e-5)])
@pytest.mark.parametrize("variant", [*VARIANTS, "many pieces", "three species, crowded"])
def test_operator_is_the_differentiable_path(variant, dtype, tolerance):
    """Energies and gradients, with weights that differ; also more pieces than fit into registers."""
    others = {
        "many pieces": {"radial_intervals": 40, "angular_intervals": 23, "angle_intervals": 17},
        "three species, crowded": {"species": [8, 14, 32], "inner": 1.0},
    }
    network = make(**(VARIANTS | others)[variant])
    network.energy_scale.fill_(0.7)
    atoms = structure()
    if "crowded" in variant:
        atoms.numbers[1] = 32
        atoms.set_cell(0.75 * np.asarray(atoms.cell), scale_atoms=True)
    graph = build_graph(atoms.repeat((2, 1, 1)), network.cutoff)
    weights = torch.linspace(0.5, 1.5, len(graph.species), dtype=torch.float64)
    network = network.to(dtype)
    mine, theirs = (f(network, graph, weights, dtype) for f in (compiled, differentiable))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance * max(1.0, float(b.abs().max())), rtol=0)


def test_operator_leaves_out_what_has_no_weight_or_is_too_far():
    network = make()
    graph = build_graph(structure(), network.cutoff + 1.0)
    weights = graph.node_weights.clone()
    weights[3:] = 0.0
    energies, gradients = compiled(network, graph, weights, torch.float64)
    expected, slopes = differentiable(network, graph, weights, torch.float64)
    torch.testing.assert_close(energies[:3], expected[:3])
    torch.testing.assert_close(gradients, slopes)
    assert not energies[3:].any()
    assert not gradients[graph.edge_vectors.norm(dim=1) > network.cutoff].any()


def test_threads_do_not_change_the_numbers():
    network = make()
    graph = build_graph(structure().repeat((4, 3, 3)), network.cutoff)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(compiled(network, graph, graph.node_weights, torch.float64))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_a_species_that_is_not_known_is_an_error():
    network = make([14])
    graph = build_graph(structure(), network.cutoff)
    with pytest.raises(RuntimeError, match="does the potential know all species"):
        compiled(network, graph, graph.node_weights, torch.float64)


def handed_to_the_operator(network: SNNP, inputs: list) -> dict[str, list[torch.Tensor]]:
    """The tensors that the operator gets, on a device that holds no numbers."""
    names = ("vectors", "starts", "types", "neighbours", "weights", "coefficients", "grids", "cases", "skip")
    found = {}

    def take(*given):
        for name, value in zip((*names, "layers", "scale"), given[:11], strict=True):
            found[name] = list(value) if isinstance(value, (list, tuple)) else [value]
        return given[0].new_empty(len(given[2])), torch.empty_like(given[0])

    library = torch.library.Library("ase_mlip", "IMPL")
    try:
        again = {"allow_override": True} if "allow_override" in signature(library.impl).parameters else {}
        library.impl("snnp", take, "Meta", **again)
        network.energies_and_gradients(*inputs)
    finally:
        library._destroy()
    return found


def test_everything_moves_to_another_device():
    """Knots are no buffers, which a move of the network would take along."""
    network, graph = make(), build_graph(structure(), 3.9)
    inputs = [x.to("meta") if isinstance(x, torch.Tensor) else x for x in arguments(graph)]
    found = handed_to_the_operator(network.to("meta"), [*inputs, graph.node_weights.to("meta"), []])
    assert {name: {x.device.type for x in tensors} for name, tensors in found.items()} == dict.fromkeys(
        found, {"meta"}
    )
    assert len(found["grids"]) == len(found["coefficients"]) == 5


def test_tensors_on_two_devices_are_refused():
    network = make()
    graph = build_graph(structure(), network.cutoff)
    elsewhere = graph.node_weights.to("meta")
    message = "`node_weights` must be on the device of `edge_vectors`, cpu, got meta; move the network"
    with pytest.raises(RuntimeError, match=message):
        network.energies_and_gradients(*arguments(graph), elsewhere, [])


# ---- the operators of training


def loss_gradients(network: SNNP, graph, compiled_training: bool) -> list[torch.Tensor]:
    """Energies, edge gradients, and the gradients by the parameters of a function of both."""
    network.compiled_training = compiled_training
    vectors = graph.edge_vectors.clone().requires_grad_(True)
    energies = network(*arguments(graph, vectors), [])["energies"]
    (gradients,) = torch.autograd.grad(energies.sum(), vectors, create_graph=True)
    weights = torch.linspace(-1.0, 1.0, len(energies), dtype=torch.float64)
    factors = torch.sin(torch.arange(gradients.numel(), dtype=torch.float64)).view_as(gradients)
    loss = (weights * energies).sum() + (factors * gradients**2).sum()
    parameters = [p for p in network.parameters() if p.requires_grad and p.numel() > 0]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    zeros = [torch.zeros_like(p) for p in parameters]
    return [energies, gradients, *(z if g is None else g for g, z in zip(found, zeros, strict=True))]


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_operators_are_the_differentiable_path(variant):
    network = make(**{"angular_filters": 9, **VARIANTS[variant]}).requires_grad_(True).train()
    graph = build_graph(structure(), network.cutoff)
    for mine, theirs in zip(
        loss_gradients(network, graph, True), loss_gradients(network, graph, False), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-10 * max(1.0, theirs.abs().max().item()), rtol=0)


def test_threads_do_not_change_what_training_gets():
    network = make().requires_grad_(True).train()
    graph = build_graph(structure().repeat((3, 2, 2)), network.cutoff)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(loss_gradients(network, graph, True)[-4:])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_every_instruction_set_of_this_processor(tmp_path):
    """A program without torch compares AVX-512 and AVX2 with plain code, and that with finite differences."""
    program = tmp_path / "test_snnp"
    flags = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-I", str(_build.source_folder())]
    source = Path(__file__).parents[2] / "cpp" / "test_snnp.cpp"
    subprocess.run([_build.require_compiler(), *flags, str(source), "-o", str(program)], check=True)
    result = subprocess.run([program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("finite differences") == 2


def test_training_with_every_instruction_set_of_this_processor(tmp_path):
    """A program without torch compares the passes of training with sums of single splines and differences."""
    program = tmp_path / "test_snnp_training"
    flags = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-I", str(_build.source_folder())]
    source = Path(__file__).parents[2] / "cpp" / "test_snnp_training.cpp"
    subprocess.run([_build.require_compiler(), *flags, str(source), "-o", str(program)], check=True)
    result = subprocess.run([program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("plain") == 3 * 4


def test_threads_share_the_arrays_of_atoms(tmp_path):
    """A program without torch counts what each thread clears and adds, and compares with one thread."""
    program, root = tmp_path / "test_snnp_threads", Path(__file__).parents[3]
    flags = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-pthread"]
    flags += ["-I", str(_build.source_folder()), "-I", str(root / "lammps_plugin")]
    sources = [root / "tests/cpp/test_snnp_threads.cpp", root / "lammps_plugin/snnp_atoms/threads.cpp"]
    subprocess.run([_build.require_compiler(), *flags, *sources, "-o", str(program)], check=True)
    result = subprocess.run([program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
