"""A design in words: what is proven is not rounded up, and one is singular."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ase_mlip import design
from ase_mlip.optimal_design.forecast import covariance
from ase_mlip.optimal_design.output.report import to_text
from ase_mlip.optimal_design.workflow import _notes
from tests.optimal_design.designs import pool


@pytest.fixture(scope="module")
def found():
    return design(pool(), 4)


def line_of(result, name: str) -> str:
    lines = to_text(result).splitlines()
    (first,) = (k for k, line in enumerate(lines) if line.strip().startswith(name))
    text = lines[first].strip().removeprefix(name).strip()
    more = itertools.takewhile(lambda line: line.startswith(24 * " "), lines[first + 1 :])
    return " ".join([text, *map(str.strip, more)])


@pytest.mark.parametrize(
    ("efficiency", "text"),
    [
        (0.9796, "at least 97 % of the best possible in criterion i"),
        (0.0439, "at least 4.3 % of the best possible in criterion i, the mean predicted"),
        (0.000279, "at least 0.02 % of"),
        (1e-12, "at least 0 % of"),
        (0.99996, "at least 99.99 % of"),
        (0.9999989, "at least 99.99 % of"),
        (1.0 - 1e-9, "optimal to rounding: no selection of this size is better in criterion i, the mean"),
        (1.0 + 1e-12, "optimal to rounding"),
    ],
)
def test_the_certificate_is_not_rounded_up(found, efficiency, text):
    line = line_of(replace(found, efficiency=efficiency), "certificate")
    assert line.startswith(text)
    assert "100 %" not in line


def test_a_pool_that_is_taken_as_a_whole_was_no_choice():
    result = design(pool()[:4], 4)
    assert line_of(result, "certificate") == "all candidates are taken: nothing was chosen"
    line = line_of(result, "gain per calculation")
    assert line.startswith("the last pick still gains ")
    assert line.endswith(" %, and no candidate is left")


def test_picks_that_were_asked_for_were_no_choice():
    frames = pool()
    result = design(frames, 2, keep=frames[:2])
    assert line_of(result, "certificate") == "all picks were asked for: nothing was chosen"


def test_one_pick_is_the_best_of_all():
    """No certificate says so: the bound labels candidates in part."""
    frames = pool()
    result = design(frames, 1)
    (pick,) = result.picks
    values = []
    for atoms in frames:
        block = result.rows.stacked(result.rows.of(atoms))
        spread = covariance(result.prior + block.T @ block)
        values.append(result.target.parts(spread).sum())
    assert int(np.argmin(values)) == pick.place
    assert line_of(result, "certificate").startswith("optimal: every candidate was tried in criterion i")


def test_one_pick_is_a_report_in_the_singular():
    result = design(pool(), 1)
    text = to_text(result)
    assert ", 1 frame\n" in text and "1 frames" not in text
    gain = 100.0 * result.picks[0].gain
    line = line_of(result, "gain per calculation")
    assert line == f"the one pick lowers the predicted error by {gain:.0f} %"
    assert len([line for line in text.splitlines() if "pool@" in line]) == 1


def test_a_certificate_for_a_budget_speaks_of_its_cost():
    result = replace(design(pool(), budget=200.0, cost="atoms^3"), efficiency=1.0)
    assert "no selection of this cost is better" in line_of(result, "certificate")


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        ("atoms^3", "3 frames that cost 192 (the sum of their numbers of atoms to the power 3)"),
        ("atoms^1", "3 frames that cost 12 (the sum of their numbers of atoms)"),
        ("price", "3 frames that cost 30 (the sum of their `price`)"),
    ],
)
def test_a_cost_is_told_in_words(cost, text):
    frames = pool()[:6]
    for atoms in frames:
        atoms.info["price"] = 10
    budget = {"atoms^3": 200.0, "atoms^1": 13.0, "price": 30.0}[cost]
    assert line_of(design(frames, budget=budget, cost=cost), "the selection").endswith(text)


def test_a_certificate_beside_kept_frames_says_so():
    frames = pool()
    result = design(frames, 4, keep=frames[:1])
    kept = "with the frame that was asked for"
    some, best = (replace(result, efficiency=value) for value in (0.5, 1.0))
    assert line_of(some, "certificate").startswith(
        f"at least 50 % of the best possible {kept}, in criterion i"
    )
    assert f"no selection of this size {kept} is better in" in line_of(best, "certificate")


def test_what_is_set_aside_is_counted_in_the_singular_too():
    frames = pool()[:4]
    assert "\nset aside     1 duplicate\n" in to_text(design([*frames, frames[0].copy()], 2))
    assert "\nset aside     2 duplicates\n" in to_text(design([*frames, *frames[:2]], 2))


def test_a_group_is_feasible_and_the_picks_may_not_reach_it(found):
    first, second, third = found.groups
    one = dict.fromkeys(first.after, 0.5)
    groups = [
        replace(first, after=one | {"energy": 1.2}, best=one),
        replace(second, after=one, best=one),
        replace(third, after=one | {"forces": 3.0}, best=one | {"forces": 2.0}),
    ]
    lines = to_text(replace(found, groups=groups)).splitlines()
    verdicts = [next(line for line in lines if line.startswith(group.name)) for group in groups]
    assert verdicts[0].endswith("  feasible, not with these picks")
    assert verdicts[1].endswith("  feasible")
    assert verdicts[2].endswith("  NOT FEASIBLE")
    assert [group.failing for group in groups] == [[], [], ["forces"]]


def test_without_a_target_the_verdict_is_said_to_be_always_true(found):
    assert "Every pool does so for itself: the question is for --target" in " ".join(to_text(found).split())
    asked = design(pool(), 4, target=pool(seed=0)[:4])
    assert "does so for itself" not in to_text(asked)


@pytest.mark.parametrize(("linear", "advice"), [(True, "a coarser basis"), (False, "a linear s-NNP")])
def test_what_the_pool_leaves_open_comes_with_advice_that_can_be_followed(found, linear, advice):
    source = replace(found.rows, document={"kind": "linear" if linear else "features"})
    (note,) = _notes({"whole pool": ["feature 3"]}, source)
    assert note.endswith('(`basis="auto"`)' if not linear else advice) and advice in note
