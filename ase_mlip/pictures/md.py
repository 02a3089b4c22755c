"""Pictures of stability runs; in the style of :mod:`ase_mlip.pictures.plots`."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawn import Stability
from .plots import BLUE, GREEN, GREY, ORANGE, STYLE

MAX_PAIRS = 3  # distributions drawn in one panel


def plot_stability(result: Stability) -> Figure:
    """Conserved energy (else the total one) and temperature of each replica, distances, survival."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 6.0), layout="constrained")
        energy, distances, heat, alive = figure.subplots(2, 2).ravel()
        _draw_replicas(energy, heat, result)
        _draw_distances(distances, result)
        _draw_survival(alive, result)
    return figure


def _draw_replicas(energy: Axes, heat: Axes, result: Stability) -> None:
    shades = matplotlib.colormaps["Blues"](np.linspace(0.9, 0.4, len(result.replicas)))
    for shade, replica in zip(shades, result.replicas, strict=True):
        if len(replica.times):
            energies = replica.conserved_energies if result.knows_conserved else replica.total_energies
            change = 1000.0 * (energies - energies[0]) / result.n_atoms
            energy.plot(replica.times, change, color=shade, lw=0.9)
            heat.plot(replica.times, replica.temperatures, color=shade, lw=0.9)
        if replica.failure is not None:
            for axes in (energy, heat):
                axes.axvline(replica.survived, color=ORANGE, lw=0.8, ls=":")
    conserved = result.thermostat is not None and result.knows_conserved
    energy.set_ylabel(f"{'conserved' if conserved else 'total'} energy change (meV/atom)")
    heat.set_ylabel("temperature (K)")
    heat.set_ylim(bottom=0.0)
    for axes in (energy, heat):
        axes.set_xlabel("time (ps)")
        axes.set_xlim(0.0, result.time)
    if np.isfinite(result.drift):
        text = f"{'drift' if result.shows_drift else 'slope'} {result.drift:+.3g}"
        text += f" ± {result.drift_error:.2g}" if np.isfinite(result.drift_error) else ""
        energy.set_title(f"{text} meV/atom/ps", color=GREY)


def _draw_distances(axes: Axes, result: Stability) -> None:
    shown = result.rdf or result.reference
    periodic = True if shown is None else shown.periodic
    axes.set_xlabel("r (Å)")
    axes.set_ylabel("g(r)" if periodic else "h(r) (1/Å)")
    if shown is None:
        axes.text(0.5, 0.5, "no sound record", transform=axes.transAxes, ha="center", color=GREY)
        return
    names = [name for name in shown.g if name != "all" or len(shown.g) == 1][:MAX_PAIRS]
    for name, color in zip(names, (BLUE, GREEN, ORANGE), strict=False):
        label = "" if name == "all" else f"{name}, "
        if result.rdf is not None:
            axes.plot(result.rdf.r, result.rdf.g[name], color=color, label=f"{label}simulated")
        if result.reference is not None and name in result.reference.g:
            reference = result.reference
            axes.plot(
                reference.r, reference.g[name], color="black", ls="--", lw=1.0, label=f"{label}reference"
            )
    axes.set_xlim(0.0, shown.r[-1])
    axes.set_ylim(bottom=0.0)
    if result.reference is not None or len(names) > 1:
        axes.legend()
    if result.rdf_error is not None:
        unit = " Å" if periodic else ""
        axes.set_title(f"distance to the reference {result.rdf_error['all']:.3g}{unit}", color=GREY)


def _draw_survival(axes: Axes, result: Stability) -> None:
    found = result.survival
    times = np.append(found.times, max(result.time, found.times[-1]))
    curve, low, high = (np.append(values, values[-1]) for values in (found.survival, found.low, found.high))
    axes.step(times, curve, where="post", color=BLUE)
    axes.fill_between(times, low, high, step="post", color=BLUE, alpha=0.15, lw=0)
    axes.set_xlabel("time (ps)")
    axes.set_ylabel("fraction alive")
    axes.set_xlim(0.0, result.time)
    axes.set_ylim(0.0, 1.05)
    axes.set_title(f"{found.failures} of {found.n} replicas failed", color=GREY)
