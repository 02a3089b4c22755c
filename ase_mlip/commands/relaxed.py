"""What commands on one crystal share: its first frame with the potential, brought to its minimum."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import bar

if TYPE_CHECKING:
    from ase import Atoms

_OPTIONS = (
    click.option("--symmetrize", metavar="SCHEME", help="Average over rotations, such as octahedral."),
    click.option(
        "--relax/--no-relax", "relax_first", default=True, show_default=True, help="Cell and atoms, first."
    ),
    click.option(
        "--symmetry", type=click.Choice(["fix", "none"]), default="fix", show_default=True,
        help="Whether that relaxation keeps the space group."
    ),
    click.option(
        "--fmax", default=1e-4, show_default=True, type=click.FloatRange(min=0.0, min_open=True),
        help="Forces and stress of that relaxation, eV/Å."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON object."),
    click.option("-o", "--output", type=click.Path(path_type=Path), help="Write that object to this file."),
    click.option("--plot", type=click.Path(path_type=Path), help="Draw the results, a PNG file."),
)  # fmt: skip


def crystal_options(command: Callable) -> Callable:
    """Adds --symmetrize, --relax, --symmetry, --fmax, --json, --output and --plot."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_crystal(
    structure: Path, calculator, relax_first: bool, symmetry: str, fmax: float
) -> tuple[Atoms, dict]:
    """The first frame with ``calculator``, at its minimum if asked, and a record of that relaxation.

    A relaxation that does not reach ``fmax`` is said on stderr; the record has it, too.
    """
    from ..crystals import refuse_random, require_crystal
    from ..data import read_structures
    from ..relax import relax

    atoms = read_structures(structure)[0]
    require_crystal(atoms, "ase-mlip")
    atoms.set_constraint()
    atoms.calc = calculator
    refuse_random(calculator, "ase-mlip")
    if not relax_first:
        return atoms, {}
    with bar("step") as progress, warnings_as_lines():
        result = relax(
            atoms,
            fmax=fmax,
            optimizer="LBFGS",
            cell=True,
            symmetry=None if symmetry == "none" else symmetry,
            progress=lambda step, *_: progress(step, 500),
        )
    if not result.converged:
        click.echo(
            f"the relaxation stopped at {result.fmaxes[-1]:.1e} eV/Å after {result.steps} steps, above "
            f"{fmax:g}; --dtype float64 helps where rounding is the cause",
            err=True,
        )
    relaxed = result.atoms
    relaxed.set_constraint()  # what kept the space group must not act on forces and stresses from here on
    relaxed.calc = calculator
    record = {"converged": result.converged, "steps": result.steps, "fmax": result.fmaxes[-1]}
    return relaxed, record


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Warnings for the user as a line each on stderr, without the place in the code; others as usual."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for text in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)):
        click.echo(f"warning: {' '.join(text.split())}", err=True)
    for other in caught:
        if not issubclass(other.category, UserWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)


def describe_cell(atoms: Atoms) -> str:
    """``Si8, 20.43 Å^3/atom``."""
    return f"{atoms.get_chemical_formula()}, {atoms.get_volume() / len(atoms):.4f} Å^3/atom"


def show(document: dict, text: str, as_json: bool, output: Path | None) -> None:
    """Print the text or the JSON document, and write the latter to ``output``."""
    import json

    from ..archive import write_atomically

    encoded = json.dumps(document, indent=1)
    click.echo(encoded if as_json else text)
    if output:
        write_atomically(output, (encoded + "\n").encode())
        click.echo(f"results: {output}", err=True)


def draw(figure_of: Callable, result, path: Path | None) -> None:
    """Write the picture that ``figure_of(result)`` gives, if one is asked for."""
    if path:
        from ..plots import save_figure

        save_figure(figure_of(result), path)
        click.echo(f"plot: {path}", err=True)
