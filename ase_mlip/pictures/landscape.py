"""The picture of a loss landscape; in the style of :mod:`ase_mlip.pictures.plots`."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawn import LossLandscape
from .plots import BLUE, GREEN, GREY, ORANGE, _figure

ENTROPIES = {"S_E": "$S_E$", "S_F": "$S_F$", "S": "$S$"}
BAND = (5.0, 95.0)  # percentiles over lines
LEVELS = 13  # contours


def plot_landscape(result: LossLandscape) -> Figure:
    """L_E and L_F along the lines with bands, the entropies with intervals; a plane's contours below."""
    rows = 1 if result.plane is None else 2
    with _figure((11.0, 3.7 * rows)) as figure:
        axes = figure.subplots(rows, 3, width_ratios=[1.0, 1.0, 0.8], squeeze=False)
        kT = 1e3 * result.settings["kT_energy"], result.settings["kT_forces"]
        _draw_curves(axes[0, 0], result.x, 1e3 * result.energy_losses, kT[0], "$L_E$ (meV/atom)", BLUE)
        _draw_curves(axes[0, 1], result.x, result.force_losses, kT[1], "$L_F$ (eV/Å)", ORANGE)
        _draw_entropies(axes[0, 2], result)
        if result.plane is not None:
            energy, forces = (np.asarray(result.plane[name]) for name in ("energy_losses", "force_losses"))
            _draw_plane(figure, axes[1, 0], result.plane, 1e3 * energy, "$L_E$ (meV/atom)")
            _draw_plane(figure, axes[1, 1], result.plane, forces, "$L_F$ (eV/Å)")
            axes[1, 2].set_axis_off()
        settings = result.settings
        figure.suptitle(
            f"{result.model['name']} ({result.model['family']}): {settings['lines']} "
            f"{settings['directions']} lines, {settings['frames']} frames",
            fontsize=10,
        )
    return figure


def _draw_curves(axes: Axes, x: np.ndarray, losses: np.ndarray, kT: float, label: str, color: str) -> None:
    """Single lines, their 5 to 95 % band, and the mean that S is made of."""
    shown = np.where(np.isfinite(losses) & (losses > 0.0), losses, np.nan)
    for line in shown:
        axes.plot(x, line, color=GREY, lw=0.5, alpha=0.35, zorder=1)
    if len(losses) > 1:
        low, high = np.percentile(np.where(np.isfinite(losses), losses, 1e300), BAND, axis=0)
        axes.fill_between(x, low, np.minimum(high, 1e12), color=color, alpha=0.22, lw=0, label="5 to 95 %")
    mean = losses.mean(axis=0)
    axes.plot(x, np.where(np.isfinite(mean), mean, np.nan), color=color, lw=1.6, label="mean")
    axes.axhline(kT, color="black", lw=0.8, ls=":", label="$kT$")
    axes.set_yscale("log")
    finite = shown[np.isfinite(shown)]
    if finite.size:
        axes.set_ylim(min(finite.min(), kT) / 1.5, max(finite.max(), kT) * 1.5)
    axes.set_xlim(x[0], x[-1])
    axes.set_xlabel("$x$ (norm of the weights)")
    axes.set_ylabel(label)
    axes.legend(frameon=False, loc="upper center")


def _draw_entropies(axes: Axes, result: LossLandscape) -> None:
    """The three entropies, of L and of L - L(0)."""
    for shift, (suffix, color, label) in enumerate((("", BLUE, "of $L$"), ("_plus", GREEN, "of $L - L(0)$"))):
        for place, name in enumerate(ENTROPIES):
            value = result.numbers[name + suffix]
            low, high = result.intervals[name + suffix]
            at = place + 0.22 * (shift - 0.5)
            if not np.isfinite(value):
                continue
            if np.isfinite([low, high]).all():
                axes.plot([at, at], [low, high], color=color, lw=1.4)
            axes.plot(at, value, "o", color=color, ms=5, label=label if place == 0 else None)
    axes.set_xticks(range(len(ENTROPIES)), list(ENTROPIES.values()))
    axes.set_xlim(-0.5, len(ENTROPIES) - 0.5)
    axes.set_ylabel("loss entropy")
    axes.grid(axis="y", color=GREY, alpha=0.2, lw=0.6)
    axes.legend(frameon=False, loc="best")


def _draw_plane(figure: Figure, axes: Axes, plane: dict, losses: np.ndarray, label: str) -> None:
    """Contours on a logarithmic scale; a place without a finite loss stays white."""
    values = np.ma.masked_invalid(np.where(losses > 0.0, losses, np.nan))
    low, high = float(values.min()), float(values.max())
    levels = np.geomspace(low, high if high > 1.001 * low else 1.001 * low, LEVELS)
    norm = matplotlib.colors.LogNorm(low, levels[-1])
    x, y = np.asarray(plane["x"]), np.asarray(plane["y"])
    filled = axes.contourf(x, y, values.T, levels=levels, norm=norm, cmap="viridis")
    axes.contour(x, y, values.T, levels=levels, norm=norm, colors="white", linewidths=0.4)
    axes.plot(0.0, 0.0, "+", color="white", ms=8)
    axes.set_aspect("equal")
    axes.set_xlabel("$x_1$")
    axes.set_ylabel("$x_2$")
    bar = figure.colorbar(filled, ax=axes, label=label, format="%.3g")
    bar.ax.minorticks_off()
