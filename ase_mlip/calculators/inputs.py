"""The two arguments that every function on a structure takes: the structure, and what computes it."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from ase import Atoms

from ..crystals import with_calculator
from ..errors import MLIPError, StructureError, users_line

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

    from ..model_file.model import Model

    Structure = Atoms | str | os.PathLike
    Potential = BaseCalculator | Model | str | os.PathLike


Options = ParamSpec("Options")
Result = TypeVar("Result")


def renamed(**now: str) -> Callable[[Callable[Options, Result]], Callable[Options, Result]]:
    """A decorator for a function whose options had other names, which it takes for one version more.

    Parameters
    ----------
    **now : str
        the present name by the old one; ``not NAME`` for an option of the opposite meaning

    Returns
    -------
    Callable
        the decorator; the function warns of old names (DeprecationWarning)
    """

    def decorate(function: Callable[Options, Result]) -> Callable[Options, Result]:
        @functools.wraps(function)
        def called(*arguments: Options.args, **options: Options.kwargs) -> Result:
            for old in now.keys() & options.keys():
                new = now[old].removeprefix("not ")
                if new in options:
                    raise TypeError(f"{function.__name__}() got `{new}` and its former name `{old}`")
                value = options.pop(old)
                options[new] = not value if new != now[old] else value
                warnings.warn(
                    f"`{old}` of `{function.__name__}` is `{now[old]}` now; the old name will go",
                    DeprecationWarning,
                    stacklevel=users_line(),
                )
            return function(*arguments, **options)

        return called

    return decorate


def withdrawn(**remedies: str) -> Callable[[Callable[Options, Result]], Callable[Options, Result]]:
    """A decorator for a function that had other options, whose meaning more than one option has now.

    Parameters
    ----------
    **remedies : str
        what to write instead, by the name that there was

    Returns
    -------
    Callable
        the decorator; the function raises TypeError for these names, unless they are given as None
    """

    def decorate(function: Callable[Options, Result]) -> Callable[Options, Result]:
        @functools.wraps(function)
        def called(*arguments: Options.args, **options: Options.kwargs) -> Result:
            for old in remedies.keys() & options.keys():
                value = options.pop(old)
                if value is not None:
                    raise TypeError(
                        f"`{function.__name__}` has no argument `{old}` any more, got {value!r}: "
                        f"{remedies[old]}"
                    )
            return function(*arguments, **options)

        return called

    return decorate


def named_only(places: int, *names: str) -> Callable[[Callable[Options, Result]], Callable[Options, Result]]:
    """A decorator for a function whose options had places, which it takes for one version more.

    Parameters
    ----------
    places : int
        how many arguments still have one
    *names : str
        the options that followed them, in their order

    Returns
    -------
    Callable
        the decorator; the function warns of options without a name (DeprecationWarning)
    """

    def decorate(function: Callable[Options, Result]) -> Callable[Options, Result]:
        @functools.wraps(function)
        def called(*arguments: Options.args, **options: Options.kwargs) -> Result:
            kept, placed = arguments[:places], arguments[places:]
            if len(placed) > len(names):
                return function(*arguments, **options)  # Python says what is too much
            for name, value in zip(names, placed, strict=False):
                if name in options:
                    raise TypeError(f"{function.__name__}() got `{name}` by its place and by its name")
                options[name] = value
                warnings.warn(
                    f"`{name}` of `{function.__name__}` is given by its name now; its place will go",
                    DeprecationWarning,
                    stacklevel=users_line(),
                )
            return function(*kept, **options)

        return called

    return decorate


def structure_with_calculator(
    atoms: Structure, calculator: Potential | None, what: str, dtype: str | None = None
) -> Atoms:
    """A copy of the structure with its calculator, for the function ``what``.

    Parameters
    ----------
    atoms : ase.Atoms, str or Path
        the structure, or a file with it
    calculator : ASE calculator, Model, str or Path, optional
        what computes it; None takes the calculator of ``atoms``
    what : str
        the function, for errors
    dtype : str, optional
        precision of a network that is loaded from a file here; by default as stored

    Returns
    -------
    ase.Atoms
        a copy that shares its calculator

    Raises
    ------
    StructureError
        without atoms or calculator, for numbers that are not finite and for sites that are not full
    DataError, FileNotFoundError, ModelFileError
        a structure or a model that cannot be read
    """
    found = as_structure(atoms)
    if calculator is not None:
        found = found.copy()
        found.calc = as_calculator(calculator, dtype)
    return with_calculator(found, what)


def as_structure(atoms: Structure, name: str = "atoms") -> Atoms:
    """The structure itself, or the first of a file, without calculator, with a warning where it has more.

    ``name`` is that of the argument, for errors.
    """
    if isinstance(atoms, Atoms):
        return atoms
    if not isinstance(atoms, (str, os.PathLike)):
        raise StructureError(
            f"`{name}`: expected an `ase.Atoms` or the path of a file, got {type(atoms).__name__}; read the "
            "structure with `ase.io.read`"
        )
    from ..data.frames import read_first_structure

    found = read_first_structure(
        Path(atoms), lambda text: warnings.warn(text, UserWarning, stacklevel=users_line())
    )
    found.calc = None  # of what the file says
    return found


def as_calculator(calculator: Potential, dtype: str | None = None) -> BaseCalculator:
    """The calculator itself, or that of a model; ``dtype`` is for models that are not loaded yet.

    Raises MLIPError for anything else, and as :class:`.calculator.MLIPCalculator`.
    """
    if hasattr(calculator, "get_potential_energy"):  # of ASE, or what behaves alike
        return calculator
    from ..model_file.model import Model  # late: it imports torch
    from .calculator import MLIPCalculator

    models = calculator if isinstance(calculator, (list, tuple)) else [calculator]
    if not all(isinstance(model, (str, os.PathLike, Model)) for model in models):
        raise MLIPError(
            "`calculator`: expected an ASE calculator, a loaded model, a model file or the name of a shipped "
            f"potential, got {calculator!r}; options such as `supercell_matrix` are given by name"
        )
    return MLIPCalculator(calculator, dtype=None if isinstance(calculator, Model) else dtype)


def as_model_file(model: Potential | None, what: str) -> Path:
    """The file of a model, for programs that load it themselves."""
    if model is None or hasattr(model, "get_potential_energy"):
        got = "none" if model is None else f"a calculator ({type(model).__name__})"
        raise MLIPError(
            f"`calculator`: {what} needs a model file, the name of a shipped potential or a loaded "
            f"model, got {got}"
        )
    from ..model_file.info import find_model

    return find_model(getattr(model, "path", model))
