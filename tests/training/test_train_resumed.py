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
from click.testing import CliRunner
from interrupted import interrupted_at_save
from toy_training import frames, history, needs_muon, prepare

from ase_mlip.cli.program import main
from ase_mlip.errors import ArgumentError, DataError
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
    train(path, dynamics=0.0)
    assert history(halves) == history(whole)


def test_another_run_is_refused_or_replaced_and_none_is_asked_for(tmp_path):
    """`resume` begins nothing; `overwrite` begins anew, as in an empty folder, and only another run."""
    whole, other = tmp_path / "whole", tmp_path / "other"
    whole.mkdir(), other.mkdir()
    path = prepare(other, epochs=2)
    none = "`resume=True` goes on with an earlier run, got none .there is no `.*out.checkpoint.safetensors`"
    with pytest.raises(DataError, match=none):
        train(path, resume=True, dynamics=0.0)
    assert not (other / "out").exists()
    train(path, dynamics=0.0)
    first = path.read_text()
    path.write_text(first.replace("epochs = 2", "epochs = 1"))
    before = (other / "out" / "checkpoint.safetensors").read_bytes()
    for resume in (False, True):
        with pytest.raises(DataError, match="`optimizer.epochs` was 2 and is 1; .* `overwrite=True`"):
            train(path, resume=resume, dynamics=0.0)
    with pytest.raises(ArgumentError, match="`resume=True` only goes on .* `overwrite=True`.*got both"):
        train(path, resume=True, overwrite=True, dynamics=0.0)
    assert (other / "out" / "checkpoint.safetensors").read_bytes() == before
    train(path, overwrite=True, dynamics=0.0)
    train(prepare(whole, epochs=1), dynamics=0.0)
    assert history(other) == history(whole)
    checkpoint = other / "out" / "checkpoint.safetensors"
    before = checkpoint.stat().st_mtime_ns
    train(path, overwrite=True, dynamics=0.0)  # the same: there is nothing to replace
    assert checkpoint.stat().st_mtime_ns == before


def test_the_commands_name_their_options(tmp_path):
    path = prepare(tmp_path, epochs=1)
    for command in ("train", "stabilize"):
        assert "--overwrite" in CliRunner().invoke(main, [command, "--help"]).output
    words = ["train", str(path), "--dynamics", "0"]
    result = CliRunner().invoke(main, [*words, "--resume"])
    assert result.exit_code == 1 and "Error: --resume goes on with an earlier run" in result.output
    both = CliRunner().invoke(main, [*words, "--resume", "--overwrite"])
    assert both.exit_code == 2 and "--resume only goes on with an earlier run, and --overwrite" in both.output
    assert CliRunner().invoke(main, words).exit_code == 0
    assert CliRunner().invoke(main, [*words, "--resume"]).exit_code == 0
    path.write_text(path.read_text().replace("epochs = 1", "epochs = 2"))
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1 and "or replace it with --overwrite and begin anew" in result.output
    assert CliRunner().invoke(main, [*words, "--overwrite"]).exit_code == 0
    assert len(history(tmp_path)) == 2


def test_a_killed_run_resumes(tmp_path):
    """SIGKILL at an arbitrary moment, then the same call; the losses are those of an uninterrupted run."""
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
    train(path, dynamics=0.0)
    train(prepare(whole, epochs=15), dynamics=0.0)
    assert history(killed) == history(whole)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate = 5e-3", "learning_rate = 1e-3", "`optimizer.learning_rate` was 0.005 and is 0.001;"),
        ("epochs = 2", "epochs = 3", "`optimizer.epochs` was 2 and is 3;"),  # as the help of --resume says
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
def test_another_configuration_is_refused_and_names_the_key(finished, old, new, message):
    text = (finished / "run.toml").read_text()
    assert old in text
    other = finished / "other.toml"
    other.write_text(text.replace(old, new, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of units that do not fit
        with pytest.raises(DataError, match="another configuration") as caught:
            train(other, dynamics=0.0)
    assert message in str(caught.value)


def test_other_data_under_the_same_name_are_refused(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    write(tmp_path / "copy" / "train.xyz", frames(10, 5))
    with pytest.raises(DataError, match=r"`data.train.0.sha256` was .* and is"):
        train(tmp_path / "copy" / "run.toml", dynamics=0.0)


def test_what_does_not_matter_may_change_before_resuming(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    path = tmp_path / "copy" / "run.toml"
    path.write_text(
        'description = "another"\nlicense = "MIT"\n' + path.read_text().replace("threads = 1", "threads = 2")
    )
    model = load_model(train(path, dynamics=0.0), device="cpu")
    assert model.info.description == "another" and model.info.license == "MIT"


def test_a_foreign_file_is_refused_or_replaced(tmp_path):
    path = prepare(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="cannot be read as a training checkpoint.*`overwrite=True`"):
        train(path, dynamics=0.0)
    train(path, overwrite=True, dynamics=0.0)
    assert history(tmp_path)
