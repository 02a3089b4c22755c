"""Training: it learns, exports, and says clearly what is wrong with its input."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read
from toy_training import frames, history, leftovers, prepare

from ase_mlip import provenance
from ase_mlip.checks.evaluate import EvaluationResult
from ase_mlip.configuration.run import read_config
from ase_mlip.errors import DataError
from ase_mlip.model_file.model import load_model
from ase_mlip.training.export import load_native
from ase_mlip.training.train import train


def test_leftovers_are_what_an_interrupted_write_leaves(tmp_path, monkeypatch):
    """At the moment before the file gets its name: what a kill there would leave."""
    seen = []
    real = provenance.os.replace
    monkeypatch.setattr(provenance.os, "replace", lambda a, b: (seen.extend(leftovers(tmp_path)), real(a, b)))
    provenance.write_atomically(tmp_path / "best.safetensors", b"x")
    assert len(seen) == 1 and not leftovers(tmp_path)


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path):
    """A process whose files may not grow beyond 3 kB meets the same error in the same place."""
    path = prepare(tmp_path, epochs=1)
    code = (
        "import resource; from ase_mlip.cli.program import main; import ase_mlip.training.train; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); main(['train', {str(path)!r}])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    checkpoint = tmp_path / "out" / "checkpoint.safetensors"
    assert f"Error: `{checkpoint}`: file too large" in done.stderr.splitlines()
    assert not leftovers(tmp_path / "out") and not checkpoint.exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A short run, uninterrupted."""
    folder = tmp_path_factory.mktemp("run")
    train(prepare(folder, epochs=40, optimizer="rotate = false"), dynamics=0.0)
    return folder


def test_errors_fall(finished):
    rows = history(finished)
    assert rows[-1]["train_forces_rmse"] < 0.9 * rows[0]["train_forces_rmse"]
    assert rows[-1]["train_energy_rmse"] < 0.9 * rows[0]["train_energy_rmse"]


def test_everything_promised_is_written(finished):
    out = finished / "out"
    for name in ("checkpoint.safetensors", "best.safetensors", "best.json", "metrics.csv", "errors.json"):
        assert (out / name).stat().st_size > 0
    assert (out / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert not leftovers(out)


def test_the_export_carries_its_provenance(finished):
    model = load_model(finished / "out" / "toy.pt")
    training = model.info.training
    assert training["data"]["keys"] == {"energy": "energy", "forces": "forces", "stress": "stress"}
    assert training["data"]["units"] == {"energy": "eV", "length": "Å"}
    assert training["data"]["stress_sign"] == "ase" and training["data"]["reference_energies"] == "fitted"
    assert training["epochs"] == 40 and training["functional"] == "EMT"
    errors = json.loads((finished / "out" / "errors.json").read_text())
    assert training["errors"]["test"]["forces_rmse"] == errors["test"]["forces_rmse"]
    assert set(training["errors"]) == {"training", "validation", "test"}
    assert errors["test"].keys() == EvaluationResult().to_dict().keys()  # of `evaluate --json`
    assert model.info.outputs[0] == "energies" and "direct_forces" in model.info.outputs


def test_test_errors_are_those_of_the_exported_file(finished):
    """Oracle: energies of the exported model through its calculator, compared by hand."""
    from ase_mlip.calculators.calculator import MLIPCalculator

    calc = MLIPCalculator(finished / "out" / "toy.pt")
    residuals = []
    for atoms in read(finished / "test.xyz", ":"):
        reference = atoms.get_potential_energy()
        atoms.calc = calc
        residuals.append((atoms.get_potential_energy() - reference) / len(atoms))
    errors = json.loads((finished / "out" / "errors.json").read_text())
    assert errors["test"]["energy_rmse"] == pytest.approx(np.sqrt(np.mean(np.square(residuals))), rel=1e-6)


def test_native_weights_give_the_exported_numbers(finished):
    network, reference = load_native(finished / "out" / "best.safetensors")
    model = load_model(finished / "out" / "toy.pt", device="cpu")
    theirs = dict(model.module.network.network.named_parameters())
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, theirs[name])
    assert reference.keys() == {29}


