"""Derivatives of sums of features: against the model's own forces; batches, threads, halves of rotations."""

from itertools import pairwise

import numpy as np
import pytest
from ase.build import bulk
from calls import call
from random_pet import METADATA, random_network, silicon

from ase_mlip.errors import StructureError
from ase_mlip.graph.neighbors import NeighborList, build_graph
from ase_mlip.model_file.model import export_model, load_model
from ase_mlip.optimal_design.rows import feature_sums
from ase_mlip.optimal_design.rows.feature_sums import FeatureSums
from ase_mlip.optimal_design.rows.sketch import averaging_of, sketch_rows
from ase_mlip.rotations.averaging import Averaging
from ase_mlip.rotations.schemes import find_averaging


@pytest.fixture(scope="module")
def pet(tmp_path_factory):
    path = tmp_path_factory.mktemp("sums") / "pet.pt"
    export_model(random_network(num_gnn_layers=1, num_attention_layers=1), path, METADATA)
    return load_model(path, device="cpu", dtype="float64")


def read_out(pet) -> np.ndarray:
    """w of E_i = w·f_i + b, by least squares over many atoms."""
    found = [call(pet.potential, build_graph(silicon(0.3, seed), 4.0), ["features"]) for seed in range(40)]
    features = np.concatenate([one["features"].numpy() for one in found])
    energies = np.concatenate([one["energies"].numpy() for one in found])
    matrix = np.column_stack([features, np.ones(len(features))])
    return np.linalg.lstsq(matrix, energies, rcond=1e-13)[0][:-1]


def thirds() -> Averaging:
    """Rotations about one axis, an odd number: no halves."""
    angles = 2.0 * np.pi * np.arange(3) / 3.0
    rotations = [[[np.cos(a), -np.sin(a), 0.0], [np.sin(a), np.cos(a), 0.0], [0.0, 0.0, 1.0]] for a in angles]
    return Averaging("thirds", np.array(rotations), np.full(3, 1.0 / 3.0))


@pytest.mark.parametrize("scheme", ["none", "thirds", "tetrahedral", "octahedral"])
def test_derivatives_times_the_read_out_are_the_averaged_forces(pet, scheme):
    """The oracle is autograd, averaged over the same rotations."""
    named = {"thirds": thirds(), "tetrahedral": averaging_of(pet, None)}
    averaging = named[scheme] if scheme in named else find_averaging(scheme)
    atoms = silicon(0.2, seed=1)
    sums = FeatureSums(pet, averaging, atoms)
    found = -sums.along(np.eye(24).reshape(24, 8, 3)) @ read_out(pet)
    expected = call(pet.potential, build_graph(atoms, 4.0), ["forces", "virial"], averaging)
    forces, virial = expected["forces"].numpy().ravel(), expected["virial"][0].numpy()
    # of halves: h/4 times the difference of their second derivatives, as large as they themselves at random
    tolerance = 1e-7 if scheme in ("none", "thirds") else 3e-5
    assert np.abs(found - forces).max() < tolerance * np.abs(forces).max()
    strain = (-0.5 * (virial + virial.T))[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    assert np.abs(sums.by_strain() @ read_out(pet) - strain).max() < 10 * tolerance * np.abs(strain).max()


def test_errors_of_halves_change_sign_with_the_direction(pet):
    """So the mean of a Gram matrix over random signs has an error of second order only."""
    sums = FeatureSums(pet, averaging_of(pet, None), silicon(0.2, seed=1))
    direction = np.random.default_rng(0).choice([-1.0, 1.0], size=(8, 3))
    ahead, back = sums.along([direction, -direction])
    sums._sides = None
    (exact,) = sums.along([direction])
    scale = np.abs(exact).max()
    assert np.abs(0.5 * (ahead - back) - exact).max() < 1e-8 * scale
    assert 1e-8 * scale < np.abs(ahead - exact).max() < 1e-4 * scale


def test_batches_and_threads_change_nothing_but_rounding(pet, monkeypatch):
    frames = [bulk("Si"), silicon(0.1, 2), silicon(0.1, 3), bulk("Si").repeat((2, 1, 1))]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=seed)
    usual = [rows.forces for rows in sketch_rows(pet, frames, 3)]
    monkeypatch.setitem(feature_sums.NODES_AT_ONCE, "cpu", 1)
    single = [next(sketch_rows(pet, [atoms], 3)).forces for atoms in frames]
    for one, other in zip(usual, single, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7 * np.abs(one).max())


def test_one_neighbour_list_serves_all_displaced_copies(pet, monkeypatch):
    lists = []

    class Counted(NeighborList):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            lists.append(self)

    monkeypatch.setattr(feature_sums, "NeighborList", Counted)
    list(sketch_rows(pet, [silicon(0.1, 1), silicon(0.1, 2)], 4, labels=["energy", "forces", "stress"]))
    assert [one.rebuilds for one in lists] == [1, 1]


def test_evaluations_are_one_for_each_direction_and_rotation(pet, monkeypatch):
    """And one at rest; nothing is differentiated."""
    seen = []
    original = FeatureSums._together

    def counted(self, items):
        seen.append(len(items))
        return original(self, items)

    monkeypatch.setattr(FeatureSums, "_together", counted)
    next(sketch_rows(pet, [silicon()], 5))
    assert sum(seen) == 12 * (1 + 5)
    assert all(first >= second for first, second in pairwise(seen[1:]))


def test_a_structure_with_other_elements_is_refused(pet):
    with pytest.raises(StructureError, match="holds Ge"):
        FeatureSums(pet, find_averaging("none"), bulk("Ge"))
