"""What the study of StABlE training has stored, as tables."""

from __future__ import annotations

from typing import Any

import numpy as np

AUTHORS = ((0.0, 1.0), (13.0, 2.0), (20.0, 2.6), (105.0, 11.0))  # force error paid in %, survival gained


def text(document: dict[str, Any]) -> str:
    """What is stored, as tables."""
    if not document:
        return "Nothing is stored yet: docs/stability_training_study.md says what will be."
    lines = ["| potential | median before (ps) | after | gain | log-rank p | force error | verdict |"]
    lines.append("|---|---|---|---|---|---|---|")
    runs = {name: steps["stabilize"]["result"] for name, steps in document.items() if "stabilize" in steps}
    lines += [_row(name, found) for name, found in runs.items()]
    lines += ["", "| potential | run | failed | median (ps) |", "|---|---|---|---|"]
    for name, steps in document.items():
        for step, entry in steps.items():
            result = entry.get("result") if isinstance(entry, dict) else None
            if isinstance(result, dict) and "median_interval" in result:
                failed = f"{result['failures']} of {result['replicas']}"
                lines.append(f"| {name} | {step} | {failed} | {_number(result['median'])} |")
    lines += _observables(runs) + _errors(document)
    return "\n".join(lines)


def _row(name: str, found: dict[str, Any]) -> str:
    chosen = found["chosen"]
    if chosen is None:
        return f"| {name} | – | – | – | – | – | {found['verdict']} |"
    before, after = found["test"]["before"], found["test"]["after"]
    end = found["evaluation_time"]
    gain = (after["median"] or end) / before["median"] if before["median"] else None
    bound = "≥ " if after["median"] is None else ""
    paid = 100.0 * (chosen["force_error"] / found["points"][0]["force_error"] - 1.0)
    p = found["test"]["logrank_p"]
    words = "–" if gain is None else f"{bound}{gain:.2g}×"
    verdict = f"epoch {chosen['epoch']}"
    if gain is not None:
        verdict += f", {'above' if gain > front(paid) else 'not above'} the authors' front"
    return (
        f"| {name} | {_number(before['median'])} | {_number(after['median'])} | {words} | {p:.2g} | "
        f"{paid:+.1f} % | {verdict} |"
    )


def front(paid: float) -> float:
    """How many times longer the authors' potentials survive for so much force error, in %; interpolated."""
    return float(np.interp(paid, *zip(*AUTHORS, strict=True)))


def _observables(runs: dict[str, Any]) -> list[str]:
    """Deviations from the reference, and its own statistical error, all in units of the scale."""
    lines = ["", "| potential | observable | deviation before | after | error of the reference |"]
    lines.append("|---|---|---|---|---|")
    for name, found in runs.items():
        for label, entry in found["observables"].items():
            if "after" in entry:
                before, after = (entry[when]["deviation"] for when in ("before", "after"))
                lines.append(f"| {name} | {label} | {before:.3g} | {after:.3g} | {entry['noise']:.2g} |")
    return lines if len(lines) > 3 else []


def _errors(document: dict[str, Any]) -> list[str]:
    """Mean absolute errors on test frames."""
    lines = ["", "| potential | | energy (meV/atom) | forces (meV/Å) |", "|---|---|---|---|"]
    for name, steps in document.items():
        for step, entry in steps.items():
            result = entry.get("result") if isinstance(entry, dict) else None
            if isinstance(result, dict) and "forces_mae" in result:
                energy, forces = 1000.0 * result["energy_mae"], 1000.0 * result["forces_mae"]
                lines.append(f"| {name} | {step} | {energy:.2f} | {forces:.1f} |")
    return lines if len(lines) > 3 else []


def _number(value: float | None) -> str:
    return "censored" if value is None else f"{value:.3g}"
