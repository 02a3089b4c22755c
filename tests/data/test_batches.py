"""Batches of graphs: rotated as structures would be, masked where references lack, reproducibly ordered."""

import re

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list

from ase_mlip.data.batches import GraphDataset, parts, random_o3, shuffled_batches
from ase_mlip.data.references import Sample


def edge_order(i, j, vectors):
    """Sorts edges; those between the same two atoms (in different images) by their vectors."""
    return np.lexsort((*np.round(vectors, 6).T, j, i))


def sorted_edges(atoms, cutoff):
    """ASE's list: i and j [E, 2], and vectors [E, 3]."""
    i, j, vectors = neighbor_list("ijD", atoms, cutoff)
    order = edge_order(i, j, vectors)
    return np.column_stack([i, j])[order], vectors[order]


def copper(n):
    """Rattled cells with EMT's energies, forces and stresses."""
    frames = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        frames.append(atoms)
    return frames


def samples_of(frames):
    return [
        Sample(
            atoms=frame,
            energy=frame.get_potential_energy(),
            forces=frame.get_forces(),
            stress=frame.get_stress(voigt=False),
        )
        for frame in frames
    ]


def test_a_rotated_batch_is_the_batch_of_rotated_structures():
    """Oracle: ASE's list of the rotated (or mirrored) cells, and EMT, whose forces rotate with them."""
    frames = copper(3)
    rotations = random_o3(3, 2)
    assert {round(float(torch.det(r))) for r in rotations} == {-1, 1}
    batch = GraphDataset(samples_of(frames), cutoff=4.0).collate([2, 0, 1], rotations)
    first_atom = first_edge = 0
    for b, index in enumerate([2, 0, 1]):
        matrix = rotations[b].numpy()
        rotated = frames[index].copy()
        rotated.set_cell(rotated.cell @ matrix.T)
        rotated.positions = rotated.positions @ matrix.T
        rotated.calc = EMT()
        n, (pairs, vectors) = len(rotated), sorted_edges(rotated, 4.0)
        mine = slice(first_edge, first_edge + len(pairs))
        edge_index = batch.edge_index[:, mine].numpy() - first_atom
        got = batch.edge_vectors[mine].numpy()
        order = edge_order(*edge_index, got)
        np.testing.assert_array_equal(edge_index.T[order], pairs)
        np.testing.assert_allclose(got[order], vectors, atol=1e-9)
        np.testing.assert_allclose(batch.forces[first_atom : first_atom + n], rotated.get_forces(), atol=1e-9)
        np.testing.assert_allclose(batch.stresses[b], rotated.get_stress(voigt=False), atol=1e-9)
        assert batch.energies[b].item() == pytest.approx(rotated.get_potential_energy(), abs=1e-9)
        assert batch.volumes[b].item() == pytest.approx(rotated.get_volume())
        first_atom, first_edge = first_atom + n, first_edge + len(pairs)
    assert first_edge == batch.edge_index.shape[1]
    assert batch.n_structures == 3 and batch.n_atoms.tolist() == [4, 4, 4]
    assert batch.structure.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    torch.testing.assert_close(batch.edge_vectors[batch.reverse_edges], -batch.edge_vectors)


def test_missing_references_are_masked_and_zero():
    complete, lone = copper(1)[0], molecule("H2O")
    samples = [Sample(atoms=lone, energy=-1.0), *samples_of([complete])]
    batch = GraphDataset(samples, cutoff=3.0).collate([0, 1])
    assert batch.energy_mask.tolist() == [True, True]
    assert batch.forces_mask.tolist() == [False] * 3 + [True] * 4
    assert batch.stress_mask.tolist() == [False, True]
    assert batch.forces[:3].abs().max() == 0 and batch.stresses[0].abs().max() == 0
    assert batch.volumes[0] == 1.0


def test_batches_are_cast_at_the_end_and_energies_stay_float64():
    sample = Sample(atoms=molecule("H2O"), energy=-29944.123456789, forces=np.ones((3, 3)))
    batch = GraphDataset([sample], cutoff=3.0).collate([0], dtype=torch.float32)
    assert batch.edge_vectors.dtype == batch.forces.dtype == batch.stresses.dtype == torch.float32
    assert batch.energies.item() == -29944.123456789


def test_graphs_are_made_once_and_rotation_leaves_them_alone():
    dataset = GraphDataset(samples_of(copper(1)), cutoff=3.0)
    graph = dataset.graph(0)
    before = graph.edge_vectors.clone()
    dataset.collate([0], random_o3(1, 0))
    assert dataset.graph(0) is graph
    torch.testing.assert_close(graph.edge_vectors, before, rtol=0, atol=0)


def test_a_wrong_number_of_rotations_is_refused():
    with pytest.raises(ValueError, match=re.escape("expected shape (1, 3, 3)")):
        GraphDataset(samples_of(copper(1)), cutoff=3.0).collate([0], random_o3(2, 0))


def test_random_o3_is_orthogonal_uniform_and_seeded():
    matrices = random_o3(20000, [3, 1])
    identity = torch.eye(3, dtype=torch.float64).expand_as(matrices)
    torch.testing.assert_close(matrices @ matrices.transpose(1, 2), identity)
    torch.testing.assert_close(matrices, random_o3(20000, [3, 1]), rtol=0, atol=0)
    # Haar measure: <R_ab> = 0, <R_ab R_cd> = δ_ac δ_bd / 3, and det ±1 with equal probability
    tolerance = 5 / np.sqrt(20000)
    flat = matrices.reshape(-1, 9)
    assert flat.mean(0).abs().max() < tolerance
    assert (flat.T @ flat / len(flat) - torch.eye(9, dtype=torch.float64) / 3).abs().max() < tolerance
    assert torch.det(matrices).mean().abs() < tolerance


def test_batches_visit_everything_once_in_an_order_given_by_seed_and_epoch():
    batches = shuffled_batches(10, 4, seed=3, epoch=7)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(np.concatenate(batches)) == list(range(10))
    again = shuffled_batches(10, 4, seed=3, epoch=7)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    assert not np.array_equal(np.concatenate(batches), np.concatenate(shuffled_batches(10, 4, 3, 8)))
    assert not np.array_equal(np.concatenate(batches), np.concatenate(shuffled_batches(10, 4, 4, 7)))


def test_structures_go_together_up_to_a_number_of_nodes():
    assert list(parts([3, 3, 3, 9, 2], 6)) == [[0, 1], [2], [3], [4]]
    assert list(parts([], 6)) == []
