"""Predictions against references; see :mod:`ase_mlip.pictures.plots`."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawn import Parity
from .plots import _figure

MAX_COLORS = 10  # groups or elements; more of them share one colour
# Only the axes of the energy are in a larger unit than its error: binding energies are of some eV.
# By quantity: unit of the axes, how many of it are one of the result's; the same of the error, its digits
UNITS = {
    "energy": ("eV/atom", 1.0, "meV/atom", 1e3, 2),
    "forces": ("eV/Å", 1.0, "eV/Å", 1.0, 4),
    "stress": ("meV/Å³", 1e3, "meV/Å³", 1e3, 2),
}


def plot_parity(result: Parity) -> Figure:
    """A panel for each quantity that was compared; colours are groups, or of forces without them elements."""
    names = [name for name in UNITS if len(result.parity.get(name, ()))]
    with _figure((4.0 * len(names), 4.1)) as figure:
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            _panel(axes, result, name)
        labelled = [axes for axes in figure.axes if axes.get_legend_handles_labels()[1]]
        for axes in labelled[:1]:  # groups are the same in all
            axes.legend(markerscale=2, loc="upper left", fontsize=7.5, handletextpad=0.1)
    return figure


def _panel(axes: Axes, result: Parity, name: str) -> None:
    """One quantity: points by their owners, the diagonal, the RMSE in the title, equal axes."""
    unit, scale, error_unit, factor, digits = UNITS[name]
    points = scale * result.parity[name]
    low, high = points.min(), points.max()
    margin = 0.04 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color="0.6", lw=0.8, zorder=0)
    style = {"s": 12 if len(points) < 1000 else 4, "alpha": 0.6, "linewidths": 0, "rasterized": True}
    owners, labels = _owners(result, name)
    colors = matplotlib.colormaps["tab10"].colors
    for label, color in zip(labels or [None], colors, strict=False):
        shown = points if label is None else points[owners == label]
        axes.scatter(*shown.T, color=color, label=label, **style)
    axes.set(
        xlim=limits, ylim=limits, aspect="equal", xlabel=f"reference ({unit})", ylabel=f"predicted ({unit})"
    )
    axes.set_title(f"{name}: RMSE {factor * getattr(result, f'{name}_rmse'):.{digits}f} {error_unit}")
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(nbins=5)


def _owners(result: Parity, name: str) -> tuple[np.ndarray, list[str]]:
    """Whom each point belongs to, and in what order; nobody where there are too many or only one."""
    if len(result.groups) > 1:
        owners, labels = result.parity_groups[name], list(result.groups)
    elif name == "forces":
        owners, labels = result.parity_elements, sorted(set(result.parity_elements.tolist()))
    else:
        return np.array([]), []
    return owners, labels if 1 < len(labels) <= MAX_COLORS else []
