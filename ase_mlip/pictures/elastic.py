"""Pictures of elastic constants and of thermal conductivity; see :mod:`ase_mlip.pictures.plots`."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from ..voigt import NAMES
from .drawn import Conductivity, Elasticity
from .plots import BLUE, GREEN, GREY, ORANGE, _figure

COLORS = (BLUE, ORANGE, GREEN, GREY, "black", "#8a5aa8")
PLANES = {"xy": (0, 1), "xz": (0, 2), "yz": (1, 2)}


def plot_elastic(result: Elasticity) -> Figure:
    """Stresses against strains with the slopes taken, and Young's modulus by direction in three planes.

    The second picture is left out for a crystal that is not stable: its compliance means nothing.
    """
    with _figure((8.4, 4.0) if result.stable else (5.2, 4.0)) as figure:
        left = figure.add_subplot(1, 2 if result.stable else 1, 1)
        _stress_against_strain(left, result)
        if result.stable:
            _young_by_direction(figure.add_subplot(1, 2, 2, projection="polar"), result)
    return figure


def plot_conductivity(result: Conductivity) -> Figure:
    """What modes up to a frequency contribute near 300 K, and the total if there are several temperatures."""
    several = len(result.temperatures) > 1
    with _figure((8.0, 3.8) if several else (4.8, 3.8)) as figure:
        axes = figure.subplots(1, 1 + several, squeeze=False)[0]
        _cumulative(axes[-1], result, int(np.argmin(np.abs(result.temperatures - 300.0))))
        if several:
            axes[0].loglog(result.temperatures, result.mean_kappa, "o-", color=BLUE, ms=4)
            ticks = result.temperatures[:: 1 + len(result.temperatures) // 6]
            axes[0].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes[0].xaxis.set_minor_locator(NullLocator())
            axes[0].yaxis.set_major_formatter(ScalarFormatter())
            axes[0].yaxis.set_minor_formatter(ScalarFormatter())
            axes[0].set_xlabel("temperature (K)")
            axes[0].set_ylabel("thermal conductivity (W/m/K)")
    return figure


def _cumulative(axes: Axes, result: Conductivity, at: int) -> None:
    order = np.argsort(result.frequencies, axis=None)
    sums = np.cumsum(result.mode_kappa[at].reshape(-1)[order]) / result.weights.sum()
    axes.step(result.frequencies.reshape(-1)[order], sums, where="post", color=ORANGE)
    axes.axhline(result.mean_kappa[at], color=GREY, lw=0.8, ls=":")
    axes.set_xlim(left=0.0)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("frequency (THz)")
    axes.set_ylabel(f"cumulative, {result.temperatures[at]:g} K (W/m/K)")


def _stress_against_strain(axes: Axes, result: Elasticity) -> None:
    """The diagonal: each component's own stress, less what is there without strain."""
    percent = 100.0 * result.strains
    for component, (name, color) in enumerate(zip(NAMES, COLORS, strict=True)):
        stress = result.stresses[component, :, component] - result.residual_stress[component]
        slope = result.strains @ result.stresses[component, :, component] / (result.strains @ result.strains)
        axes.plot(percent, slope * result.strains, color=color, lw=0.9)
        axes.plot(
            percent,
            stress,
            "osD^v<"[component],
            color=color,
            mfc="none",
            ms=5,
            label=f"{name}  {slope:.1f} GPa",
        )
    axes.axhline(0.0, color=GREY, lw=0.6)
    axes.set_xlabel("strain (%), shears as engineering shears")
    axes.set_ylabel("change of the same stress (GPa)")
    axes.legend(fontsize=8, title="slope")


def _young_by_direction(axes: Axes, result: Elasticity) -> None:
    angles = np.linspace(0.0, 2.0 * np.pi, 361)
    styles = zip(PLANES.items(), (BLUE, ORANGE, GREEN), ("-", "--", ":"), strict=True)
    for (name, (first, second)), color, style in styles:
        directions = np.zeros((len(angles), 3))
        directions[:, first], directions[:, second] = np.cos(angles), np.sin(angles)
        axes.plot(angles, result.young(directions), color=color, ls=style, label=f"{name} plane")
    axes.set_ylim(bottom=0.0)
    axes.yaxis.set_major_locator(MaxNLocator(4, prune="lower"))
    axes.set_rlabel_position(22.5)
    axes.tick_params(labelsize=8)
    axes.set_title("Young's modulus by direction (GPa)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3, fontsize=8)
