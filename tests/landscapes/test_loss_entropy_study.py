"""The registered study of loss entropy: its models, what is left out, and verdicts from invented numbers."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import loss_entropy_models
    import loss_entropy_tables

    yield loss_entropy_models, loss_entropy_tables
    for name in [name for name in sys.modules if name.startswith("loss_entropy_")]:
        sys.modules.pop(name)


def invented(
    family: str, steepness: float, survival: float, cold: float, hot: float, poor: bool = False
) -> dict:
    """Numbers of a model whose losses rise linearly from 10 meV/Å, with the given slope on both sides."""
    x = np.linspace(-0.25, 0.25, 21).round(6)
    forces = 0.01 + steepness * np.abs(x)
    curves = {
        "x": x.tolist(),
        "energy": (0.1 * forces).tolist(),
        "forces": forces.tolist(),
        "cpu_seconds": 60.0,
    }
    numbers = {"curvature_forces": steepness**2, "rise_forces": 0.05 * steepness}
    return {
        "family": family,
        "training": {"validation": {"forces_rmse": 0.2 if poor else 0.05}, "cpu_seconds": 120.0},
        "landscape": {**curves, "numbers": numbers},
        "legacy": curves,
        "survival": {"restricted_mean": survival},
        "errors": {"300K": {"forces_rmse": cold}, "600K": {"forces_rmse": 0.5 * (cold + hot)}}
        | {"1200K": {"forces_rmse": hot}},
    }


def test_models_are_24_and_8_and_no_two_alike(study):
    models, _ = study
    snnps, pets = models.recipes("snnp"), models.recipes("pet")
    assert (len(snnps), len(pets)) == (24, 8)
    tables = [str((recipe.tables, recipe.frames)) for recipe in (*snnps, *pets)]
    assert len(set(tables)) == 32
    assert len({recipe.name for recipe in (*snnps, *pets)}) == 32
    members = models.committee(snnps[0])
    assert [member.tables for member in members] == [snnps[0].tables] * 3
    assert len({member.seed for member in members}) == len({member.file for member in members}) == 3


def test_configurations_can_be_trained(study, tmp_path, monkeypatch):
    """The files that training reads are accepted, of every model."""
    from ase_mlip.configuration.run import read_config

    models, _ = study
    monkeypatch.setattr(models, "RUNS", tmp_path)
    names = ("all", "quarter", "validation", "landscape")
    for recipe in models.recipes():
        path = tmp_path / f"{recipe.name}.toml"
        path.write_text(models._toml(recipe, {name: tmp_path / f"{name}.xyz" for name in names}))
        config = read_config(path)
        assert config.data.test is None  # no frame of the test file is read by a training
        assert config.data.train.endswith(f"{recipe.frames}.xyz")


NEEDS_DATA = pytest.mark.skipif(
    not (BENCHMARKS.parents[1] / "shared" / "data" / "3bpa").is_dir(),
    reason="../shared/data/3bpa is not there",
)


@NEEDS_DATA
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # stretched bonds are outside the data
@pytest.mark.parametrize("name", ["snnp-linear-few-all-rough", "pet-one-layer"])
def test_a_short_model_goes_through_every_measurement(study, name):
    """From training to the table, of a family each; the cost of the registered one is larger."""
    models, tables = study
    import loss_entropy_quick

    (recipe,) = [recipe for recipe in models.recipes() if recipe.name == name]
    stored, costs = loss_entropy_quick.measured(recipe)
    parts = {"landscape", "legacy", "sharpness", "bonds", "survival", "errors", "training"}
    assert stored.keys() >= parts | {"rotation" if recipe.family == "pet" else "leverage"}
    assert all(cost.whole >= cost.seconds > 0.0 for cost in costs.values())
    assert f"| {name}" in tables.text({name: stored}, [recipe])
    assert "| all |" in loss_entropy_quick.text(recipe, costs)


@NEEDS_DATA
def test_frames_of_the_landscape_are_training_frames_of_every_model(study, tmp_path, monkeypatch):
    from ase.io import read

    models, _ = study
    monkeypatch.setattr(models, "RUNS", tmp_path)
    sets = {
        name: {atoms.positions.tobytes() for atoms in read(path, ":")}
        for name, path in models.training_files().items()
    }
    sizes = {name: len(found) for name, found in sets.items()}
    assert sizes == {"all": 450, "quarter": 112, "validation": 50, "landscape": 100}
    assert sets["landscape"] < sets["quarter"] < sets["all"]
    assert not sets["all"] & sets["validation"]
    known = sets["all"] | sets["validation"]
    test = models.test_frames()
    assert len(test) == 136 + 167 + 166
    assert not known & {atoms.positions.tobytes() for atoms in test}


def test_verdicts_follow_from_the_numbers(study):
    models, tables = study
    recipes = models.recipes("snnp")
    results = {}
    for k, recipe in enumerate(recipes):
        steepness = 0.2 * 1.2**k
        cold = 0.05 + 0.01 * ((7 * k) % 24)  # says nothing
        results[recipe.name] = invented("snnp", steepness, 6.0 - 0.1 * k, cold, 0.1 + 0.02 * k)
    shown = tables.text(results, recipes)
    assert "## s-NNP: 24 of 24 models\n" in shown
    assert "| (a) ρ(S_F, force error at 1200 K) ≤ −0.6 | -1.00 (-1.00 to -1.00) | yes |" in shown
    assert "| (b) ρ(S, restricted mean survival) ≥ 0.5 | +1.00 (+1.00 to +1.00) | yes |" in shown
    assert "excludes 0 | -1.00 (-1.00 to -1.00) | yes |" in shown
    assert "| (d) smallest ρ(S, S at kT/4 … 4 kT) ≥ 0.9 | +1.00 | yes |" in shown
    assert "| force error at 300 K |" in shown
    assert "sharpness" not in shown  # nobody has measured it
    assert "CPU time of what is stored: 1.60 of at most 20 hours" in shown


def test_no_verdict_where_the_error_at_300_K_says_it_all(study):
    models, tables = study
    recipes = models.recipes("snnp")
    results = {}
    for k, recipe in enumerate(recipes):
        noise = (5 * k) % 24
        results[recipe.name] = invented(
            "snnp", 0.2 + 0.05 * noise, 3.0 + 0.1 * ((11 * k) % 24), 0.05 + 0.01 * k, 0.1 + 0.02 * k
        )
    shown = tables.text(results, recipes)
    assert shown.count("**no**") >= 3


def test_what_is_missing_and_what_is_left_out_is_said(study):
    models, tables = study
    recipes = models.recipes("pet")
    results = {
        recipe.name: invented("pet", 1.0 + k, 5.0 - k, 0.1, 0.2 + k, poor=k == 0)
        for k, recipe in enumerate(recipes[:6])
    }
    results[recipes[1].name].pop("survival")
    shown = tables.text(results, recipes)
    assert "## PET: 5 of 8 models; missing: pet-raw (survival), pet-quarter, pet-long" in shown
    assert "| pet-adamw (left out) |" in shown
    assert "There are verdicts from 5 complete models on, and here are 4." in shown
    assert "0 of 8 models" in tables.text({}, recipes)


def test_a_model_that_has_everything_is_not_trained_again(study, monkeypatch):
    models, _ = study
    import loss_entropy_measures as measures

    def refuse(recipe):
        raise AssertionError(f"{recipe.name} was trained")

    monkeypatch.setattr(models, "trained", refuse)
    snnp, pet = models.recipes("snnp")[0], models.recipes("pet")[0]
    complete = {name: {} for name in measures.MEASURES if name not in ("rotation", "committee")}
    assert measures.measured(snnp, dict(complete), refuse) == complete
    complete["rotation"] = {}
    assert measures.measured(pet, dict(complete), refuse) == complete
    assert measures.measured(pet, dict(complete), refuse, late=True) == complete
    with pytest.raises(AssertionError, match="was trained"):
        measures.measured(snnp, dict(complete), refuse, late=True)


def test_the_page_has_the_stored_numbers(study):
    """Each verdict of both families, each predictor of the s-NNPs that the page names, and each PET's row."""
    _, tables = study
    import loss_entropy

    results = loss_entropy.read_results(loss_entropy.RESULTS)
    recipes = loss_entropy.models.recipes()
    page = (BENCHMARKS.parent / "docs" / "loss_entropy_study.md").read_text(encoding="utf-8")
    found = page.partition("## What was found")[2].partition("\n## ")[0]
    parts = found.partition("**The s-NNPs**")
    for family, part, n_rows in (("snnp", parts[2], 13), ("pet", parts[0], 4 + count(results, "pet-"))):
        text = tables.text(results, [recipe for recipe in recipes if recipe.family == family])
        stored = [row for row in text.splitlines() if row.startswith("|")]
        numbers = {name_of(row): numbers_of(row) for row in stored}
        compared = [row for row in part.splitlines() if row.startswith("| ") and numbers_of(row)]
        for row in compared:
            name = max((known for known in numbers if name_of(row).startswith(known)), key=len)
            assert numbers_of(row) == numbers[name], row
        assert len(compared) == n_rows


def count(results: dict, prefix: str) -> int:
    return sum(name.startswith(prefix) for name in results)


def name_of(row: str) -> str:
    """Of a verdict its letter."""
    name = row.split("|")[1].strip()
    return name[:3] if name.startswith("(") else name


def numbers_of(row: str) -> list[str]:
    return re.findall(r"[+-]?\d+\.\d+", row.split("|", 2)[2].replace("−", "-"))
