"""``ase-mlip plot-filters``: the splines of an s-NNP."""

from __future__ import annotations

from pathlib import Path

import click

from .. import options
from ..command import Command
from ..common import require_new_file
from ..results import answer


@click.command("plot-filters", cls=Command)
@click.argument("model")
@options.output_file
@options.overwrite
@options.as_json
def plot_filters(model: str, output: Path | None, overwrite: bool, as_json: bool) -> None:
    """Draw the filters of an s-NNP.

    The picture shows the splines of the distance and of the angle, and how the energy responds when one
    feature of the model's own test structure changes.
    """
    from ...model_file.info import find_model

    path = find_model(model)
    output = output or Path(options.FILES["plot-filters"])
    require_new_file(output, overwrite)
    from ...model_file.model import load_model
    from ...pictures.filters import plot_filters as draw
    from ...pictures.filters import read_filters
    from ...pictures.plots import save_figure

    filters = read_filters(load_model(path, device="cpu"))
    save_figure(draw(filters), output)
    counts = {name: len(getattr(filters, name)) for name in ("phi", "rho", "f", "g")}
    text = f"{', '.join(f'{count} {name}' for name, count in counts.items() if count)}: {output}"
    answer({"filters": counts, "file": str(output)}, text, as_json)
