"""``ase-mlip check``: whether a model keeps the contract, and how exact it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ...progress.bars import bar
from .. import options
from ..command import Command
from ..common import check_known, read_first


@click.command(cls=Command)
@click.argument("model")
@click.argument("structure", required=False, type=options.FILE)
@options.device
@options.as_json
def check(model: str, structure: Path | None, device: str, as_json: bool) -> None:
    """Verify a model's contract, derivatives and symmetry.

    STRUCTURE is a file that ASE reads, of which the first frame is used; without it, structures of the
    model's species are made up. The exit status is 1 if a check fails.
    """
    from ...model_file.info import find_model

    path = find_model(model)  # before torch is imported, so that a misspelt name is answered at once
    from ...checks.check import check as run_checks
    from ...checks.check import format_checks, passed
    from ...model_file.model import load_model

    atoms = read_first(structure) if structure else None
    loaded = load_model(path, device=device, dtype="float64")
    if atoms is not None:
        check_known({str(structure): atoms}, loaded.info.species)
    with bar("check") as progress:
        results = run_checks(loaded, atoms, progress=progress)
    document = {"passed": passed(results), "checks": [result.to_dict() for result in results]}
    click.echo(json.dumps(document, indent=1) if as_json else format_checks(results))
    if not passed(results):
        sys.exit(1)
