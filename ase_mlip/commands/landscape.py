"""``ase-mlip landscape``: how the training error rises when the weights of a model move."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .common import COUNT, FILE, FOLDER, POSITIVE, bar

PICTURE = "landscape.png"


@click.command()
@click.argument("model")
@click.argument("files", nargs=-1, type=FILE)
@click.option("--lines", type=COUNT, default=20, show_default=True, help="Random lines through the weights.")
@click.option("--points", type=COUNT, default=81, show_default=True,
              help="Points on each line, an odd number.")  # fmt: skip
@click.option("--span", type=POSITIVE, default=0.5, show_default=True,
              help="Length of the lines, in units of the norm of the weights.")  # fmt: skip
@click.option("--directions", type=click.Choice(["gaussian", "legacy"]), default="gaussian",
              show_default=True, help="legacy: as the published tool draws them.")  # fmt: skip
@click.option("--plane", is_flag=True, help="Also the plane of the first two directions.")
@click.option("--frames", type=click.IntRange(min=2), metavar="N", show_default="all",
              help="Take a stratified sample of N frames.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of the directions, the sample and the bootstrap.")  # fmt: skip
@click.option("-o", "--output", type=FOLDER,
              help="Folder for landscape.json; a run that was killed goes on there.")  # fmt: skip
@click.option("--plot", is_flag=True, help="Also write a picture, landscape.png, into the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON object.")
def landscape(model: str, files: tuple[Path, ...], **options) -> None:
    """How the training error of MODEL rises along random lines through its weights.

    FILES are the frames MODEL was trained on, with energies and forces. Prints the loss entropy: the higher,
    the lower and flatter the error is around the weights. Numbers are comparable between models of one
    family, on the same frames with the same settings.
    """
    _compute(model, files, **options)


def _compute(
    model: str,
    files: tuple[Path, ...],
    frames: int | None,
    output: Path | None,
    plot: bool,
    as_json: bool,
    **options,
) -> None:
    if not files:
        raise click.UsageError("Missing argument 'FILES...'.")
    if plot and output is None:
        raise click.BadParameter("needs a folder for the picture: -o FOLDER", param_hint="--plot")
    from ..model_info import find_model

    path = find_model(model)
    from ..landscapes.landscape import RESULT
    from ..landscapes.landscape import landscape as compute
    from ..provenance import plain

    with bar("point") as progress:
        found = compute(path, list(files), sample=frames, output=output, progress=progress, **options)
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    document = plain(found.to_dict())
    click.echo(json.dumps(document, indent=1, ensure_ascii=False) if as_json else found.to_text())
    if output is None:
        return
    click.echo(f"results: {output / RESULT}", err=True)
    if plot:
        found.plot(output / PICTURE)
        click.echo(f"picture: {output / PICTURE}", err=True)
