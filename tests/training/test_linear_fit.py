"""The least-squares fit of an s-NNP without a network: it finds a potential of its own form again."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from calls import call

from ase_mlip.building import _ops
from ase_mlip.data.batches import GraphDataset
from ase_mlip.data.references import Sample
from ase_mlip.errors import DataError
from ase_mlip.model_file.potential import Potential
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP
from ase_mlip.training.linear_fit import _solve, fit_linear

BASE = {14: -5.0, 8: -3.0}


def make(species=(14,), seed=0, **hypers) -> SNNP:
    torch.manual_seed(seed)
    small = {"radial_intervals": 5, "angular_intervals": 5, "angle_intervals": 3, "angular_filters": 2}
    return SNNP(SNNPHypers(species=list(species), cutoff=4.0, inner=1.8, **{**small, **hypers})).double()


def truth(**hypers) -> SNNP:
    network = make(hidden=[], radial_filters=0, **hypers)
    with torch.no_grad():
        network.phi.coefficients.normal_()
        network.g.coefficients.normal_()
    return network.eval().requires_grad_(False)


def samples(network: SNNP, count=12, species="Si", rattle=0.25) -> list[Sample]:
    found = []
    for seed in range(count):
        atoms = bulk("Si", cubic=True, a=5.0 + 0.1 * seed)
        atoms.symbols[:3] = species
        atoms.rattle(rattle, seed=seed)
        found.append(Sample(atoms))
    data = GraphDataset(found, network.cutoff)
    for k, sample in enumerate(found):
        g = data.graph(k)
        results = call(Potential(network, {z: BASE[z] for z in network.hypers.species}), g)
        virial = results["virial"][0].numpy()
        sample.energy, sample.forces = float(results["energy"]), results["forces"].numpy()
        sample.stress = -0.5 * (virial + virial.T) / sample.atoms.get_volume()
    return found


@pytest.fixture(autouse=True)
def operators():
    _ops.load()


def test_the_potential_behind_the_data_is_found():
    expected = truth()
    data = GraphDataset(samples(expected), expected.cutoff)
    network = make(hidden=[4], radial_filters=2, seed=1)
    with torch.no_grad():
        network.f.coefficients.copy_(expected.f.coefficients)
        network.set_energy_scale(3.0)
    before = network.rho.coefficients.clone()
    fit = fit_linear(network, data, BASE, ridge=1e-13)
    assert fit.forces_rmse < 1e-5 and fit.energy_rmse < 1e-5
    assert fit.coefficients == 5 + 2 * 6 + 1
    assert abs(fit.constants[14]) < 1e-3
    assert torch.equal(network.rho.coefficients, before)
    torch.testing.assert_close(3.0 * network.g.coefficients, expected.g.coefficients, atol=1e-3, rtol=0)


def test_a_pair_term_alone_is_found():
    expected = make(hidden=[], radial_filters=0, angular_filters=0).eval().requires_grad_(False)
    expected.phi.coefficients.normal_()
    data = GraphDataset(samples(expected), expected.cutoff)
    network = make(hidden=[], radial_filters=0, angular_filters=0, seed=1)
    assert fit_linear(network, data, BASE, ridge=1e-13).forces_rmse < 1e-6
    torch.testing.assert_close(network.phi.coefficients, expected.phi.coefficients, atol=1e-4, rtol=0)


def test_what_no_data_determine_is_named():
    expected = truth()
    data = GraphDataset(samples(expected, rattle=0.02)[4:6], expected.cutoff)
    with pytest.raises(DataError, match=r"undetermined, among phi Si-Si at 1\.\d+"):
        fit_linear(make(), data, BASE)
    assert fit_linear(make(), data, BASE, ridge=1e-6).energy_rmse < 1e-2


def test_pairs_of_species_never_seen_are_named():
    expected = truth()
    data = GraphDataset(samples(expected), expected.cutoff)
    with pytest.raises(DataError, match="phi Si-O at"):
        fit_linear(make((14, 8)), data, BASE)


def test_roughness_can_be_paid_for():
    expected = truth()
    data = GraphDataset(samples(expected), expected.cutoff)
    rough, smooth = make(), make()
    fit_linear(rough, data, BASE, ridge=1e-10)
    fit_linear(smooth, data, BASE, ridge=1e-10, curvature=1.0)
    assert smooth.g.roughness().item() < rough.g.roughness().item()


def test_networks_that_are_not_linear_are_refused():
    data = GraphDataset(samples(truth(), 1), 4.0)
    nothing_radial = {"pair": False, "radial_filters": 0}
    for hypers in (nothing_radial, {"skip": False}, {"embedding": [0.0, 1.0, 2.0]}):
        with pytest.raises(DataError, match="needs `skip`, and a pair term or radial filters"):
            fit_linear(make(**hypers), data, BASE)


def test_without_a_pair_term_a_radial_filter_takes_its_place():
    expected = truth(core=False)
    data = GraphDataset(samples(expected), expected.cutoff)
    network = make(pair=False, hidden=[], radial_filters=2)
    with torch.no_grad():
        network.f.coefficients.copy_(expected.f.coefficients)
        network.set_energy_scale(0.5)
    assert fit_linear(network, data, BASE, ridge=1e-13).forces_rmse < 1e-5
    # half of φ belongs to each of the two atoms
    torch.testing.assert_close(
        0.5 * network.rho.coefficients[:, :1], 0.5 * expected.phi.coefficients, atol=1e-3, rtol=0
    )
    graph = data.graph(0)
    found = call(Potential(network.eval().requires_grad_(False), BASE), graph)
    assert abs(found["forces"].numpy() - data.samples[0].forces).max() < 1e-4


def test_given_energies_of_atoms_leave_no_constants():
    expected = truth()
    data = GraphDataset(samples(expected), expected.cutoff)
    network = make(hidden=[], radial_filters=0)
    with torch.no_grad():
        network.f.coefficients.copy_(expected.f.coefficients)
    fit = fit_linear(network, data, BASE, ridge=1e-13, constants=False)
    assert fit.constants == {} and fit.coefficients == 5 + 2 * 6 and fit.energy_rmse < 1e-5
    assert fit_linear(network, data, {14: -4.0, 8: -3.0}, ridge=1e-13, constants=False).energy_rmse > 1e-4


def test_a_ridge_decides_whatever_the_data_leave_open():
    """Also where the largest eigenvalue is so large that the ridge is rounding beside it."""
    column = np.random.default_rng(0).normal(size=50)
    matrix = np.stack([column] * 150 + [np.zeros(50)], axis=1)
    names = [f"c{k}" for k in range(151)]
    nothing = np.zeros((151, 151))
    with pytest.raises(DataError, match="leave 150 of 151"):
        _solve(matrix, column, names, 0.0, nothing)
    solution, undetermined = _solve(matrix, column, names, 1e-10, nothing)
    np.testing.assert_allclose(matrix @ solution, column, atol=1e-6)
    assert abs(solution[-1]) < 1e-12 and set(undetermined) == set(names)


def test_the_repulsive_core_is_no_part_of_the_fit():
    """Pairs below the first knot feel the core, which the fit has to take off first."""
    expected = truth()
    data = GraphDataset(samples(expected, rattle=0.35), expected.cutoff)
    assert min(float(data.graph(k).edge_vectors.norm(dim=1).min()) for k in range(len(data))) < 1.75
    network = make(hidden=[], radial_filters=0)
    with torch.no_grad():
        network.f.coefficients.copy_(expected.f.coefficients)
    assert fit_linear(network, data, BASE, ridge=1e-13).forces_rmse < 1e-5
