"""PET holds the weights of the public PET: the same numbers with metatrain's own modules as the oracle.

Skipped where metatrain is not installed. With the weights renamed what is left are floors: metatrain lets
padding and edges of a weight below 1e-15 into the attention with 1e-15, and takes the cutoff from 1 + tanh,
which is off by 1e-16 where the weight is small.
"""

import warnings
from dataclasses import replace

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from calls import call

from ase_mlip.building import _ops
from ase_mlip.converters.pet.pet import convert_weights
from ase_mlip.graph.neighbors import Graph, build_graph, concatenate
from ase_mlip.model_file.potential import Potential
from ase_mlip.networks.pet.hypers import PETHypers
from ase_mlip.networks.pet.pet import PET

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a library that only this test imports
    MODULE = "metatrain.pet.modules.backend"
    PETBackend = pytest.importorskip(MODULE, reason="needs metatrain (2026.4.1) as its oracle").PETBackend
    from metatrain.utils.architectures import get_default_hypers

OUTPUTS = {"energy": [1], "non_conservative_forces": [3, 1]}
SMALL = {"d_pet": 16, "d_node": 24, "d_head": 12, "d_feedforward": 20, "num_heads": 2, "cutoff": 4.0}
PLAIN = {"normalization": "LayerNorm", "activation": "SiLU"}
VARIANTS = {
    "defaults": {"d_pet": 128, "d_node": 256, "d_head": 128, "d_feedforward": 256, "num_heads": 8},
    "1 layer of 1": {"num_gnn_layers": 1, "num_attention_layers": 1},
    "1 layer of 2": {"num_gnn_layers": 1},
    "2 layers of 1": {"num_attention_layers": 1},
    "2 layers of 2": {},
    "3 layers of 1": {"num_gnn_layers": 3, "num_attention_layers": 1},
    "3 layers of 2": {"num_gnn_layers": 3},
    "d_node equals d_pet": {"d_node": 16},
    "LayerNorm, SiLU": PLAIN,
    "LayerNorm, SiLU, 3 layers, d_node equals d_pet": {**PLAIN, "num_gnn_layers": 3, "d_node": 16},
    "temperature": {"attention_temperature": 1.7},
    "adaptive": {"num_neighbors_adaptive": 10.0},
    "adaptive, 1 layer, d_node equals d_pet": {
        "num_neighbors_adaptive": 6.0,
        "num_gnn_layers": 1,
        "d_node": 16,
        "cutoff_width_adaptive": 0.7,
    },
    "adaptive, LayerNorm, SiLU, 3 layers": {**PLAIN, "num_neighbors_adaptive": 14.0, "num_gnn_layers": 3},
    "adaptive on a grid": {"num_neighbors_adaptive": 10.0, "adaptive_cutoff_method": "grid"},
    "cosine": {"cutoff_function": "Cosine"},
    "post-norm": {"transformer_type": "PostLN"},
    "residual, 3 layers": {"featurizer_type": "residual", "num_gnn_layers": 3},
}


@pytest.fixture(autouse=True)
def operators():
    _ops.load()


def public_pet(species: list[int], **changes) -> tuple[PETBackend, dict]:
    """metatrain's PET in float64 with an energy and a force head, every weight random and of use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hypers = {**get_default_hypers("pet")["model"], **SMALL, **changes}
    theirs = PETBackend(hypers, species)
    for name, shape in OUTPUTS.items():
        theirs.add_output(name, {f"{name}___0": shape})
    theirs = theirs.double().eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            weight.normal_(generator=generator)
            if "embedder" not in name:
                weight *= weight.shape[-1] ** -0.5 if weight.ndim == 2 else 0.3
            if "norm" in name and name.endswith("weight"):
                weight += 1.0
    return theirs.requires_grad_(False), hypers


def our_pet(theirs: PETBackend, hypers: dict, species: list[int]) -> PET:
    """Our PET with the same hyper-parameters and weights; each of its parameters must be given."""
    common = {name: hypers[name] for name in PETHypers.__dataclass_fields__ if name in hypers}
    combine = hypers["featurizer_type"] == "feedforward"
    mine = PETHypers(**common, species=species, norm_eps=None, combine_last=combine, direct_forces=True)
    network = PET(mine).double()
    targets = {"energy": "energy", "forces": "non_conservative_forces"}
    weights = convert_weights(theirs.state_dict(), mine, targets)
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) == {"types", "energy_scale", "force_scale"}
    return network.eval().requires_grad_(False)


def structures() -> list[Atoms]:
    """64 Si; a molecule; a small skewed cell with many images and self-images; an atom on its own."""
    silicon = bulk("Si", cubic=True).repeat(2)
    silicon.rattle(0.15, seed=1)
    cell = [[2.9, 0.1, -0.2], [0.9, 3.1, 0.3], [-0.7, 1.1, 3.3]]
    skewed = Atoms("SiO", scaled_positions=[[0.1, 0.2, 0.05], [0.52, 0.61, 0.47]], cell=cell, pbc=True)
    water = molecule("H2O")
    water.rotate(40, (1, 2, 3))
    return [silicon, water, skewed, Atoms("O")]


def predicted_by_public(theirs, hypers, atoms: list[Atoms], graph: Graph, positions) -> dict:
    """All that metatrain's modules predict, as functions of the positions [N, 3]."""
    cells = torch.stack([torch.from_numpy(a.cell.array) for a in atoms])
    batch = theirs.preprocess(
        *(positions, graph.edge_index[0], graph.edge_index[1], graph.species, cells, graph.shifts),
        *(graph.structure, hypers["cutoff_width_adaptive"]),
    )
    features = theirs.calculate_features(batch)
    return theirs.predict(*features, batch, cells, graph.structure, list(OUTPUTS))[0]


