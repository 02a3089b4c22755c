"""Calls in threads, a thread for each core: for work whose single operations are too small to share cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

AHEAD = 2  # calls that a thread may be ahead of whoever takes the results

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """``function(item)`` for each item, in their order; torch works with one thread in each call.

    Whoever stops taking results, or is interrupted, stops the calls that have not begun. ``threads`` None
    stands for as many as torch has.
    """
    before = torch.get_num_threads()
    threads = before if threads is None else threads
    if threads == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for call in waiting:
                call.cancel()
            torch.set_num_threads(before)  # of threads that begin later; this one has kept its own
