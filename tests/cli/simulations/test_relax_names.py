"""``ase-mlip relax``: structures are known again by their names.

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


@pytest.mark.parametrize("name", ["007", "1e3", "T", "a b", "x'y"])
def test_a_name_that_looks_like_a_number_is_known_again(name, sw_path, tmp_path):
    """The file's format reads such a word as something else."""
    command = (sw_path, tmp_path / f"{name}.extxyz", "--steps", 1, "-o", tmp_path / "out", "--json")
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.03, seed=0)
    for file in (name, "one"):
        write(tmp_path / f"{file}.extxyz", atoms)
    invoke(*command)
    atoms.positions[0, 0] += 0.01
    write(tmp_path / f"{name}.extxyz", atoms)
    refused = invoke(*command)
    assert refused.exit_code == 1 and f"another structure of the name {name!r};" in refused.stderr
    invoke(sw_path, tmp_path / "one.extxyz", "--steps", 1, "-o", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "relax.json").read_text())
    assert list(document["structures"]) == ["one", name]
