"""The self-test in a model file: its structure, references and tolerance."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from model_files import as_atoms, rewrite

from ase_mlip.errors import ModelFileError
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file import archive, self_test
from ase_mlip.model_file.info import ModelInfo
from ase_mlip.model_file.model import load_model


def info_for(species, cutoff, **claims) -> ModelInfo:
    return ModelInfo("x", species, cutoff, 1, cutoff, **claims)


@pytest.mark.parametrize("species", [[14], [1, 8], [3, 8, 22, 56], list(range(1, 95))])
@pytest.mark.parametrize("cutoff", [3.0, 6.0])
def test_structure_is_small_sensible_and_sees_its_own_images(species, cutoff):
    structure = self_test.make_structure(info_for(species, cutoff))
    atoms = as_atoms(structure)
    assert 2 <= len(atoms) <= 8
    assert set(atoms.numbers) <= set(species)
    assert len(set(atoms.numbers)) == min(len(species), len(atoms))
    i, j, d = neighbor_list("ijd", atoms, cutoff)
    assert (i == j).any(), "no atom sees its own image"
    assert set(i) == set(range(len(atoms))), "an atom has no neighbours"
    assert d.min() > 0.6 * min(2.0, cutoff)


@pytest.mark.parametrize("cutoff", [2.5, 4.0, 7.0])
def test_images_agree_with_ase_and_with_our_neighbour_list(cutoff):
    pairs = {"O-O": 2.2, "O-Si": 0.9 * cutoff}
    info = info_for([8, 14], cutoff, pair_cutoffs=pairs)
    structure = self_test.make_structure(info)
    edges, vectors, shifts = self_test.neighbour_images(structure, cutoff, info.pair_cutoff_numbers())

    def ordered(i, j, S, D):
        order = np.lexsort((*np.asarray(S).T, j, i))
        return [np.asarray(x)[order] for x in (i, j, S, D)]

    ours = ordered(*edges.numpy(), shifts.numpy(), vectors.numpy())
    i, j, S, D = neighbor_list("ijSD", as_atoms(structure), {("O", "O"): 2.2, ("O", "Si"): 0.9 * cutoff,
                                                              ("Si", "Si"): cutoff})  # fmt: skip
    for mine, other in zip(ours, ordered(i, j, S, D), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)
    graph = build_graph(as_atoms(structure), cutoff, pairs)
    theirs = ordered(*graph.edge_index.numpy(), graph.shifts.numpy(), graph.edge_vectors.numpy())
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)


def test_reference_forces_and_virial_are_derivatives_of_the_energy(anisotropic_model_path):
    model = load_model(anisotropic_model_path, device="cpu", dtype="float64")
    reference = model.info.self_test["reference"]
    atoms = as_atoms(model.info.self_test["structure"])

    def energy(displaced):
        return float(model(build_graph(displaced, model.info.cutoff), ())["energy"])

    h = 1e-4
    for axis in range(3):
        ends = []
        for sign in (h, -h):
            displaced = atoms.copy()
            displaced.positions[1, axis] += sign
            ends.append(energy(displaced))
        assert -(ends[0] - ends[1]) / (2 * h) == pytest.approx(reference["forces"][1][axis], abs=1e-6)
    for a, b in [(0, 0), (1, 2), (2, 1)]:
        ends = []
        for sign in (h, -h):
            strain = np.eye(3)
            strain[a, b] += sign
            ends.append(energy(Atoms(atoms.numbers, positions=atoms.positions @ strain,
                                     cell=atoms.cell.array @ strain, pbc=True)))  # fmt: skip
        assert -(ends[0] - ends[1]) / (2 * h) == pytest.approx(reference["virial"][0][a][b], abs=1e-5)


def test_tolerance_in_single_precision_is_small_and_not_exceeded(anisotropic_model_path):
    model = load_model(anisotropic_model_path, device="cpu", dtype="float32")
    tolerances = model.info.self_test["tolerances"]
    assert tolerances["float32"]["cpu"]["forces"] < 1e-3
    assert tolerances["float64"]["cpu"]["forces"] < 1e-7
    rotations, structure = self_test.exported_rotations(model.module), model.info.self_test["structure"]
    wanted = list(model.info.self_test["reference"])
    outputs = self_test.evaluate(model.module, rotations, structure, model.info, wanted)
    assert not self_test.compare(outputs, model.info.self_test, "float32", "cpu")
    assert self_test.compare(outputs, model.info.self_test, "float64", "cpu")


@pytest.mark.parametrize("quantity", ["energy", "forces", "virial", "direct_forces", "direct_stresses"])
def test_wrong_reference_fails_the_self_test_and_says_by_how_much(tmp_path, anisotropic_model_path, quantity):
    document = json.loads(archive.read_document(anisotropic_model_path).text)
    reference = np.array(document["self_test"]["reference"][quantity])
    reference.flat[-1] += 0.01
    document["self_test"]["reference"][quantity] = reference.tolist()
    path = rewrite(anisotropic_model_path, tmp_path / "bad.pt", document=document)
    message = rf"self-test.*`{quantity}`: expected .* got .* tolerance"
    with pytest.raises(ModelFileError, match=message) as caught:
        load_model(path, device="cpu")
    assert str(path) in str(caught.value)
    load_model(path, device="cpu", self_test=False)
