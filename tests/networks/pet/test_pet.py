"""PET: its parts against independent implementations, its blocks against the whole, its range.

It also tests `hypers`, `layers`, `outputs`, `transformer`.
"""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from calls import EVERYTHING, call

from ase_mlip import _torchscript
from ase_mlip.building import _ops
from ase_mlip.graph.neighbors import Graph, build_graph
from ase_mlip.model_file.potential import Potential
from ase_mlip.networks.pet.hypers import PETHypers
from ase_mlip.networks.pet.pet import PET
from ase_mlip.networks.pet.transformer import Attention

SMALL = {"d_pet": 16, "d_node": 24, "d_head": 16, "d_feedforward": 32, "num_heads": 2}
VARIANTS = {
    "one layer": {"num_gnn_layers": 1},
    "two layers": {"num_attention_layers": 1},
    "adaptive": {"num_attention_layers": 1, "num_neighbors_adaptive": 12.0},
    "public layout": {"combine_last": True, "num_gnn_layers": 2, "num_attention_layers": 1},
    "equal widths": {"d_node": 16, "num_attention_layers": 1},
    "LayerNorm, SiLU": {"normalization": "LayerNorm", "activation": "SiLU", "num_attention_layers": 1},
    "norms afterwards": {"transformer_type": "PostLN", "d_node": 16, "num_attention_layers": 1},
    "residual": {"featurizer_type": "residual", "num_gnn_layers": 3, "num_attention_layers": 1},
    "cosine": {"cutoff_function": "Cosine", "num_attention_layers": 1},
    "adaptive on a grid": {
        "num_attention_layers": 1,
        "num_neighbors_adaptive": 12.0,
        "adaptive_cutoff_method": "grid",
    },
}


def make(species=(14,), cutoff=4.5, seed=0, **hypers) -> PET:
    torch.manual_seed(seed)
    network = PET(PETHypers(species=list(species), cutoff=cutoff, **{**SMALL, **hypers})).double()
    return network.eval().requires_grad_(False)


def silicon(repeat=2, rattle=0.1) -> Atoms:
    atoms = bulk("Si", cubic=True).repeat(repeat)
    atoms.rattle(rattle, seed=1)
    return atoms


def run(potential, graph: Graph, derivatives=True) -> dict[str, torch.Tensor]:
    """Derivatives, or else what the network gives beside the energies."""
    return call(potential, graph, EVERYTHING if derivatives else ("direct_forces", "direct_virials"))


@pytest.fixture(autouse=True)
def operators():
    _ops.load()


