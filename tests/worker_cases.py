"""Work for processes of their own: as a program, ``worker_cases.py FOLDER`` runs three, two at a time."""

import os
import signal
import sys
import time
from pathlib import Path


def hear_interrupts() -> None:
    """For a process to start with: what a shell runs in the background ignores interrupts otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def note(folder, name: str, seconds: float = 60.0) -> None:
    """Leave the process's number in ``folder``, and stay."""
    (Path(folder) / name).write_text(str(os.getpid()))
    time.sleep(seconds)


def leave(folder, name: str, status: int) -> None:
    note(folder, name, 0.0)
    os._exit(status)


def children() -> list[str]:
    """Numbers of those of this process's children that work for it; fixtures of other tests may have more."""
    found = Path("/proc/self/task").glob("*/children")
    numbers = [number for path in found for number in path.read_text().split()]
    return [number for number in numbers if b"report.processes" in _command(number)]


def _command(number: str) -> bytes:
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


if __name__ == "__main__":
    import worker_cases  # not this script's own: a process imports what it calls

    from ase_mlip.report.processes import run_in_processes

    calls = {name: (sys.argv[1], name) for name in "abc"}
    run_in_processes(
        worker_cases.note, calls, 2, lambda name, status: print("ended", name, status, flush=True)
    )
