"""Averages exported into the model file."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from random_pet import METADATA, random_network, results, silicon

from ase_mlip import MLIPCalculator, SymmetrizedModel, export_model, load_model
from ase_mlip.errors import ModelFileError, StructureError
from ase_mlip.model_file.info import read_info
from ase_mlip.rotations.schemes import find_averaging


def test_exported_with_its_averaging(tmp_path):
    network = random_network()
    export_model(network, tmp_path / "plain.pt", METADATA)
    chosen = find_averaging("octahedral")
    wrapped = SymmetrizedModel(network, chosen.rotations, chosen.weights)
    info = export_model(
        wrapped, tmp_path / "averaged.pt", {**METADATA, "symmetrization": {"scheme": "octahedral"}}
    )
    assert info.symmetrization == {"scheme": "octahedral", "lattice": False, "rotations": 24}
    atoms = silicon()
    found = results(tmp_path / "averaged.pt", atoms)
    expected = results(tmp_path / "plain.pt", atoms, symmetrize="octahedral")
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-11, err_msg=name)
    plain = results(tmp_path / "plain.pt", atoms)
    assert results(tmp_path / "averaged.pt", atoms, symmetrize="none")["energy"] == plain["energy"]
    with pytest.raises(ModelFileError, match="claims .* but the module has no rotations"):
        export_model(network, tmp_path / "x.pt", {**METADATA, "symmetrization": {"scheme": "octahedral"}})


@pytest.fixture(scope="module")
def exported_crystal(random_path, tmp_path_factory):
    """The model's file with the group of silicon stored in it, and the crystal."""
    crystal = bulk("Si", a=5.4)
    model = load_model(random_path)
    path = tmp_path_factory.mktemp("crystal") / "crystal.pt"
    info = export_model(model.module, path, model.info, averaging=find_averaging(crystal))
    assert info == read_info(path)
    return path, crystal


def test_a_crystals_group_is_stored_with_its_cell(exported_crystal, random_path):
    path, crystal = exported_crystal
    stored = read_info(path).symmetrization
    assert {key: stored[key] for key in ("scheme", "lattice", "rotations")} == {
        "scheme": "crystal m-3m",
        "lattice": True,
        "rotations": 48,
    }
    np.testing.assert_array_equal(stored["cell"], crystal.cell.array)
    atoms = crystal.repeat(2)
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell.array * 1.02, scale_atoms=True)  # the lattice matters, not its size
    found, expected = results(path, atoms), results(random_path, atoms, symmetrize=crystal)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-11, err_msg=name)


def test_boxes_that_an_exported_group_does_not_keep_are_refused(exported_crystal):
    """The mismatch is that of the operation that is worst, by hand: c of the box is sheared along a."""
    path, crystal = exported_crystal
    cubic = bulk("Si", a=5.4, cubic=True)
    sheared = cubic.copy()
    sheared.cell[2, 0] = 0.05
    rotated = cubic.copy()
    rotated.rotate(10.0, "z", rotate_cell=True)
    for atoms in (sheared, rotated, cubic.repeat((1, 2, 1))):
        with pytest.raises(StructureError, match="48 operations of crystal m-3m map onto itself"):
            results(path, atoms)
        assert np.isfinite(results(path, atoms, check_lattice=False)["energy"])
        assert np.isfinite(results(path, atoms, symmetrize="none")["energy"])
    with pytest.raises(StructureError) as caught:
        results(path, sheared)
    # diag(-1, 1, 1) takes c + 0.05 x to c - 0.05 x: 0.1 Å away, 0.1 / 5.4 of a
    assert "at worst by 0.019 of a vector (0.1 Å)" in str(caught.value)
    assert "[[0.0, 2.7, 2.7], [2.7, 0.0, 2.7], [2.7, 2.7, 0.0]] Å" in str(caught.value)
    assert "check_lattice=False" in str(caught.value)
    with pytest.raises(StructureError, match="structure 1 of the list: .* map onto itself"):
        MLIPCalculator(path).evaluate([cubic, sheared])


def test_an_averaging_is_replaced_and_removed_on_export(exported_crystal, random_path, tmp_path):
    model = load_model(exported_crystal[0])
    info = export_model(model.module, tmp_path / "o.pt", model.info, averaging=find_averaging("octahedral"))
    assert info.symmetrization == {"scheme": "octahedral", "lattice": False, "rotations": 24}
    atoms = silicon()
    expected = results(random_path, atoms, symmetrize="octahedral")["energy"]
    assert results(tmp_path / "o.pt", atoms)["energy"] == pytest.approx(expected, abs=1e-11)
    info = export_model(model.module, tmp_path / "p.pt", model.info, averaging=find_averaging("none"))
    assert info.symmetrization is None
    plain = results(random_path, atoms)["energy"]
    assert results(tmp_path / "p.pt", atoms)["energy"] == pytest.approx(plain, abs=1e-12)
    assert model.info.symmetrization["rotations"] == 48  # what was loaded stays as it is
    with pytest.raises(StructureError, match="another rotation at every evaluation"):
        export_model(model.module, tmp_path / "r.pt", model.info, averaging=find_averaging("random 1"))


@pytest.mark.parametrize(
    ("rotations", "weights", "message"),
    [
        (np.ones((2, 3, 3)), None, "must be orthogonal"),
        (np.eye(3), None, r"must have shape \[G, 3, 3\]"),
        (np.eye(3)[None], [0.5], "sum 1"),
    ],
)
def test_rotations_are_checked(rotations, weights, message):
    with pytest.raises(ValueError, match=message):
        SymmetrizedModel(torch.nn.Identity(), rotations, weights)
