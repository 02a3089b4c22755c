"""``ase-mlip train``: a TOML file to an exported potential."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ...progress.bars import bar
from .. import options
from ..command import Command
from ..results import answer, talk_on_stderr


@click.command(cls=Command)
@click.argument("run", type=options.FILE)
@options.resume
@options.overwrite
@click.option(
    "--dynamics",
    "seconds",
    type=options.NOT_NEGATIVE,
    default=60.0,
    show_default=True,
    help="Run dynamics with the potential for this many seconds of wall time, to see whether it is stable; 0 "
    "runs none.",
)
@options.as_json
def train(run: Path, resume: bool, overwrite: bool, seconds: float, as_json: bool) -> None:
    """Train and export the potential that RUN (TOML) describes.

    An interrupted training goes on after its last finished epoch, with the numbers of one in one piece.
    """
    from ...training.train import train as run_training

    with talk_on_stderr(as_json), bar("epoch", {"dynamics": "step"}) as progress:
        how = {"resume": resume, "overwrite": overwrite}
        exported = run_training(run, progress=progress, dynamics=seconds, **how)
    document, lines = {"exported": str(exported), "dynamics": None}, [f"exported {exported}"]
    if seconds > 0.0:
        from ...training.dynamics import FILE

        document["dynamics"] = json.loads((exported.parent / FILE).read_text(encoding="utf-8"))
        lines.append(document["dynamics"]["verdict"])
    answer(document, "\n".join(lines), as_json)
