"""What the checks work with: unfolded and folded cells, edges taken out, made-up structures."""

import numpy as np
import pytest
import torch
from ase.neighborlist import neighbor_list
from broken_networks import CUTOFF, SPECIES

from ase_mlip.checks.probe import fold, take_edges, unfold
from ase_mlip.checks.structures import default_structures, diluted, disordered_structure, tiny_structure
from ase_mlip.graph.neighbors import build_graph


@pytest.mark.parametrize("pbc", [True, (True, False, True), False])
def test_unfolded_atoms_have_all_neighbours(pbc):
    """An owned atom in the cluster has the neighbours that ASE's list finds in the crystal."""
    atoms = disordered_structure(np.array([14, 8, 14, 8, 8]), pbc, np.random.default_rng(3))
    atoms.positions += np.random.default_rng(4).integers(-2, 3, (5, 3)) * atoms.pbc @ atoms.cell.array
    owned, reach = np.array([3, 1]), 5.0
    cluster, origin = unfold(atoms, owned, reach)
    assert origin[:2].tolist() == [3, 1]
    assert np.array_equal(cluster.numbers, atoms.numbers[origin])
    to_owned = np.linalg.norm(cluster.positions[:, None] - cluster.positions[None, :2], axis=2)
    assert to_owned.min(axis=1).max() <= reach
    distances = neighbor_list("id", atoms, reach)
    for index, original in enumerate(owned):
        expected = np.sort(distances[1][distances[0] == original])
        found = np.sort(to_owned[:, index][np.arange(len(cluster)) != index])
        assert np.allclose(found[found <= reach], expected, atol=1e-12)


def test_fold_adds_copies():
    assert fold(np.array([1.0, 2.0, 4.0]), np.array([2, 0, 2]), 3).tolist() == [2.0, 0.0, 5.0]


def test_taken_edges_keep_their_reverse():
    graph = build_graph(default_structures(SPECIES)[0], CUTOFF)
    rng = np.random.default_rng(0)
    kept = torch.from_numpy(rng.permutation(graph.edge_index.shape[1])[:100])
    part = take_edges(graph, kept)
    has_reverse = part.reverse_edges >= 0
    assert 0 < int(has_reverse.sum()) < 100
    reverse = part.reverse_edges[has_reverse]
    assert torch.equal(part.edge_vectors[has_reverse], -part.edge_vectors[reverse])
    assert torch.equal(part.edge_index[:, has_reverse], part.edge_index[:, reverse].flip(0))
    lost = graph.reverse_edges[kept[~has_reverse]]
    assert not torch.isin(lost, kept).any()


@pytest.mark.parametrize("species", [[1], [14], [1, 8], [3, 9, 29, 55, 79, 92], list(range(1, 90))])
def test_made_up_structures_are_sensible(species):
    from ase.data import covalent_radii

    structures = default_structures(species)
    assert [len(atoms) for atoms in structures] == [12, 8, 5]
    assert [tuple(atoms.pbc) for atoms in structures] == [(True,) * 3, (True, True, False), (False,) * 3]
    for atoms in structures:
        assert set(atoms.numbers) <= set(species)
        i, j, distances = neighbor_list("ijd", atoms, 8.0)
        contacts = covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers[j]]
        assert (distances / contacts).min() > 0.84
        assert distances.min() > 0.89
        assert 9.9 < atoms.get_volume() / len(atoms) < 250
    assert default_structures(species)[0] == structures[0]


def test_tiny_cells_are_smaller_than_the_cutoff():
    for cutoff in (2.0, 4.0):
        atoms = tiny_structure([55], 2, cutoff)
        heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
        assert heights.max() < cutoff


def test_diluted_structures_have_the_wanted_neighbours():
    atoms = default_structures([14])[0]
    thin = diluted(atoms, 6.0, 10)
    count = len(neighbor_list("i", thin, 6.0)) / len(thin)
    assert 7 < count < 13
    assert np.allclose(diluted(atoms, 6.0, 1000).positions, atoms.positions)
