"""``ase-mlip stabilize``: StABlE training, from the runs in which a potential fails."""

from __future__ import annotations

from pathlib import Path

import click

from .. import options
from ..options import FILE


@click.command()
@click.argument("run", type=FILE)
@options.resume
def stabilize(run: Path, resume: bool) -> None:
    """Train a potential until its dynamics is stable (StABlE).

    RUN is a TOML file. Replicas run until they fail, and the weights learn from a reference observable and
    from energies and forces. Writes stability.csv, stabilize.json, report.html and, if weights within the
    budget of the force error survive longer, a model file; else it says why not.
    """
    from ...stability_training.workflow import stabilize as compute

    result = compute(run, resume=resume)
    click.echo(result.verdict)
    if result.exported is not None:
        click.echo(f"exported {result.exported}")
