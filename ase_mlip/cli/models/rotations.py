"""``ase-mlip rotations``: the rotations of a scheme or a crystal in a file, for LAMMPS."""

from __future__ import annotations

from pathlib import Path

import click

from .. import options
from ..command import Command
from ..common import require_new_file
from ..results import answer


@click.command(cls=Command)
@click.argument("scheme")
@options.output_file
@options.overwrite
@options.symprec
@options.as_json
def rotations(scheme: str, output: Path | None, overwrite: bool, symprec: float, as_json: bool) -> None:
    """Write rotations to average over, for LAMMPS.

    SCHEME is a name such as `octahedral+inversion` or `lebedev:5`, or the file of an undisplaced crystal,
    whose point group is meant. LAMMPS reads the rotations with `pair_style mlip symmetrize file
    rotations.txt`, and ASE with `symmetrize="file:rotations.txt"`.
    """
    output = output or Path(options.FILES["rotations"])
    require_new_file(output, overwrite)
    from ...rotations.rotation_file import write_rotations
    from ...rotations.schemes import find_averaging

    if Path(scheme).suffix and not Path(scheme).is_file():
        raise click.BadParameter(f"`{scheme}`: no such file, nor the name of a scheme", param_hint="SCHEME")
    averaging = find_averaging(_crystal(scheme) if Path(scheme).is_file() else scheme, symprec)
    write_rotations(averaging, output)
    count = len(averaging.rotations)
    document = {"scheme": averaging.name, "rotations": count, "file": str(output)}
    answer(document, f"{averaging.name}, {count} rotations: {output}", as_json)


def _crystal(file: str):
    from ...data.frames import read_structures

    frames = read_structures(Path(file))
    if len(frames) != 1:
        raise click.BadParameter(
            f"expected one structure in `{file}`, got {len(frames)}", param_hint="SCHEME"
        )
    return frames[0]
