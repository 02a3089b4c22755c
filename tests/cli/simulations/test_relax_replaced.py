"""``ase-mlip relax`` into a folder with other results: what is refused, and what ``--overwrite`` replaces.

It also tests `relaxation.store`.
"""

import json

import pytest
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner

from ase_mlip.cli import program as cli


def invoke(*arguments):
    return CliRunner().invoke(cli.main, ["relax", *(str(argument) for argument in arguments)])


def test_what_was_replaced_is_relaxed_anew(sw_path, tmp_path):
    """With the settings of the first call again, its trajectory does not stand for the work."""
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=1)
    write(tmp_path / "si.xyz", atoms)
    common = (sw_path, tmp_path / "si.xyz", "-o", tmp_path / "out", "--json")
    first, other, again = (
        json.loads(invoke(*common, "--fmax", fmax, "--overwrite").stdout)["structures"]["si"]
        for fmax in (0.01, 0.1, 0.01)
    )
    assert other["steps"] < first["steps"] == again["steps"]
    assert again["energies"] == first["energies"]


@pytest.mark.parametrize("text", ["hi", '{"a": 1}', "[]"])
def test_a_file_that_is_no_result_is_refused(sw_path, tmp_path, text):
    write(tmp_path / "si.xyz", bulk("Si"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "relax.json").write_text(text)
    command = (sw_path, tmp_path / "si.xyz", "-o", tmp_path / "out")
    refused = invoke(*command)
    assert refused.exit_code == 1 and "relax.json` exists; expected results of the same" in refused.stderr
    assert (tmp_path / "out" / "relax.json").read_text() == text
    assert invoke(*command, "--overwrite").exit_code == 0


@pytest.mark.parametrize("command", ["relax", "eos"])
def test_a_picture_of_replaced_results_goes(sw_path, tmp_path, command):
    write(tmp_path / "si.xyz", bulk("Si", cubic=True))
    line = [command, str(sw_path), str(tmp_path / "si.xyz"), "-o", str(tmp_path / "out")]
    picture = tmp_path / "out" / {"relax": "si.png", "eos": "eos.png"}[command]
    option = {"relax": "--fmax", "eos": "--volume-change"}[command]
    assert CliRunner().invoke(cli.main, [*line, "--plot"]).exit_code == 0 and picture.exists()
    assert CliRunner().invoke(cli.main, [*line, option, "0.04", "--overwrite"]).exit_code == 0
    assert not picture.exists()


def test_files_of_others_stay(sw_path, tmp_path):
    """A picture of the structure's name in the folder, and files beside our trajectories."""
    write(tmp_path / "si.xyz", bulk("Si"))
    others = [tmp_path / name for name in ("si.png", "trajectories/mine.traj", "trajectories/notes.json")]
    (tmp_path / "trajectories").mkdir()
    for path in others:
        path.write_text("mine")
    command = (sw_path, tmp_path / "si.xyz", "-o", tmp_path)
    assert invoke(*command).exit_code == 0
    assert [path.read_text() for path in others] == ["mine"] * 3
    assert invoke(*command, "--fmax", 0.1, "--overwrite").exit_code == 0
    assert [path.read_text() for path in others[1:]] == ["mine"] * 2
