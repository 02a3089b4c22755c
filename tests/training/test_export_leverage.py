"""``[design] export = true``: the exported file has the leverage of its training data."""

import zipfile

import numpy as np
import pytest
from snnp_training import prepare

from ase_mlip import MLIPCalculator
from ase_mlip.model_file.info import read_info
from ase_mlip.training.train import train

LINEAR = "radial_filters = 0\nangular_filters = 2\nradial_intervals = 6\nangular_intervals = 5\ninner = 1.5"
PET = "d_pet = 8\nd_node = 8\nd_head = 8\nd_feedforward = 16\nnum_heads = 1\nnum_gnn_layers = 1"


@pytest.mark.parametrize(
    ("architecture", "model", "epochs", "calibrated"),
    [
        ("snnp", f"{LINEAR}\nhidden = []", 0, True),
        ("snnp", f"{LINEAR}\nhidden = [3]", 1, False),
        ("pet", PET, 1, True),
    ],
)
@pytest.mark.filterwarnings("ignore:.*do not determine these coefficients")
def test_a_training_exports_it(tmp_path, architecture, model, epochs, calibrated):
    """Calibrated on the validation set where the energies are linear in what the leverage is made of."""
    start = "linear_start = 1e-3" if architecture == "snnp" else 'kind = "adamw"'
    end = f"{start}\n[design]\nexport = true"
    path, frames = prepare(tmp_path, architecture, model, optimizer=end, epochs=epochs)
    with pytest.warns(RuntimeWarning, match="structures is their worst one.*below 100 structures"):
        exported = train(path, dynamics=0.0)
    info = read_info(exported)
    record = info.training["leverage"]
    n_train, n_validation = (info.training["data"]["structures"][name] for name in ("train", "validation"))
    assert record["structures"] == n_train and n_train + n_validation == len(frames)
    assert record["data"] == {"train.xyz": info.training["data"]["files"]["train"][0]["sha256"]}
    with zipfile.ZipFile(exported) as archive:  # no path of the machine that the TOML file does not have
        assert not any(str(tmp_path).encode() in archive.read(name) for name in archive.namelist())
    assert (record["calibration"] is not None) is calibrated
    if calibrated:
        assert record["calibration"]["structures"] == n_validation
    assert "errors" in info.training
    calculator = MLIPCalculator(exported, leverage=True)
    found = calculator.evaluate(frames, ["energy", "diagnostics"])
    leverages = np.concatenate([one["diagnostics"]["leverage"] for one in found])
    assert (leverages < 1.0).mean() > 0.8
    assert ("energy_uncertainty" in found[0]["diagnostics"]) is calibrated
