"""A training goes on exactly where it was stopped, and refuses to go on as another one."""

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from ase.io import write
from interrupted import interrupted_at_save
from toy_training import frames, history, needs_muon, prepare

from ase_mlip.errors import DataError
from ase_mlip.model_file.model import load_model
from ase_mlip.training import train as train_module
from ase_mlip.training.train import train


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A short run, uninterrupted."""
    folder = tmp_path_factory.mktemp("run")
    train(prepare(folder, epochs=2), dynamics=0.0)
    return folder


@pytest.mark.parametrize("kind", [pytest.param("muon", marks=needs_muon), "adamw"])
def test_resuming_gives_the_same_losses(kind, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir(), halves.mkdir()
    optimizer = f'kind = "{kind}"'
    train(prepare(whole, epochs=4, optimizer=optimizer), dynamics=0.0)
    path = prepare(halves, epochs=4, optimizer=optimizer)
    with interrupted_at_save(train_module):
        train(path, dynamics=0.0)
    with pytest.raises(DataError, match="`resume=True`"):
        train(path, dynamics=0.0)
    train(path, resume=True, dynamics=0.0)
    assert history(halves) == history(whole)


def test_a_killed_run_resumes(tmp_path):
    """SIGKILL at an arbitrary moment, then --resume; the losses are those of an uninterrupted run."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir(), whole.mkdir()
    path = prepare(killed, epochs=15)
    code = f"from ase_mlip.training.train import train; train({str(path)!r}, dynamics=0.0)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment)
    deadline = time.monotonic() + 120
    while not (killed / "out" / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = len(history(killed))
    assert 0 < done < 15
    train(path, resume=True, dynamics=0.0)
    train(prepare(whole, epochs=15), dynamics=0.0)
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
            train(other, resume=True, dynamics=0.0)
    assert message in str(caught.value)


def test_resume_refuses_other_data_under_the_same_name(finished, tmp_path):

    shutil.copytree(finished, tmp_path / "copy")
    write(tmp_path / "copy" / "train.xyz", frames(10, 5))
    with pytest.raises(DataError, match=r"`data.train.0.sha256` was .* and is"):
        train(tmp_path / "copy" / "run.toml", resume=True, dynamics=0.0)


def test_what_does_not_matter_may_change_before_resuming(finished, tmp_path):

    shutil.copytree(finished, tmp_path / "copy")
    path = tmp_path / "copy" / "run.toml"
    path.write_text(
        'description = "another"\nlicense = "MIT"\n' + path.read_text().replace("threads = 1", "threads = 2")
    )
    model = load_model(train(path, resume=True, dynamics=0.0), device="cpu")
    assert model.info.description == "another" and model.info.license == "MIT"


def test_resume_refuses_a_foreign_file(tmp_path):
    path = prepare(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="cannot be read as a training checkpoint"):
        train(path, resume=True, dynamics=0.0)
