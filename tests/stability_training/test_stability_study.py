"""The registered demonstration: tables of what is stored, files that are made, settings as registered."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from ase_mlip.stability_training.settings import read_settings

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("", "_parts", "_tables", "_ethanol", "_water")


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import stability_training

    yield stability_training
    for part in PARTS:
        sys.modules.pop(f"stability_training{part}", None)


def module(name: str):
    return sys.modules[f"stability_training_{name}"]


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
        "observables": {
            "h": {"before": {"deviation": 0.2}, "after": {"deviation": 0.1}, "noise": 0.01},
            "b": {"before": {"deviation": 0.3}, "noise": 0.01},
        },
        "verdict": "",
    }
    document = {
        "snnp-0": {
            "stabilize": {"result": healed},
            "timestep/2": {"result": lifetimes | {"median": 2.5}},
            "errors after": {"result": {"energy_mae": 0.0012, "forces_mae": 0.0456}},
            "environment": {"cpu": "one"},
        }
    }
    found = study.text(document)
    assert "| snnp-0 | 2 | censored | ≥ 5× | 0.001 | +10.0 % | epoch 15, above the authors' front |" in found
    assert "| snnp-0 | timestep/2 | 3 of 32 | 2.5 |" in found
    assert "| snnp-0 | h | 0.2 | 0.1 | 0.01 |" in found and "| b |" not in found
    assert "| snnp-0 | errors after | 1.20 | 45.6 |" in found
    healed["test"]["after"]["median"] = 3.0  # 1.5 times for 10 %; the authors' front has 1.77
    assert "not above the authors' front" in study.text(document)
    document["snnp-0"]["stabilize"]["result"] = {"chosen": None, "verdict": "Nothing.", "observables": {}}
    assert "Nothing." in study.text(document)


@pytest.mark.parametrize(("paid", "gain"), [(0.0, 1.0), (13.0, 2.0), (6.5, 1.5), (20.0, 2.6), (300.0, 11.0)])
def test_the_authors_front_is_that_of_the_page(study, paid, gain):
    assert module("tables").front(paid) == pytest.approx(gain)


def test_a_file_that_is_gone_is_made_again_and_its_numbers_stay(study, tmp_path):
    store = module("parts").Store(tmp_path / "numbers.json", tmp_path)
    calls = []

    def compute() -> str:
        calls.append(1)
        (tmp_path / "made").write_text("content")
        return str(tmp_path / "made")

    assert store.file("case", "step", compute) == tmp_path / "made"
    again = module("parts").Store(tmp_path / "numbers.json", tmp_path)
    assert again.file("case", "step", compute) == tmp_path / "made" and len(calls) == 1
    (tmp_path / "made").unlink()
    assert again.file("case", "step", compute).read_text() == "content" and len(calls) == 2


def test_paths_are_stored_relative_to_the_work_and_to_the_repository(study, tmp_path):
    store = module("parts").Store(tmp_path / "numbers.json", tmp_path / "work")
    paths = [str(tmp_path / "work" / "a.pt"), str(ROOT / "benchmarks" / "models" / "b.pt")]
    assert store.step("case", "step", lambda: paths) == paths
    assert str(ROOT) not in store.path.read_text()
    stored = module("parts").Store(store.path, tmp_path / "work").step("case", "step", lambda: None)
    assert stored == ["a.pt", "benchmarks/models/b.pt"]


def test_plain_training_gets_as_much_processor_time(study, tmp_path):
    """Ten epochs took 20 s of processor time, on a busy machine 100 s of the clock: 60 s are 30 epochs."""
    store = module("parts").Store(tmp_path / "numbers.json", tmp_path)
    store.document["snnp-0"] = {"train": {"result": "first.pt", "cpu_seconds": 20.0}}
    (tmp_path / "metrics.csv").write_text("epoch,seconds\n" + "1,10.0\n" * 10)
    assert module("ethanol").as_long(store, "snnp-0", tmp_path / "first.pt", 60.0) == 30


def test_the_water_files_are_made_of_the_data_in_the_order_of_time(study, tmp_path):
    water = module("water")
    if not (water.DATA / "water").is_dir():
        pytest.skip("the data in ../shared/data are not on this machine")
    folder = water.water_files(tmp_path / "data")
    parts = {path.stem: read(path, ":") for path in folder.glob("*.xyz")}
    assert {name: len(frames) for name, frames in parts.items()} == {
        "train_272": 272, "reference": 68, "starts_272": 8, "validation": 8, "starts_validation": 8,
        "test": 20, "starts_test": 4, "test_2": 20, "starts_test_2": 4, "starts_long": 8,
    }  # fmt: skip
    for name in ("train_272", "validation", "test"):
        assert all(np.isfinite(atoms.get_forces()).all() for atoms in parts[name])
    steps = [
        np.abs(one.positions[:64] - other.positions[:64]).mean()
        for one, other in zip(parts["train_272"][:-1], parts["train_272"][1:], strict=True)
    ]
    across = np.abs(parts["train_272"][0].positions[:64] - parts["test"][-1].positions[:64]).mean()
    assert np.median(steps) < 0.5 * across  # neighbours in the file are neighbours in time
    for name in ("validation", "test"):  # frames of the later stretches are not among those of training
        nearest = min(
            np.abs(one.positions - other.positions).max()
            for one in parts[name]
            for other in parts["train_272"]
        )
        assert nearest > 0.05


def test_the_page_registers_what_the_script_does(study):
    page = " ".join((ROOT / "docs" / "stability_training_study.md").read_text(encoding="utf-8").split())
    ethanol, water = module("ethanol"), module("water")
    assert "16 replicas of 1 ps" in page
    assert 'ensemble = "langevin"' not in ethanol.ETHANOL["simulation"]  # the default, as registered
    assert "bond_deviation = 0.5" in ethanol.ETHANOL["criteria"]
    for number in ("25, 50, 100, 200", "at most 60 epochs", "32 replicas of 10 ps"):
        assert number in page
    first, second = ethanol.REGISTRATIONS[1], ethanol.REGISTRATIONS[2]
    assert "backtracking = false" in first.learning["snnp"] and "backtracking" not in second.learning["snnp"]
    for words, line in (
        ("Learning rate 5e-5", "learning_rate = 5e-5"),
        ("λ = 10", "error_weight = 10.0"),
        ("at most 20 steps from one simulation", "steps = 20"),
        ("30 epochs", "epochs = 30"),
        ("patience 15", "patience = 15"),
    ):
        assert words in page and line in second.learning["snnp"]
    assert "16 replicas × 0.25 ps with a record every 2 fs" in page
    assert (
        "time = 0.25" in second.changed["simulation"]
        and "record_interval = 4" in second.changed["simulation"]
    )
    assert "Starts 600 to 631 and frames 200 to 399" in page
    assert ethanol.TEST_SETS[second.test] == (slice(600, 632), slice(200, 400))
    third = ethanol.REGISTRATIONS[3]
    for words, line in (
        ("Its length is 0.15", "learning_rate = 0.15"),
        ("λ is 0", "error_weight = 0.0"),
        ("one step from one simulation", "steps = 1\n"),
        ("fewer than half of the samples", "min_sample_fraction = 0.5"),
        ("At most 10 epochs, patience 10", "epochs = 10\npatience = 10\n"),
        ("three epochs without a failure", "stable_epochs = 3"),
        ("+15 % for forces, +50 % for energies", "max_energy_error_increase = 0.5"),
        ("a quarter of what is left", "epoch_share = 0.25"),
    ):
        assert words in page and line in third.learning["snnp"]
    assert "16 replicas × 0.5 ps with a record each 1 fs" in page
    assert "time = 0.5\ntimestep = 0.5\n" in third.changed["simulation"]
    assert "record_interval = 2" in third.changed["simulation"]
    assert "Starts 700 to 731 and frames 400 to 599" in page
    assert ethanol.TEST_SETS[third.test] == (slice(700, 732), slice(400, 600))
    assert "4 replicas of 0.1 ps per epoch, at most 20 epochs" in page
    first, second = water.REGISTRATIONS[1], water.REGISTRATIONS[2]
    assert "time = 0.1\n" in first.tables["simulation"] and "epochs = 20" in first.learning
    assert "4 replicas of 1 ps per epoch, at most 4 epochs" in page and "2 ps after the fourth epoch" in page
    assert "time = 1.0\n" in second.tables["simulation"] and "epochs = 4" in second.learning
    assert "time = 2.0\nreplicas = 4\n" in second.tables["evaluation"]
    assert second.tables["evaluation"].endswith("every = 4")
    third = water.REGISTRATIONS[3]
    for words, line in (
        ("with a length of 0.1 of the errors", "learning_rate = 0.1\n"),
        (
            "one step from one simulation, taken back where fewer than half",
            "steps = 1\nmin_sample_fraction = 0.5",
        ),
        ("+15 % for forces, +50 % for energies", "max_energy_error_increase = 0.5"),
        ("The local estimator with a radius of 3 Å", 'estimator = "local"\nradius = 3.0'),
        ("at most 6 epochs", "epochs = 6\n"),
    ):
        assert words.lower() in page.lower() and line in third.learning
    assert "a record each 2 fs" in page and third.tables["simulation"].endswith("record_interval = 4")
    assert "0 to 3 Å in bins of 0.1 Å" in page and third.observables == water.UNSEEN
    assert "The fifth to the eighth of the eight" in page and water.TEST_STARTS[third.test] == slice(4, 8)


def test_all_registrations_of_water_are_files_that_can_be_read(study, tmp_path):
    water = module("water")
    for number, registration in water.REGISTRATIONS.items():
        config = read_settings(water.settings_file(tmp_path, tmp_path / "m.pt", tmp_path, registration))
        assert config.simulation.replicas == config.evaluation.replicas == 4
        assert config.learning.max_energy_error_increase == (0.5 if number == 3 else 1e9)
        assert [table.kind for table in config.observables] == (
            ["unseen_distances"] if number == 3 else ["bond_lengths", "nonbonded_distance"]
        )


def test_all_registrations_are_files_that_can_be_read(study, tmp_path):
    """Every table of each is one that the command accepts."""
    ethanol, parts = module("ethanol"), module("parts")
    for number, registration in ethanol.REGISTRATIONS.items():
        for kind in ("snnp", "pet"):
            tables = "\n".join(
                f"[[observables]]\n{table.format(data='d')}" for table in registration.observables
            )
            path = tmp_path / f"{kind}-{number}.toml"
            given = {**ethanol.ETHANOL, **registration.changed}
            path.write_text(
                parts.STABILIZE.format(
                    model="m", seed=0, data="d", n=100, observables=tables, test=registration.test,
                    learning=registration.learning[kind], **given,
                )
            )  # fmt: skip
            config = read_settings(path)
            assert config.simulation.replicas == 16 and config.evaluation.replicas == 32
            assert len(config.observables) == {1: 1, 2: 5, 3: 1}[number]
            kind_of = {1: "distances", 2: "distances", 3: "unseen_distances"}[number]
            assert config.observables[0].kind == kind_of
            assert config.learning.max_energy_error_increase == (0.5 if number == 3 else 1e9)


def test_what_is_written_names_files_as_seen_from_its_folder(study, tmp_path):
    parts = module("parts")
    (tmp_path / "work" / "run").mkdir(parents=True)
    assert parts.beside(tmp_path / "work" / "data", tmp_path / "work" / "run") == "../data"


def test_a_registration_that_is_not_there_is_refused(study, capsys):
    with pytest.raises(SystemExit):
        study.main(["--registration", "9", "--stored"])
    assert "expected one of 1, 2, 3, got 9" in capsys.readouterr().err
