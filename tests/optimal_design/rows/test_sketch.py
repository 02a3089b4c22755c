"""Rows from last-layer features: derivatives of their sums, unbiased sketches, invariance."""

import numpy as np
import pytest
import torch
from ase import Atoms
from calls import call
from random_pet import METADATA, random_network, rotated, silicon

from ase_mlip.errors import MLIPError, StructureError
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.model import export_model, load_model
from ase_mlip.optimal_design.rows.sketch import averaging_of, feature_names, sketch_rows
from ase_mlip.rotations.schemes import find_averaging


@pytest.fixture(scope="module")
def pet(tmp_path_factory):
    path = tmp_path_factory.mktemp("sketch") / "pet.pt"
    export_model(random_network(num_gnn_layers=1, num_attention_layers=1), path, METADATA)
    return load_model(path, device="cpu", dtype="float64")


def small(seed=1) -> Atoms:
    """Four atoms that no symmetry makes equal."""
    atoms = silicon(rattle=0.2, seed=seed)[:4]
    atoms.set_cell([5.4, 5.4, 3.1], scale_atoms=False)
    return atoms


def weights_of(pet) -> np.ndarray:
    """w of E_i = w·f_i + b, by least squares over many atoms."""
    features, energies = [], []
    for seed in range(40):
        found = call(pet.potential, build_graph(silicon(0.3, seed), 4.0), ["features"])
        features.append(found["features"].numpy())
        energies.append(found["energies"].numpy())
    matrix = np.column_stack([np.concatenate(features), np.ones(320)])
    solution, *_ = np.linalg.lstsq(matrix, np.concatenate(energies), rcond=1e-13)
    assert np.abs(matrix @ solution - np.concatenate(energies)).max() < 1e-10
    return solution


