"""``ase-mlip rotations``: the rotations of a scheme or a crystal in a file, for LAMMPS."""

from __future__ import annotations

from pathlib import Path

import click

from .. import options
from ..common import require_folder_of
from ..options import FILE


@click.command()
@click.argument("scheme")
@click.option("-o", "--output", type=FILE, default="rotations.txt", show_default=True, help="A text file.")
@options.symprec
def rotations(scheme: str, output: Path, symprec: float) -> None:
    """Write rotations to average over, for LAMMPS.

    SCHEME is a name such as `octahedral+inversion` or `lebedev 5`, or the file of an undisplaced crystal,
    whose point group is meant. LAMMPS reads them with `pair_style mlip symmetrize file rotations.txt`, ASE
    with `symmetrize="file rotations.txt"`.
    """
    require_folder_of(output, "--output")
    from ...rotations.rotation_file import write_rotations
    from ...rotations.schemes import find_averaging

    if Path(scheme).suffix and not Path(scheme).is_file():
        raise click.BadParameter(f"`{scheme}`: no such file, nor the name of a scheme", param_hint="SCHEME")
    averaging = find_averaging(_crystal(scheme) if Path(scheme).is_file() else scheme, symprec)
    write_rotations(averaging, output)
    click.echo(f"{averaging.name}, {len(averaging.rotations)} rotations: {output}")


def _crystal(file: str):
    from ...data.data import read_structures

    frames = read_structures(Path(file))
    if len(frames) != 1:
        raise click.BadParameter(
            f"expected one structure in `{file}`, got {len(frames)}", param_hint="SCHEME"
        )
    return frames[0]
