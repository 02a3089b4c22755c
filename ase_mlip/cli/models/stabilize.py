"""``ase-mlip stabilize``: StABlE training, from the runs in which a potential fails."""

from __future__ import annotations

from pathlib import Path

import click

from ...progress.bars import bar
from .. import options
from ..command import Command
from ..options import FILE
from ..results import answer, talk_on_stderr


@click.command(cls=Command)
@click.argument("run", type=FILE)
@options.resume
@options.overwrite
@options.as_json
def stabilize(run: Path, resume: bool, overwrite: bool, as_json: bool) -> None:
    """Train a potential until its dynamics is stable (StABlE).

    RUN is a TOML file. Replicas run until they fail, and the weights learn from a reference observable and
    from energies and forces. The command writes stability.csv, stabilize.json, report.html and, if weights
    within the budget of the force error survive longer, a model file; otherwise it says why there is none. An
    interrupted training goes on after its last finished epoch, with the numbers of one in one piece.
    """
    from ...stability_training.workflow import stabilize as compute

    with talk_on_stderr(as_json), bar("epoch") as progress:
        result = compute(run, resume=resume, progress=progress, overwrite=overwrite)
    lines = [result.verdict, *([] if result.exported is None else [f"exported {result.exported}"])]
    answer(result.to_dict(), "\n".join(lines), as_json)
