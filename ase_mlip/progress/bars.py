"""Bars of long work on a terminal, and lines in a log file, where a bar would be noise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .form import Progress

EVERY = 30.0  # s; what takes less says nothing


class Lines:
    """A line on stderr now and then: ``rows: 57 of 194 structures, 2 min; about 5 min left``.

    Parameters
    ----------
    unit : str
        what is counted, in the singular
    units : mapping of str, optional
        what stages of that name count instead
    every : float, optional
        time between two lines, s
    """

    def __init__(self, unit: str, units: Mapping[str, str] | None = None, every: float = EVERY):
        self._unit, self._units, self._every = unit, units or {}, every
        self._shown = time.monotonic()
        self._begin(0, 0)

    def __call__(self, done: int, total: int, stage: str) -> None:
        """Take note of how far it is, see :mod:`.form`, and print it if it is time for that."""
        if total != self._total or done < self._last:
            self._begin(done, total)
        self._last = done
        now = time.monotonic()
        if now - self._shown < self._every:
            return
        self._shown = now
        text = f"{stage}{': ' if stage else ''}{self._text(done, total, stage, now)}"
        print(text, file=sys.stderr, flush=True)

    def _begin(self, done: int, total: int) -> None:
        """What is done when a stage is first heard of may have been there before."""
        self._first = self._last = done
        self._total, self._started = total, time.monotonic()

    def _text(self, done: int, total: int, stage: str, now: float) -> str:
        unit, spent = self._units.get(stage, self._unit), now - self._started
        if total == 0:
            return f"{unit} {done}, {_duration(spent)}"
        text = f"{done} of {total} {unit}{'' if total == 1 else 's'}, {_duration(spent)}"
        if done in (self._first, total):
            return text
        return f"{text}; about {_duration(spent / (done - self._first) * (total - done))} left"


@contextmanager
def bar(unit: str, units: Mapping[str, str] | None = None) -> Iterator[Progress]:
    """A progress bar on a terminal, else now and then a line on stderr (:class:`Lines`).

    Parameters
    ----------
    unit : str
        what is counted, in the singular
    units : mapping of str, optional
        what stages of that name count instead

    Yields
    ------
    callable
        the ``progress(done, total, stage)`` that functions take, see :mod:`.form`

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_mlip import equation_of_state
    >>> from ase_mlip.progress.bars import bar
    >>> with bar("volume") as progress:
    ...     curve = equation_of_state(bulk("Si"), "snnp-si", progress=progress)
    """
    if not sys.stderr.isatty():
        yield Lines(unit, units)
        return
    from tqdm import tqdm  # here, since commands import this module for --help

    with tqdm(unit=unit, leave=False, dynamic_ncols=True) as shown:

        def progress(done: int, total: int, stage: str) -> None:
            shown.unit = (units or {}).get(stage, unit)
            if (total or None) != shown.total or done < shown.n:  # another stage, with a time of its own
                shown.reset(total or None)
                shown.initial = shown.n = shown.last_print_n = done
            shown.set_description_str(stage, refresh=False)
            shown.update(done - shown.n)

        yield progress


def _duration(seconds: float) -> str:
    """40 s, 3 min, 2.5 h"""
    if seconds < 100.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 6000.0 else f"{seconds / 3600.0:.1f} h"
