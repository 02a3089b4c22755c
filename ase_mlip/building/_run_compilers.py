"""Compilers run side by side, as many as cores and memory have room for. Standard library only."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from ._build_files import CompilationError

MEMORY_OF_A_COMPILER = 1.1e9  # bytes; g++ 12 took at most 1.01e9 for one of our files, operators.cpp


def run_all(commands: list[list[str]], progress: Callable[[int], None] | None = None) -> None:
    """Run the commands, a few at a time; raise with the command and its output if one fails.

    ``progress`` is told after each how many have ended.
    """
    from concurrent.futures import ThreadPoolExecutor, as_completed  # late: finding a build must be quick

    workers = ThreadPoolExecutor(min(len(commands), compilers_at_once()))
    try:
        jobs = {workers.submit(_run, command): command for command in commands}
        for ended, job in enumerate(as_completed(jobs), start=1):
            _require_success(jobs[job], *job.result())
            if progress:
                progress(ended)
    finally:
        workers.shutdown(cancel_futures=True)


def usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def compilers_at_once() -> int:
    """As many as there are cores, and as the memory that is free has room for; at least one."""
    return max(1, min(usable_cores(), int(free_memory() / MEMORY_OF_A_COMPILER)))


def free_memory() -> float:
    """Bytes that new processes may take: of the machine, and of this container where it has a limit."""
    found = [math.inf]
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024.0 * float(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError, KeyError):
        limit = float(Path("/sys/fs/cgroup/memory.max").read_text())  # "max": none
        entries = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        found.append(limit - float(entries["anon"]))  # the rest can be reclaimed
    return min(found)


def _run(command: list[str]) -> tuple[str, int]:
    # The compiler's temporary files go where its output goes: what a killed build leaves is found together.
    output = Path(command[command.index("-o") + 1]).parent
    result = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(output)},
    )
    return result.stdout, result.returncode


def _require_success(command: list[str], output: str, status: int) -> None:
    if status != 0:
        raise CompilationError(
            f"`{Path(command[0]).name}`: expected the compiler to succeed, got exit status {status}; it "
            f"needs C++20 and the headers of torch (`ase-mlip doctor` shows both). The command was\n"
            f"  {' '.join(command)}\nand its output\n{output[-6000:]}"
        )
