"""Options of thermostats, for commands that run dynamics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from ..options import NOT_NEGATIVE, POSITIVE

if TYPE_CHECKING:
    from ...dynamics.thermostats import Thermostat

DEFAULTS = {"friction": "10", "damping": "0.1"}  # of Thermostat, without importing it; a test compares them


def thermostat_options(command: Callable) -> Callable:
    """A decorator that adds a thermostat's options; the command gets a dictionary ``thermostat``.

    Parameters
    ----------
    command : Callable
        with an argument ``thermostat``, for :func:`make_thermostat`

    Returns
    -------
    Callable
        the command with these options
    """
    options = (
        click.option(
            "--thermostat",
            type=click.Choice(["none", "langevin", "nose-hoover"]),
            default="none",
            show_default=True,
            help="Hold the temperature with this thermostat; none runs at constant energy.",
        ),
        click.option(
            "--friction",
            type=NOT_NEGATIVE,
            show_default=DEFAULTS["friction"],
            help="Use this friction in --thermostat langevin, in 1/ps; 0 runs at constant energy.",
        ),
        click.option(
            "--damping",
            type=POSITIVE,
            show_default=DEFAULTS["damping"],
            help="Let --thermostat nose-hoover respond within this time, in ps.",
        ),
        click.option(
            "--ramp",
            type=POSITIVE,
            metavar="KELVIN",
            help="Raise the temperature of the thermostat linearly from --temperature to this one, in K.",
        ),
        click.option(
            "--ramp-time",
            type=POSITIVE,
            help="Finish the --ramp within this time, in ps; the temperature then stays. By default the ramp "
            "takes the whole run.",
        ),
    )

    @functools.wraps(command)
    def gathered(*, thermostat, friction, damping, ramp, ramp_time, **others) -> None:
        given = {"friction": friction, "damping": damping, "ramp": ramp, "ramp_time": ramp_time}
        command(thermostat={"kind": thermostat} | given, **others)

    for option in reversed(options):
        gathered = option(gathered)
    return gathered


def make_thermostat(
    temperature: float,
    kind: str,
    friction: float | None,
    damping: float | None,
    ramp: float | None,
    ramp_time: float | None,
) -> Thermostat | None:
    """The thermostat of the options.

    Parameters
    ----------
    temperature : float
        at the start, K
    kind : str
        "none", "langevin" or "nose-hoover"
    friction : float or None
        of langevin, 1/ps
    damping : float or None
        of nose-hoover, ps
    ramp : float or None
        temperature at the end of a ramp, K
    ramp_time : float or None
        its length, ps

    Returns
    -------
    Thermostat or None
        None for constant energy

    Raises
    ------
    click.BadParameter
        options that have no meaning together
    """
    of_kind = {"--friction": (friction, "langevin"), "--damping": (damping, "nose-hoover")}
    for option, (value, needed) in of_kind.items():
        if value is not None and kind != needed:
            raise click.BadParameter(f"needs --thermostat {needed}, got {kind}", param_hint=option)
    for option, value in (("--ramp", ramp), ("--ramp-time", ramp_time)):
        if value is not None and kind == "none":
            raise click.BadParameter("needs --thermostat langevin or nose-hoover", param_hint=option)
    if ramp_time is not None and ramp is None:
        raise click.BadParameter("needs the temperature of --ramp", param_hint="--ramp-time")
    if kind == "none":
        return None
    if not temperature > 0.0:
        raise click.BadParameter(
            f"with a thermostat, expected more than 0 K, got {temperature:g}", param_hint="--temperature"
        )
    from ...dynamics.thermostats import Thermostat

    given = {"friction": friction, "damping": damping, "ramp_K": ramp, "ramp_time": ramp_time}
    return Thermostat(kind, temperature, **{name: v for name, v in given.items() if v is not None})
