"""``ase-mlip validate``: everything for many structures, and a page of it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..common import (
    FILE,
    FOLDER,
    NOT_NEGATIVE,
    POSITIVE,
    averaging_arguments,
    bar,
    check_known,
    chosen_scheme,
    read_named,
    symmetrize_options,
)


@click.command()
@click.argument("model")
@click.argument("structures", nargs=-1, required=True, type=FILE)
@click.option(
    "-o", "--output", type=FOLDER, default="report", show_default=True, help="Folder of the report."
)
@click.option("--reference", type=FOLDER, help="A phonopy directory, or one with a directory per structure.")
@symmetrize_options
@click.option(
    "--phonon-length", type=POSITIVE, help="Least width of phonon supercells, Å; else as ase-mlip phonons."
)
@click.option(
    "--temperature",
    default=300.0,
    type=NOT_NEGATIVE,
    show_default=True,
    help="Of the dynamics' start, K; crystals keep about half.",
)
@click.option(
    "--time",
    "picoseconds",
    default=1.0,
    show_default=True,
    type=POSITIVE,
    help="Of the dynamics at least, ps; where a minute allows more, it is longer, up to 20. A drift needs 1.",
)
@click.option("--processes", type=click.IntRange(min=1), help="Structures at a time; by default all cores.")
@click.option("--quick", is_flag=True, help="A first look: coarse mesh, 4 orientations, 0.05 ps.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float64", show_default=True)
def validate(
    model: str,
    structures: tuple[Path, ...],
    output: Path,
    reference: Path | None,
    symmetrize: str | None,
    tolerance: float | None,
    phonon_length: float | None,
    temperature: float,
    picoseconds: float,
    processes: int | None,
    quick: bool,
    device: str,
    dtype: str,
) -> None:
    """Relax, vibrate, strain, turn and heat structures.

    OUTPUT gets index.html, results.json, results.csv and a folder for each structure. Called again, it does
    what is missing: steps that are done are kept, failed ones repeated. Exit status 1 if a step failed.
    """
    from ...model_file.info import find_model, read_info

    path = find_model(model)  # before torch is imported, so that a misspelt name is answered at once
    arguments = averaging_arguments(symmetrize, tolerance)
    named = read_named(structures)
    check_known(named, read_info(path).species)
    if symmetrize == "auto":  # once for all, which run in processes of their own
        symmetrize = chosen_scheme(str(path), named, device=device, dtype=dtype, **arguments)
    elif symmetrize:
        from ...rotations.schemes import find_averaging

        find_averaging(symmetrize)
    from ...report.validate import Settings
    from ...report.validate import validate as run

    settings = Settings(
        dtype=dtype,
        symmetrize=symmetrize,
        phonon_length=phonon_length,
        temperature_K=temperature,
        time=picoseconds,
        reference=None if reference is None else str(reference.resolve()),
    )
    with bar("step") as progress:
        document = run(
            path,
            named,
            output,
            settings.quick() if quick else settings,
            device=device,
            processes=processes,
            progress=progress,
        )
    from ...report.validate_report import overview

    for name, record in document["structures"].items():
        if "anew" in record:
            click.echo(f"{name}: {record['anew']}", err=True)
        for step, result in record["steps"].items():
            if "error" in result:
                click.echo(f"{name}: failed: {step}: {result['error'].strip().splitlines()[-1]}", err=True)
    header, rows = overview(document)
    for row in rows:
        click.echo("\n".join(f"{name:<30} {cell}" for name, cell in zip(header, row, strict=True)))
        click.echo()
    click.echo(f"Open {output / 'index.html'}")
    if any(row[-1] != "–" for row in rows):
        sys.exit(1)
