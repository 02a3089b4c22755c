"""``ase-mlip symmetry``: how much results depend on orientation, plain and averaged over rotations."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import options
from ..common import check_known, read_first, require_folder_of
from ..options import FILE

if TYPE_CHECKING:
    from ...rotations.averaging import Averaging

CRYSTAL = "crystal"


@click.command()
@click.argument("model")
@click.argument("structures", nargs=-1, required=True, type=FILE)
@click.option("--schemes", help="Comma-separated; by default both groups, also with inversion, lebedev 5.")
@click.option("--crystal", type=FILE, help="The undisplaced structure, whose point group is a scheme, too.")
@click.option("--orientations", default=100, show_default=True, type=click.IntRange(min=2),
              help="Rotate the structure so many times.")  # fmt: skip
@options.device
@options.dtype
@options.as_json
@click.option("--plot", type=FILE, default="symmetry.png", show_default=True,
              help="Draw anisotropy against evaluations, a PNG file.")  # fmt: skip
@click.option("--no-plot", is_flag=True, help="Draw nothing.")
def symmetry(
    model: str,
    structures: tuple[Path, ...],
    schemes: str | None,
    crystal: Path | None,
    orientations: int,
    device: str,
    dtype: str | None,
    as_json: bool,
    plot: Path,
    no_plot: bool,
) -> None:
    """Measure how results depend on orientation.

    Standard deviations over random orientations of the first frame of each of STRUCTURES, for the plain
    network and for every way of averaging it over rotations. The point group of --crystal is averaged over
    in the orientation of that file.
    """
    from ...model_file.info import find_model

    path = find_model(model)  # before torch is imported, so that a misspelt name is answered at once
    if not no_plot:
        require_folder_of(plot, "--plot")
    from tqdm import tqdm

    from ...calculators import anisotropy
    from ...model_file.model import load_model

    chosen = _schemes(schemes, crystal)
    frames = {str(file): read_first(file) for file in structures}
    loaded = load_model(path, device=device, dtype=dtype)
    check_known(frames, loaded.info.species)
    found = {}
    total = len(frames) * orientations
    with tqdm(total=total, disable=not sys.stderr.isatty(), unit="orientation", leave=False) as bar:
        for file, atoms in frames.items():
            found[file] = anisotropy.measure(loaded, atoms, chosen, orientations, progress=bar.update)
    if as_json:
        rows = {file: [row.to_dict() for row in rows] for file, rows in found.items()}
        click.echo(json.dumps(rows, indent=1))
    for file, rows in found.items() if not as_json else ():
        click.echo(f"{file}: {len(frames[file])} atoms, {orientations} orientations, {loaded.dtype}")
        click.echo(anisotropy.to_text(rows))
    if not no_plot:
        from ...pictures.plots import plot_anisotropy, save_figure

        save_figure(plot_anisotropy(dict(zip(_short(list(found)), found.values(), strict=True))), plot)
        click.echo(f"plot: {plot}", err=True)


def _short(files: list[str]) -> list[str]:
    """Names for the legend: those of the files, with their folders where they would not differ."""
    stems = [Path(file).stem for file in files]
    return stems if len(set(stems)) == len(stems) else files


def _schemes(names: str | None, crystal: Path | None) -> list[Averaging]:
    """Of --schemes and --crystal; the crystal's group comes last unless --schemes places it."""
    from ...calculators.anisotropy import SCHEMES
    from ...rotations.schemes import find_averaging

    chosen = [name.strip() for name in names.split(",")] if names else list(SCHEMES)
    if crystal is None:
        if CRYSTAL in chosen:
            raise click.BadParameter(
                "`crystal` is the point group of a structure; name its file with --crystal FILE",
                param_hint="--schemes",
            )
        return [find_averaging(name) for name in chosen]
    if CRYSTAL not in chosen:
        chosen.append(CRYSTAL)
    atoms = read_first(crystal)
    return [find_averaging(atoms if name == CRYSTAL else name) for name in chosen]
