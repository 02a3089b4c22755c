"""``ase-mlip landscape``: how the training error rises when the weights of a model move."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ...progress.bars import bar
from .. import options as shared
from ..command import Command
from ..common import refuse_options
from ..options import COUNT, FILE, POSITIVE
from ..results import refuse_other_results
from ..values import Whole
from ..wording import in_options

PICTURE = "landscape.png"
COMPARISON = "comparison.json"
OF_COMPARE = ("model", "files", "comparing", "others", "control", "output", "plot", "overwrite", "as_json")


@click.command(cls=Command)
@click.argument("model", metavar="MODEL")
@click.argument("files", nargs=-1, type=FILE)
@click.option(
    "--lines",
    type=COUNT,
    default=20,
    show_default=True,
    help="Draw this many random lines through the weights.",
)
@click.option("--points", type=COUNT, default=81, show_default=True,
              help="Compute this many points on each line; the number must be odd.")  # fmt: skip
@click.option("--span", type=POSITIVE, default=0.5, show_default=True,
              help="Make the lines this long, in units of the norm of the weights.")  # fmt: skip
@click.option("--directions", type=click.Choice(["gaussian", "legacy"]), default="gaussian",
              show_default=True,
              help="Draw directions from the normal distribution (gaussian), or as the published tool does "
              "(legacy).")  # fmt: skip
@click.option("--plane", is_flag=True, help="Also compute the plane of the first two directions.")
@click.option("--frames", "sample", type=Whole(min=2), metavar="N", show_default="all",
              help="Use a stratified sample of N frames.")  # fmt: skip
@shared.seed
@click.option("--predictors", metavar="NAMES", default="",
              help="Also compute these predictors, with commas between them: sharpness, bonds, leverage, "
              "rotation.")  # fmt: skip
@click.option("--compare", "comparing", is_flag=True,
              help="Compare models. MODEL and FILES are then what this command wrote for each of "
              "them.")  # fmt: skip
@click.option("--with", "others", type=FILE, multiple=True,
              help="Compare with this file, which `evaluate --json` or `md --json` wrote. The option may be "
              "repeated.")  # fmt: skip
@click.option("--control", metavar="NAME",
              help="Take the error of this name as the in-distribution one. By default it is the "
              "smallest.")  # fmt: skip
@shared.output_folder
@shared.plot
@shared.overwrite
@shared.as_json
def landscape(
    model: str,
    files: tuple[Path, ...],
    comparing: bool,
    others: tuple[Path, ...],
    control: str | None,
    **options,
) -> None:
    """Measure how the training error rises around the weights.

    FILES are the frames that MODEL was trained on, with energies and forces. The command prints the loss
    entropy: the higher it is, the lower and flatter is the error around the weights. Numbers are comparable
    between models of one family, on the same frames with the same settings.

    With --compare, models of one family are ranked by every predictor. From five models on, rank correlations
    say what each predictor is worth for the errors and lifetimes of --with.
    """
    if comparing:
        refuse_options(OF_COMPARE, "--compare")  # curves are there already
        wanted = {name: options[name] for name in ("output", "plot", "overwrite", "as_json")}
        _compare([Path(model), *files], others, control, **wanted)
        return
    for name, given in (("--with", others), ("--control", control)):
        if given:
            raise click.BadParameter("is for --compare", param_hint=name)
    _compute(model, files, **options)


def _compare(
    landscapes: list[Path],
    others: tuple[Path, ...],
    control: str | None,
    output: Path | None,
    plot: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    _require_folder(plot, output)
    from ...landscapes.comparison.compare import compare
    from ...provenance import file_sha256, plain, write_json

    settings = {"command": "landscape --compare", "control": control}
    settings["files_sha256"] = sorted(file_sha256(file) for file in (*landscapes, *others) if file.is_file())
    if output is not None and not overwrite:
        refuse_other_results(output / COMPARISON, settings)
    found = compare(landscapes, others, control)
    document = {"settings": settings} | plain(found.to_dict())
    click.echo(json.dumps(document, indent=1, ensure_ascii=False) if as_json else found.to_text())
    if output is None:
        return
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / COMPARISON, document)
    click.echo(f"results: {output / COMPARISON}", err=True)
    if plot:
        from ...pictures.compare import plot_comparison
        from ...pictures.plots import save_figure

        picture = (output / COMPARISON).with_suffix(".png")
        save_figure(plot_comparison(found), picture)
        click.echo(f"picture: {picture}", err=True)


def _require_folder(plot: bool, output: Path | None) -> None:
    if plot and output is None:
        raise click.BadParameter("needs a folder for the picture: -o FOLDER", param_hint="--plot")


def _compute(
    model: str,
    files: tuple[Path, ...],
    output: Path | None,
    plot: bool,
    as_json: bool,
    predictors: str,
    **options,
) -> None:
    if not files:
        raise click.UsageError("Missing argument 'FILES...'.")
    _require_folder(plot, output)
    from ...model_file.info import find_model

    path = find_model(model)
    from ...landscapes.landscape import RESULT
    from ...landscapes.landscape import landscape as compute
    from ...provenance import plain

    names = [name.strip() for name in predictors.split(",") if name.strip()]
    options |= {"predictors": names, "output": output}
    with bar("point") as progress:
        found = compute(path, list(files), progress=progress, **options)
    for note in found.notes:
        click.echo(f"note: {in_options(note)}", err=True)
    document = plain(found.to_dict())
    click.echo(json.dumps(document, indent=1, ensure_ascii=False) if as_json else found.to_text())
    if output is None:
        return
    click.echo(f"results: {output / RESULT}", err=True)
    if plot:
        found.plot(output / PICTURE)
        click.echo(f"picture: {output / PICTURE}", err=True)
