"""What a leverage costs at the steps that ask for it, in LAMMPS on one thread.

    python benchmarks/leverage.py          # minutes; writes results/leverage.*
    python benchmarks/leverage.py --quick  # fewer repeats, to see that it runs; stores nothing

Runs with and without `fix pair` take turns in one LAMMPS. What one evaluation without derivatives takes, the
calculator says, whose energies and forces take turns in the same way. All times are processor times, so that
other work on the machine counts for as little as it can.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lammps_input
import timing
from ase import Atoms
from ase.build import bulk
from timing import Row

sys.path.pop(0)  # this folder, whose lammps.py would be taken for the package

RESULTS = Path(__file__).resolve().parent / "results"
CRYSTALS = {
    "pet-mo": (lambda: bulk("Mo", cubic=True, a=3.16), 3, 2),  # cell, repeats, steps of a run
    "snnp-si": (lambda: bulk("Si", cubic=True, a=5.46), 4, 100),
    "snnp-water": (lambda: bulk("HO", "rocksalt", a=4.4, cubic=True), 4, 50),  # two elements
}
TURN = "run {steps}\nfix far all pair 1 mlip leverage 1\nrun {steps}\nunfix far\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--plugin", type=Path, help="folder with another build of the plugin")
    options = parser.parse_args()
    repeats = 2 if options.quick else options.repeats
    rows = [row for name in CRYSTALS for row in measured(name, repeats, options.plugin)]
    record = timing.environment(threads=1)
    print(timing.table(rows))
    if not options.quick:
        timing.store("leverage", "The cost of a leverage", rows, record, options.output)


def measured(name: str, repeats: int, plugin: Path | None) -> list[Row]:
    from ase_mlip.optimal_design.leverage.attach import attach_leverage

    make, times, steps = CRYSTALS[name]
    data = [rattled(make(), seed) for seed in range(10)]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.pt"
        record = attach_leverage(name, data, model, rotations=1).training["leverage"]
        structure = rattled(make().repeat(times), 0)
        is_pet = name.startswith("pet")
        forward = forward_share(model, structure, max(3, repeats // 3)) if is_pet else None
        limit = 1.5 if forward is None else 1.0 + forward.median
        found = []
        for dtype in ("float32",) if is_pet else ("float32", "float64"):
            without, asked = seconds(Path(folder), model, structure, steps, dtype, repeats, plugin)
            what = f"{name}, {len(structure)} atoms, {record['size']} columns, {dtype}: "
            what += "a step that asks over one that does not"
            found.append(Row(what, "×", timing.ratio(asked, without), "≤", limit, tolerance=0.05))
    if forward is not None:
        found.append(Row(f"{name}: energies alone over energies and forces, in ASE", "×", forward))
    return found


def rattled(atoms: Atoms, seed: int) -> Atoms:
    atoms.rattle(0.05, seed=seed)
    return atoms


def seconds(
    folder: Path,
    model: Path,
    structure: Atoms,
    steps: int,
    dtype: str,
    repeats: int,
    plugin: Path | None,
) -> tuple[list[float], list[float]]:
    """Processor times of the loops of runs without and with a leverage, in turns; the first turn is left
    out."""
    from ase_mlip.lammps.lammps_run import prepare

    program, environment = prepare(plugin=plugin)
    elements = sorted(set(structure.symbols))
    text = lammps_input.structure(folder, structure, dict.fromkeys(elements, 20.0), "300 7 loop geom")
    text += lammps_input.mlip(model, " ".join(elements), f"dtype {dtype}")
    text += lammps_input.nve(0.0001, steps)
    (folder / "in.lammps").write_text(text + (repeats + 1) * TURN.format(steps=steps))
    command = lammps_input.command(program, "in.lammps")
    done = subprocess.run(
        command, cwd=folder, env={**environment, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    loops = [
        float(t) * float(share) / 100.0
        for t, share in re.findall(r"Loop time of (\S+) on.*?(\S+)% CPU use", done.stdout, re.DOTALL)
    ]
    if done.returncode != 0 or len(loops) != 2 * repeats + 3:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")
    return loops[3::2], loops[4::2]


def forward_share(model: Path, structure: Atoms, repeats: int) -> timing.Spread:
    """What energies alone take, over energies and forces."""
    import torch

    from ase_mlip.graph.neighbors import build_graph
    from ase_mlip.model_file.model import load_model

    torch.set_num_threads(1)
    loaded = load_model(model, device="cpu")
    graph = build_graph(structure, loaded.info.cutoff)

    def timed(outputs: list[str]) -> float:
        start = time.process_time()
        loaded(graph, outputs)
        return time.process_time() - start

    ways = {"forward": lambda: timed([]), "step": lambda: timed(["forces", "virial"])}
    values = timing.interleaved(ways, repeats, progress=False)
    return timing.ratio(values["forward"], values["step"])


if __name__ == "__main__":
    main()
