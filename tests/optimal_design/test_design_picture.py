"""The picture of a design: the ranks in its map can be read."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from ase_mlip import design
from ase_mlip.pictures.design import plot_design
from ase_mlip.pictures.labels import in_runs, number_points
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


def test_every_pick_has_its_rank_and_no_two_labels_overlap():
    result = design(pool(), 12)
    figure = plot_design(result)
    figure.draw_without_rendering()
    labels = [label for label in figure.axes[2].texts if label.get_text()]
    assert set().union(*(numbers_in(label.get_text()) for label in labels)) == set(range(1, 13))
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
    named = set().union(*(numbers_in(label.get_text().partition(" +")[0]) for label in labels))
    if kind != "a crowd":
        assert named == set(range(1, len(places) + 1))
    first = axes.transData.transform(places[0])
    assert not any(box.contains(*first) for box in boxes(labels))


def test_a_picture_of_one_pick_is_drawn():
    figure = plot_design(design(pool(), 1))
    figure.draw_without_rendering()
    assert [label.get_text() for label in figure.axes[2].texts] == ["1"]
    assert figure.axes[0].get_title().startswith("1 pick: ")


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([1], "1"),
        ([1, 2], "1, 2"),
        ([2, 3, 4, 7], "2–4, 7"),
        ([1, 3, 5, 7, 9], "1, 3, 5, 7, 9"),
        ([1, 3, 5, 7, 9, 11, 12], "1, 3, 5, 7 +3"),
    ],
)
def test_numbers_in_a_row_are_a_run(numbers, text):
    assert in_runs(numbers) == text
