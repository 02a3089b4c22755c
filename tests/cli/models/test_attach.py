"""``ase-mlip design --attach``: the leverage of training data, into a model file."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from ase.io import write
from click.testing import CliRunner
from leverage_cases import labelled, training_data
from random_pet import export_random, silicon

from ase_mlip.cli.program import main
from ase_mlip.model_file.model import read_info
from ase_mlip.optimal_design.leverage import attach as leverage
from ase_mlip.progress import bars
from ase_mlip.progress.bars import Lines


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("attach") / "plain.pt"
    export_random(path)
    return path


def test_the_command_attaches_and_says_what_the_leverage_rests_on(plain, tmp_path):
    write(tmp_path / "train.xyz", training_data(3))
    write(tmp_path / "new.xyz", labelled([silicon(0.2, seed=7), silicon(0.2, seed=8)], [-1.0, 2.0]))
    data = ["--calibration", str(tmp_path / "new.xyz"), str(tmp_path / "train.xyz")]
    command = ["design", "--attach", str(plain), *data, "-o", str(tmp_path / "new.pt")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "leverage of 24 atoms in 3 structures; the data determine" in result.output
    assert "Si: of its atoms, each left out with its structure, 50% below" in result.output
    assert "times the predicted deviation, by 2 structures" in result.output
    record = read_info(tmp_path / "new.pt").training["leverage"]
    digest = hashlib.sha256((tmp_path / "train.xyz").read_bytes()).hexdigest()
    assert record["data"] == {"train.xyz": digest} and record["calibration"]["structures"] == 2


def test_a_log_file_shows_how_far_it_is(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(bars, "Lines", lambda unit, units=None: Lines(unit, units, every=0.0))
    write(tmp_path / "train.xyz", training_data(3))
    write(tmp_path / "new.xyz", labelled([silicon(0.2, seed=7), silicon(0.2, seed=8)], [-1.0, 2.0]))
    data = ["--calibration", str(tmp_path / "new.xyz"), str(tmp_path / "train.xyz")]
    command = ["design", "--attach", str(plain), *data, "-o", str(tmp_path / "new.pt")]
    lines = CliRunner().invoke(main, command).stderr.splitlines()
    assert lines[2].startswith("features: 3 of 3 structures, ")
    assert lines[4].startswith("calibration: 2 of 2 structures, ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{model}", "-o", "new.pt"], "Missing argument 'POOL...': the data that MODEL was trained on"),
        (["{model}", "{data}"], "--attach needs '-o NEW'"),
        (["{model}", "{data}", "-o", "nowhere/new.pt"], "nowhere"),
        (["{model}", "missing.xyz", "-o", "new.pt"], "missing.xyz"),
        (["absent.pt", "{data}", "-o", "new.pt"], "absent.pt` not found"),
    ],
)
def test_wrong_commands_are_explained(plain, tmp_path, arguments, message):
    write(tmp_path / "train.xyz", silicon())
    given = [word.format(model=plain, data=tmp_path / "train.xyz") for word in arguments]
    result = CliRunner().invoke(main, ["design", "--attach", *given])
    assert result.exit_code != 0 and message in result.output and not Path("new.pt").exists()


def test_a_file_that_exists_is_refused_or_overwritten(plain, tmp_path):
    write(tmp_path / "train.xyz", training_data(3))
    new = tmp_path / "new.pt"
    new.write_bytes(b"precious")
    command = ["design", "--attach", str(plain), str(tmp_path / "train.xyz"), "-o", str(new)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1 and new.read_bytes() == b"precious"
    assert f"`{new}` exists" in result.stderr and "--overwrite" in result.stderr
    result = CliRunner().invoke(main, [*command, "--overwrite"])
    assert result.exit_code == 0, result.output
    assert read_info(new).training["leverage"]["structures"] == 3


@pytest.mark.parametrize(("count", "warned"), [(3, True), (100, False)])
def test_few_structures_are_a_poor_scale_which_is_said(monkeypatch, tmp_path, count, warned):
    """The record is made by hand: the features of a hundred structures would take long."""
    record = {"structures": count, "atoms": 8 * count, "rank": [3], "size": 4, "quantiles": {},
              "calibration": None}  # fmt: skip
    info = SimpleNamespace(name="toy", training={"leverage": record})
    monkeypatch.setattr(leverage, "attach_leverage", lambda *arguments, **options: info)
    write(tmp_path / "train.xyz", silicon())
    given = ["toy.pt", str(tmp_path / "train.xyz"), "-o", str(tmp_path / "new.pt")]
    result = CliRunner().invoke(main, ["design", "--attach", *given])
    assert result.exit_code == 0, result.output
    text = "warning: the 99 % quantile of 3 structures is their worst one, and it is the scale of"
    assert (text in result.stderr) == warned == ("structure_leverage" in result.stderr)


def test_an_interrupt_says_that_nothing_is_kept(monkeypatch, tmp_path):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(leverage, "attach_leverage", interrupted)
    write(tmp_path / "train.xyz", silicon())
    given = ["toy.pt", str(tmp_path / "train.xyz"), "-o", str(tmp_path / "new.pt")]
    result = CliRunner().invoke(main, ["design", "--attach", *given])
    assert result.exit_code == 130 and not (tmp_path / "new.pt").exists()
    assert "interrupted: nothing is kept; the same command starts again" in result.stderr
