"""s-NNP: the formula written out, finite differences, second derivatives, and what the contract asks for.

It also tests `hypers`, `parts`.
"""

import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from calls import call
from snnp_variants import VARIANTS, arguments, make, structure

from ase_mlip import _torchscript
from ase_mlip.building import _ops
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.potential import Potential
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP


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
    directions = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
    values = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            torch._foreach_add_(parameters, directions, alpha=step)
        values.append(projection().item())
    products = [(g * t).sum() for g, t in zip(found, directions, strict=True) if g is not None]
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