def test_exact_rows_times_the_read_out_are_energy_forces_and_stress(pet):
    """The model's own derivatives are the oracle: a model linear in its features."""
    atoms = small()
    solution = weights_of(pet)
    labels = ("energy", "forces", "stress")
    (rows,) = sketch_rows(pet, [atoms], None, symmetrize="none", labels=labels, atoms=True)
    expected = call(pet.potential, build_graph(atoms, 4.0), ["forces", "virial"])
    virial = expected["virial"][0].numpy()
    stress = (-0.5 * (virial + virial.T) / atoms.get_volume())[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    assert rows.energy @ solution == pytest.approx(float(expected["energy"]) / 4, abs=1e-9)
    np.testing.assert_allclose(rows.atoms @ solution, expected["energies"], rtol=0, atol=1e-9)
    scale = float(expected["forces"].abs().max())
    np.testing.assert_allclose(rows.forces @ solution, expected["forces"].ravel(), rtol=0, atol=3e-6 * scale)
    np.testing.assert_allclose(rows.stress @ solution, stress, rtol=0, atol=3e-6 * np.abs(stress).max())


def test_the_sketch_is_unbiased(pet):
    """Over many seeds its Gram matrix is that of all rows, within the standard error."""
    atoms = small()
    exact = next(sketch_rows(pet, [atoms], None, symmetrize="none")).forces
    expected = exact.T @ exact
    count = 400
    grams = []
    for seed in range(count):
        sketch = next(sketch_rows(pet, [atoms], 2, seed, symmetrize="none")).forces
        assert sketch.shape == (2, exact.shape[1])
        grams.append(sketch.T @ sketch)
    mean, error = np.mean(grams, axis=0), np.std(grams, axis=0) / np.sqrt(count)
    largest = np.abs(expected).max()
    away = np.abs(mean - expected)[error > 1e-8 * largest] / error[error > 1e-8 * largest]
    assert away.max() < 5.0 and np.sqrt(np.mean(away**2)) < 1.5
    assert np.trace(mean) == pytest.approx(np.trace(expected), rel=0.1)


def test_the_same_structure_moved_or_reordered_has_the_same_rows(pet):
    atoms = small()
    moved = atoms.copy()
    moved.positions += [0.4, -3.0, 12.0]
    reordered = atoms[[2, 0, 3, 1]]
    rows = list(sketch_rows(pet, [atoms, moved, reordered, small(seed=2)], 4, seed=3, symmetrize="none"))
    scale = np.abs(rows[0].forces).max()
    for other in rows[1:3]:
        np.testing.assert_allclose(other.forces, rows[0].forces, rtol=0, atol=1e-7 * scale)
        np.testing.assert_allclose(other.energy, rows[0].energy, rtol=0, atol=1e-11)
    assert np.abs(rows[3].forces - rows[0].forces).max() > 0.1 * scale


def test_nothing_is_random_but_the_seed(pet):
    atoms = small()
    np.random.seed(1)  # noqa: NPY002 - what must not matter
    torch.manual_seed(1)
    first = next(sketch_rows(pet, [atoms], 3, seed=5, symmetrize="none")).forces
    second = next(sketch_rows(pet, [atoms], 3, seed=5, symmetrize="none")).forces
    assert np.array_equal(first, second)
    assert not np.allclose(first, next(sketch_rows(pet, [atoms], 3, seed=6, symmetrize="none")).forces)


def test_features_that_know_no_symmetry_are_averaged(pet):
    averaging = averaging_of(pet, None)
    octahedral = find_averaging("octahedral").rotations
    assert len(averaging.rotations) == 12
    assert all(np.abs(octahedral - one).max(axis=(1, 2)).min() < 1e-12 for one in averaging.rotations)
    atoms = small()
    rotation = averaging.rotations[5]
    plain, averaged = (
        [next(sketch_rows(pet, [one], 1, symmetrize=scheme)) for one in (atoms, rotated(atoms, rotation))]
        for scheme in ("none", None)
    )
    scale = np.abs(plain[0].energy).max()
    np.testing.assert_allclose(averaged[0].energy, averaged[1].energy, rtol=0, atol=1e-11 * scale)
    assert np.abs(plain[0].energy - plain[1].energy).max() > 1e-4 * scale


def test_as_many_directions_as_coordinates_are_all_rows(pet):
    atoms = small()
    every, more = (next(sketch_rows(pet, [atoms], k, symmetrize="none")).forces for k in (None, 12))
    assert every.shape == (12, every.shape[1]) and np.array_equal(every, more)


def test_constants_are_the_shares_of_the_elements(pet):
    (rows,) = sketch_rows(pet, [small()], 1, symmetrize="none")
    (without,) = sketch_rows(pet, [small()], 1, symmetrize="none", constants=False)
    assert rows.size == without.size + 1 and rows.energy[0, -1] == 1.0 and not rows.forces[:, -1].any()
    assert feature_names(pet, without.size)[-1] == "the constant of Si"
    assert len(feature_names(pet, without.size, constants=False)) == without.size


def test_a_molecule_has_no_stress_rows(pet):
    (rows,) = sketch_rows(pet, [Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]])], 1, labels=["energy", "stress"])
    assert len(rows.stress) == len(rows.forces) == 0 and len(rows.energy) == 1


def test_bad_input_is_refused(pet):
    with pytest.raises(MLIPError, match="expected one with the output `features`"):
        sketch_rows(load_model("snnp-si", device="cpu"), [small()])
    with pytest.raises(MLIPError, match="`directions`: expected at least 1"):
        sketch_rows(pet, [small()], 0)
    broken = small()
    broken.positions[1, 2] = np.nan
    with pytest.raises(StructureError, match=r"structure 1 of the list: `atoms.positions`"):
        list(sketch_rows(pet, [small(), broken], 1))
    with pytest.raises(StructureError, match=r"structure 0 of the list: `atoms` holds O"):
        list(sketch_rows(pet, [Atoms("O")], 1))
