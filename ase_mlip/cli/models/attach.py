"""``ase-mlip design --attach MODEL DATA -o NEW``: the leverage of the training data, into the model file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from ...progress.bars import bar
from ..common import require_new_file


def attach(
    model: str,
    data: Sequence[Path],
    output: Path | None,
    overwrite: bool,
    calibration: Sequence[Path],
    as_json: bool,
) -> None:
    """Write a model file once more with the leverage of its training data, and say what it is.

    Parameters
    ----------
    model : str
        a model file or the name of a shipped potential
    data : sequence of Path
        files of the structures it was trained on
    output : Path or None
        the new model file
    overwrite : bool
        whether a file that is there is replaced, or refused
    calibration : sequence of Path
        files of labelled structures that are new to the model; may be empty
    as_json : bool
        whether --json is given

    Raises
    ------
    click.UsageError
        no data or no output
    DataError
        the file exists
    """
    if not data:
        raise click.UsageError("Missing argument 'POOL...': the data that MODEL was trained on.")
    if output is None:
        raise click.UsageError("--attach needs '-o NEW', the model file to write.")
    require_new_file(output, overwrite)
    from ...data.frames import read_structures
    from ...optimal_design.leverage.attach import ENOUGH, attach_leverage, few_structures, hashes_of

    structures = read_structures(list(data))
    hold_out = read_structures(list(calibration)) if calibration else []
    hashes = hashes_of(list(data))
    with bar("structure") as progress:
        info = attach_leverage(model, structures, output, hold_out, hashes=hashes, progress=progress)
    record = info.training["leverage"]
    if record["structures"] < ENOUGH:
        click.echo(f"warning: {few_structures(record['structures'])}", err=True)
    click.echo(json.dumps(record, indent=1) if as_json else to_text(record))
    click.echo(f"wrote {output}: {info.name}", err=True)


def to_text(record: dict) -> str:
    """What the leverage of a file rests on, in a line for each element and one for the calibration.

    Parameters
    ----------
    record : dict
        ``training["leverage"]`` of the model's description

    Returns
    -------
    str
        several lines
    """
    ranks = ", ".join(str(rank) for rank in record["rank"])
    lines = [
        f"leverage of {record['atoms']} atoms in {record['structures']} structures; the data determine "
        f"{ranks} of {record['size']} directions"
    ]
    for element, values in record["quantiles"].items():
        shares = ", ".join(f"{float(share):.0%} below {value:.3g}" for share, value in values.items())
        lines.append(f"{element}: of its atoms, each left out with its structure, {shares}")
    calibration = record["calibration"]
    if calibration is None:
        lines.append("no uncertainty in eV: no calibration")
    else:
        lines.append(
            f"uncertainty of energies: {calibration['factor']:.3g} times the predicted deviation, by "
            f"{calibration['structures']} structures, of which {calibration['within_1']:.0%} lie within one "
            f"and {calibration['within_2']:.0%} within two"
        )
    return "\n".join(lines)
