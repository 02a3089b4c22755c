"""Runs a command in one piece, then kills copies of it: killed_runs.py TIMES SEED WHEN COMMAND

WHEN is "random", or the name of the file in which the command keeps what it has so far: each copy is then
killed as soon as it has written that file, so that every call finds something to go on from. Works in the
folders ``whole`` and ``killed`` of the current one, and prints what happened as JSON. Everything is imported
once; the copies are forked, so that no kill is wasted on imports, which write nothing. Nothing is computed
before: threads of a library would be missing in the copies.
"""

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ase_mlip.building import _ops
from ase_mlip.cli import program as cli


def import_all() -> None:
    names = "calculators.calculator calculators.diagnostics.anisotropy checks.evaluate dynamics.md "
    names += "lattice_dynamics.conductivity lattice_dynamics.files lattice_dynamics.phonons "
    names += "mechanics.elasticity mechanics.eos pictures.elastic pictures.plots "
    names += "relaxation.relax stability.runs landscapes.landscape"
    for name in names.split():
        importlib.import_module(f"ase_mlip.{name}")
    _ops.load()
    with contextlib.suppress(ImportError):
        importlib.import_module("phono3py")


def run(folder: Path, arguments: list[str]) -> None:
    os.chdir(folder)
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
        cli.main(arguments, standalone_mode=False)


def start(folder: Path, arguments: list[str]) -> int:
    """The number of a process that runs the command and ends with status 0 if it succeeds."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run(folder, arguments)
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    return child


def finish(folder: Path, arguments: list[str]) -> float:
    started = time.monotonic()
    _, status = os.waitpid(start(folder, arguments), 0)
    if status != 0:
        sys.exit(f"the command failed with {status}")
    return time.monotonic() - started


def kill(folder: Path, arguments: list[str], now: Callable[[float], bool]) -> float | None:
    """SIGKILL when ``now(seconds)``; None, or after how many seconds it was done by itself."""
    child, started = start(folder, arguments), time.monotonic()
    while not now(seconds := time.monotonic() - started):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status != 0:
                sys.exit(f"the command failed with {status} after {seconds:.2f} s")
            return seconds
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return None if os.WIFSIGNALED(status) else seconds


def version(path: Path) -> int:
    """A file that is replaced all at once has another one each time."""
    return path.stat().st_ino if path.exists() else 0


def kill_when_written(folder: Path, arguments: list[str], name: str) -> None:
    path = next(folder.rglob(name), folder / "out" / name)
    before = version(path)
    if kill(folder, arguments, lambda _: version(path) != before) is not None:
        sys.exit(f"the command was done before it had written {path}: expected one that takes longer")


def fresh(folder: Path, inputs: list[Path]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in inputs:
        shutil.copy(path, folder)


def kill_at_random(folder: Path, inputs: list[Path], arguments: list[str], times: int, rng, seconds: float):
    """The moments of the kills, in seconds, of a command that takes ``seconds``."""
    kills, delays, begun = 0, [], True
    while kills < times:
        delays.append(rng.uniform(0.0, seconds))
        done = kill(folder, arguments, lambda now, delay=delays[-1]: now >= delay)
        if done is None:
            kills, begun = kills + 1, False
            continue
        if begun:  # the machine was busy in the first run; one that goes on from a killed one says nothing
            seconds = min(seconds, done)
        fresh(folder, inputs)
        begun = True
    return delays


def main() -> None:
    times, seed, when, arguments = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    here = Path.cwd()
    inputs = sorted(here.glob("*.extxyz"))
    whole, killed = here / "whole", here / "killed"
    for folder in (whole, killed):
        fresh(folder, inputs)
    import_all()
    seconds = finish(whole, arguments)
    delays = []
    if when == "random":
        delays = kill_at_random(killed, inputs, arguments, times, random.Random(seed), seconds)
    else:
        for _ in range(times):
            kill_when_written(killed, arguments, when)
    finish(killed, arguments)
    os.chdir(here)
    print(json.dumps({"seconds": seconds, "kills": times, "delays": delays}))


if __name__ == "__main__":
    main()
