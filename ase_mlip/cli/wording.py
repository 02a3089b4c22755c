"""Messages in a command's own words: Python's arguments, which messages name, become its options.

A message names an argument as a user of Python writes it, in backquotes: its name alone, ``plane=True`` or
``forces="direct"``. Options bear the names of arguments, so that one rule translates them all. What a command
has no option for stands alone in brackets, as in "forces below 0.05 eV/Å (`max_residual`)"; a command leaves
the brackets out.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import click

# Arguments that are called otherwise, unless a command has one of the same name
OTHER_NAMES = {
    "data": "POOL",
    "family": "--from",
    "frames": "FILES",
    "model": "--basis",
    "phonon_supercell_matrix": "--phonon-supercell",
    "relax_first": "--relax",
    "sample": "--frames",
    "reference": "--rdf-frames",
    "structure": "STRUCTURES",
    "supercell_matrix": "--supercell",
    "symmetrize": "SCHEME",
    "temperature_K": "--temperature",
    "temperatures": "--temperature",
}
# Also parts of results, functions, or likely names of a folder: without a value they stay
AMBIGUOUS = {"cell", "forces", "relax", "run"}
_CHOSEN = {"True": "full", "False": "none", "None": "none"}  # what choices call these
_VALUED = re.compile(r"`(?:\w+\()?([A-Za-z_]\w*)=([^`]*?)\)?`")
_ALONE = re.compile(r"`([A-Za-z_]\w*)`")
_WHOLE = re.compile(r"-?\d+\.0")
_BRACKETS = re.compile(r" \(`([A-Za-z_][\w.]*)`\)")


def in_options(text: str, command: click.Command | None = None, typed: Collection[str] = ()) -> str:
    """A message with options of a command for the arguments that it names.

    Parameters
    ----------
    text : str
        the message of an error or of a warning
    command : click.Command, optional
        whose options are meant; by default the one that runs
    typed : collection of str, optional
        the words after its name, where it does not run any more; these stay, as a file may be called as an
        option is

    Returns
    -------
    str
        the same in the command's words
    """
    known, given = _parameters(command or click.get_current_context().command), {*typed, *_given()}

    def alone(name: str) -> str | None:
        if name == "atoms":
            return "the structure"
        stays = name in AMBIGUOUS or name in given or name not in known
        return None if stays else _name_of(known[name])

    def bracketed(found: re.Match) -> str:
        option = alone(found[1])
        return "" if option is None else f" ({option})"

    def valued(found: re.Match) -> str:
        return found[0] if found[1] not in known else _with_value(known[found[1]], found[2].strip("'\""))

    text = _BRACKETS.sub(bracketed, text)
    text = _VALUED.sub(valued, text)
    return _ALONE.sub(lambda found: alone(found[1]) or found[0], text)


def _given() -> set[str]:
    """Values of the options of the command that runs."""
    context = click.get_current_context(silent=True)
    values = () if context is None else context.params.values()
    several = (value if isinstance(value, tuple | list) else (value,) for value in values)
    return {str(value) for some in several for value in some}


def argument_name(parameter: click.Parameter) -> str:
    """What an option or an argument of a command is called in Python.

    Parameters
    ----------
    parameter : click.Parameter
        of a command

    Returns
    -------
    str
        of ``--pair-cutoff``, ``pair_cutoff``
    """
    return _name_of(parameter).removeprefix("--").replace("-", "_").lower()


def _parameters(command: click.Command) -> dict[str, click.Parameter]:
    """Options and arguments of a command by the names that they have in Python."""
    known = {_name_of(parameter): parameter for parameter in command.params}
    found = {argument_name(parameter): parameter for parameter in command.params}
    return {name: known[option] for name, option in OTHER_NAMES.items() if option in known} | found


def _name_of(parameter: click.Parameter) -> str:
    """The long name of an option; an argument's is in capitals."""
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.human_readable_name.removesuffix("...")


def _with_value(option: click.Parameter, value: str) -> str:
    name = _name_of(option)
    is_flag = isinstance(option, click.Option) and option.is_flag
    if isinstance(option.type, click.Choice) and _CHOSEN.get(value) in option.type.choices:
        value = _CHOSEN[value]
    if value in ("None", "[]") or (is_flag and value == "False" and not option.secondary_opts):
        return f"no {name}"
    if is_flag:
        return name if value != "False" else max(option.secondary_opts, key=len)
    if option.nargs == 1 and not getattr(option, "multiple", False):
        return f"{name} {_typed(name, value)}"
    words = [_typed(name, word.strip(" '\"")) for word in value.strip("[]()").split(",")]
    return " ".join([name, *words] if option.nargs != 1 else [f"{name} {word}" for word in words])


def _typed(name: str, value: str) -> str:
    """A value as it is typed: 300 for Python's 300.0, and "lebedev:5" for a scheme's name "lebedev 5"."""
    if name == "--symmetrize":
        return value.replace(" ", ":", 1)
    return value.removesuffix(".0") if _WHOLE.fullmatch(value) else value
