"""The least-squares fit of an s-NNP without a network: it finds a potential of its own form again."""

import pytest
import torch
from ase.build import bulk

from ase_mlip import _ops
from ase_mlip.architectures.snnp import SNNP, SNNPHypers
from ase_mlip.batches import GraphDataset
from ase_mlip.errors import DataError
from ase_mlip.linear_fit import fit_linear
from ase_mlip.potential import Potential
from ase_mlip.references import Sample

BASE = {14: -5.0, 8: -3.0}


def make(species=(14,), seed=0, **hypers) -> SNNP:
    torch.manual_seed(seed)
    small = {"radial_intervals": 5, "angular_intervals": 5, "angle_intervals": 3, "angular_filters": 2}
    return SNNP(SNNPHypers(species=list(species), cutoff=4.0, inner=1.8, **{**small, **hypers})).double()


def truth() -> SNNP:
    network = make(hidden=[], radial_filters=0)
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
        results = Potential(network, {z: BASE[z] for z in network.hypers.species})(
            *(g.species, g.edge_index, g.edge_vectors, g.reverse_edges, g.node_weights, g.structure),
            *(1, True, {}),
        )
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
        network.energy_scale.fill_(3.0)
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
    for hypers in ({"pair": False}, {"skip": False}, {"embedding": [0.0, 1.0, 2.0]}):
        with pytest.raises(DataError, match="needs `pair` and `skip`"):
            fit_linear(make(**hypers), data, BASE)
