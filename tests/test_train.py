"""Training: it learns, resumes exactly, exports, and says clearly what is wrong with its input."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_mlip import archive
from ase_mlip import train as train_module
from ase_mlip.errors import DataError
from ase_mlip.evaluate import EvaluationResult
from ase_mlip.model import load_model
from ase_mlip.train import train
from ase_mlip.train_config import LossConfig, read_config
from ase_mlip.train_export import load_native
from ase_mlip.train_loss import Scales, energy_weight, loss

RUN = """
name = "toy"
output = "out"
threads = 1
functional = "EMT"
{top}
[data]
train = "train.xyz"
test = "test.xyz"
validation_fraction = 0.2
{data}
[model]
cutoff = 3.5
d_pet = 16
d_node = 24
d_head = 16
d_feedforward = 32
num_heads = 2
num_attention_layers = 1
num_gnn_layers = 1
direct_forces = true
direct_stress = true
{model}
[loss]
direct_forces = 0.1
direct_stress = 0.01
{loss}
[optimizer]
batch_size = 2
learning_rate = 5e-3
epochs = {epochs}
{optimizer}
"""


def frames(n: int, seed: int) -> list:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += 0.15 * rng.normal(size=atoms.positions.shape)
        atoms.calc = EMT()
        results = {k: atoms.calc.get_property(k, atoms) for k in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        # the same under other names: a key that is changed finds something
        atoms.info["dft"], atoms.arrays["dft_forces"] = results["energy"] + 1.0, results["forces"]
        found.append(atoms)
    return found


def prepare(folder: Path, epochs: int = 3, **parts: str) -> Path:
    write(folder / "train.xyz", frames(10, 0))
    write(folder / "test.xyz", frames(2, 1))
    filled = {"top": "", "data": "", "model": "", "loss": "", "optimizer": "", **parts}
    path = folder / "run.toml"
    path.write_text(RUN.format(epochs=epochs, **filled))
    return path


def history(folder: Path) -> list[dict[str, float]]:
    with open(folder / "out" / "metrics.csv") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def leftovers(folder: Path) -> list[Path]:
    """Files that `write_atomically` began and did not finish; the next test holds their name."""
    return list(folder.glob(".*.tmp"))


def test_leftovers_are_what_an_interrupted_write_leaves(tmp_path, monkeypatch):
    """At the moment before the file gets its name: what a kill there would leave."""
    seen = []
    real = archive.os.replace
    monkeypatch.setattr(archive.os, "replace", lambda a, b: (seen.extend(leftovers(tmp_path)), real(a, b)))
    archive.write_atomically(tmp_path / "best.safetensors", b"x")
    assert len(seen) == 1 and not leftovers(tmp_path)


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path):
    """A process whose files may not grow beyond 3 kB meets the same error in the same place."""
    path = prepare(tmp_path, epochs=1)
    code = (
        "import resource; from ase_mlip.cli import main; import ase_mlip.train; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); main(['train', {str(path)!r}])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
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
    train(prepare(folder, epochs=40, optimizer="rotate = false"), progress=False)
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
    assert errors["test"].keys() == json.loads(EvaluationResult().to_json()).keys()  # of `evaluate --json`
    assert model.info.outputs[0] == "energies" and "direct_forces" in model.info.outputs


def test_test_errors_are_those_of_the_exported_file(finished):
    """Oracle: energies of the exported model through its calculator, compared by hand."""
    from ase.io import read

    from ase_mlip.calculator import MLIPCalculator

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
    from ase_mlip.neighbors import build_graph

    model = load_model(finished / "out" / "toy.pt", device="cpu")
    means = [
        model(build_graph(atoms, 3.5), ["direct_forces"])["direct_forces"].mean(dim=0)
        for atoms in frames(10, 0)
    ]
    means = torch.stack(means)
    assert float(means.mean(dim=0).abs().max()) < float(means.std(dim=0).max())


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_resuming_gives_the_same_losses(kind, tmp_path, monkeypatch):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir(), halves.mkdir()
    optimizer = f'kind = "{kind}"'
    train(prepare(whole, epochs=4, optimizer=optimizer), progress=False)
    path = prepare(halves, epochs=4, optimizer=optimizer)
    real, calls = train_module.save_checkpoint, []

    def interrupt(*arguments):
        real(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train_module, "save_checkpoint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(path, progress=False)
    monkeypatch.undo()
    with pytest.raises(DataError, match="--resume"):
        train(path, progress=False)
    train(path, resume=True, progress=False)
    assert history(halves) == history(whole)


def test_a_killed_run_resumes(tmp_path):
    """SIGKILL at an arbitrary moment, then --resume; the losses are those of an uninterrupted run."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir(), whole.mkdir()
    path = prepare(killed, epochs=15)
    code = f"from ase_mlip.train import train; train({str(path)!r}, progress=False)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment)
    deadline = time.monotonic() + 120
    while not (killed / "out" / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = len(history(killed))
    assert 0 < done < 15
    train(path, resume=True, progress=False)
    train(prepare(whole, epochs=15), progress=False)
    assert history(killed) == history(whole)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate = 5e-3", "learning_rate = 1e-3", "`optimizer.learning_rate` was 0.005 and is 0.001;"),
        ("[data]", '[data]\nenergy_key = "dft"', '`data.energy_key` was "energy" and is "dft";'),
        (
            "[data]",
            '[data]\nforces_key = "dft_forces"',
            '`data.forces_key` was "forces" and is "dft_forces";',
        ),
        ("[data]", '[data]\nstress_key = ""', '`data.stress_key` was "stress" and is "";'),
        ("[data]", '[data]\nstress_sign = "vasp"', '`data.stress_sign` was "ase" and is "vasp";'),
        (
            "[data]",
            "[data]\nreference_energies = { Cu = -3.0 }",
            "`data.reference_energies.Cu` was absent and is -3",
        ),
        ("[data]", '[data]\nunits = { energy = "kJ/mol" }', '`data.units.energy` was "eV" and is "kJ/mol";'),
        ("train.xyz", "train.xyz@:9", '`data.train.0.slice` was absent and is ":9";'),
    ],
)
def test_resume_refuses_another_configuration_and_names_the_key(finished, old, new, message):
    text = (finished / "run.toml").read_text()
    assert old in text
    other = finished / "other.toml"
    other.write_text(text.replace(old, new, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of units that do not fit
        with pytest.raises(DataError, match="another configuration") as caught:
            train(other, resume=True, progress=False)
    assert message in str(caught.value)


def test_resume_refuses_other_data_under_the_same_name(finished, tmp_path):
    import shutil

    shutil.copytree(finished, tmp_path / "copy")
    write(tmp_path / "copy" / "train.xyz", frames(10, 5))
    with pytest.raises(DataError, match=r"`data.train.0.sha256` was .* and is"):
        train(tmp_path / "copy" / "run.toml", resume=True, progress=False)


def test_what_does_not_matter_may_change_before_resuming(finished, tmp_path):
    import shutil

    shutil.copytree(finished, tmp_path / "copy")
    path = tmp_path / "copy" / "run.toml"
    path.write_text(
        'description = "another"\nlicense = "MIT"\n' + path.read_text().replace("threads = 1", "threads = 2")
    )
    model = load_model(train(path, resume=True, progress=False), device="cpu")
    assert model.info.description == "another" and model.info.license == "MIT"


def test_resume_refuses_a_foreign_file(tmp_path):
    path = prepare(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="cannot be read as a training checkpoint"):
        train(path, resume=True, progress=False)


def test_a_diverging_run_stops_with_the_step(tmp_path):
    path = prepare(tmp_path, optimizer="warmup_fraction = 0.0\ngradient_clip = 0.0")
    path.write_text(path.read_text().replace("learning_rate = 5e-3", "learning_rate = 1e12"))
    with pytest.raises(DataError, match="`loss` became .* in step"):
        train(path, progress=False)


def test_direct_phase_needs_no_second_derivative(tmp_path):
    train(prepare(tmp_path, epochs=2, optimizer="conservative_from = 1"), progress=False)
    with open(tmp_path / "out" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["train_forces_rmse"] == "" and float(rows[1]["train_forces_rmse"]) > 0


def test_tensorboard_files_are_written(tmp_path):
    pytest.importorskip("tensorboard")
    train(prepare(tmp_path, epochs=1, top="tensorboard = true"), progress=False)
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
        train(prepare(tmp_path, **parts), progress=False)


def test_files_that_are_no_configuration(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("= 1")
    with pytest.raises(DataError, match="not valid TOML"):
        read_config(tmp_path / "bad.toml")
    (tmp_path / "empty.toml").write_text('name = "x"\noutput = "y"')
    with pytest.raises(DataError, match=r"no table `\[data\]`"):
        read_config(tmp_path / "empty.toml")


def test_huber_loss_is_quadratic_then_linear():
    config = LossConfig(energy=2.0, energy_start=2.0, energy_delta=0.5, forces=0.0)
    scales = Scales(energy=1.0, forces=1.0, stress=1.0)

    def value(residual: float) -> float:
        return float(loss({"energy": torch.tensor([residual])}, config, scales, done=0.3))

    assert value(0.2) == pytest.approx(2.0 * 0.2**2 / 2 / 0.5)
    assert value(3.0) - value(2.0) == pytest.approx(2.0)


def test_energy_weight_grows_geometrically():
    config = LossConfig(energy=1.0, energy_start=0.01)
    assert [energy_weight(config, d) for d in (0.0, 0.5, 1.0)] == pytest.approx([0.01, 0.1, 1.0])


# ---- without energies, without forces


def test_forces_alone_are_enough(tmp_path):
    """The energy is their integral: right up to a constant. EMT's energies are never shown."""
    train(prepare(tmp_path, epochs=40, data='energy_key = ""', optimizer="rotate = false"), progress=False)
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
    train(path, progress=False)
    assert "train_forces_rmse" not in history(tmp_path)[0]


def test_data_without_a_weighted_quantity_are_refused(tmp_path):
    path = prepare(tmp_path, data='energy_key = ""', loss="forces = 0\nstress = 0")
    path.write_text(path.read_text().replace("direct_forces = 0.1\ndirect_stress = 0.01", ""))
    with pytest.raises(
        DataError, match=r"got weights of energy and data of forces, stress; nothing would be"
    ):
        train(path, progress=False)
