"""s-NNP: the formula written out, finite differences, second derivatives, and what the contract asks for."""

import itertools
import subprocess
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from calls import call

from ase_mlip import _torchscript
from ase_mlip.building import _build, _ops
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.potential import Potential
from ase_mlip.networks.snnp.snnp import SNNP, SNNPHypers

SMALL = {"radial_filters": 2, "angular_filters": 3, "radial_intervals": 6, "angular_intervals": 5}
VARIANTS = {
    "pair": {"filters": "pair"},
    "neighbour": {"filters": "neighbour", "angular_cutoff": 3.6},
    "shared, two layers": {"filters": "shared", "hidden": [5, 7], "core": False},
    "close atoms": {"inner": 2.6},
    "one network": {"networks": "shared"},
    "linear": {"hidden": []},
    "no skip": {"skip": False, "pair": False},
    "pair term alone": {"radial_filters": 0, "angular_filters": 0, "hidden": []},
    "embedding": {"embedding": [-2.0, 3.0, 5.0]},
    "no angles": {"angular_filters": 0},
    "no radial filters": {"radial_filters": 0},
}


def make(species=(14, 8), seed=0, **hypers) -> SNNP:
    """With random weights of order one everywhere."""
    torch.manual_seed(seed)
    network = SNNP(
        SNNPHypers(species=list(species), cutoff=3.9, **{**SMALL, "hidden": [6], **hypers})
    ).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network.eval().requires_grad_(False)


def structure(rattle=0.15) -> Atoms:
    atoms = bulk("Si", cubic=True, a=5.2)
    atoms.symbols[[0, 3, 5]] = "O"
    atoms.rattle(rattle, seed=1)
    return atoms


def arguments(graph, vectors=None) -> tuple:
    vectors = graph.edge_vectors if vectors is None else vectors
    return graph.species, graph.edge_index, vectors, graph.reverse_edges, {}


def written_out(network: SNNP, atoms: Atoms) -> float:
    """The energy as the module's docstring has it, with loops over neighbours."""
    graph = build_graph(atoms, network.cutoff)

    def spline(bank, x, case):
        return bank(torch.tensor([float(x)], dtype=torch.float64), torch.tensor([int(case)]))[0]

    total = 0.0
    types = network.types[graph.species]
    for i, t in enumerate(types):
        edges = torch.nonzero(graph.edge_index[0] == i).flatten()
        v, tj = graph.edge_vectors[edges], types[graph.edge_index[1, edges]]
        r = v.norm(dim=1)
        radial = [spline(network.rho, a, network.radial_cases[t, s]) for a, s in zip(r, tj, strict=True)]
        g2 = sum(radial, torch.zeros(network.rho.channels, dtype=torch.float64))
        g3 = torch.zeros(network.f.channels, dtype=torch.float64)
        f = [spline(network.f, a, network.radial_cases[t, s]) for a, s in zip(r, tj, strict=True)]
        for j, k in itertools.combinations(range(len(edges)), 2):
            cosine = torch.dot(v[j], v[k]) / (r[j] * r[k])
            g3 += f[j] * f[k] * spline(network.g, cosine, network.angle_cases[t, tj[j], tj[k]])
        features = torch.cat([g2, g3])
        case = network.network_cases[t]
        if network.has_skip:
            total += float(network.skip[case] @ features)
        if network.has_pair:
            pairs = zip(r, tj, strict=True)
            total += 0.5 * float(sum(spline(network.phi, a, network.pair_cases[t, s])[0] for a, s in pairs))
        if network.has_embedding:
            total += float(spline(network.embedding, features.sum(), t) - spline(network.embedding, 0.0, t))
        if network.has_network:
            for x, sign in ((features, 1.0), (torch.zeros_like(features), -1.0)):
                for layer in network.networks.layers:
                    x = x @ layer.weight[case] + layer.bias[case]
                    x = x / (1.0 + torch.exp(-x))
                total += sign * float(x @ network.networks.last.weight[case])
    return total * float(network.energy_scale)


