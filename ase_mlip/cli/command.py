"""What is the same in every command: an option of one value is given once; Ctrl-C ends with a sentence."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from . import options

INTERRUPTED = 130  # exit status, as of every program that SIGINT ends: 128 + 2
_APPENDING = {"store": "append", "store_const": "append_const"}
_GO_ON_IN_NO_FOLDER = {"demo"}  # begins again, whatever its folder holds


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a command that knows more of what follows than :class:`Command`.

    Parameters
    ----------
    follows : str
        what the same command does next, the end of a sentence
    """

    def __init__(self, follows: str):
        super().__init__(follows)


class Command(click.Command):
    """Refuses options that are given twice and take one value, and says what follows on an interrupt."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """The parameters of the context (click.UsageError for a wrong command line)."""
        if not context.resilient_parsing:
            self._refuse_repeated(context, arguments)
        return super().parse_args(context, arguments)

    def invoke(self, context: click.Context) -> Any:
        """Run the command; Ctrl-C is a line on stderr and exit status 130."""
        with _remembered_interrupts() as interrupts:
            try:
                return super().invoke(context)
            except (KeyboardInterrupt, Exception) as error:
                if not (interrupts or isinstance(error, KeyboardInterrupt)):
                    raise
                follows = str(error) if isinstance(error, Interrupted) else ""
                click.echo(f"interrupted: {follows or _what_follows(self, context.params)}", err=True)
                sys.exit(INTERRUPTED)

    def _refuse_repeated(self, context: click.Context, arguments: list[str]) -> None:
        """Raise click.BadParameter for the first option that is given more often than it has values."""
        parser = click.Command(None, context_settings=self.context_settings, add_help_option=False)
        every, parameters = _EveryValue(parser.make_parser(context)), self.get_params(context)
        for parameter in parameters:
            parameter.add_to_parser(every, context)  # type: ignore[arg-type]
        known = [parameter for parameter in parameters if isinstance(parameter, click.Option)]
        try:
            given, _, _ = every.parser.parse_args(list(arguments))
        except click.BadOptionUsage as error:
            raise _too_few(known, error, context) from None
        asked = [option for option in known if option.name in given]
        if any(option.is_eager for option in asked):
            return  # --help, whatever else there is
        spellings = {name for option in known for name in (*option.opts, *option.secondary_opts)}
        for option in asked:
            if not option.multiple:
                _refuse(option, given[option.name], spellings, context)


@contextmanager
def _remembered_interrupts() -> Iterator[list[int]]:
    """The interrupts that came meanwhile: NumPy makes a TypeError of one that comes while it writes."""
    seen: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def hear(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, hear)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def _too_few(
    known: list[click.Option], error: click.BadOptionUsage, context: click.Context
) -> click.UsageError:
    """Of an option that takes several values, which; of others the error as it is."""
    option = next((option for option in known if error.option_name in option.opts), None)
    if option is None or option.nargs < 2:
        return error
    name = max(option.opts, key=len)
    text = f"expected {option.nargs} values: {option.make_metavar(context)}"
    return click.BadParameter(text, context, param_hint=name)


class _EveryValue:
    """A parser of click to which options are added so that it keeps every value, not only the last."""

    def __init__(self, parser):
        self.parser = parser

    def add_option(self, *, action: str | None = None, **others) -> None:
        self.parser.add_option(action=_APPENDING.get(action or "store", action), **others)

    def add_argument(self, *arguments, **others) -> None:
        self.parser.add_argument(*arguments, **others)


def _refuse(option: click.Option, values: list, spellings: set[str], context: click.Context) -> None:
    name = max(option.opts, key=len)
    if option.is_flag:
        if len(set(map(str, values))) > 1:
            both = f"{name} and {max(option.secondary_opts, key=len)}"
            raise click.BadParameter(f"expected one of {both}, got both", context, param_hint=name)
        return
    for value in values if option.nargs > 1 else ():
        taken = next((n for n, word in enumerate(value) if word in spellings), None)
        if taken is not None:
            expected = f"expected {option.nargs} values, {option.make_metavar(context)}"
            raise click.BadParameter(
                f"{expected}, got {taken}: {_typed(value[:taken])}", context, param_hint=name
            )
    if len(values) > 1:
        several = options.listed([_typed(value) for value in values])
        raise click.BadParameter(
            f"expected it once, got it {len(values)} times: {several}; leave one", context, param_hint=name
        )


def _typed(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _what_follows(command: click.Command, given: dict[str, Any]) -> str:
    """What the same command does after Ctrl-C."""
    if "resume" in given:
        return "the same command goes on after the last finished epoch, if there is one, and so does --resume"
    writes = {option.metavar for option in command.params if option.name == "output"}
    if "FOLDER" not in writes or command.name in _GO_ON_IN_NO_FOLDER:
        return "nothing is kept; the same command starts again"
    folder = given.get("output") or options.FOLDERS.values.get(command.name or "")
    if folder is None:
        return "nothing is kept; with -o FOLDER, the same command goes on where it was ended"
    return f"the same command goes on with what is finished, in {Path(folder)}"
