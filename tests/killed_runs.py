"""Runs a command in one piece, then kills copies of it at random moments: killed_runs.py TIMES SEED COMMAND

Works in the folders ``whole`` and ``killed`` of the current one, and prints what happened as JSON. Everything
is imported once; the copies are forked, so that no kill is wasted on imports, which write nothing. Nothing is
computed before: threads of a library would be missing in the copies.
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
from pathlib import Path

from ase_mlip.building import _ops
from ase_mlip.cli import program as cli


def import_all() -> None:
    names = "calculators.calculator dynamics.md lattice_dynamics.conductivity lattice_dynamics.files "
    names += "lattice_dynamics.phonons mechanics.elasticity pictures.elastic pictures.plots "
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


def kill(folder: Path, arguments: list[str], delay: float) -> float | None:
    """SIGKILL after ``delay`` seconds; None, or after how many seconds it was done by itself."""
    child, started = start(folder, arguments), time.monotonic()
    while (seconds := time.monotonic() - started) < delay:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status != 0:
                sys.exit(f"the command failed with {status} after {seconds:.2f} s")
            return seconds
        time.sleep(min(0.005, delay - seconds))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return None if os.WIFSIGNALED(status) else seconds


def main() -> None:
    times, seed, arguments = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    here = Path.cwd()
    inputs = sorted(here.glob("*.extxyz"))
    whole, killed = here / "whole", here / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        for path in inputs:
            shutil.copy(path, folder)
    import_all()
    seconds = finish(whole, arguments)
    rng = random.Random(seed)
    kills, delays = 0, []
    while kills < times:
        delays.append(rng.uniform(0.0, seconds))
        done = kill(killed, arguments, delays[-1])
        if done is None:
            kills += 1
        else:  # begin anew, with moments of a shorter time: the machine was busy in the first run
            seconds = min(seconds, done)
            shutil.rmtree(killed)
            killed.mkdir()
            for path in inputs:
                shutil.copy(path, killed)
    finish(killed, arguments)
    os.chdir(here)
    print(json.dumps({"seconds": seconds, "kills": kills, "delays": delays}))


if __name__ == "__main__":
    main()
