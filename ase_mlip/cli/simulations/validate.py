"""``ase-mlip validate``: everything for many structures, and a page of it."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from ...progress.bars import bar
from .. import options
from ..command import Command
from ..common import check_known, chosen_scheme
from ..options import COUNT, CRYSTAL, FILE, POSITIVE, averaging_arguments
from ..results import answer, require_folder
from ..wording import in_options


@click.command(cls=Command)
@click.argument("model")
@click.argument("structures", nargs=-1, required=True, type=FILE)
@options.output_folder
@options.overwrite
@options.reference
@options.symmetrize
@options.tolerance
@click.option(
    "--phonon-length", type=POSITIVE,
    help="Make supercells for phonons whose faces are at least this far apart, in Å. By default they are "
    "those that phonons makes.",
)  # fmt: skip
@options.temperature
@options.picoseconds
@click.option(
    "--processes",
    type=COUNT,
    help="Work on this many structures at a time. By default there is one for each core.",
)
@options.quick
@options.device
@options.dtype
@options.as_json
def validate(
    model: str,
    structures: tuple[Path, ...],
    output: Path | None,
    overwrite: bool,
    reference: Path | None,
    symmetrize: str | None,
    tolerance: float | None,
    phonon_length: float | None,
    temperature: float,
    picoseconds: float,
    processes: int | None,
    quick: bool,
    device: str,
    dtype: str | None,
    as_json: bool,
) -> None:
    """Relax, vibrate, strain, rotate and heat structures.

    FOLDER gets index.html, results.json, results.csv and a folder for each structure. Called again, the
    command does what is missing: steps that are done are kept, and failed ones are repeated. The exit status
    is 1 if a step failed.
    """
    from ...model_file.info import find_model, read_info

    path = find_model(model)  # before torch is imported, so that a misspelt name is answered at once
    dtype, output = dtype or options.DTYPE["validate"], output or Path(options.FOLDERS["validate"])
    require_folder(output)
    arguments = averaging_arguments(symmetrize, tolerance)
    if symmetrize is not None and symmetrize.startswith("random "):
        raise click.BadParameter(
            "`random` has no meaning for relaxations and phonons; use octahedral", param_hint="--symmetrize"
        )
    from ...data.frames import named_structures

    named = named_structures(structures)
    check_known(named, read_info(path).species)
    if symmetrize == "auto":  # once for all, which run in processes of their own
        symmetrize = chosen_scheme(str(path), named, device=device, dtype=dtype, **arguments)
    elif symmetrize and symmetrize != CRYSTAL:  # the group of each structure
        from ...rotations.schemes import find_averaging

        find_averaging(symmetrize)
    from ase import units

    from ...report.validate import validate as run

    given = click.get_current_context().get_parameter_source("picoseconds")
    with bar("step") as progress:
        result = run(
            path,
            structures,  # read again, so that the document says where each is from
            output=output,
            dtype=dtype,
            symmetrize=symmetrize,
            reference=reference,
            phonon_length=phonon_length,
            temperature_K=temperature,
            time=None if given is ParameterSource.DEFAULT else picoseconds * 1000.0 * units.fs,
            quick=quick,
            device=device,
            processes=processes,
            overwrite=overwrite,
            progress=progress,
        )
    from ...report.validate_report import overview

    document = result.to_dict()
    for name, record in document["structures"].items():
        if "anew" in record:
            click.echo(f"{name}: {in_options(record['anew'])}", err=True)
        for step, found in record["steps"].items():
            if "error" in found:
                error = in_options(found["error"].strip().splitlines()[-1])
                click.echo(f"{name}: failed: {step}: {error}", err=True)
    header, rows = overview(document)
    lines = []
    for row in rows:
        lines += [*(f"{name:<30} {cell}" for name, cell in zip(header, row, strict=True)), ""]
    answer(document, "\n".join([*lines, f"Open {result.page}"]), as_json)
    if any(row[-1] != "–" for row in rows):
        sys.exit(1)
