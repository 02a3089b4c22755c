"""What a second thread gains in LAMMPS beside what it gains in ASE, and how much each thread works.

Part of ``benchmarks/lammps.py`` (``python benchmarks/lammps.py threads``). Every measurement is a process of
its own. Threads' work is read from /proc while a process runs.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import lammps_input
import thread_sums
from random_nequip import export_nequip
from silicon_steps import ase_script
from timing import Row, Spread, interleaved, ratio, spread, usable_cores

REQUIRED = 0.9  # of the gain in ASE
STARTS = {  # variables, arguments of LAMMPS
    "unset": ({}, []),
    "1": ({"OMP_NUM_THREADS": "1"}, []),
    "2": ({"OMP_NUM_THREADS": "2"}, []),
    "package omp 2": ({"OMP_NUM_THREADS": "1"}, ["-pk", "omp", "2"]),
}


@dataclass(frozen=True)
class Case:
    """A model, how it is evaluated, and a run of a second or two."""

    name: str
    model: str
    cells: int
    steps: int
    options: str = ""  # of pair_style
    keywords: str = ""  # of the calculator

    @property
    def atoms(self) -> int:
        return 8 * self.cells**3


@dataclass
class Work:
    """CPU seconds of each thread that worked at all, and of all over the wall's, of several runs."""

    threads: list[list[float]] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)

    def note(self) -> str:
        last = " + ".join(f"{seconds:.1f}" for seconds in self.threads[-1])
        return f"{statistics.median(self.cores):.2f} cores at work; CPU seconds by thread: {last}"


def measure(lmp: Path, environment: dict[str, str], repeats: int, quick: bool, folder: Path) -> list[Row]:
    """Rows of all models; of the ratio of the gains, the median over rounds is what is required."""
    if usable_cores() < 2:
        return [Row("gain of a second thread", "×", None, note="this process may use one core only")]
    from ase_mlip.model_file.info import find_model

    snnp, nequip = str(find_model("snnp-si")), str(export_nequip(folder / "random-nequip.pt"))
    cases = [
        Case("PET", str(find_model("pet-si")), 6, 2),
        Case("s-NNP, native", snnp, 12, 40),
        Case("s-NNP, torch", snnp, 12, 20, "kernel torch", ', kernel="torch"'),
        Case("NequIP, random weights", nequip, 5, 3),
    ]
    free = {key: value for key, value in environment.items() if key != "OMP_NUM_THREADS"}
    rows: list[Row] = []
    for case in cases:
        if quick:
            case = Case(case.name, case.model, 3, 1, case.options, case.keywords)
        rows += _gains(case, lmp, free, repeats)
    return rows + thread_sums.measure(repeats, quick)


def _gains(case: Case, lmp: Path, environment: dict[str, str], repeats: int) -> list[Row]:
    works = {name: Work() for name in STARTS}
    measurements: dict[str, Callable[[], float]] = {}
    for name, (variables, arguments) in STARTS.items():
        measurements[name] = lambda n=name, v=variables, a=arguments: _in_lammps(
            case, lmp, a, {**environment, **v}, works[n]
        )
    for threads in ("1", "2"):
        measurements[f"ASE {threads}"] = lambda t=threads: _in_ase(
            case, {**environment, "OMP_NUM_THREADS": t}
        )
    values = interleaved(measurements, repeats, 1, case.name)
    label = f"{case.name}, {case.atoms} atoms"
    rows = [Row(f"{label}: gain of a second thread in ASE", "×", ratio(values["ASE 1"], values["ASE 2"]))]
    for name in STARTS:
        row = Row(f"{label}: step, OMP_NUM_THREADS {name}", "ms", spread(values[name]).scaled(1e3))
        if "package" in name:
            row = Row(f"{label}: step, {name}", "ms", spread(values[name]).scaled(1e3))
        rows.append(Row(row.what, row.unit, row.spread, note=works[name].note()))
    for name in ("unset", "2", "package omp 2"):
        rows.append(
            Row(f"{label}: gain with {name}, over that in ASE", "×", _beside(values, name), "≥", REQUIRED)
        )
    return rows


def _beside(values: dict[str, list[float]], name: str) -> Spread:
    columns = (values["1"], values[name], values["ASE 1"], values["ASE 2"])
    return spread([(one / two) / (a1 / a2) for one, two, a1, a2 in zip(*columns, strict=True)])


# ---- processes ---------------------------------------------------------------------------------------------


def _in_lammps(case: Case, lmp: Path, arguments: list[str], environment: dict[str, str], work: Work) -> float:
    """Seconds of a step, as LAMMPS' loop takes them."""
    style = lammps_input.mlip(case.model, "Si", case.options)
    text = lammps_input.silicon(case.cells) + style + lammps_input.nve(0.001, case.steps)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.threads").write_text(text)
        command = lammps_input.command(lmp, "in.threads", *arguments)
        output = _watched(command, folder, environment, work)
    seconds = lammps_input.seconds_per_step(output)
    share = re.search(r"(\S+)% CPU use with", output)
    if not seconds or share is None:
        raise SystemExit(f"{' '.join(command)} failed:\n{output[-2000:]}")
    work.cores.append(float(share[1]) / 100.0)
    return seconds[0]


def _watched(command: list[str], folder: str, environment: dict[str, str], work: Work) -> str:
    """All that a process printed; the CPU seconds of its threads go to ``work``."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    seconds: dict[str, float] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for task in Path(f"/proc/{process.pid}/task").glob("*"):
                try:
                    seconds[task.name] = 1e-9 * int((task / "schedstat").read_text().split()[0])
                except (OSError, ValueError, IndexError):
                    continue  # it ended, or this system does not tell
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output = process.communicate()[0]
    ended.set()
    watcher.join()
    work.threads.append(sorted((value for value in seconds.values() if value > 0.05), reverse=True))
    return output


def _in_ase(case: Case, environment: dict[str, str]) -> float:
    source = ase_script(case.model, case.cells, case.steps, keywords=case.keywords, one_thread=False)
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"ASE with {case.name} failed:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])
