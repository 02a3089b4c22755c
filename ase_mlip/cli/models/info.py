"""``ase-mlip info``: what a model file says about itself."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .. import options
from ..command import Command


@click.command(cls=Command)
@click.argument("model")
@options.as_json
def info(model: str, as_json: bool) -> None:
    """Show what a model file says about itself."""
    from ...model_file.info import find_model, read_info

    path = find_model(model)
    document = read_info(path)
    if as_json:
        click.echo(json.dumps(asdict(document), indent=1))
        return
    for label, value in _info_rows(document, path):
        click.echo(textwrap.fill(value, 110, initial_indent=f"{label:<29} ", subsequent_indent=" " * 30))


def _info_rows(document, path: Path) -> list[tuple[str, str]]:
    """Label and value of each line of ``ase-mlip info``."""
    symmetrization = document.symmetrization or {}
    rows = [
        ("name", document.name),
        ("description", document.description or "-"),
        ("file", f"{path} ({path.stat().st_size / 1e6:.2f} MB)"),
        ("species", " ".join(document.symbols)),
        ("cutoff", f"{document.cutoff:g} Å"),
        ("layers", f"{document.message_passing_layers}"),
        ("interaction range", f"{document.interaction_range:g} Å"),
        ("stored weights", document.dtype),
        ("outputs", ", ".join(document.outputs)),
        ("inputs", ", ".join(document.inputs) or "none"),
        ("conservative forces", "yes" if document.conservative else "no"),
        ("equivariant", "yes" if document.equivariant else "no (`ase-mlip symmetry` says how far)"),
        ("symmetry averaging", ", ".join(f"{k} {v}" for k, v in symmetrization.items()) or "none"),
        (
            "operators",
            ", ".join(f"{name} v{version}" for name, version in document.operators.items()) or "none",
        ),
        ("architecture", _flatten(document.architecture)),
        *((f"errors, {part}", text) for part, text in _error_rows(document.training)),
        *(
            (f"training, {key}", _flatten(value))
            for key, value in document.training.items()
            if key != "errors"
        ),
        ("reference energies", ", ".join(f"{s} {e:.6f} eV" for s, e in document.reference_energies.items())),
        ("license", document.license or "not stated"),
        ("citation", document.citation or "-"),
        ("written", f"{document.created} by {_flatten(document.versions)}"),
    ]
    if document.pair_cutoffs:
        rows.insert(5, ("pair cutoffs", ", ".join(f"{k} {v:g} Å" for k, v in document.pair_cutoffs.items())))
    return rows


def _error_rows(training: dict[str, Any]) -> list[tuple[str, str]]:
    """The errors a training run recorded, one line per data set, in the units people compare."""
    quantities = [
        ("energy_rmse", "energy {:.2f} meV/atom", 1e3),
        ("forces_rmse", "forces {:.4f} eV/Å", 1.0),
        ("stress_rmse", "stress {:.2f} meV/Å^3", 1e3),
    ]
    rows = []
    errors = training.get("errors", {})
    for part, values in errors.items() if isinstance(errors, dict) else ():
        if not isinstance(values, dict):
            continue
        known = [
            (text, values[key] * factor) for key, text, factor in quantities if _is_number(values.get(key))
        ]
        rows.append((part, "RMSE " + ", ".join(text.format(value) for text, value in known)))
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _flatten(value: Any) -> str:
    """Nested metadata on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flatten(entry)}" for key, entry in value.items()) or "-"
    if isinstance(value, list):
        return " ".join(_flatten(entry) for entry in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
