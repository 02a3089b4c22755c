"""The one form in which all work says how far it is.

``progress(done, total, stage)`` is called with whole numbers: ``done`` of ``total`` are ready, where
``total`` is 0 if nobody knows how many there will be. ``stage`` says in words what is done at present, or how
it stands; it is empty where there is nothing to be said. With another stage, ``done`` may begin again.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ArgumentError

Progress = Callable[[int, int, str], None]


def told(progress: Progress | None) -> Progress:
    """The function that is to be called, which does nothing for None.

    Parameters
    ----------
    progress : callable or None
        ``progress(done, total, stage)``

    Returns
    -------
    callable
        the same, or one that does nothing

    Raises
    ------
    ArgumentError
        what cannot be called, such as True
    """
    if progress is None:
        return _silent
    if not callable(progress):
        raise ArgumentError(
            f"`progress`: expected a function `progress(done, total, stage)` or None, got {progress!r}; for "
            'a bar write `with bar("step") as progress`, `bar` from `ase_mlip.progress.bars`, and pass it'
        )
    return progress


def part_of(progress: Progress | None, number: int, parts: int) -> Progress:
    """What one of several equal parts of some work calls, the parts before it being done.

    Parameters
    ----------
    progress : callable or None
        of the whole
    number, parts : int
        which it is, from 0, of how many

    Returns
    -------
    callable
        of the part
    """
    tell = told(progress)
    return lambda done, total, stage: tell(number * total + done, parts * total, stage)


def _silent(done: int, total: int, stage: str) -> None:
    pass
