"""What the workflow commands share: options of the calculator, structures, output files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ase import Atoms

    from ..calculator import MLIPCalculator

FILE = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)

_CALCULATOR_OPTIONS = (
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
    click.option(
        "--dtype", type=click.Choice(["float32", "float64"]), help="By default that of the weights."
    ),
    click.option(
        "--forces", type=click.Choice(["conservative", "direct"]), default="conservative", show_default=True
    ),
)


def calculator_options(command: Callable) -> Callable:
    """Adds --device, --dtype and --forces, which :func:`make_calculator` takes."""
    for option in reversed(_CALCULATOR_OPTIONS):
        command = option(command)
    return command


def make_calculator(model: str, **options) -> MLIPCalculator:
    """The calculator of a model file or shipped potential; a misspelt name fails before torch is imported."""
    from ..model_info import find_model

    path = find_model(model)
    from ..calculator import MLIPCalculator

    return MLIPCalculator(path, **options)


def read_named(files: Sequence[Path]) -> dict[str, Atoms]:
    """Every frame under a unique name, ``stem`` or ``stem-3``. Raises StructureError, OSError."""
    from ..data import read_structures

    found: dict[str, Atoms] = {}
    for file in files:
        frames = read_structures(file)
        for index, atoms in enumerate(frames):
            name = base = file.stem if len(frames) == 1 else f"{file.stem}-{index}"
            copies = 1
            while name in found:
                copies += 1
                name = f"{base}_{copies}"
            found[name] = atoms
    return found


def require_folder_of(path: Path | None, option: str) -> None:
    """Raise click.BadParameter unless ``path`` can be created where it is to be written."""
    if path is not None and not path.absolute().parent.is_dir():
        raise click.BadParameter(f"the folder `{path.parent}` does not exist", param_hint=option)


@contextmanager
def bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, as the ``progress(done, total)`` that workflows call."""
    from tqdm import tqdm

    with tqdm(disable=not sys.stderr.isatty(), unit=unit, leave=False) as shown:

        def progress(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield progress
