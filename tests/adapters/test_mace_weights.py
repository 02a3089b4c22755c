"""The weights of converted MACE models: what training makes different, and nothing else."""

import importlib.util

import pytest

if importlib.util.find_spec("mace") is None:
    pytest.skip("mace-torch is not installed", allow_module_level=True)

from differing import assert_weights, differing, listed
from landscape_cases import assert_landscape
from toy import silica

from ase_mlip import load_model
from ase_mlip.converters import adapt, export_adapted
from tests.adapters.mace_models import GOOD, write_trained


@pytest.mark.parametrize("name", ["two-layers", "density", "bias-readout"])
def test_a_tensor_differs_between_two_trainings_exactly_if_it_is_listed(name, tmp_path):
    models = []
    for seed in (1, 2):
        checkpoint, path = tmp_path / f"{seed}.model", tmp_path / f"{seed}.pt"
        write_trained(checkpoint, [silica()], seed=seed, **GOOD[name])
        export_adapted(adapt("mace", checkpoint, allow_pickle=True), path)
        models.append(load_model(path, device="cpu", dtype="float64"))
    assert differing(*models) == listed(models[0])
    assert_weights(models[0], "MACE", silica())
    assert_landscape(models[0], silica())
