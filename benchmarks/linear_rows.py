"""Time for the rows of a pool: 2000 frames of 64 atoms with the linear s-NNP's basis.

    python benchmarks/linear_rows.py     # a minute; benchmarks/results/linear-rows.json

Silicon (28 neighbours within 5 Å) and MgO (56), atoms displaced by 0.1 Å, with the basis that `auto_basis`
makes for them. All of a frame: neighbour list, rows of energy, forces, stress and single atoms. Once over all
frames; the basis itself is timed apart.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import timing
import torch
from ase import Atoms
from ase.build import bulk

from ase_mlip.building import _ops

RESULTS = Path(__file__).resolve().parent / "results" / "linear-rows.json"
CRYSTALS = {
    "Si": lambda: bulk("Si", cubic=True).repeat(2),
    "MgO": lambda: bulk("MgO", "rocksalt", a=4.21, cubic=True).repeat(2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    _ops.load()  # which may compile them
    results = [measured(name, [frame(name, seed) for seed in range(options.frames)]) for name in CRYSTALS]
    document = {"environment": timing.environment(), "threads": options.threads, "results": results}
    timing._write(options.output, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def frame(name: str, seed: int) -> Atoms:
    atoms = CRYSTALS[name]()
    atoms.rattle(0.1, seed=seed)
    return atoms


def measured(name: str, pool: list[Atoms]) -> dict:
    from ase_mlip.optimal_design.rows.auto_basis import auto_basis
    from ase_mlip.optimal_design.rows.linear_basis import linear_rows

    start = clocks()
    basis = auto_basis(pool)
    after_basis = clocks()
    count = sum(len(rows.forces) for rows in linear_rows(basis, pool, atoms=True))
    end = clocks()
    assert count == 3 * sum(map(len, pool))
    found = {"pool": name, "frames": len(pool), "atoms": len(pool[0]), "columns": basis.size}
    for what, before, after in (("basis", start, after_basis), ("rows", after_basis, end)):
        found[f"{what}_s"], found[f"{what}_cpu_s"] = (
            round(b - a, 2) for a, b in zip(before, after, strict=True)
        )
    print(found)
    return found


def clocks() -> tuple[float, float]:
    """Seconds of the clock, and of this process on all cores, which other work hardly changes."""
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    main()