@pytest.fixture(autouse=True)
def operators():
    _ops.load()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_formula_written_out(variant):
    network = make(**VARIANTS[variant])
    network.energy_scale.fill_(0.7)
    atoms = structure()
    graph = build_graph(atoms, network.cutoff)
    assert float(network(*arguments(graph), [])["energies"].sum()) == pytest.approx(
        written_out(network, atoms), rel=1e-11
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_derivatives_are_finite_differences(variant):
    """Also twice, by the parameters: what training needs."""
    network = make(**VARIANTS[variant]).requires_grad_(True).train()
    network.compiled_training = False
    graph = build_graph(structure(), network.cutoff)
    vectors = graph.edge_vectors.clone().requires_grad_(True)
    parameters = [p for p in network.parameters() if p.numel() > 0]
    direction = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def projection() -> torch.Tensor:
        energy = network(*arguments(graph, vectors), [])["energies"].sum()
        (gradient,) = torch.autograd.grad(energy, vectors, create_graph=True)
        return (gradient * direction).sum()

    def energy(step: float) -> float:
        with torch.no_grad():
            return float(network(*arguments(graph, vectors + step * direction), [])["energies"].sum())

    slope = projection()
    assert slope.item() == pytest.approx((energy(1e-5) - energy(-1e-5)) / 2e-5, rel=1e-6, abs=1e-6)
    found = torch.autograd.grad(slope, parameters, allow_unused=True)
    generator = torch.Generator().manual_seed(4)
    turns = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
    values = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            torch._foreach_add_(parameters, turns, alpha=step)
        values.append(projection().item())
    products = [(g * t).sum() for g, t in zip(found, turns, strict=True) if g is not None]
    assert sum(products).item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_scripted_and_in_blocks(variant):
    network = make(**VARIANTS[variant])
    graph = build_graph(structure().repeat((2, 1, 1)), network.cutoff)
    whole = network(*arguments(graph), [])["energies"]
    network.block = 3
    network.compiled_training = False
    scripted = _torchscript.script(network)
    with _torchscript.calling():
        torch.testing.assert_close(scripted(*arguments(graph), [])["energies"], whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_no_atoms_and_no_neighbours(dtype):
    network = make().to(dtype)
    for atoms in (Atoms("Si", cell=[20.0] * 3, pbc=True), Atoms("SiO", [[0, 0, 0], [9, 0, 0]])):
        graph = build_graph(atoms, network.cutoff)
        outputs, gradients = network.energies_and_gradients(
            *arguments(graph, graph.edge_vectors.to(dtype)), graph.node_weights, []
        )
        assert not outputs["energies"].any()
        assert gradients.shape == (0, 3)
    nobody, nothing = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3, dtype=dtype)
    edges = torch.zeros(2, 0, dtype=torch.int64)
    outputs, gradients = network.energies_and_gradients(
        nobody, edges, nothing, nobody, {}, nothing[:, 0].double(), []
    )
    assert outputs["energies"].shape == (0,) and gradients.shape == (0, 3)


def test_an_atom_that_leaves_takes_its_energy_to_zero_smoothly():
    network = make([14])
    energies = []
    for distance in (3.899, 3.9 - 1e-4, 3.9 + 1e-9):
        graph = build_graph(Atoms("Si2", [[0, 0, 0], [distance, 0, 0]]), 6.0)
        energies.append(float(network(*arguments(graph), [])["energies"].sum()))
    assert energies[2] == 0.0
    assert abs(energies[0]) < 1e-7 and abs(energies[1]) < 1e-10


def test_order_of_species_is_the_users():
    a, b = make([14, 8]), make([8, 14])
    graph = build_graph(structure(), a.cutoff)
    first = a(*arguments(graph), [])["energies"].sum()
    swapped = structure()
    swapped.numbers = np.where(swapped.numbers == 8, 14, 8)
    second = b(*arguments(build_graph(swapped, b.cutoff)), [])["energies"].sum()
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize(
    "hypers, message",
    [
        ({"species": []}, "`species`"),
        ({"cutoff": 1.2}, "`cutoff` must be longer than the first knot"),
        ({"angular_cutoff": 1.0}, "`angular_cutoff`"),
        ({"angular_cutoff": 6.0}, "`angular_cutoff`"),
        ({"inner": 0.0}, "`inner`"),
        ({"radial_intervals": 0}, "`radial_intervals`.*two knots"),
        ({"filters": "none"}, "`filters`"),
        ({"networks": "none"}, "`networks`"),
        ({"hidden": [0]}, "`hidden`"),
        ({"direct_forces": True}, "no such head"),
        ({"hidden": [], "skip": False, "pair": False}, "`skip`"),
    ],
)
def test_impossible_hyperparameters(hypers, message):
    with pytest.raises(ValueError, match=message):
        SNNP(SNNPHypers(**{"species": [14], **hypers}))


def test_potential_and_float32():
    network = make()
    graph = build_graph(structure(), network.cutoff)
    results = {}
    for dtype in (torch.float64, torch.float32):
        potential = Potential(network.to(dtype), {14: -1.0})
        results[dtype] = call(potential, graph)
    exact, rounded = results[torch.float64], results[torch.float32]
    torch.testing.assert_close(rounded["forces"], exact["forces"], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(rounded["energy"], exact["energy"], atol=1e-4, rtol=1e-5)


# ---- the compiled operator


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
    turns = torch.sin(torch.arange(gradients.numel(), dtype=torch.float64)).view_as(gradients)
    loss = (weights * energies).sum() + (turns * gradients**2).sum()
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
    source = Path(__file__).parents[1] / "cpp" / "test_snnp.cpp"
    subprocess.run([_build.require_compiler(), *flags, str(source), "-o", str(program)], check=True)
    result = subprocess.run([program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("finite differences") == 2


def test_threads_share_the_arrays_of_atoms(tmp_path):
    """A program without torch counts what each thread clears and adds, and compares with one thread."""
    program, root = tmp_path / "test_snnp_threads", Path(__file__).parents[2]
    flags = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-pthread"]
    flags += ["-I", str(_build.source_folder()), "-I", str(root / "lammps_plugin")]
    sources = [str(root / "tests/cpp/test_snnp_threads.cpp"), str(root / "lammps_plugin/threads.cpp")]
    subprocess.run([_build.require_compiler(), *flags, *sources, "-o", str(program)], check=True)
    result = subprocess.run([program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
