"""The picture of a comparison of landscapes; in the style of :mod:`ase_mlip.pictures.plots`."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawn import Comparison, Family, Quantity, Worth
from .plots import BLUE, GREY, ORANGE, _figure

MOST_TARGETS = 3  # panels of correlations of a family: survival, and the errors that are largest


def plot_comparison(found: Comparison) -> Figure:
    """A row for each family: the models by their entropy, then what each predictor says of each target."""
    columns = max(1 + len(_targets(family)) for family in found.families)
    heights = [_height(family) for family in found.families]
    size = (3.6 + 3.5 * (columns - 1), sum(heights))
    with _figure(size) as figure:
        panels = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
        for row, family in zip(panels, found.families, strict=True):
            _draw_models(row[0], family)
            for number, (axes, target) in enumerate(zip_longest(row[1:], _targets(family))):
                if target is None:
                    axes.set_visible(False)
                else:
                    worths = [worth for worth in family.worths if worth.target == target]
                    _draw_worths(axes, worths, target, family, first=number == 0)
    return figure


def _height(family: Family) -> float:
    """Inches for as many lines as the fullest panel has."""
    rows = max(len(family.models), len({worth.predictor for worth in family.worths}))
    return max(1.9, 1.1 + 0.25 * rows)


def _targets(family: Family) -> list[Quantity]:
    """Survival first, then errors of forces, the largest first; a model's energies come last."""

    def key(target: Quantity) -> tuple:
        values = [entry.targets[target] for entry in family.models if target in entry.targets]
        return target.sense < 0, "energy" in target.name, -np.mean(values)

    return sorted({worth.target for worth in family.worths}, key=key)[:MOST_TARGETS]


def _draw_models(axes: Axes, family: Family) -> None:
    """S and S⁺ of each model, the best on top."""
    places = np.arange(len(family.models))[::-1]
    for name, color, marker in (("S", BLUE, "o"), ("S⁺", ORANGE, "D")):
        quantity = next((q for q in family.ranks if q.name == name), None)
        if quantity is not None:
            values = [entry.predictors[quantity] for entry in family.models]
            axes.plot(values, places, marker, color=color, ms=5, label=name)
    axes.set_yticks(places, [entry.name for entry in family.models], fontsize=8)
    axes.set_ylim(-0.7, len(places) - 0.3)
    axes.grid(axis="y", color=GREY, alpha=0.2, lw=0.6)
    axes.margins(x=0.12)
    axes.set_xlabel("loss entropy")
    axes.set_title(f"{family.name}, {len(places)} model{'s' if len(places) > 1 else ''}", loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(0.62, 1.17), ncols=2, handletextpad=0.1, columnspacing=0.8)


def _draw_worths(axes: Axes, worths: list[Worth], target: Quantity, family: Family, first: bool) -> None:
    """Rank correlations with their intervals: filled, and given the in-distribution error hollow."""
    places = np.arange(len(worths))[::-1]
    for place, worth in zip(places, worths, strict=True):
        for found, color, shift, filled in (
            (worth.plain, BLUE, 0.13, True),
            (worth.partial, ORANGE, -0.13, False),
        ):
            if found is None or found.reason:
                continue
            axes.plot([found.low, found.high], [place + shift] * 2, color=color, lw=1.3)
            face = color if filled else "white"
            axes.plot(found.value, place + shift, "o", color=color, mfc=face, ms=5, clip_on=False)
    axes.plot([], [], "o-", color=BLUE, ms=5, label="alone")
    axes.plot([], [], "o-", color=ORANGE, mfc="white", ms=5, label=f"given {family.control.name}")
    axes.axvline(0.0, color="black", lw=0.8)
    axes.set_xlim(-1.05, 1.05)
    axes.set_ylim(-0.7, len(places) - 0.3)
    axes.set_yticks(places, [worth.predictor.name for worth in worths], fontsize=8)
    axes.grid(axis="y", color=GREY, alpha=0.2, lw=0.6)
    axes.set_xlabel("rank correlation, 95 %")
    axes.set_title(target.name, loc="left")
    if first:
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.22), fontsize=8)