def test_attention_is_multi_head_attention_with_a_key_bias():
    """Oracle: torch's own multi-head attention on one padded neighbourhood at a time."""
    torch.manual_seed(0)
    attention = Attention(16, 4, 1.0).double()
    counts, width = [3, 5], 6  # tokens per neighbourhood, node included; one empty slot and none
    slots = torch.tensor([0, 6, 1, 2, 7, 8, 9, 10])  # nodes first
    tokens = torch.randn(8, 16, dtype=torch.float64)
    bias = torch.full((2, width), -float("inf"), dtype=torch.float64)
    bias.view(-1)[slots] = torch.cat([torch.zeros(2), -torch.rand(6)]).double()
    mine = attention(tokens, slots, bias)
    for b, count in enumerate(counts):
        rows = [k for k, slot in enumerate(slots) if slot // width == b]
        rows.sort(key=lambda k: int(slots[k]))
        x = tokens[rows][:, None, :]
        expected, _ = torch.nn.functional.multi_head_attention_forward(
            *(x, x, x, 16, 4, attention.project.weight, attention.project.bias, None, None, False, 0.0),
            *(attention.leave.weight, attention.leave.bias),
            attn_mask=bias[b, :count].expand(count, count),
        )
        torch.testing.assert_close(mine[rows], expected[:, 0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_blocks_equal_the_whole(name):
    network = make(**VARIANTS[name], direct_forces=True, direct_stress=True)
    graph = build_graph(silicon(), network.cutoff)
    network.block_cpu = 10**6
    whole = run(Potential(network, {14: -1.0}), graph)
    direct = run(Potential(network, {14: -1.0}), graph, derivatives=False)
    network.block_cpu = 7
    blocks = run(Potential(network, {14: -1.0}), graph)
    for key in ("energies", "forces", "virials"):
        torch.testing.assert_close(blocks[key], whole[key], atol=1e-12, rtol=1e-12)
    again = run(Potential(network, {14: -1.0}), graph, derivatives=False)
    for key in ("direct_forces", "direct_virials", "energies"):
        torch.testing.assert_close(again[key], direct[key], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", VARIANTS)
def test_scripted_equals_eager_and_training_mode(name):
    network = make(**VARIANTS[name])
    graph = build_graph(silicon(), network.cutoff)
    scripted = run(_torchscript.script(Potential(network, {})), graph)
    network.train()
    vectors = graph.edge_vectors.clone().requires_grad_(True)
    outputs = network(graph.species, graph.edge_index, vectors, graph.reverse_edges, {}, [])
    (gradients,) = torch.autograd.grad(outputs["energies"].sum(), vectors)
    forces = torch.ops.ase_mlip.forces_from_gradients(gradients, graph.edge_index, len(graph.species))
    torch.testing.assert_close(scripted["energies"], outputs["energies"].detach(), atol=1e-12, rtol=0)
    torch.testing.assert_close(scripted["forces"], forces, atol=1e-12, rtol=0)


@pytest.mark.parametrize("owned", [0, 1, 20, 63])
@pytest.mark.parametrize("name", VARIANTS)
def test_nodes_without_weight_cost_no_last_stage(name, owned):
    """The gradient of the owned energies is what autograd gives for all nodes, weighted afterwards."""
    network = make(**VARIANTS[name])
    network.block_cpu = 7
    graph = build_graph(silicon(), network.cutoff)
    weights = (torch.arange(len(graph.species)) < owned).double()
    mine = run(Potential(network, {}), replace(graph, node_weights=weights))
    network.train()
    vectors = graph.edge_vectors.clone().requires_grad_(True)
    outputs = network(graph.species, graph.edge_index, vectors, graph.reverse_edges, {}, [])
    (gradients,) = torch.autograd.grad((outputs["energies"] * weights).sum(), vectors)
    torch.testing.assert_close(mine["gradients"], gradients, atol=1e-12, rtol=0)
    torch.testing.assert_close(mine["energies"], (outputs["energies"] * weights).detach(), atol=1e-12, rtol=0)
    assert mine["energies"][owned:].count_nonzero() == 0


@pytest.mark.parametrize(
    "name",
    [
        "two layers",
        "adaptive",
        "public layout",
        "norms afterwards",
        "residual",
        "cosine",
        "adaptive on a grid",
    ],
)
def test_forces_are_the_derivative_of_the_energy(name):
    network = make(**VARIANTS[name])
    potential = Potential(network, {})
    atoms = silicon(rattle=0.2)
    forces = run(potential, build_graph(atoms, network.cutoff))["forces"]
    for atom, axis in [(0, 0), (17, 1), (40, 2)]:
        energies = []
        for step in (-2e-4, -1e-4, 1e-4, 2e-4):
            moved = atoms.copy()
            moved.positions[atom, axis] += step
            energies.append(float(run(potential, build_graph(moved, network.cutoff), False)["energy"]))
        slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / 12e-4
        assert float(forces[atom, axis]) == pytest.approx(-slope, abs=2e-9)


def test_forces_can_be_trained_on():
    """Second derivatives: the gradient of a force loss by a weight against finite differences."""
    network = make(num_attention_layers=1, num_neighbors_adaptive=12.0).train().requires_grad_(True)
    graph = build_graph(silicon(1), network.cutoff)

    def force_loss() -> torch.Tensor:
        vectors = graph.edge_vectors.clone().requires_grad_(True)
        outputs = network(graph.species, graph.edge_index, vectors, graph.reverse_edges, {}, [])
        (g,) = torch.autograd.grad(outputs["energies"].sum(), vectors, create_graph=True)
        return torch.ops.ase_mlip.forces_from_gradients(g, graph.edge_index, 8).square().sum()

    force_loss().backward()
    for weight in (network.gnn_layers[0].embed_geometry.weight, network.readout_energy.edge_last.weight):
        analytic, step = float(weight.grad.view(-1)[3]), 1e-6
        with torch.no_grad():
            weight.view(-1)[3] += step
        up = float(force_loss().detach())
        with torch.no_grad():
            weight.view(-1)[3] -= 2 * step
        down = float(force_loss().detach())
        with torch.no_grad():
            weight.view(-1)[3] += step
        assert analytic == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(
    "name", ["one layer", "two layers", "adaptive", "adaptive on a grid", "public layout", "residual"]
)
def test_energy_sees_exactly_the_declared_range(name):
    """A chain of atoms: moving one beyond the declared range changes nothing, one cutoff nearer does."""
    spacing = 2.0
    network = make(cutoff=2.5, **{**VARIANTS[name], "num_neighbors_adaptive": None})
    hypers = network.hypers
    if name.startswith("adaptive"):
        network = make(cutoff=2.5, **{**VARIANTS[name], "num_neighbors_adaptive": 1.5})
        hypers = network.hypers
    reach = round(hypers.interaction_range / hypers.cutoff)  # in bonds of the chain
    chain = Atoms("Si12", positions=[[spacing * k, 0.3 * (k % 2), 0.0] for k in range(12)])

    def first_energy(moved: int) -> float:
        atoms = chain.copy()
        atoms.positions[moved] += [0.05, 0.1, -0.07]
        graph = build_graph(atoms, network.cutoff)
        return float(run(Potential(network, {}), graph, False)["energies"][0])

    reference = first_energy(11)
    assert first_energy(reach + 1) == reference
    assert first_energy(reach) != reference


def test_order_of_edges_does_not_matter():
    network = make(num_attention_layers=1)
    graph = build_graph(silicon(), network.cutoff)
    generator = torch.Generator().manual_seed(0)
    random = torch.rand(graph.edge_index.size(1), generator=generator)
    order = torch.from_numpy(np.lexsort([random.numpy(), graph.edge_index[0].numpy()]))
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order))
    outputs = [
        network(graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges, {}, []),
        network(
            graph.species,
            graph.edge_index[:, order],
            graph.edge_vectors[order],
            position[graph.reverse_edges[order]],
            {},
            [],
        ),
    ]
    torch.testing.assert_close(outputs[0]["energies"], outputs[1]["energies"], atol=1e-12, rtol=0)


def test_lonely_and_no_atoms():
    network = make()
    alone = run(Potential(network, {14: -3.0}), build_graph(Atoms("Si"), network.cutoff))
    assert torch.isfinite(alone["energy"]).all() and not alone["forces"].any()
    empty = torch.zeros(0, dtype=torch.int64)
    graph = Graph(
        species=empty,
        edge_index=torch.zeros(2, 0, dtype=torch.int64),
        edge_vectors=torch.zeros(0, 3, dtype=torch.float64),
        reverse_edges=empty,
        shifts=torch.zeros(0, 3, dtype=torch.int64),
        structure=empty,
        n_structures=1,
        node_weights=torch.zeros(0, dtype=torch.float64),
    )
    assert float(run(Potential(network, {}), graph)["energy"]) == 0.0


def test_float32_agrees_with_float64():
    network = make(species=(1, 8), cutoff=4.0)
    graph = build_graph(molecule("H2O"), 4.0)
    exact = run(Potential(network, {}), graph)
    single = run(Potential(network.float(), {}), graph)
    torch.testing.assert_close(single["forces"], exact["forces"], atol=1e-5, rtol=1e-4)


def test_no_late_recompilation():
    """200 steps with a varying number of edges; the first takes at most a second, none stands out."""
    network = make(num_attention_layers=1).float()
    scripted = _torchscript.script(Potential(network, {}))
    graphs = [build_graph(silicon(1, rattle=0.02 * k), network.cutoff) for k in range(1, 21)]
    assert len({g.edge_index.size(1) for g in graphs}) > 5
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine the others wait actively, and waiting is no compilation
    seconds = []
    for step in range(200):
        start = time.thread_time()
        run(scripted, graphs[step % 20])
        seconds.append(time.thread_time() - start)
    torch.set_num_threads(threads)
    assert seconds[0] < 1.0
    assert max(seconds[1:]) < 0.1 + 5 * float(np.median(seconds))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"species": []}, "`species`"),
        ({"d_pet": 15}, "`d_pet`"),
        ({"normalization": "BatchNorm"}, "`normalization`"),
        ({"activation": "ReLU"}, "`activation`"),
        ({"cutoff_function": "Step"}, "`cutoff_function`"),
        ({"adaptive_cutoff_method": "guess"}, "`adaptive_cutoff_method`"),
        ({"transformer_type": "NoLN"}, "`transformer_type`"),
        ({"featurizer_type": "none"}, "`featurizer_type`"),
        ({"featurizer_type": "residual", "combine_last": True}, "`combine_last`"),
    ],
)
def test_impossible_hyper_parameters_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        PET(PETHypers(**{"species": [14], **SMALL, **wrong}))


@pytest.mark.parametrize("name", ["feedforward", "residual"])
def test_energies_are_linear_in_features(name):
    """What they are for: other last layers, such as those of an estimate of uncertainties."""
    network = make((8, 14), featurizer_type=name, num_gnn_layers=3, num_neighbors_adaptive=12.0)
    for readout in [*network.readout_energy_before, network.readout_energy]:
        torch.nn.init.normal_(readout.edge_last.bias)
    atoms = silicon()
    atoms.numbers[::3] = 8
    graph = build_graph(atoms, network.cutoff)
    arguments = (graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges, {}, ["features"])
    found = network(*arguments)
    readouts = [*network.readout_energy_before, network.readout_energy]
    weights = [torch.cat([readout.node_last.weight[0], readout.edge_last.weight[0]]) for readout in readouts]
    weights.append(sum(readout.edge_last.bias for readout in readouts))  # counts edges
    bias = sum(readout.node_last.bias[0] for readout in readouts)
    assert weights[-1] != 0
    expected = network.energy_scale * (found["features"] @ torch.cat(weights) + bias)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found["energies"], expected, atol=1e-13, rtol=0)
    assert "features" not in network.train()(*arguments)
