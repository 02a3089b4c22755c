"""The registered study: its ways of choosing, its judges, and what its page says beside what is stored."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "optimal_design_study.md"
STORED = ROOT / "benchmarks" / "results" / "optimal-design.json"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import optimal_design_rivals
    import optimal_design_tables

    yield optimal_design_rivals, optimal_design_tables
    for name in ("optimal_design_element", "optimal_design_rivals", "optimal_design_tables"):
        sys.modules.pop(name, None)


def test_stratified_selections_hold_every_group_by_its_share(study):
    rivals, _ = study
    groups = np.array(["crystal"] * 80 + ["liquid"] * 18 + ["surface"] * 2)
    for seed in range(20):
        chosen = rivals.stratified(groups, 10, seed)
        assert len(set(chosen)) == 10
        counts = {name: int((groups[chosen] == name).sum()) for name in set(groups)}
        assert counts == {"crystal": 8, "liquid": 1, "surface": 1}
    assert (rivals.stratified(groups, 10, 1) != rivals.stratified(groups, 10, 2)).any()


def test_a_selection_beats_those_with_the_larger_error(study):
    _, tables = study
    draws = [[1.0, 5.0], [2.0, 6.0], [3.0, 7.0], [4.0, 8.0]]
    assert tables.beaten(draws, [2.5, 5.0]).tolist() == [0.5, 0.75]


def test_the_area_under_the_curve_is_the_chance_of_the_larger_score(study):
    _, tables = study
    generator = np.random.default_rng(3)
    scores = np.round(generator.normal(size=60), 1)  # with ties
    positive = (generator.random(60) < 0.3).astype(int)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive == 1] for b in scores[positive == 0]]
    assert tables.auc(scores.tolist(), positive.tolist()) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_the_page_shows_what_is_stored(study):
    _, tables = study
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    assert set(stored["elements"]) >= {"Mo", "Ge", "Ta"}
    for line in tables.text(stored).splitlines():
        assert line in page.splitlines(), f"{PAGE.name} lacks {line!r}"


def test_random_draws_of_the_study_are_those_that_were_registered():
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    for found in stored["elements"].values():
        for share, size in found["sizes"].items():
            assert size["size"] == round(float(share.rstrip("%")) / 100 * found["pool"])
            assert len(size["random"]) == 200
