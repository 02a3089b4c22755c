"""The weights of converted SevenNet models: what training makes different, and nothing else."""

import importlib
import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a library that only this test imports
    pytest.importorskip("sevenn", reason="needs sevenn (0.13.0)")
    for name in ("model_build", "train.dataload"):
        importlib.import_module(f"sevenn.{name}")

from differing import assert_weights, differing, listed
from landscape_cases import assert_landscape
from toy import silica

from ase_mlip import load_model
from ase_mlip.converters import adapt, export_adapted
from tests.adapters.sevennet_models import write

VARIANTS = {
    "small": {},
    "bias": {"use_bias_in_linear": True, "self_connection_type": "linear", "is_parity": False},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_tensor_differs_between_two_trainings_exactly_if_it_is_listed(changes, tmp_path):
    models = []
    for seed in (1, 2):
        checkpoint = write(tmp_path / f"{seed}.pth", seed=seed, train_on=[silica()], **changes)
        export_adapted(adapt("sevennet", checkpoint, allow_pickle=True), tmp_path / f"{seed}.pt")
        models.append(load_model(tmp_path / f"{seed}.pt", device="cpu", dtype="float64"))
    assert differing(*models) == listed(models[0])
    assert_weights(models[0], "SevenNet", silica())
    assert_landscape(models[0], silica())
