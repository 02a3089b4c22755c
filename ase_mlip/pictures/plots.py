"""Pictures of results: each function takes a result and returns a matplotlib figure; nothing is shown."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..provenance import write_atomically
from .drawn import Bands, Dynamics, EquationOfState, Phonons, Relaxation

if TYPE_CHECKING:
    from ..calculators.diagnostics.anisotropy import Anisotropy

BLUE, ORANGE, GREEN, GREY = "#1f5fa8", "#d1661a", "#2d8659", "#6b7280"
VECTORS = ("pdf", "svg")  # kinds of files, beside PNG
MARKERS = ("o", "s", "D", "^")
SCHEME_MARKERS = ("o", "s", "x", "^", "+", "D", "v", "P", "X", "*")
ANISOTROPIES = (("energy", "meV/atom"), ("forces", "meV/Å"), ("stress", "meV/Å³"))
STYLE = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "mathtext.default": "regular",
    "savefig.facecolor": "white",
}


def png(figure: Figure, dpi: int = 160) -> bytes:
    """The figure as the bytes of a PNG file."""
    return _encoded(figure, "png", dpi)


def _encoded(figure: Figure, kind: str, dpi: int) -> bytes:
    with matplotlib.rc_context(STYLE):
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, dpi=dpi)
        return stream.getvalue()


def save_figure(figure: Figure, path: str | Path, dpi: int = 160) -> None:
    """Write the figure, all or nothing, as PDF or SVG where the name ends so, else as PNG.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        the picture
    path : str or Path
        the file
    dpi : int
        dots per inch
    """
    ending = Path(path).suffix.lstrip(".").lower()
    write_atomically(path, _encoded(figure, ending if ending in VECTORS else "png", dpi))


def plot_relaxation(result: Relaxation) -> Figure:
    """Energy above the last, and what the optimiser minimises, against the step."""
    with _figure((6.4, 4.6)) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        steps = np.arange(len(result.energies))
        above = 1000.0 * (np.array(result.energies) - result.energies[-1]) / len(result.atoms)
        _log_line(upper, steps, above, BLUE)
        upper.set_ylabel("energy above final\n(meV/atom)")
        _log_line(lower, steps, np.array(result.fmaxes), ORANGE)
        name = "largest force\n(eV/Å)" if result.cell is False else "largest gradient\n(eV/Å, eV/atom)"
        lower.set_ylabel(name)
        lower.set_xlabel(f"{result.optimizer} step")
        lower.set_xlim(0, max(1, steps[-1]))
    return figure


def plot_eos(result: EquationOfState, label: str = "") -> Figure:
    """Computed energies and the fitted Birch-Murnaghan curve, per atom."""
    with _figure((5.6, 3.8)) as figure:
        axes = figure.subplots()
        n = result.n_atoms
        margin = 0.02 * (result.volumes[-1] - result.volumes[0])
        volumes = np.linspace(result.volumes[0] - margin, result.volumes[-1] + margin, 300)
        curve = 1000.0 * (result.curve(volumes) - result.energy) / n
        axes.plot(volumes / n, curve, color=BLUE, label="Birch–Murnaghan fit")
        energies = 1000.0 * (result.energies - result.energy) / n
        axes.plot(result.volumes / n, energies, "o", color=ORANGE, ms=5, label=label or "computed")
        axes.axvline(result.volume / n, color=GREY, lw=0.8, ls=":")
        axes.set_xlabel("volume (Å³/atom)")
        axes.set_ylabel("energy above minimum (meV/atom)")
        text = f"$V_0$ = {result.volume / n:.3f} Å³/atom\n$B_0$ = {result.bulk_modulus:.1f} GPa"
        text += f"\n$dB/dP$ = {result.bulk_modulus_derivative:.2f}"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 4}
        axes.text(0.5, 0.70, text, transform=axes.transAxes, ha="center", va="top", bbox=box)
        axes.legend(loc="upper center", frameon=True, framealpha=1.0, edgecolor="none")
        axes.set_ylim(bottom=min(energies.min(), 0.0) - 0.04 * energies.max())
    return figure


def plot_anisotropy(found: Mapping[str, Sequence[Anisotropy]]) -> Figure:
    """What averaging leaves of the anisotropy of energy, forces and stress against its cost.

    Markers are schemes, colours structures.
    """
    every = [row for rows in found.values() for row in rows]
    shown = [(name, unit) for name, unit in ANISOTROPIES if any(getattr(row, name) for row in every)]
    markers = dict(zip(dict.fromkeys(row.scheme for row in every), itertools.cycle(SCHEME_MARKERS)))
    colors = dict(zip(found, itertools.cycle((BLUE, ORANGE, GREEN, GREY))))
    handles = [_marker(marker, "black", scheme) for scheme, marker in markers.items()]
    if len(found) > 1:
        handles += [_marker("o", color, name, filled=True) for name, color in colors.items()]
    with _figure((3.2 * max(1, len(shown)), 3.7)) as figure:
        panels = figure.subplots(1, max(1, len(shown)), squeeze=False)[0]
        for axes, (name, unit) in zip(panels, shown, strict=False):
            for structure, rows in found.items():
                for row in rows:
                    _anisotropy_point(axes, row, name, markers[row.scheme], colors[structure])
            axes.set_xscale("log")
            axes.set_xlim(0.6, 1.6 * max(row.evaluations for row in every))
            _whole_decades(axes, [1000.0 * getattr(row, name) for row in every if getattr(row, name)])
            axes.xaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set_xlabel("evaluations of the network")
            axes.set_ylabel(f"anisotropy of the {name} ({unit})")
            axes.grid(axis="y", color=GREY, alpha=0.2, lw=0.6)
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
    return figure


def _anisotropy_point(axes: Axes, row: Anisotropy, name: str, marker: str, color: str) -> None:
    """One scheme's; an exact zero, which the axis does not have, is left out."""
    value = getattr(row, name)
    if value:
        look = {"mfc": "none", "mec": color, "ms": 7, "mew": 1.4}
        axes.plot(row.evaluations, 1000.0 * value, marker, clip_on=False, **look)  # whole on the frame, too


