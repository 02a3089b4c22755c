"""The map in the picture of a design: structures as far apart as the labels of the picks leave them open."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from ..drawn import Design
from ..plots import GREY
from .labels import FIRST

GROUPS = ("#4c78a8", "#e08214", "#54a24b", "#b279a2", "#d8b365", "#72b7b2", "#9d755d", "#e45756")
ROLES = ("pool", "target", "have")
CIRCLE = 9.0  # points, of a pick
INNER = (5.0, 95.0)  # percentiles of all structures, between which the scale is taken
MARGIN = 1.0  # of the distance between them, to either side
ARROWS = {(0, -1): "<", (0, 1): ">", (1, -1): "v", (1, 1): "^"}  # by axis and side


def draw_map(axes: Axes, result: Design) -> None:
    """Groups of the pool, target, labelled structures and picks; what lies far out: arrows at the edge."""
    places = result.map
    limits = limits_of(places)
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])
    groups = np.array([frame.group for frame in result.inputs.candidates])
    names = list(dict.fromkeys(groups.tolist()))
    if not result.own_target:
        style = {"marker": "x", "color": GREY, "ms": 5, "mew": 1.0, "alpha": 0.8}
        _draw(axes, places["target"], limits, style, "target")
    dots = {"marker": "o", "ms": 4, "alpha": 0.6, "mew": 0}
    for name, color in zip(names, GROUPS, strict=False):
        _draw(axes, places["pool"][groups == name], limits, dots | {"color": color}, name)
    rest = ~np.isin(groups, names[: len(GROUPS)])
    if rest.any():
        _draw(axes, places["pool"][rest], limits, dots | {"color": GREY, "alpha": 0.5}, "other groups")
    if len(places["have"]):
        style = {"marker": "+", "color": "black", "ms": 6, "mew": 0.9}
        _draw(axes, places["have"], limits, style, "labelled already")
    many = len(places["picks"]) > FIRST
    axes.plot(*inside(places["picks"], limits).T, "o", mfc="none", mec="black", ms=CIRCLE, mew=1.1,
              label=f"picks, 1 to {FIRST} with rank" if many else "picks, with rank")  # fmt: skip
    if any(np.any(_beyond(places[role], limits)) for role in ROLES):
        axes.plot([], [], ">", color=GREY, ms=5, mew=0, label="beyond the axes")
    axes.set_xlabel("first direction (σ of an energy)")
    axes.set_ylabel("second direction (σ of an energy)")
    axes.set_title(
        "map of structures; distance: what the picks leave\nopen of the difference of their energies per atom"
    )
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, columnspacing=1.0, handletextpad=0.3
    )


def limits_of(places: Mapping[str, np.ndarray]) -> np.ndarray:
    """[2, 2], of either axis, for the coordinates of each role."""
    every = np.concatenate([places[role] for role in ROLES])
    return np.array([_limits(column) for column in every.T])


def inside(places: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """``places`` [n, 2] with those beyond the ``limits`` [2, 2] moved to the edge."""
    edge = 0.02 * (limits[:, 1] - limits[:, 0])
    moved = np.clip(places, limits[:, 0] + edge, limits[:, 1] - edge)
    return np.where(_beyond(places, limits)[:, None], moved, places)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Those of all values, unless some are far beyond most: one outlier would press the rest into a point."""
    low, high = values.min(), values.max()
    inner = np.percentile(values, INNER[0], method="higher"), np.percentile(values, INNER[1], method="lower")
    room = MARGIN * (inner[1] - inner[0])
    if room > 1e-9 * (high - low):
        low, high = max(low, inner[0] - room), min(high, inner[1] + room)
    margin = 0.06 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _beyond(places: np.ndarray, limits: np.ndarray) -> np.ndarray:
    return np.any((places < limits[:, 0]) | (places > limits[:, 1]), axis=1)


def _draw(axes: Axes, places: np.ndarray, limits: np.ndarray, style: Mapping, label: str) -> None:
    far = _beyond(places, limits)
    axes.plot(*places[~far].T, ls="none", label=label, **style)
    middle, half = limits.mean(axis=1), 0.5 * (limits[:, 1] - limits[:, 0])
    for place, edge in zip(places[far], inside(places[far], limits), strict=True):
        away = (place - middle) / half
        axis = int(np.argmax(np.abs(away)))
        arrow = {"marker": ARROWS[axis, int(np.sign(away[axis]))], "ms": 6, "mew": 0, "alpha": 0.9}
        axes.plot(*edge, ls="none", **(dict(style) | arrow))
