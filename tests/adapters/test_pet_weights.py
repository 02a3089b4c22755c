"""The weights of converted PETs of metatrain: what training makes different, and nothing else."""

import pytest

pytest.importorskip("metatrain", reason="metatrain is not installed")

from ase.build import bulk
from differing import assert_weights, differing, listed
from landscape_cases import assert_landscape

from ase_mlip import load_model
from ase_mlip.converters import adapt, export_adapted
from tests.adapters.pet_checkpoints import train


def test_a_tensor_differs_between_two_trainings_exactly_if_it_is_listed(tmp_path):
    """All data train, so that what is fitted to them before, scales and composition, is the same."""
    models = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        export_adapted(adapt("pet", train(folder, {}, seed), allow_pickle=True), folder / "model.pt")
        models.append(load_model(folder / "model.pt", device="cpu", dtype="float64"))
    assert differing(*models) == listed(models[0])
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Au"
    atoms.rattle(0.1, seed=0)
    assert_weights(models[0], "PET", atoms)
    assert_landscape(models[0], atoms)
