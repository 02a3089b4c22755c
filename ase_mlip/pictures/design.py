"""The picture of a design, three panels; in the style of :mod:`ase_mlip.pictures.plots`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from .labels import number_points
from .plots import BLUE, GREEN, GREY, ORANGE, _figure

if TYPE_CHECKING:
    from ..optimal_design.result import DesignResult, GroupForecast

KINDS = {"energy": BLUE, "forces": ORANGE, "stress": GREEN}
GROUPS = ("#4c78a8", "#e08214", "#54a24b", "#b279a2", "#d8b365", "#72b7b2", "#9d755d", "#e45756")
MOST_GROUPS = 24  # rows of the second panel
CIRCLE = 9.0  # points, of a pick in the third
WIDEST = 30.0  # times the largest error after the picks: errors before them are often far beyond


def plot_design(result: DesignResult) -> Figure:
    """Predicted error against labels; groups before, after and at best; a map of the structures."""
    rows = min(len(result.groups), MOST_GROUPS) * len(result.target.kinds)
    with _figure((14.5, max(4.6, 1.6 + 0.19 * rows))) as figure:
        curve, groups, map_ = figure.subplots(1, 3, width_ratios=[1.0, 1.15, 1.1])
        _draw_curve(curve, result)
        _draw_groups(groups, result)
        _draw_map(map_, result)
        number_points(map_, result.map["picks"], CIRCLE)
    return figure


def _draw_curve(axes: Axes, result: DesignResult) -> None:
    """√I, with the whole pool labelled as one, against what was spent."""
    floor, band = result.floor, result.band
    spent = np.cumsum([pick.cost for pick in result.picks])
    values = np.sqrt(result.path.values[1:]) / floor
    low, middle, high = band.percentiles() / floor
    axes.fill_between(band.spent, low, high, color=GREY, alpha=0.25, lw=0, label="random, 5 to 95 %")
    axes.plot(band.spent, middle, color=GREY, lw=1.0, label="random, median")
    axes.plot(spent, values, "o-", color=BLUE, ms=3.5, label="these picks")
    axes.axhline(1.0, color="black", lw=0.9, ls="--", label="whole pool labelled")
    if result.knee is not None and result.knee > 0:
        at = spent[result.knee - 1]
        axes.axvline(at, color=ORANGE, lw=1.0, ls=":")
        late = at > 0.5 * spent[-1]
        axes.annotate(
            f"knee: {result.knee}",
            (at, 0.5),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if late else 3, 0),
            textcoords="offset points",
            ha="right" if late else "left",
            color=ORANGE,
            fontsize=9,
        )
    axes.set_yscale("log")
    top = max(np.max(high), np.max(values))
    axes.set_ylim(0.93, min(1.15 * top, 40.0 * max(values[-1], high[-1])))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    _few_log_ticks(axes, axes.get_ylim())
    axes.set_xlim(0.0, 1.02 * max(spent[-1], band.spent[-1]))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=result.settings.cost == "count"))
    axes.set_xlabel(
        "labels" if result.settings.cost == "count" else f"cost of the labels ({result.settings.cost})"
    )
    axes.set_ylabel("predicted error of the target /\nthat with the whole pool labelled")
    total = len(result.inputs.candidates)
    picks = "1 pick" if len(result.picks) == 1 else f"{len(result.picks)} picks"
    axes.set_title(
        f"{picks}: {values[-1]:.3g} × the error with all {total} labelled,\n"
        f"as many at random: {middle[-1]:.3g} ×"
    )
    axes.legend(loc="upper right")


def _few_log_ticks(axes: Axes, limits: tuple[float, float]) -> None:
    """Ticks at 1, 2, 5, 10 … within ``limits``; closer ones where these would be few."""
    for factors in ((1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0,)):
        ticks = [factor * 10.0**power for power in range(8) for factor in factors]
        inside = [tick for tick in ticks if limits[0] <= tick <= limits[1]]
        if len(inside) <= 8:
            break
    axes.set_yticks(inside)
    axes.set_yticks([], minor=True)


def _draw_groups(axes: Axes, result: DesignResult) -> None:
    """A row for each group and kind: before, after, best; σ of one label is the limit of what is feasible."""
    kinds = result.target.kinds
    shown = _worst_first(result.groups)[:MOST_GROUPS]
    after = [group.after[kind] for group in shown for kind in kinds]
    best = [group.best[kind] for group in shown for kind in kinds]
    limits = (0.6 * min(best), max(3.0, WIDEST * max(after)))
    step = 1.0 / (len(kinds) + 1)
    for row, group in enumerate(shown):
        for k, kind in enumerate(kinds):
            _draw_group(axes, group, kind, row + (k - (len(kinds) - 1) / 2) * step, limits)
        if not group.feasible:
            axes.axhspan(row - 0.45, row + 0.45, fill=False, hatch="///", ec=GREY, alpha=0.45, lw=0, zorder=0)
    axes.axvline(1.0, color="black", lw=0.9, ls="--")
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks(range(len(shown)), [group.name for group in shown])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("predicted error (σ of one label)")
    verdict = "feasible: the whole pool would get every\ngroup below the σ of one label"
    if not result.feasible:
        verdict = "NOT FEASIBLE: even the whole pool leaves the\nhatched groups above the σ of one label"
    axes.set_title(verdict if len(shown) == len(result.groups) else f"{verdict}; {len(shown)} worst")
    _legend_of_groups(axes, kinds, not result.feasible)


def _worst_first(groups: list[GroupForecast]) -> list[GroupForecast]:
    return sorted(groups, key=lambda group: -max(group.after.values()))


def _draw_group(axes: Axes, group: GroupForecast, kind: str, y: float, limits: tuple[float, float]) -> None:
    color, inside = KINDS[kind], 0.93 * limits[1]
    before, after, best = group.before[kind], group.after[kind], group.best[kind]
    axes.plot([best, min(before, inside)], [y, y], color=color, lw=0.9, alpha=0.5)
    if before > inside:
        axes.plot(inside, y, ">", color=color, mfc="white", ms=4.5, clip_on=False)
    else:
        axes.plot(before, y, "o", color=color, mfc="white", ms=5)
    axes.plot(after, y, "o", color=color, ms=5)
    axes.plot(best, y, "|", color=color, ms=8, mew=1.8)


def _legend_of_groups(axes: Axes, kinds: tuple[str, ...], hatched: bool) -> None:
    handles = [Line2D([], [], color=KINDS[kind], lw=2, label=kind) for kind in kinds]
    marks = (
        ("o", "white", "before (▷ beyond)"),
        ("o", GREY, "after the picks"),
        ("|", GREY, "whole pool labelled"),
    )
    handles += [
        Line2D([], [], ls="none", marker=marker, mec=GREY, mfc=face, mew=1.4, label=label)
        for marker, face, label in marks
    ]
    handles += [Line2D([], [], color="black", lw=0.9, ls="--", label="σ: limit of feasible")]
    if hatched:
        handles += [Patch(fill=False, hatch="///", ec=GREY, lw=0, label="not feasible")]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.45, -0.14), ncols=3, columnspacing=1.2)


def _draw_map(axes: Axes, result: DesignResult) -> None:
    """Structures as far apart as the labels of the picks leave their energies open."""
    places = result.map
    groups = np.array([frame.group for frame in result.inputs.candidates])
    names = list(dict.fromkeys(groups.tolist()))
    if result.inputs.target is not result.inputs.candidates:
        axes.plot(*places["target"].T, "x", color=GREY, ms=5, mew=1.0, alpha=0.8, label="target")
    for name, color in zip(names, GROUPS, strict=False):
        own = places["pool"][groups == name]
        axes.plot(*own.T, "o", color=color, ms=4, alpha=0.6, mew=0, label=name)
    rest = ~np.isin(groups, names[: len(GROUPS)])
    if rest.any():
        axes.plot(*places["pool"][rest].T, "o", color=GREY, ms=4, alpha=0.5, mew=0, label="other groups")
    if len(places["have"]):
        axes.plot(*places["have"].T, "+", color="black", ms=6, mew=0.9, label="labelled already")
    axes.plot(*places["picks"].T, "o", mfc="none", mec="black", ms=CIRCLE, mew=1.1, label="picks, with rank")
    axes.set_xlabel("first direction (σ of an energy)")
    axes.set_ylabel("second direction (σ of an energy)")
    axes.set_title(
        "map of structures; distance: what the picks leave\nopen of the difference of their energies per atom"
    )
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, columnspacing=1.0, handletextpad=0.3
    )
