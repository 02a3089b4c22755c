"""Numbers beside the first points of a picture: close ones share one label, and no two labels overlap."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

GAP = 1.5  # points between a marker and its label
FAR = (0.0, 9.0, 22.0, 38.0)  # points that a label is moved further away where it would lie on others
DIRECTIONS = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
FIRST = 5  # points that get a number: a label of more says little


def number_points(axes: Axes, places: np.ndarray, size: float, fontsize: float = 8.0) -> list[Annotation]:
    """Write 1 to 5 beside the first ``places`` [n, 2], data coordinates, of markers of ``size`` points.

    Markers that overlap share one label, such as "2, 5"; a label that is not beside its marker has a line
    to it. The figure's layout and the limits of the axes have to be final.
    """
    if len(places) == 0:
        return []
    axes.figure.draw_without_rendering()
    pixels = axes.transData.transform(places)
    point = axes.figure.dpi / 72.0
    radius = 0.5 * size * point
    taken = [Bbox.from_extents(x - radius, y - radius, x + radius, y + radius) for x, y in pixels]
    labels = []
    for members in _clusters(pixels[:FIRST], 0.9 * size * point):
        text = in_runs(k + 1 for k in members)
        line = {"arrowstyle": "-", "lw": 0.5, "shrinkA": 0, "shrinkB": 0.5 * size}
        label = axes.annotate(
            text, places[members[0]], xytext=(0, 0), textcoords="offset points", fontsize=fontsize,
            ha="center", va="center", arrowprops=line,
        )  # fmt: skip
        label.set_in_layout(False)
        room = _place(label, pixels[members], radius, point, taken)
        if room is None:
            label.remove()
            continue
        taken.append(room)
        labels.append(label)
    return labels


def in_runs(numbers: Iterable[int]) -> str:
    """Increasing numbers in words: "2, 5–8"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(map(_run, runs))


def _run(run: Sequence[int]) -> str:
    if len(run) < 3:
        return ", ".join(map(str, run))
    return f"{run[0]}–{run[-1]}"


def _clusters(pixels: np.ndarray, reach: float) -> list[list[int]]:
    """Points within ``reach`` of the first of a cluster, in order."""
    clusters: list[list[int]] = []
    for k, place in enumerate(pixels):
        near = [members for members in clusters if np.linalg.norm(pixels[members[0]] - place) < reach]
        if near:
            near[0].append(k)
        else:
            clusters.append([k])
    return clusters


def _place(
    label: Annotation, pixels: np.ndarray, radius: float, point: float, taken: list[Bbox]
) -> Bbox | None:
    """Move the label to where it lies on nothing in ``taken``, inside the axes; None: there is no room."""
    extent = Text.get_window_extent(label)  # without the line
    width, height = extent.width, extent.height
    low, high = pixels.min(axis=0) - pixels[0], pixels.max(axis=0) - pixels[0]
    frame = label.axes.bbox
    for far, (right, up) in itertools.product(FAR, DIRECTIONS):
        away = radius * (0.7 if right and up else 1.0) + (GAP + far) * point
        x = right * (away + 0.5 * width) + (high[0] if right > 0 else low[0] if right < 0 else 0.0)
        y = up * (away + 0.5 * height) + (high[1] if up > 0 else low[1] if up < 0 else 0.0)
        centre = pixels[0] + (x, y)
        room = Bbox.from_extents(*(centre - (width / 2, height / 2)), *(centre + (width / 2, height / 2)))
        inside = frame.x0 <= room.x0 and room.x1 <= frame.x1 and frame.y0 <= room.y0 and room.y1 <= frame.y1
        if inside and not any(room.overlaps(other) for other in taken):
            label.set_position((x / point, y / point))
            label.arrow_patch.set_visible(far > 0.0)
            return room
    return None
