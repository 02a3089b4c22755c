"""``ase-mlip evaluate``: errors of a model against reference data."""

from __future__ import annotations

from pathlib import Path

import click

from ...progress.bars import bar
from .. import options
from ..command import Command
from ..common import choose_averaging, make_calculator, read_first
from ..options import CRYSTAL, calculator_options
from ..results import Results, output_options


@click.command(cls=Command)
@click.argument("model")
@click.argument("structures", nargs=-1, required=True, type=options.FILE)
@options.crystal
@options.symprec
@calculator_options
@output_options
def evaluate(
    model: str,
    structures: tuple[Path, ...],
    crystal: Path | None,
    symprec: float,
    calculator: dict,
    results: Results,
) -> None:
    """Compute errors of a model against reference data.

    STRUCTURES are files with reference energies, forces or stresses. The errors are those of all structures
    together and of each group of them. Structures with reference data are displaced, so that --symmetrize
    crystal needs --crystal.
    """
    if calculator["symmetrize"] == CRYSTAL and crystal is None:
        raise click.BadParameter(
            "`crystal` needs the undisplaced crystal of these structures: --crystal FILE",
            param_hint="--symmetrize",
        )
    if crystal is not None and calculator["symmetrize"] != CRYSTAL:
        raise click.BadParameter("is for --symmetrize crystal", param_hint="--crystal")
    from ...model_file.info import find_model

    path = find_model(model)  # before torch is imported, so that a misspelt name is answered at once
    from ...checks.evaluate import evaluate as compute
    from ...data.frames import named_structures
    from ...provenance import file_sha256

    calculator = make_calculator(str(path), **calculator)
    info = calculator.model.info
    results.claim(info.document_sha256, [file_sha256(file) for file in structures if file.is_file()])
    scheme = None
    if crystal is not None:
        from ...rotations.schemes import find_averaging

        scheme = find_averaging(read_first(crystal), symprec)
    if calculator.averaging is None:
        choose_averaging(calculator, named_structures(structures))
    with bar("structure") as progress:
        options = {"progress": progress, "symmetrize": scheme, "checkpoint": results.parts}
        result = compute(calculator, list(structures), **options)
    known = {"name": info.name, "sha256": file_sha256(path), "document_sha256": info.document_sha256}
    about = {"model": known, "files": [str(file) for file in structures]}
    results.show(about | result.to_dict(), result.to_text())
    results.draw(result.plot)
