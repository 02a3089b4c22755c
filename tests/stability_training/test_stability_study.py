"""The registered demonstration: tables of what is stored, and a page with the settings of the script."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import stability_training

    yield stability_training
    sys.modules.pop("stability_training", None)


def test_nothing_stored_is_said(study, tmp_path, capsys):
    assert study.main(["--stored", "--output", str(tmp_path / "absent.json")]) == 0
    assert "Nothing is stored yet" in capsys.readouterr().out


def test_tables_say_what_is_stored(study):
    lifetimes = {"median_interval": [1.0, 2.0], "failures": 3, "replicas": 32}
    point = {"epoch": 15, "force_error": 0.11}
    healed = {
        "chosen": point,
        "points": [{"force_error": 0.1}, point],
        "test": {"before": {"median": 2.0}, "after": {"median": None}, "logrank_p": 0.001},
        "evaluation_time": 10.0,
        "verdict": "",
    }
    document = {
        "snnp-0": {
            "stabilize": {"result": healed},
            "timestep/2": {"result": lifetimes | {"median": 2.5}},
            "environment": {"cpu": "one"},
        }
    }
    found = study.text(document)
    assert "| snnp-0 | 2 | censored | ≥ 5× | 0.001 | +10.0 % | epoch 15 |" in found
    assert "| snnp-0 | timestep/2 | 3 of 32 | 2.5 |" in found
    document["snnp-0"]["stabilize"]["result"] = {"chosen": None, "verdict": "Nothing was exported."}
    assert "Nothing was exported." in study.text(document)


def test_the_page_registers_what_the_script_does(study):
    page = (ROOT / "docs" / "stability_training_study.md").read_text(encoding="utf-8")
    assert "16\n  replicas of 1 ps" in page or "16 replicas of 1 ps" in page
    assert 'ensemble = "langevin"' not in study.ETHANOL["simulation"]  # the default, as registered
    assert "bond_deviation = 0.5" in study.ETHANOL["criteria"]
    for number in ("25, 50, 100, 200", "at most 60 epochs", "32 replicas of 10 ps"):
        assert number in page
