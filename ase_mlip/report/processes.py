"""Calls in processes of their own, a few at a time; whatever ends the caller ends them, too.

They are no processes of `multiprocessing`, which begin by running the caller's script once more, unless that
keeps its work under ``if __name__ == "__main__"``.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping

POLL = 0.05  # s between two looks at which processes have ended
TICK = 0.5  # s between two calls of `tick`
PATIENCE = 5.0  # s that a process has to end when it is asked to

PROGRAM = """\
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from ase_mlip.report.processes import work
work()
"""


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
    function: importable by name, not of the caller's script; of a result only what it wrote remains
    calls: arguments by name, in the order in which they are started
    processes: at a time
    ended: called as ``ended(name, exit status)``, with minus the number of a signal
    tick: called every half second
    """
    waiting, running, ticked = list(calls), {}, time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                name = waiting.pop(0)
                running[name] = _start(function, calls[name])
            time.sleep(POLL)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                process = running.pop(name)
                _close(process)
                ended(name, process.returncode)
            if tick is not None and time.monotonic() - ticked > TICK:
                ticked = time.monotonic()
                tick()
    finally:
        _end(list(running.values()))


def _start(function: Callable, arguments: tuple) -> subprocess.Popen:
    """A process that does not hear the terminal's interrupts: it ends when the caller has heard them."""
    message = pickle.dumps(list(sys.path)) + pickle.dumps((function, arguments))
    warnings = [f"-W{option}" for option in sys.warnoptions]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which the process inherits
    try:
        process = subprocess.Popen([sys.executable, *warnings, "-c", PROGRAM], stdin=subprocess.PIPE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with contextlib.suppress(BrokenPipeError):  # it has ended: its exit status says so
        process.stdin.write(message)
        process.stdin.flush()
    return process


def work() -> None:
    """Do the call that comes on standard input, which is open as long as the caller lives."""
    function, arguments = pickle.load(sys.stdin.buffer)
    caller = os.dup(sys.stdin.fileno())
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    function(*arguments)


def _end_with(caller: int) -> None:
    os.read(caller, 1)
    os._exit(1)


def _end(running: list[subprocess.Popen]) -> None:
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _close(process)


def _close(process: subprocess.Popen) -> None:
    with contextlib.suppress(BrokenPipeError):  # it never read what it was sent
        process.stdin.close()
