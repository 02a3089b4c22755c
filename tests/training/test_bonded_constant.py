"""A constant of the atoms that have neighbours, in the first units of an s-NNP's network."""

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from ase_mlip.data.batches import GraphDataset
from ase_mlip.data.references import Sample
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP
from ase_mlip.training.bonded_constant import can_hold, hold_constants, typical_distance

CONSTANTS = {14: -2.5, 8: -1.5}


def crystals() -> list[Atoms]:
    found = []
    for seed in range(4):
        atoms = bulk("Si", cubic=True)
        atoms.symbols[::2] = "O"
        atoms.rattle(0.1, seed=seed)
        found.append(atoms)
    return found


def holding(**hypers) -> SNNP:
    """A network that holds the constants and nothing else."""
    torch.manual_seed(0)
    small = {"radial_filters": 2, "angular_filters": 2, "hidden": [6], "core": False, "inner": 1.8}
    network = SNNP(SNNPHypers(species=[14, 8], **{**small, **hypers})).double()
    network.set_energy_scale(0.7)
    with torch.no_grad():
        network.skip.zero_()
        network.networks.last.weight.zero_()
    hold_constants(network, CONSTANTS, GraphDataset([Sample(atoms) for atoms in crystals()], network.cutoff))
    return network.eval().requires_grad_(False)


def energies(network: SNNP, atoms: Atoms) -> torch.Tensor:
    graph = build_graph(atoms, network.cutoff)
    inputs = graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges, {}, []
    return network(*inputs)["energies"]


def test_atoms_of_a_crystal_have_it_and_atoms_alone_have_not():
    network = holding()
    for atoms in crystals():
        expected = torch.tensor([CONSTANTS[z] for z in atoms.numbers], dtype=torch.float64)
        torch.testing.assert_close(energies(network, atoms), expected, atol=2e-3, rtol=0)
    assert not energies(network, Atoms("SiO", positions=[[0, 0, 0], [0, 0, 9]])).any()


def test_it_comes_with_the_first_neighbours_and_not_from_afar():
    network = holding()
    near, far = (energies(network, Atoms("Si2", positions=[[0, 0, 0], [0, 0, r]]))[0] for r in (2.3, 3.9))
    assert 0.8 * CONSTANTS[14] > near > 1.2 * CONSTANTS[14]
    assert abs(far) < 1e-12


def test_typical_distance_is_that_of_the_nearest_neighbours():
    silicon = GraphDataset([Sample(bulk("Si", cubic=True)), Sample(Atoms("Si"))], 5.0)
    assert typical_distance(silicon) == pytest.approx(5.43 * 3**0.5 / 4)
    water = GraphDataset([Sample(molecule("H2O"))], 5.0)
    assert typical_distance(water) == pytest.approx(molecule("H2O").get_distance(0, 1))


@pytest.mark.parametrize(
    "hypers, expected",
    [
        ({}, True),
        ({"hidden": [1]}, False),
        ({"hidden": []}, False),
        ({"hidden": [4, 4]}, False),
        ({"radial_filters": 0}, False),
        ({"networks": "shared"}, False),
    ],
)
def test_what_is_needed_for_it(hypers, expected):
    assert can_hold(SNNP(SNNPHypers(species=[14, 8], **{"hidden": [4], **hypers}))) is expected
