"""Pictures of a StABlE training, from its document; in the style of :mod:`ase_mlip.pictures.plots`."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .plots import BLUE, GREEN, GREY, ORANGE, STYLE

MAX_LABELS = 12  # components named on an axis


def plot_stabilize(document: dict[str, Any]) -> Figure:
    """What was gained and paid, and where there are test runs also how long replicas live."""
    several = bool(document["test"])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6 if several else 5.4, 3.8), layout="constrained")
        panels = figure.subplots(1, 1 + several, squeeze=False)[0]
        _draw_front(panels[0], document)
        if several:
            _draw_survival(panels[1], document)
    return figure


def plot_survival(document: dict[str, Any]) -> Figure:
    """Kaplan-Meier curves of the held-out starts, before and after."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 3.6), layout="constrained")
        _draw_survival(figure.subplots(), document)
    return figure


def _draw_survival(axes: Axes, document: dict[str, Any]) -> None:
    end = document["evaluation_time"]
    for name, color in (("before", ORANGE), ("after", BLUE)):
        found = document["test"].get(name)
        if found is None:
            continue
        times = np.append(found["times"], end)
        curve, low, high = (np.append(found[k], found[k][-1]) for k in ("survival", "low", "high"))
        axes.step(times, curve, where="post", color=color, label=name)
        axes.fill_between(times, low, high, step="post", color=color, alpha=0.15, lw=0)
    axes.set(xlabel="time (ps)", ylabel="fraction alive", xlim=(0.0, end), ylim=(0.0, 1.05))
    axes.legend()
    if document["test"].get("logrank_p") is not None:
        axes.set_title(f"log-rank p = {document['test']['logrank_p']:.2g}", color=GREY)


def plot_epochs(document: dict[str, Any]) -> Figure:
    """Both errors with their budgets, and the fraction of unstable replicas, against the epoch."""
    history, first = document["history"], document["points"][0]
    epochs = [0] + [row["epoch"] for row in history]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.8, 7.4), layout="constrained")
        *errors, lower = figure.subplots(3, 1, sharex=True)
        names = (("force", "forces", "meV/Å"), ("energy", "energy", "meV/atom"))
        for axes, (name, column, unit) in zip(errors, names, strict=True):
            values = [first[f"{name}_error"]] + [row[f"validation_{column}_mae"] for row in history]
            axes.plot(epochs, 1000.0 * np.array(values), color=BLUE, label="validation frames")
            limit = 1000.0 * document[f"{name}_error_limit"]
            axes.axhline(limit, color=ORANGE, ls="--", lw=1.0, label="budget")
            if document["chosen"]:
                axes.axvline(document["chosen"]["epoch"], color=GREEN, lw=1.0, ls=":", label="exported")
            axes.set(ylabel=f"{name} MAE ({unit})")
        errors[0].legend()
        if history:
            fractions = [row["unstable_fraction"] for row in history]
            lower.plot([row["epoch"] for row in history], fractions, color=BLUE, marker=".")
        lower.set(xlabel="epoch", ylabel="unstable replicas (fraction)", ylim=(-0.03, 1.05))
    return figure


def plot_front(document: dict[str, Any]) -> Figure:
    """Survival gained against force error paid: every judged epoch, the budget, and what was exported.

    Epochs whose energy error left its own budget are hollow.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 3.8), layout="constrained")
        _draw_front(figure.subplots(), document)
    return figure


def _draw_front(axes: Axes, document: dict[str, Any]) -> None:
    points, chosen = document["points"], document["chosen"]
    first = points[0]
    for point in points:
        x = 100.0 * (point["force_error"] / first["force_error"] - 1.0)
        y = point["mean_survival"] / max(first["mean_survival"], 1e-12)
        exported = bool(chosen) and point["epoch"] == chosen["epoch"]
        color = GREEN if exported else BLUE
        kept = point["energy_error"] <= document["energy_error_limit"]
        face = color if kept else "none"
        axes.plot(x, y, "*" if exported else "o", ms=13 if exported else 5, color=color, mfc=face)
        axes.annotate(str(point["epoch"]), (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.axvline(100.0 * document["budget"], color=ORANGE, ls="--", lw=1.0, label="budget")
    axes.set(xlabel="force error paid (%)", ylabel="mean survival gained (×)")
    words = ["numbers are epochs"] + (["the star is exported"] if chosen else [])
    if any(point["energy_error"] > document["energy_error_limit"] for point in points):
        words.append("hollow: beyond the energy budget")
    axes.set_title("; ".join(words), color=GREY)
    axes.legend()


def plot_observables(document: dict[str, Any]) -> Figure:
    """Each observable before and after beside its reference, with standard errors."""
    found = document["observables"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.8, 3.2 * len(found)), layout="constrained")
        for axes, (name, entry) in zip(
            np.atleast_1d(figure.subplots(len(found), 1)), found.items(), strict=True
        ):
            _draw_observable(axes, name, entry)
    return figure


def _draw_observable(axes: Axes, name: str, entry: dict[str, Any]) -> None:
    try:
        x, is_axis = np.array([float(label) for label in entry["labels"]]), True
    except ValueError:
        x, is_axis = np.arange(len(entry["labels"]), dtype=float), False
    series = (("reference", "black"), ("before", ORANGE), ("after", BLUE))
    for k, (when, color) in enumerate(series):
        values = entry.get(when)
        if values is None:
            continue
        mean, error = np.array(values["mean"]), np.array(values["error"])
        if is_axis:
            axes.plot(x, mean, color=color, ls="--" if when == "reference" else "-", lw=1.1, label=when)
            axes.fill_between(x, mean - error, mean + error, color=color, alpha=0.2, lw=0)
        else:
            axes.errorbar(x + 0.12 * (k - 1), mean, error, fmt="o", color=color, label=when, ms=4, capsize=2)
    axes.set_ylabel(f"{name}{' (' + entry['unit'] + ')' if entry['unit'] else ''}")
    if is_axis:
        axes.set_xlabel("r (Å)")
    elif len(x) <= MAX_LABELS:
        axes.set_xticks(x, entry["labels"])
    axes.legend()
