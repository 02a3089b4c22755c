"""What a run leaves: its document, its table and its page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..pictures.page import Picture, Section, Table, write_report
from ..pictures.plots import png
from ..pictures.stabilize import plot_epochs, plot_front, plot_observables, plot_survival
from ..provenance import versions, write_json
from ..stability.survival import logrank, median_survival, survival
from ..training.train import write_metrics

DOCUMENT, TABLE, PAGE = "stabilize.json", "stability.csv", "report.html"


def lifetimes(lived: list[float], failed: list[bool], confidence: float) -> dict[str, Any]:
    """Survival with its curve, for a document; what is beyond the runs is None."""
    found = survival(lived, failed, confidence)
    median, low, high = median_survival(found)
    return {
        "replicas": found.n,
        "failures": found.failures,
        "lived": lived,
        "failed": failed,
        "median": _finite(median),
        "median_interval": [_finite(low), _finite(high)],
        "mean_time": _finite(found.mean_time),
        "mean_time_interval": [_finite(end) for end in found.mean_time_interval],
        "restricted_mean": found.restricted_mean,
        **{name: getattr(found, name).tolist() for name in ("times", "survival", "low", "high")},
    }


def compared(before: dict[str, Any], after: dict[str, Any]) -> float:
    """p of the log-rank test of two :func:`lifetimes`."""
    return logrank(before["lived"], before["failed"], after["lived"], after["failed"])


def ratio(before: dict[str, Any], after: dict[str, Any], end: float) -> tuple[float | None, bool]:
    """How much longer the median is, and whether that is a lower bound, the runs having ended before."""
    if before["median"] in (None, 0.0):
        return None, False
    return (after["median"] or end) / before["median"], after["median"] is None


def write_results(output: Path, document: dict[str, Any]) -> None:
    """stabilize.json, stability.csv, pictures in report.html."""
    write_json(output / DOCUMENT, document)
    write_metrics(output / TABLE, document["history"])
    pictures = [
        ("survival", plot_survival, "Fraction of replicas alive against time, before and after"),
        ("epochs", plot_epochs, "Errors and unstable replicas against the epoch"),
        ("front", plot_front, "Survival gained against force error paid, with the exported point"),
        ("observables", plot_observables, "Observables before and after beside their references"),
    ]
    sections = []
    for name, draw, alt in pictures:
        if name == "survival" and not document["test"]:
            continue
        figure = draw(document)
        sections.append(Section(alt, tables=_tables(name, document), pictures=[Picture(png(figure), alt)]))
    text = [document["verdict"], *document["notes"]]
    footer = ", ".join(f"{name} {version}" for name, version in versions().items())
    write_report(output / PAGE, f"StABlE training: {document['name']}", text, sections, footer)


def _tables(name: str, document: dict[str, Any]) -> list[Table]:
    if name == "survival":
        rows = []
        for when in ("before", "after"):
            found = document["test"].get(when)
            if found is not None:
                rows.append([when, f"{found['failures']} of {found['replicas']}", _interval(found, document)])
        return [Table(["", "failed", "median survival (ps)"], rows)]
    if name == "front":
        rows = [
            [
                str(point["epoch"]),
                f"{1000.0 * point['force_error']:.1f}",
                f"{1000.0 * point['energy_error']:.2f}",
                f"{sum(point['failed'])} of {len(point['failed'])}",
                f"{point['mean_survival']:.3g}",
            ]
            for point in document["points"]
        ]
        titles = ["epoch", "force MAE (meV/Å)", "energy MAE (meV/atom)", "failed", "mean survival (ps)"]
        return [Table(titles, rows)]
    if name == "observables":
        rows = []
        for label, entry in document["observables"].items():
            for when in ("before", "after"):
                if entry.get(when) is not None:
                    rows.append([label, when, f"{entry[when]['deviation']:.3g}", f"{entry['noise']:.2g}"])
        return [Table(["observable", "", "rms deviation / scale", "error of the reference / scale"], rows)]
    return []


def _interval(found: dict[str, Any], document: dict[str, Any]) -> str:
    def text(value: float | None) -> str:
        return f"> {document['evaluation_time']:g}" if value is None else f"{value:.3g}"

    low, high = found["median_interval"]
    return f"{text(found['median'])} ({text(low)} to {text(high)})"


def observable_entry(target: Any, before: dict | None, after: dict | None) -> dict[str, Any]:
    """An observable beside its reference, for a document; deviations are in units of the scale."""
    reference = target.reference
    entry: dict[str, Any] = {
        "labels": target.observable.labels(),
        "unit": target.observable.unit,
        "scale": target.scale,
        "reference": {"mean": reference.mean.tolist(), "error": reference.error.tolist()},
        "source": reference.source,
        "frames": reference.frames,
        "noise": target.noise(),
    }
    for when, found in (("before", before), ("after", after)):
        if found is not None:
            entry[when] = found | {"deviation": target.deviation(np.array(found["mean"]))}
    return entry


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
