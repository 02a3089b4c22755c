"""Kinds of values that options take: what is no such value is answered with what to write."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import click


class Finite(click.FloatRange):
    """A range of numbers that holds neither infinity nor NaN, which no comparison would refuse."""

    name = "number"

    def convert(self, value, param, context):
        """The number, unless it is none, out of range or not finite (click.BadParameter)."""
        if not _is_number(value):
            self.fail(f"expected a number, got {value!r}{_meant(value)}", param, context)
        number = super().convert(value, param, context)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, context)
        return number


class Whole(click.IntRange):
    """A range of whole numbers."""

    name = "integer"

    def convert(self, value, param, context):
        """The number, unless it is none or out of range (click.BadParameter)."""
        if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?\d+\s*", value):
            self.fail(f"expected a whole number, got {value!r}", param, context)
        return super().convert(value, param, context)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _meant(value: str) -> str:
    """What to write instead, where that shows."""
    pointed = value.replace(",", ".")
    if pointed != value and _is_number(pointed):
        return f"; write {pointed}"
    number = re.match(r"[+-]?[\d.]+(?:[eE][+-]?\d+)?", value)
    return "; the unit is in the help: leave it out" if number and _is_number(number[0]) else ""


class Folder(click.Path):
    """A folder, which need not be there."""

    def convert(self, value, param, context):
        """The path, unless a file has it (click.BadParameter)."""
        if Path(value).is_file():
            self.fail(f"expected a folder, got the file `{value}`; choose another name", param, context)
        return super().convert(value, param, context)


class Device(click.ParamType):
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``; whether it is there only torch knows."""

    name = "device"

    def convert(self, value, param, context):
        """The text as it is, unless it can be no device (click.BadParameter)."""
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            self.fail(f"expected auto, cpu, cuda or cuda:N, got {value!r}.", param, context)
        return value
