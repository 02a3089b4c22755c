"""``ase-mlip symmetry``: how much results depend on orientation, plain and averaged over rotations."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...progress.bars import bar
from .. import options
from ..command import Command
from ..common import check_known, choose_averaging, make_calculator, read_first
from ..options import CRYSTAL, FILE, averaging_arguments
from ..results import Results, of_structure, of_structures, output_options
from ..values import Whole

if TYPE_CHECKING:
    from ase import Atoms

    from ...calculators.diagnostics.anisotropy import Anisotropy
    from ...progress.form import Progress
    from ...rotations.averaging import Averaging


@click.command(cls=Command)
@click.argument("model")
@click.argument("structures", nargs=-1, required=True, type=FILE)
@options.schemes
@options.tolerance
@options.crystal
@options.symprec
@click.option("--orientations", default=100, show_default=True, type=Whole(min=2),
              help="Rotate the structure this many times, at random.")  # fmt: skip
@options.device
@options.dtype
@output_options
def symmetry(
    model: str,
    structures: tuple[Path, ...],
    schemes: tuple[str, ...],
    tolerance: float | None,
    crystal: Path | None,
    symprec: float,
    orientations: int,
    device: str,
    dtype: str | None,
    results: Results,
) -> None:
    """Measure how results depend on orientation.

    The command prints standard deviations over random orientations of the first frame of each of STRUCTURES,
    for every --symmetrize, which may be repeated. Without it, the schemes are none, both groups with and
    without inversion, and lebedev:5. With --crystal the point group of that crystal is among them, in the
    orientation of its file.
    """
    from ...model_file.info import find_model

    path = find_model(model)  # before torch is imported, so that a misspelt name is answered at once
    from ...calculators.diagnostics import anisotropy
    from ...relaxation.store import key_of

    auto = averaging_arguments("auto" if "auto" in schemes else None, tolerance)
    chosen = list(schemes or anisotropy.SCHEMES)
    if crystal is not None and CRYSTAL not in chosen:
        chosen.append(CRYSTAL)
    undisplaced = None if crystal is None else read_first(crystal)
    frames = {str(file): read_first(file) for file in structures}
    averagings = {file: _find(chosen, undisplaced or atoms, symprec) for file, atoms in frames.items()}
    calculator = make_calculator(str(path), device=device, dtype=dtype, **auto)
    loaded = calculator.model
    check_known(frames, loaded.info.species)
    choose_averaging(calculator, frames)
    results.claim(loaded.info.document_sha256, [key_of("", atoms, "") for atoms in frames.values()])
    found = {}
    with bar("orientation") as progress:
        for file, atoms in frames.items():
            used = [calculator.averaging if scheme is None else scheme for scheme in averagings[file]]
            tell = partial(_of_file, progress, file if len(frames) > 1 else "")
            kept = {"parts": results.parts, "name": file}
            found[file] = anisotropy.measure(loaded, atoms, used, orientations, progress=tell, **kept)
    lines = []
    for file, rows in found.items():
        lines.append(f"{file}: {len(frames[file])} atoms, {orientations} orientations, {loaded.dtype}")
        lines.append(anisotropy.to_text(rows))
    results.show(of_structures(results.settings, _documents(found)), "\n".join(lines))
    results.draw(lambda path: _draw(found, path))


def _documents(found: dict[str, list[Anisotropy]]) -> dict[str, dict]:
    """Of each file, of which the first frame was taken, by the name that other commands give it."""
    from ...data.frames import free_name

    documents: dict[str, dict] = {}
    for file, rows in found.items():
        result = {"rows": [row.to_dict() for row in rows]}
        documents[free_name(Path(file).stem, documents)] = of_structure({"file": file, "frame": 0}, result)
    return documents


def _of_file(progress: Progress, file: str, done: int, total: int, _stage: str) -> None:
    """Tell which of several files it is."""
    progress(done, total, file)


def _draw(found: dict, path: Path) -> None:
    from ...pictures.plots import plot_anisotropy, save_figure

    save_figure(plot_anisotropy(dict(zip(_short(list(found)), found.values(), strict=True))), path)


def _short(files: list[str]) -> list[str]:
    """Names for the legend: those of the files, with their folders where they would not differ."""
    stems = [Path(file).stem for file in files]
    return stems if len(set(stems)) == len(stems) else files


def _find(schemes: list[str], crystal: Atoms, symprec: float) -> list[Averaging | None]:
    """The averagings of these names, "crystal" standing for the group of that structure; None for "auto"."""
    from ...rotations.schemes import find_averaging

    known = {CRYSTAL: crystal}
    return [None if name == "auto" else find_averaging(known.get(name, name), symprec) for name in schemes]
