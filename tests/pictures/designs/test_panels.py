"""The picture of a design: the ranks in its map can be read.

It also tests `labels`, `structure_map`.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from ase_mlip import design
from ase_mlip.pictures.designs.labels import in_runs, number_points
from ase_mlip.pictures.designs.panels import plot_design
from tests.optimal_design.designs import pool


def numbers_in(text: str) -> set[int]:
    """Those that a label names, "2, 5–8"."""
    found = set()
    for run in text.split(", "):
        first, _, last = run.partition("–")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def boxes(labels):
    return [Text.get_window_extent(label) for label in labels]


def assert_apart(labels):
    """No two labels lie on each other, and all are inside their axes."""
    for one, other in itertools.combinations(boxes(labels), 2):
        assert not one.overlaps(other)
    for box in boxes(labels):
        frame = labels[0].axes.bbox.expanded(1.001, 1.001)
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1


def test_the_first_picks_have_their_rank_and_no_two_labels_overlap():
    result = design(pool(), 12)
    figure = plot_design(result)
    figure.draw_without_rendering()
    labels = [label for label in figure.axes[2].texts if label.get_text()]
    assert set().union(*(numbers_in(label.get_text()) for label in labels)) == set(range(1, 6))
    assert_apart(labels)


@pytest.mark.parametrize("kind", ["one place", "a crowd", "a line", "corners"])
def test_labels_of_close_points_do_not_overlap(kind):
    generator = np.random.default_rng(3)
    places = {
        "one place": np.zeros((9, 2)),
        "a crowd": np.concatenate([0.02 * generator.normal(size=(15, 2)), generator.normal(size=(4, 2))]),
        "a line": np.stack([np.linspace(0.0, 1.0, 25), np.zeros(25)], axis=1),
        "corners": np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]),
    }[kind]
    figure = Figure(figsize=(4.0, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(*places.T, "o", ms=9.0)
    labels = number_points(axes, places, 9.0)
    figure.draw_without_rendering()
    assert_apart(labels)
    named = set().union(*(numbers_in(label.get_text()) for label in labels))
    assert named == set(range(1, min(5, len(places)) + 1))
    first = axes.transData.transform(places[0])
    assert not any(box.contains(*first) for box in boxes(labels))


def test_a_picture_of_one_pick_is_drawn():
    figure = plot_design(design(pool(), 1))
    figure.draw_without_rendering()
    assert [label.get_text() for label in figure.axes[2].texts] == ["1"]
    assert figure.axes[0].get_title().startswith("1 pick: ")


@pytest.fixture(scope="module")
def found():
    return design(pool(), 3)


def overlapping(labels) -> list[tuple[str, str]]:
    extents = [(label.get_text(), Text.get_window_extent(label)) for label in labels if label.get_text()]
    pairs = itertools.combinations(extents, 2)
    return [(one, other) for (one, first), (other, second) in pairs if first.overlaps(second)]


def test_errors_that_vanish_by_symmetry_stand_at_the_edge(found):
    """Marks of 1e-16 σ do not stretch the axis, and tick labels stay apart."""
    tiny = {"forces": 1e-16}
    groups = [replace(g, after=g.after | tiny, best=g.best | tiny, before=g.before | tiny)
              for g in found.groups[:1]]  # fmt: skip
    result = replace(found, groups=groups + found.groups[1:])
    figure = plot_design(result)
    figure.draw_without_rendering()
    axes = figure.axes[1]
    low, high = axes.get_xlim()
    largest = max(value for group in result.groups for value in group.after.values())
    assert min(1e-3 * max(1.0, largest), 5e-3) <= low and high < 1e5 * max(1.0, largest)
    marks = [line for line in axes.lines if line.get_marker() in ("<", "$<$")]
    assert len(marks) >= 3 and all(low <= line.get_xdata()[0] <= high for line in marks)
    assert overlapping(axes.get_xticklabels()) == []


def test_the_kind_that_fails_is_hatched_and_no_other(found):
    first = found.groups[0]
    group = replace(first, best=first.best | {"energy": 2.0}, after=first.after | {"energy": 3.0})
    axes = plot_design(replace(found, groups=[group, *found.groups[1:]])).axes[1]
    (hatched,) = [patch for patch in axes.patches if patch.get_hatch()]
    span = hatched.get_path().transformed(hatched.get_patch_transform()).get_extents()
    assert span.height < 0.4
    middle = span.y0 + 0.5 * span.height
    assert middle < round(middle)  # energies are above the middle of a group's row


def test_one_outlier_does_not_set_the_scale_of_the_map(found):
    places = {role: np.array(where) for role, where in found.map.items()}
    places["pool"][7] = (1e4, 0.0)
    places["picks"] = places["pool"][[7, 1, 2]]
    others = np.delete(places["pool"], 7, axis=0)
    places["target"] = places["pool"]
    figure = plot_design(replace(found, map=places))
    figure.draw_without_rendering()
    axes = figure.axes[2]
    (low, high), spread = axes.get_xlim(), np.ptp(others[:, 0])
    assert high - low < 2.5 * spread
    (arrow,) = [line for line in axes.lines if line.get_marker() == ">" and len(line.get_xdata())]
    assert low < arrow.get_xdata()[0] < high
    assert set().union(*(numbers_in(label.get_text()) for label in axes.texts)) == {1, 2, 3}


def test_no_legend_lies_on_its_panel(found):
    figure = plot_design(found)
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert not axes.get_legend().get_window_extent().overlaps(axes.bbox)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([1], "1"),
        ([1, 2], "1, 2"),
        ([2, 3, 4, 7], "2–4, 7"),
        ([1, 3, 5, 7, 9], "1, 3, 5, 7, 9"),
    ],
)
def test_numbers_in_a_row_are_a_run(numbers, text):
    assert in_runs(numbers) == text
