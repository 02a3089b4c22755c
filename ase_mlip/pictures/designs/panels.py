"""The picture of a design, three panels; in the style of :mod:`ase_mlip.pictures.plots`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from ..drawn import Design, Group
from ..plots import BLUE, GREEN, GREY, ORANGE, _figure
from .labels import number_points
from .structure_map import CIRCLE, draw_map, inside, limits_of

KINDS = {"energy": BLUE, "forces": ORANGE, "stress": GREEN}
MOST_GROUPS = 24  # rows of the second panel
WIDEST = 10.0  # times the largest error after the picks: errors before them are often far beyond
CLOSE = (1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0)
SMALLEST = 1e-3  # of the largest error after the picks; forces that vanish by symmetry are 1e-16 σ
MARKED = 0.005  # σ, which one very large error does not push off the axis


def plot_design(result: Design) -> Figure:
    """Predicted error against labels; groups before, after and at best; a map of the structures.

    Parameters
    ----------
    result : Design
        what :func:`ase_mlip.design` returns

    Returns
    -------
    Figure
        of matplotlib, three panels side by side
    """
    rows = min(len(result.groups), MOST_GROUPS) * len(result.target.kinds)
    with _figure((14.5, max(4.6, 1.6 + 0.19 * rows))) as figure:
        curve, groups, map_ = figure.subplots(1, 3, width_ratios=[1.0, 1.15, 1.1])
        _draw_curve(curve, result)
        _draw_groups(groups, result)
        draw_map(map_, result)
        number_points(map_, inside(result.map["picks"], limits_of(result.map)), CIRCLE)
    return figure


def _draw_curve(axes: Axes, result: Design) -> None:
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
    axes.set_yticks(_few_log_ticks(axes.get_ylim(), 8))
    axes.set_yticks([], minor=True)
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
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, columnspacing=1.2)


def _few_log_ticks(limits: tuple[float, float], most: int) -> list[float]:
    """1, 2, 5, 10 … within ``limits``; closer ones where these would be few, powers of ten where many."""
    low, high = (int(np.floor(np.log10(limit))) for limit in limits)
    for factors, step in ((CLOSE, 1), ((1.0, 2.0, 5.0), 1), ((1.0,), 1), ((1.0,), 2), ((1.0,), 3)):
        ticks = [factor * 10.0**power for power in range(low, high + 1, step) for factor in factors]
        inside = [tick for tick in ticks if limits[0] <= tick <= limits[1]]
        if len(inside) <= most:
            break
    return inside


def _draw_groups(axes: Axes, result: Design) -> None:
    """A row for each group and kind: before, after, best; σ of one label is the limit of what is feasible."""
    kinds = result.target.kinds
    shown = _worst_first(result.groups)[:MOST_GROUPS]
    after = [group.after[kind] for group in shown for kind in kinds]
    best = [group.best[kind] for group in shown for kind in kinds]
    high = max(3.0, WIDEST * max(after))
    limits = (max(0.6 * min(best), min(SMALLEST * max(1.0, *after), MARKED)), high)
    step = 1.0 / (len(kinds) + 1)
    for row, group in enumerate(shown):
        for k, kind in enumerate(kinds):
            y = row + (k - (len(kinds) - 1) / 2) * step
            _draw_group(axes, group, kind, y, limits)
            if kind in group.failing:
                rows = (y - 0.48 * step, y + 0.48 * step)
                axes.axhspan(*rows, fill=False, hatch="/////", ec=GREY, alpha=0.45, lw=0, zorder=0)
    axes.axvline(1.0, color="black", lw=0.9, ls="--")
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks(range(len(shown)), [group.name for group in shown])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xticks(_few_log_ticks(limits, 7))
    axes.set_xticks([], minor=True)
    axes.set_xlabel("predicted error (σ of one label)")
    verdict = "feasible: the whole pool would get every\ngroup below the σ of one label"
    if not result.feasible:
        verdict = "NOT FEASIBLE: even the whole pool leaves what\nis hatched above the σ of one label"
    axes.set_title(verdict if len(shown) == len(result.groups) else f"{verdict}; {len(shown)} worst")
    _legend_of_groups(axes, kinds, not result.feasible)


def _worst_first(groups: Sequence[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: -max(group.after.values()))


def _draw_group(axes: Axes, group: Group, kind: str, y: float, limits: tuple[float, float]) -> None:
    """Best, after and before on one line; those beyond the axis as arrows at its end, in this order."""
    color = KINDS[kind]
    width = np.log(limits[1] / limits[0])
    right = limits[1] * np.exp(-0.015 * width)
    shown = []
    for k, value in enumerate((group.best[kind], group.after[kind], group.before[kind])):
        left = limits[0] * np.exp((0.015 + 0.03 * k) * width)
        beyond = "<" if value < limits[0] else ">" if value > right else ""
        shown.append((left if beyond == "<" else min(value, right), beyond))
    axes.plot([shown[0][0], shown[2][0]], [y, y], color=color, lw=0.9, alpha=0.5)
    for (x, beyond), face in zip(shown[1:], (color, "white"), strict=True):
        axes.plot(x, y, beyond or "o", color=color, mfc=face, ms=5, clip_on=False)
    x, beyond = shown[0]
    if beyond:
        axes.plot(x, y, marker=f"${beyond}$", color=color, ms=5, mew=0.6, clip_on=False)
    else:
        axes.plot(x, y, "|", color=color, ms=8, mew=1.8)


def _legend_of_groups(axes: Axes, kinds: tuple[str, ...], hatched: bool) -> None:
    handles = [Line2D([], [], color=KINDS[kind], lw=2, label=kind) for kind in kinds]
    marks = (
        ("o", "white", "before (◁ ▷ beyond)"),
        ("o", GREY, "after the picks (◀ ▶)"),
        ("|", GREY, "whole pool labelled (< >)"),
    )
    handles += [
        Line2D([], [], ls="none", marker=marker, mec=GREY, mfc=face, mew=1.4, label=label)
        for marker, face, label in marks
    ]
    handles += [Line2D([], [], color="black", lw=0.9, ls="--", label="σ: limit of feasible")]
    if hatched:
        handles += [Patch(fill=False, hatch="///", ec=GREY, lw=0, label="not feasible")]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.45, -0.14), ncols=3, columnspacing=1.2)
