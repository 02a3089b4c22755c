"""``ase-mlip eos``: energy against volume."""

from __future__ import annotations

from pathlib import Path

import click

from .common import (
    POSITIVE,
    Finite,
    bar,
)
from .relaxed import CrystalRun, crystal_options, describe_cell


@click.command()
@click.option("--strain", default=0.06, show_default=True, type=Finite(0.0, 0.9, True, True),
              help="Relative change of the volume to either side.")  # fmt: skip
@click.option("--points", default=9, show_default=True, type=click.IntRange(min=5), help="Volumes.")
@click.option("--relax-atoms", type=POSITIVE, metavar="FMAX",
              help="Relax the atoms at each volume to this force, eV/Å.")  # fmt: skip
@crystal_options
def eos(run: CrystalRun, strain: float, points: int, relax_atoms: float | None) -> None:
    """Equation of state (Birch-Murnaghan) of a crystal.

    Energies of the first frame of STRUCTURE, which is relaxed first, with its cell scaled.
    """
    atoms = run.start()
    from ..eos import PLAUSIBLE, equation_of_state

    with bar("volume") as progress:
        result = equation_of_state(atoms, strain, points, relax_atoms, progress=progress)
    text = f"{run.structure}: {describe_cell(atoms)}\n{_text(result)}"
    run.finish(_document(result), text, lambda: _figure(result, Path(run.model).stem))
    if not result.plausible:
        low, high = PLAUSIBLE
        precision = "" if run.calculator["dtype"] == "float64" else " or --dtype float64"
        click.echo(
            f"warning: in solids the bulk modulus has a derivative of about {low:g} to {high:g}, here "
            f"{result.bulk_modulus_derivative:.2f}: the energies do not follow Birch's curve, and the bulk "
            f"modulus is uncertain, too; try another --strain{precision}, and ase-mlip elastic",
            err=True,
        )


def _figure(result, name: str):
    from ..plots import plot_eos

    return plot_eos(result, name)


def _document(result) -> dict:
    from dataclasses import asdict

    fields = asdict(result)
    fields |= {name: fields[name].tolist() for name in ("volumes", "energies")}
    units = "volumes Å^3 and energies eV of the cell; bulk_modulus GPa; fit_error eV/atom"
    return {"units": units, **fields, "plausible": result.plausible}


def _text(result) -> str:
    n = result.n_atoms
    lines = ["   Å^3/atom       eV/atom"]
    lines += [f"{v / n:11.4f} {e / n:13.6f}" for v, e in zip(result.volumes, result.energies, strict=True)]
    lines += [
        f"volume {result.volume / n:.4f} Å^3/atom, energy {result.energy / n:.6f} eV/atom",
        f"bulk modulus {result.bulk_modulus:.2f} GPa, its derivative {result.bulk_modulus_derivative:.3f}",
        f"deviation of the fit {1000.0 * result.fit_error:.4f} meV/atom",
    ]
    return "\n".join(lines)