def evaluate_public(theirs, hypers, atoms: list[Atoms], graph: Graph) -> dict[str, torch.Tensor]:
    """Energies [N], forces [N, 3] as their derivative, and direct forces [N, 3]."""
    positions = torch.cat([torch.from_numpy(a.positions) for a in atoms]).requires_grad_(True)
    read = predicted_by_public(theirs, hypers, atoms, graph, positions)
    energies = read["energy"][0].squeeze(-1)
    (gradient,) = torch.autograd.grad(energies.sum(), positions)
    direct = read["non_conservative_forces"][0].reshape(-1, 3)
    return {"energies": energies.detach(), "forces": -gradient, "direct_forces": direct.detach()}


def evaluate_ours(network: PET, graph: Graph) -> dict[str, torch.Tensor]:
    potential = Potential(network, {})
    return call(potential, graph, ("forces", "direct_forces"))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_weights_give_the_same_energies_and_forces(name):
    species = [1, 8, 14]
    theirs, hypers = public_pet(species, **VARIANTS[name])
    network = our_pet(theirs, hypers, species)
    atoms = structures()
    graph = concatenate([build_graph(a, network.cutoff) for a in atoms])
    expected, found = evaluate_public(theirs, hypers, atoms, graph), evaluate_ours(network, graph)
    for key, values in expected.items():
        scale = float(values.abs().max())
        assert scale > 0.1  # the weights must make the numbers worth comparing
        torch.testing.assert_close(found[key], values, atol=1e-11 * scale, rtol=0)


def chain(n: int = 8) -> Atoms:
    """Atoms in a row, each within the cutoff of 4 Å of the next one, and barely."""
    return Atoms(f"Si{n}", positions=[[3.9 * k, 0.02 * (k % 2), 0.01 * (k % 3)] for k in range(n)])


def influence_in_public(theirs, hypers, atoms: Atoms) -> torch.Tensor:
    """|dE_0/dr_k| of every atom k [N], by metatrain's own modules."""
    graph = build_graph(atoms, hypers["cutoff"])
    positions = torch.from_numpy(atoms.positions).requires_grad_(True)
    (energies,) = predicted_by_public(theirs, hypers, [atoms], graph, positions)["energy"]
    (gradient,) = torch.autograd.grad(energies[0].squeeze(), positions)
    return gradient.norm(dim=1)


def influence_in_ours(network: PET, atoms: Atoms) -> torch.Tensor:
    graph = build_graph(atoms, network.cutoff)
    weights = torch.zeros(len(atoms), dtype=torch.float64)
    weights[0] = 1.0
    found = call(Potential(network, {}), replace(graph, node_weights=weights))
    return found["forces"].norm(dim=1)


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("adaptive", [None, 6.0])
@pytest.mark.parametrize("featurizer", ["feedforward", "residual"])
def test_the_range_is_the_declared_one(n_layers, adaptive, featurizer):
    """An atom just inside moves the energy, those outside do not, though a chain of edges leads to them.

    layers × cutoff with the residual featurizer; the feedforward one sees a cutoff further, and so does the
    adaptive cutoff.
    """
    theirs, hypers = public_pet(
        [14], num_gnn_layers=n_layers, num_neighbors_adaptive=adaptive, featurizer_type=featurizer
    )
    hops = n_layers + (featurizer == "feedforward") + (adaptive is not None)
    ours = our_pet(theirs, hypers, [14])
    assert ours.hypers.interaction_range == hops * hypers["cutoff"]

    atoms = chain()
    distances = torch.from_numpy(atoms.get_distances(0, range(len(atoms))))
    inside = distances < ours.hypers.interaction_range
    assert int(inside.sum()) == hops + 1 and distances[hops] > 0.97 * ours.hypers.interaction_range
    public, influence = influence_in_public(theirs, hypers, atoms), influence_in_ours(ours, atoms)
    torch.testing.assert_close(influence, public, rtol=1e-11, atol=1e-13)
    assert public[inside].min() > 1e-9 and influence[inside].min() > 1e-9
    assert not public[~inside].any() and not influence[~inside].any()