def test_direct_forces_have_no_constant(finished):
    from ase_mlip.graph.neighbors import build_graph

    model = load_model(finished / "out" / "toy.pt", device="cpu")
    means = [
        model(build_graph(atoms, 3.5), ["direct_forces"])["direct_forces"].mean(dim=0)
        for atoms in frames(10, 0)
    ]
    means = torch.stack(means)
    assert float(means.mean(dim=0).abs().max()) < float(means.std(dim=0).max())


def test_a_diverging_run_stops_with_the_step(tmp_path):
    path = prepare(tmp_path, optimizer="warmup_fraction = 0.0\ngradient_clip = 0.0")
    path.write_text(path.read_text().replace("learning_rate = 5e-3", "learning_rate = 1e12"))
    with pytest.raises(DataError, match="`loss` became .* in step"):
        train(path, dynamics=0.0)


def test_direct_phase_needs_no_second_derivative(tmp_path):
    train(prepare(tmp_path, epochs=2, optimizer="conservative_from = 1"), dynamics=0.0)
    with open(tmp_path / "out" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["train_forces_rmse"] == "" and float(rows[1]["train_forces_rmse"]) > 0


def test_tensorboard_files_are_written(tmp_path):
    pytest.importorskip("tensorboard")
    train(prepare(tmp_path, epochs=1, top="tensorboard = true"), dynamics=0.0)
    assert list((tmp_path / "out" / "tensorboard").glob("events.*"))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"loss": "frces = 1.0"}, "unknown key `frces`"),
        ({"model": 'architecture = "gap"'}, r"\[model\] architecture: expected one of"),
        ({"model": "cutoff_width = 4.0"}, r"\[model\]: `cutoff`"),
        ({"loss": 'kind = "l1"'}, r"\[loss\] kind"),
        ({"optimizer": 'kind = "sgd"'}, r"\[optimizer\] kind"),
        ({"optimizer": "ema_decay = 1.5"}, r"\[optimizer\] ema_decay"),
        ({"data": 'units = {energy = "Ry", length = "Å"}'}, "Ry"),
        ({"top": 'device = "cuda"'}, "torch sees 0 GPUs"),
    ],
)
def test_wrong_entries_are_named(tmp_path, parts, message):
    if "cuda" in parts.get("top", "") and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DataError, match=message):
        train(prepare(tmp_path, **parts), dynamics=0.0)


def test_files_that_are_no_configuration(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("= 1")
    with pytest.raises(DataError, match="not valid TOML"):
        read_config(tmp_path / "bad.toml")
    (tmp_path / "empty.toml").write_text('name = "x"\noutput = "y"')
    with pytest.raises(DataError, match=r"no table `\[data\]`"):
        read_config(tmp_path / "empty.toml")


# ---- without energies, without forces


def test_forces_alone_are_enough(tmp_path):
    """The energy is their integral: right up to a constant. EMT's energies are never shown."""
    train(prepare(tmp_path, epochs=40, data='energy_key = ""', optimizer="rotate = false"), dynamics=0.0)
    rows = history(tmp_path)
    assert rows[-1]["train_forces_rmse"] < 0.9 * rows[0]["train_forces_rmse"]
    assert "train_energy_rmse" not in rows[0]
    model = load_model(tmp_path / "out" / "toy.pt", device="cpu")
    assert model.info.reference_energies == {"Cu": 0.0}
    assert model.info.training["data"]["keys"]["energy"] is None
    errors = json.loads((tmp_path / "out" / "errors.json").read_text())["test"]
    assert errors["energy_rmse"] is None and errors["forces_rmse"] > 0


def test_energies_alone_are_enough(tmp_path):
    data = 'forces_key = ""\nstress_key = ""\nreference_energies = { Cu = 1.0 }'
    path = prepare(tmp_path, epochs=2, data=data)
    path.write_text(path.read_text().replace("direct_forces = 0.1\ndirect_stress = 0.01", ""))
    train(path, dynamics=0.0)
    assert "train_forces_rmse" not in history(tmp_path)[0]


def test_data_without_a_weighted_quantity_are_refused(tmp_path):
    path = prepare(tmp_path, data='energy_key = ""', loss="forces = 0\nstress = 0")
    path.write_text(path.read_text().replace("direct_forces = 0.1\ndirect_stress = 0.01", ""))
    with pytest.raises(
        DataError, match=r"got weights of energy and data of forces, stress; nothing would be"
    ):
        train(path, dynamics=0.0)
