"""``ase-mlip eos``: energy against volume."""

from __future__ import annotations

from pathlib import Path

import click

from .common import FILE, bar, calculator_options, make_calculator, require_folder_of
from .relaxed import crystal_options, describe_cell, draw, read_crystal, show


@click.command()
@click.argument("model")
@click.argument("structure", type=FILE)
@click.option("--strain", default=0.06, show_default=True, type=click.FloatRange(0.0, 0.9, True, True),
              help="Relative change of the volume to either side.")  # fmt: skip
@click.option("--points", default=9, show_default=True, type=click.IntRange(min=5), help="Volumes.")
@click.option("--relax-atoms", type=click.FloatRange(min=0.0, min_open=True), metavar="FMAX",
              help="Relax the atoms at each volume to this force, eV/Å.")  # fmt: skip
@crystal_options
@calculator_options
def eos(
    model: str,
    structure: Path,
    strain: float,
    points: int,
    relax_atoms: float | None,
    relax_first: bool,
    symmetry: str,
    fmax: float,
    as_json: bool,
    output: Path | None,
    plot: Path | None,
    **options,
) -> None:
    """Equation of state (Birch-Murnaghan) of a crystal.

    Energies of the first frame of STRUCTURE, which is relaxed first, with its cell scaled.
    """
    require_folder_of(output, "--output")
    require_folder_of(plot, "--plot")
    calculator = make_calculator(model, **options)
    from ..eos import equation_of_state

    atoms, relaxation = read_crystal(structure, calculator, relax_first, symmetry, fmax)
    with bar("volume") as progress:
        result = equation_of_state(atoms, strain, points, relax_atoms, progress=progress)
    document = {"structure": str(structure), "relaxation": relaxation, **_document(result)}
    show(document, f"{structure}: {describe_cell(atoms)}\n{_text(result)}", as_json, output)
    if plot:
        from ..plots import plot_eos

        draw(lambda found: plot_eos(found, Path(model).stem), result, plot)


def _document(result) -> dict:
    from dataclasses import asdict

    fields = asdict(result)
    fields |= {name: fields[name].tolist() for name in ("volumes", "energies")}
    return {"units": "volumes Å^3 and energies eV of the cell; bulk_modulus GPa; fit_error eV/atom", **fields}


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
