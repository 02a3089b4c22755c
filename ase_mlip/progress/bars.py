"""Bars of long work on a terminal, and lines in a log file, where a bar would be noise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
        text = f"{stage}{': ' if stage else ''}{self._text(done, total, now - self._started)}"
        print(text, file=sys.stderr, flush=True)

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


@contextmanager
def bar(unit: str) -> Iterator[Callable[..., None]]:
    """A progress bar on a terminal, else now and then a line on stderr (:class:`Lines`).

    Parameters
    ----------
    unit : str
        what is counted, in the singular

    Yields
    ------
    Callable
        the ``progress(done, total, stage="")`` that workflows call; ``total`` is 0 where nobody knows it
    """
    if not sys.stderr.isatty():
        yield Lines(unit)
        return
    from tqdm import tqdm  # here, since commands import this module for --help

    with tqdm(unit=unit, leave=False) as shown:

        def progress(done: int, total: int, stage: str = "") -> None:
            shown.total = total or None
            shown.set_description_str(stage, refresh=False)
            shown.update(done - shown.n)

        yield progress


def _duration(seconds: float) -> str:
    """40 s, 3 min, 2.5 h"""
    if seconds < 100.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 6000.0 else f"{seconds / 3600.0:.1f} h"
