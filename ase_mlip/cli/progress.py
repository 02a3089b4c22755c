"""Progress of long work in a log file, where a bar would be noise."""

from __future__ import annotations

import time

import click

EVERY = 30.0  # s; what takes less says nothing


class Lines:
    """A line on stderr now and then: ``rows: 57 of 194 structures, 2 min; about 5 min left``.

    Parameters
    ----------
    unit : str
        what is counted, in the singular
    every : float, optional
        time between two lines, s
    """

    def __init__(self, unit: str, every: float = EVERY):
        self._unit, self._every = unit, every
        self._shown = time.monotonic()
        self._begin("", 0)

    def __call__(self, done: int, total: int, stage: str = "") -> None:
        """``done`` of ``total`` are ready, 0 where nobody knows how many there will be."""
        if stage != self._stage or done < self._first:
            self._begin(stage, done)
        now = time.monotonic()
        if now - self._shown < self._every:
            return
        self._shown = now
        click.echo(f"{stage}{': ' if stage else ''}{self._text(done, total, now - self._started)}", err=True)

    def _begin(self, stage: str, done: int) -> None:
        """What is done when a stage is first heard of may have been there before."""
        self._stage, self._first, self._started = stage, done, time.monotonic()

    def _text(self, done: int, total: int, spent: float) -> str:
        if total == 0:
            return f"round {done}, {_duration(spent)}"
        text = f"{done} of {total} {self._unit}{'' if total == 1 else 's'}, {_duration(spent)}"
        if done in (self._first, total):
            return text
        return f"{text}; about {_duration(spent / (done - self._first) * (total - done))} left"


def _duration(seconds: float) -> str:
    """40 s, 3 min, 2.5 h"""
    if seconds < 100.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 6000.0 else f"{seconds / 3600.0:.1f} h"
