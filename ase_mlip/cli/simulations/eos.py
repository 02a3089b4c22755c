"""``ase-mlip eos``: energy against volume."""

from __future__ import annotations

from pathlib import Path

import click

from ...progress.bars import bar
from ..command import Command
from ..options import POSITIVE
from ..values import Finite, Whole
from .crystal_run import CrystalRun, crystal_options, describe_cell

_SHAPES = {
    "relaxed": "relaxed, with the atoms",
    "kept": "kept, so that the bulk modulus is that of a uniform strain (Voigt's)",
    "fixed by symmetry": "fixed by symmetry",
}


@click.command(cls=Command)
@click.option("--volume-change", default=0.06, show_default=True, type=Finite(0.0, 0.9, True, True),
              help="Change the volume by at most this fraction in either direction.")  # fmt: skip
@click.option("--volumes", default=9, show_default=True, type=Whole(min=5),
              help="Compute the energy at this many volumes.")  # fmt: skip
@click.option("--relax-atoms", type=POSITIVE, metavar="FMAX",
              help="Relax the atoms at each volume until no force is larger than this, in eV/Å.")  # fmt: skip
@click.option("--keep-shape", is_flag=True,
              help="Only scale the cell, even where it is not cubic. The bulk modulus is then that of a "
              "uniform strain (Voigt's). By default the shape of the cell is relaxed at each "
              "volume.")  # fmt: skip
@crystal_options
def eos(
    run: CrystalRun, volume_change: float, volumes: int, relax_atoms: float | None, keep_shape: bool
) -> None:
    """Compute the equation of state of a crystal.

    The curve of Birch and Murnaghan is fitted to the energies of the first frame of STRUCTURE, which is
    relaxed first, at scaled volumes. Where symmetry leaves the shape of the cell free, it is relaxed at each
    volume, with the atoms.
    """
    atoms = run.start()
    from ...mechanics.eos import equation_of_state

    with bar("volume") as progress, run.warned():
        result = equation_of_state(
            atoms,
            relax_first=False,  # it is, if that is asked for
            volume_change=volume_change,
            volumes=volumes,
            relax_atoms=relax_atoms,
            keep_shape=keep_shape,
            symmetrize=run.symmetrize,
            symprec=run.symprec,
            checkpoint=run.results.parts,
            progress=progress,
        )
    text = f"{run.structure}: {describe_cell(atoms)}\n{_text(result)}"
    run.finish(result.to_dict(), text, lambda path: result.plot(path, Path(run.model).stem))


def _text(result) -> str:
    n = result.n_atoms
    lines = ["   Å^3/atom       eV/atom"]
    lines += [f"{v / n:11.4f} {e / n:13.6f}" for v, e in zip(result.volumes, result.energies, strict=True)]
    lines += [
        f"volume {result.volume / n:.4f} Å^3/atom, energy {result.energy / n:.6f} eV/atom",
        f"shape of the cell at each volume: {_SHAPES[result.shape]}",
        f"bulk modulus {result.bulk_modulus:.2f} GPa, its derivative {result.bulk_modulus_derivative:.3f}",
        f"deviation of the fit {1000.0 * result.fit_error:.4f} meV/atom",
    ]
    return "\n".join(lines)
