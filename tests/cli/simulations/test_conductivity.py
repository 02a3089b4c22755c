"""`ase-mlip conductivity`: what it prints, writes and draws; its comparison with a table of references."""

import json
import sys

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner
from optional_packages import needs_phono3py
from stillinger_weber import LATTICE_CONSTANT

from ase_mlip.cli.simulations.conductivity import conductivity


def test_the_command_names_the_missing_extra_first(monkeypatch):
    monkeypatch.setitem(sys.modules, "phono3py", None)
    result = CliRunner().invoke(conductivity, ["no-such-model", "no-such-file"])
    assert "pip install 'phono3py>=" in str(result.exception)


@needs_phono3py
def test_the_command_prints_writes_and_draws(sw_path, tmp_path):
    write(tmp_path / "si.xyz", bulk("Si", a=LATTICE_CONSTANT, cubic=True), format="extxyz")
    arguments = f"{sw_path} {tmp_path}/si.xyz --supercell 1 1 1 --mesh 3 3 3 --dtype float64"
    arguments += f" --device cpu --temperature 300 --temperature 500 -o {tmp_path}/k --plot"
    printed = CliRunner().invoke(conductivity, arguments.split())
    assert printed.exit_code == 0, printed.output
    document = json.loads((tmp_path / "k" / "conductivity.json").read_text())
    assert np.shape(document["kappa"]) == (2, 3, 3)
    assert f"{np.trace(document['kappa'][0]) / 3:10.3f}" in printed.stdout
    assert (tmp_path / "k" / "conductivity.png").read_bytes().startswith(b"\x89PNG")


@needs_phono3py
def test_the_command_compares_with_an_entry_of_the_benchmarks_table(sw_path, tmp_path):
    """Its own results as a table are a reference without an error."""

    def run(name, *more, mesh="3 3 3"):
        arguments = f"{sw_path} {tmp_path}/si.xyz --supercell 1 1 1 --mesh {mesh} "
        arguments += f"--dtype float64 --device cpu -o {tmp_path}/{name}"
        return CliRunner().invoke(conductivity, [*arguments.split(), *more])

    write(tmp_path / "si.xyz", bulk("Si", a=LATTICE_CONSTANT, cubic=True), format="extxyz")
    assert run("first").exit_code == 0
    assert (tmp_path / "first" / "conductivity.forces.npz").is_file()
    found = json.loads((tmp_path / "first" / "conductivity.json").read_text())
    row = {"mp_id": "mp-149", "name": "Si", "q_mesh": [3, 3, 3], "symm.no": 227}
    row |= {"kappa_TOT_ave": [np.trace(found["kappa"][0]) / 3], "mode_kappa_TOT_ave": found["mode_kappa"]}
    row |= {"qpoints": found["q_points"], "weights": found["weights"], "frequencies": found["frequencies"]}
    row["temperatures"] = found["temperatures"]
    (tmp_path / "table.json").write_text(json.dumps({column: {"0": value} for column, value in row.items()}))
    table = ("--reference", str(tmp_path / "table.json"), "--entry")
    compared = run("second", *table, "mp-149")
    assert compared.exit_code == 0, compared.output
    assert "κ_SRME against mp-149 (Si) at 300 K: 0.000" in compared.stdout
    assert json.loads((tmp_path / "second" / "conductivity.json").read_text())["kappa_srme"] == pytest.approx(
        0.0, abs=1e-6
    )
    assert "expected one of mp-149, got `mp-1`" in str(run("third", *table, "mp-1").exception)
    other = run("third", *table, "mp-149", mesh="4 4 4")
    assert other.exit_code == 2 and "needs --mesh 3 3 3 and --temperature 300, got 4 4 4" in other.stderr