def _whole_decades(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis from one power of ten to another around the values."""
    axes.set_yscale("log")
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    axes.set_ylim(10.0**low, 10.0 ** max(high, low + 1))


def _marker(marker: str, color: str, label: str, filled: bool = False) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], ls="none", marker=marker, mec=color, mfc=color if filled else "none", label=label)


def plot_phonons(
    result: Phonons,
    references: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    overlay: Bands | None = None,
    names: tuple[str, str] = ("model", "reference"),
) -> Figure:
    """Band structure and density of states on one frequency axis.

    ``references`` are drawn as points: frequencies (THz) by special point, under the name of their source;
    ``overlay`` are other bands along the same path, and ``names`` what the two are called.
    """
    with _figure((7.4, 4.4)) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3.4, 1])
        bands = result.bands
        for start, stop in bands.segments:
            left.plot(bands.distances[start:stop], bands.frequencies[start:stop], color=BLUE)
        if overlay is not None:
            for start, stop in overlay.segments:
                y = overlay.frequencies[start:stop]
                left.plot(bands.distances[start:stop], y, color=ORANGE, ls="--", lw=1.0)
            lines = (left.lines[0], left.lines[-1])
            left.legend(lines, names, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        for distance, _ in bands.labels:
            left.axvline(distance, color=GREY, lw=0.6)
        left.set_xticks([d for d, _ in bands.labels], [name for _, name in bands.labels])
        left.set_xlim(bands.distances[0], bands.distances[-1])
        left.set_ylabel("frequency (THz)")
        _mark_references(left, result, references or {})

        right.plot(result.dos, result.dos_frequencies, color=BLUE)
        right.fill_betweenx(result.dos_frequencies, 0.0, result.dos, color=BLUE, alpha=0.15, lw=0)
        right.set_xlim(left=0.0)
        right.set_xlabel("DOS (1/THz)")
        right.xaxis.set_major_locator(MaxNLocator(3, prune="lower"))
        shown = [bands.frequencies.max()]
        shown += [] if overlay is None else [overlay.frequencies.max()]
        shown += [f for source in (references or {}).values() for points in source.values() for f in points]
        bottom = min(0.0, bands.frequencies.min() * 1.06 if not result.stable else 0.0)
        left.set_ylim(bottom, max(shown) * 1.06)
        left.yaxis.set_major_locator(MaxNLocator(10, integer=True))
        if bottom < 0.0:
            for axes in (left, right):
                axes.axhspan(bottom, 0.0, color=ORANGE, alpha=0.10, lw=0)
            style = {"color": ORANGE, "va": "bottom", "fontsize": 9}
            left.text(0.01, 0.01, "imaginary", transform=left.transAxes, **style)
    return figure


def plot_md(result: Dynamics) -> Figure:
    """Total energy with its drift, and temperature, against time."""
    with _figure((6.8, 4.8)) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        n = len(result.atoms)
        total = 1000.0 * (result.total_energies - result.total_energies[0]) / n
        upper.plot(result.times, total, color=BLUE, lw=0.8, label="total energy")
        used = result.times >= result.equilibration
        line = result.drift * result.times[used]
        line += (total[used] - line).mean()
        label = f"drift {result.drift:+.2g} meV/atom/ps"
        upper.plot(result.times[used], line, color=ORANGE, label=label)
        upper.set_ylabel("total energy change\n(meV/atom)")
        span = max(np.ptp(total), 1e-6)
        upper.set_ylim(total.min() - 0.1 * span, total.max() + 0.45 * span)
        upper.legend(loc="upper right", ncols=2)
        lower.plot(result.times, result.temperatures, color=GREEN, lw=1.0)
        ends = (result.equilibration, result.times[-1])
        lower.hlines(result.mean_temperature, *ends, color=GREY, lw=0.8, ls=":")
        lower.set_ylabel("temperature (K)")
        lower.set_xlabel("time (ps)")
        lower.set_xlim(0.0, result.times[-1])
        lower.set_ylim(bottom=0.0)
    return figure


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[Figure]:
    """A figure in this module's style that leaves matplotlib's global state alone."""
    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=size, layout="constrained")


def _log_line(axes: Axes, x: np.ndarray, y: np.ndarray, color: str) -> None:
    """A line on a logarithmic axis without the zeros it cannot show."""
    shown = y > 0.0
    axes.plot(x[shown], y[shown], color=color)
    if shown.any():
        axes.set_yscale("log")
    axes.grid(axis="y", color=GREY, alpha=0.2, lw=0.6)


def _mark_references(
    axes: Axes, result: Phonons, references: Mapping[str, Mapping[str, Sequence[float]]]
) -> None:
    colors = (ORANGE, "black", GREEN, GREY)
    for (source, points), marker, color in zip(references.items(), MARKERS, colors, strict=False):
        xy = [
            (distance, frequency)
            for distance, label in result.bands.labels
            for name in label.split("|")
            for frequency in points.get(name, ())
        ]
        if xy:
            x, y = np.array(xy).T
            style = {"mfc": "none", "mec": color, "ms": 5.5, "clip_on": False, "zorder": 5}
            axes.plot(x, y, marker, ls="none", label=source, **style)
    if references:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(references))
