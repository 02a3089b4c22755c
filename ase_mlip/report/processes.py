"""Calls in processes of their own, a few at a time; whatever ends the caller ends them, too."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping
from multiprocessing import connection, resource_tracker

POLL = 0.5  # s between two calls of `tick`
PATIENCE = 5.0  # s that a process has to end when it is asked to


def run_in_processes(
    function: Callable,
    calls: Mapping[str, tuple],
    processes: int,
    ended: Callable[[str, int], None],
    tick: Callable[[], None] | None = None,
) -> None:
    """Call ``function(*calls[name])`` for every name, each in a fresh process.

    An exception here, KeyboardInterrupt too, ends all of them and starts no other; a process of which the
    caller is killed ends by itself.

    Parameters
    ----------
    function: importable by name; of a result only what it wrote remains
    calls: arguments by name, in the order in which they are started
    processes: at a time
    ended: called as ``ended(name, exit status)``
    tick: called every half second
    """
    waiting, running = list(calls), {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                name = waiting.pop(0)
                running[name] = _start(function, calls[name])
            connection.wait([process.sentinel for process in running.values()], timeout=POLL)
            for name in [name for name, process in running.items() if not process.is_alive()]:
                process = running.pop(name)
                process.join()
                ended(name, process.exitcode)
            if tick is not None:
                tick()
    finally:
        _end(list(running.values()))


def _start(function: Callable, arguments: tuple) -> multiprocessing.Process:
    """A process that does not hear the terminal's interrupts: it ends when the caller has heard them."""
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(function, arguments))
    resource_tracker.ensure_running()  # its start would let interrupts through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which the process inherits
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def _work(function: Callable, arguments: tuple) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function(*arguments)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _end(running: list[multiprocessing.Process]) -> None:
    for process in running:
        process.terminate()
    for process in running:
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
