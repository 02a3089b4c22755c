"""What the workflow commands share: the calculator, structures, output files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from .options import CRYSTAL
from .wording import in_options

if TYPE_CHECKING:
    from ase import Atoms

    from ..calculators.calculator import MLIPCalculator
    from ..relaxation.force_noise import ForceNoise


def choose_averaging(calculator: MLIPCalculator, structures: dict[str, Atoms]) -> None:
    """With --symmetrize auto: choose by the first structure that can be evaluated, and say what on stderr.

    Where none can, nothing is chosen: the command will say why.

    Parameters
    ----------
    calculator : MLIPCalculator
        whose averaging is chosen, unless it has one
    structures : dict of ase.Atoms
        by name
    """
    from ..calculators.diagnostics.residual import not_reached
    from ..errors import StructureError

    for name, atoms in structures.items():
        if calculator.averaging is not None:
            return
        try:
            with noise_unsaid():
                calculator.evaluate([atoms], ("energy",))
        except StructureError:
            continue
        chosen, residual, tolerance = calculator.averaging, calculator.residual, calculator.tolerance
        count = f"{chosen.evaluations} evaluation{'' if chosen.evaluations == 1 else 's'}"
        click.echo(
            f"averaging: {chosen.name} ({count}), chosen for {name}; residual of its forces {residual:.1e} "
            f"eV/Å, --tolerance {tolerance:g}",
            err=True,
        )
        if residual > tolerance:
            click.echo(f"warning: {in_options(not_reached(chosen, residual, tolerance))}", err=True)


def chosen_scheme(model: str, structures: dict[str, Atoms], **options) -> str:
    """The name of the scheme that ``symmetrize="auto"`` becomes, for other processes and engines.

    Parameters
    ----------
    model : str
        a model file or the name of a shipped potential
    structures : dict of ase.Atoms
        by name
    **options
        of :func:`make_calculator`

    Returns
    -------
    str
        a scheme, or "none"
    """
    calculator = make_calculator(model, **options)
    choose_averaging(calculator, structures)
    return "none" if calculator.averaging is None else calculator.averaging.name


def make_calculator(model: str, **options) -> MLIPCalculator:
    """The calculator of a model; a misspelt name fails before torch is imported.

    With --symmetrize crystal it is not averaged yet: the functions find the group of a structure.

    Parameters
    ----------
    model : str
        a model file or the name of a shipped potential
    **options
        arguments of :class:`.MLIPCalculator`

    Returns
    -------
    MLIPCalculator
        with the model loaded

    Raises
    ------
    FileNotFoundError, ModelFileError
        no such model, or a file that cannot be loaded
    """
    from ..model_file.info import find_model

    path = find_model(model)
    from ..calculators.calculator import MLIPCalculator

    if options.get("symmetrize") == CRYSTAL:
        options["symmetrize"] = None
    return MLIPCalculator(path, **options)


def read_first(file: Path) -> Atoms:
    """The first frame of a file, with a line on stderr where there are more.

    Parameters
    ----------
    file : Path
        that ASE reads

    Returns
    -------
    ase.Atoms
        the first frame

    Raises
    ------
    DataError, StructureError
        see :func:`.read_structures`
    """
    from ..data.frames import read_first_structure

    return read_first_structure(file, lambda text: click.echo(text, err=True))


@contextmanager
def about(name: str | Path) -> Iterator[None]:
    """Errors of a structure say which one is meant.

    Parameters
    ----------
    name : str or Path
        of the structure

    Yields
    ------
    None

    Raises
    ------
    StructureError
        one that was raised in the block, with the name
    """
    from ..errors import StructureError

    try:
        yield
    except StructureError as error:
        text = str(error)
        raise StructureError(text if str(name) in text else f"`{name}`: {text}") from None


def check_known(structures: Mapping[str, Atoms], species: Sequence[int]) -> None:
    """Refuse, by name, a structure that the model cannot evaluate, before anything is computed.

    Parameters
    ----------
    structures : mapping of ase.Atoms
        by name
    species : sequence of int
        atomic numbers that the model knows

    Raises
    ------
    StructureError
        see :func:`.check_structure`
    """
    from ..graph.neighbors import check_structure

    for name, atoms in structures.items():
        with about(name):
            check_structure(atoms, species)


def require_new_file(path: Path, overwrite: bool) -> None:
    """Refuse, before the work, the file of -o if it cannot be written, or is there already.

    Parameters
    ----------
    path : Path
        the file
    overwrite : bool
        whether --overwrite is given, so that a file that is there will be replaced

    Raises
    ------
    click.BadParameter
        its folder does not exist, or it is a folder itself
    DataError
        it exists
    """
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"the folder `{path.parent}` does not exist", param_hint="-o")
    if path.is_dir():
        raise click.BadParameter(f"`{path}` is a folder; name a file", param_hint="-o")
    if path.exists() and not overwrite:
        from ..errors import DataError

        raise DataError(
            f"`{path}` exists; expected the name of a new file; choose another, or replace it with "
            "--overwrite"
        )


def refuse_options(but: Iterable[str], mode: str) -> None:
    """Refuse, by name, options of the present command that do nothing with another one.

    Parameters
    ----------
    but : iterable of str
        names of the command's parameters that have a meaning
    mode : str
        the option that changes what the command does

    Raises
    ------
    click.BadParameter
        any other option was given, also if its value is the default
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        # click before 8.3 says of an argument that was left out that it was given
        is_option = isinstance(parameter, click.Option) and parameter.name not in but
        if is_option and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            raise click.BadParameter(f"has no meaning with {mode}", param_hint=parameter.opts[0])


@contextmanager
def noise_unsaid() -> Iterator[None]:
    """Without the warnings of noise, which are for callers in Python; :func:`say_noise` says the same.

    Yields
    ------
    None
    """
    from ..errors import PrecisionWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        yield


def say_noise(
    noise: ForceNoise | None, fmax: float, averaging: str, name: str = "", option: str = "--fmax"
) -> list[str]:
    """A line on stderr for each kind of noise above ``fmax``, with the options that help.

    Parameters
    ----------
    noise : ForceNoise or None
        what was measured; None says nothing
    fmax : float
        eV/Å
    averaging : str
        the options that average the model
    name : str, optional
        of the structure, where there are several
    option : str, optional
        that says ``fmax``

    Returns
    -------
    list of str
        what was said
    """
    from ..relaxation.force_noise import Remedies, noise_messages

    if noise is None:
        return []
    remedies = Remedies(option, f"{option} {{:g}}", "--dtype float64", averaging)
    messages = [
        f"{f'{name}: ' if name else ''}{message}" for message in noise_messages(noise, fmax, remedies)
    ]
    for message in messages:
        click.echo(f"warning: {message}", err=True)
    return messages
