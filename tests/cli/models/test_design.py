"""``ase-mlip design``: what it prints, its exit status, how it fails."""

import json
import sys
from pathlib import Path

import pytest
from ase.calculators.emt import EMT
from ase.io import read, write
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "optimal_design"))
from designs import copper, labelled, pool, slab

from ase_mlip.cli import program as cli
from ase_mlip.cli.models.design import CRITERIA
from ase_mlip.optimal_design import settings, workflow
from ase_mlip.progress import bars
from ase_mlip.progress.bars import Lines


def invoke(*arguments):
    return CliRunner().invoke(cli.main, ["design", *map(str, arguments)])


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("pool.xyz", pool())
    write("crystals.xyz", [copper("bulk", k) for k in range(8)])
    write("slabs.xyz", [slab(60 + k) for k in range(2)])
    return tmp_path


def test_the_choices_are_those_of_the_function():
    assert tuple(settings.CRITERIA) == CRITERIA


def test_the_report_says_what_matters(files):
    result = invoke("pool.xyz", "--pick", 5, "-o", "out")
    assert result.exit_code == 0, result.output
    for text in (
        "20 frames, 20 candidates in 3 groups",
        "linear s-NNP",
        "of 1",  # coefficients
        "Predicted error of the target",
        "random selections",
        "certificate           at least",
        "gain per calculation",
        "feasible: the whole pool",
        "pool.xyz@",
    ):
        assert text in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 150
    assert result.stderr == "picks: out/picks.xyz\n"
    assert (files / "out" / "design.png").read_bytes().startswith(b"\x89PNG")


def test_a_log_file_shows_how_far_it_is(files, monkeypatch):
    monkeypatch.setattr(bars, "Lines", lambda unit, units=None: Lines(unit, units, every=0.0))
    lines = invoke("pool.xyz", "--pick", 3).stderr.splitlines()
    assert lines[19].startswith("rows: 20 of 20 structures, ")
    assert any(line.startswith("selection: 3 of 3 structures") for line in lines)
    assert any(line.startswith("bound: round 1, ") for line in lines)
    assert any(line.startswith("exchange: round 1, ") for line in lines)


def test_json_is_one_object_and_that_of_the_folder(files):
    result = invoke("pool.xyz", "--pick", 4, "--json", "-o", "out")
    document = json.loads(result.stdout)
    assert document == json.loads((files / "out" / "design.json").read_text())
    assert len(document["picks"]) == 4
    assert document["feasible"] is True


def test_strict_fails_where_the_pool_cannot_do_the_job(files):
    arguments = ("crystals.xyz", "--pick", 3, "--target", "slabs.xyz")
    loose, strict = invoke(*arguments), invoke(*arguments, "--strict")
    assert (loose.exit_code, strict.exit_code) == (0, 1)
    assert "NOT FEASIBLE: surface" in loose.stdout
    assert strict.stdout == loose.stdout


def test_criterion_d_says_when_not_to_use_it(files):
    result = invoke("pool.xyz", "--pick", 3, "--criterion", "d")
    assert result.exit_code == 0
    assert "Do not use it to choose training data for energies" in result.stderr


def test_verify_prints_forecast_beside_labels(files):
    invoke("pool.xyz", "--pick", 10, "-o", "out")
    write("back.xyz", labelled(read("out/picks.xyz", ":"), EMT()))
    result = invoke("--verify", "back.xyz", "out")
    assert result.exit_code == 0, result.output
    assert "10 of 10 picks are labelled" in result.stdout
    document = json.loads(invoke("--verify", "back.xyz", "out", "--json").stdout)
    assert {one["kind"] for one in document["comparisons"]} == {"energy", "forces"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--attach m.pt pool.xyz -o n.pt --pick 3", "--pick: has no meaning with --attach"),
        ("--attach m.pt pool.xyz -o n.pt --target slabs.xyz --strict", "--target: has no meaning"),
        ("--attach m.pt pool.xyz -o n.pt --strict", "--strict: has no meaning with --attach"),
        ("--attach m.pt pool.xyz -o n.pt --criterion i", "--criterion: has no meaning with --attach"),
        ("--verify slabs.xyz out --pick 3", "--pick: has no meaning with --verify"),
        ("--verify slabs.xyz out -o other", "-o: has no meaning with --verify"),
        ("--verify slabs.xyz out --strict", "--strict: has no meaning with --verify"),
        ("--verify slabs.xyz out --attach m.pt", "--attach: has no meaning with --verify"),
        ("pool.xyz --pick 3 --calibration slabs.xyz", "--calibration"),
    ],
)
def test_options_that_do_not_apply_are_refused_by_name(files, arguments, text):
    result = invoke(*arguments.split())
    assert result.exit_code == 2, result.output
    assert text in result.stderr


def test_an_interrupted_design_says_what_the_same_command_does(files, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "design", interrupted)
    result = invoke("pool.xyz", "--pick", 3, "-o", "out")
    assert result.exit_code == 130 and result.stderr.count("interrupted") == 1
    assert "interrupted: nothing is kept; the same command starts again" in result.stderr
    (files / "out" / "rows").mkdir(parents=True)
    result = invoke("pool.xyz", "--pick", 3, "-o", "out")
    assert "interrupted: the same command goes on from the rows in out/rows" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--pick 3", "POOL"),
        ("pool.xyz", "--pick, --budget"),
        ("pool.xyz --pick 3 --budget 5", "got both"),
        ("pool.xyz --pick 0", "--pick"),
        ("missing.xyz --pick 3", "missing.xyz"),
        ("pool.xyz --pick 3 --have missing.xyz", "missing.xyz"),
        ("pool.xyz --pick 3 --sigma energy=0", "Error: --sigma"),
        ("pool.xyz --pick 3 --sigma much", "Error: --sigma"),
        ("pool.xyz --pick 3 --labels dipole", "Error: --labels"),
        ("pool.xyz --pick 3 --rows some", "Error: --rows"),
        ("pool.xyz --pick 3 --cost atoms^x", "atoms^x"),
        ("pool.xyz --pick 3 --group-key phase", "`phase`"),
        ("pool.xyz --pick 3 --basis missing.pt", "missing.pt"),
        ("pool.xyz --pick 3 --basis missing.toml", "missing.toml"),
        ("pool.xyz --budget 0.5", "--budget: expected at least 1"),
        ("pool.xyz --pick 3 --keep slabs.xyz", "Error: --keep"),
        ("pool.xyz --pick 3 --have pool.xyz", "labelled already"),
        ("pool.xyz --verify slabs.xyz out", "--verify"),
        ("--verify slabs.xyz missing", "missing"),
    ],
)
def test_wrong_arguments_are_one_message(files, arguments, text):
    result = invoke(*arguments.split())
    assert result.exit_code in (1, 2), result.output
    assert text in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""
