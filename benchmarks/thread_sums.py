"""Sums over edges with one thread and with two: part of ``benchmarks/lammps.py threads``.

python benchmarks/thread_sums.py           # alone; a minute, prints
"""

from __future__ import annotations

from collections.abc import Callable

import timing
from timing import Row, interleaved, ratio, spread, timed

LATTICE = 5.43  # Å


def measure(repeats: int, quick: bool) -> list[Row]:
    """Milliseconds with one thread and the gain of a second, on a rattled crystal of silicon."""
    import torch

    before = torch.get_num_threads()
    rows: list[Row] = []
    try:
        for name, call in _calls(3 if quick else 16).items():
            values = interleaved(
                {n: _with_threads(n, call) for n in ("1", "2")}, repeats, 1, name, progress=False
            )
            rows.append(Row(f"{name}, one thread", "ms", spread(values["1"]).scaled(1e3)))
            rows.append(Row(f"{name}: gain of a second thread", "×", ratio(values["1"], values["2"])))
    finally:
        torch.set_num_threads(before)
    return rows


def _with_threads(count: str, call: Callable[[], object]) -> Callable[[], float]:
    import torch

    def measure() -> float:
        torch.set_num_threads(int(count))
        call()  # the threads are there, and awake
        return timed(call, 3)()

    return measure


def _calls(cells: int) -> dict[str, Callable[[], object]]:
    import torch
    from ase.build import bulk

    from ase_mlip import MLIPCalculator
    from ase_mlip.building import _ops
    from ase_mlip.graph.neighbors import build_graph

    _ops.load()
    ops = torch.ops.ase_mlip
    atoms = bulk("Si", a=LATTICE, cubic=True).repeat(cells)
    atoms.rattle(0.05, seed=1)
    n = len(atoms)
    graph = build_graph(atoms, 5.0)
    index = graph.edge_index
    gradients = torch.randn(index.size(1), 3)
    vectors = graph.edge_vectors.float()
    structure = torch.zeros(index.size(1), dtype=torch.int64)
    atoms.calc = MLIPCalculator("snnp-si", device="cpu")
    return {
        f"forces_from_gradients, {n} atoms": lambda: ops.forces_from_gradients(gradients, index, n),
        f"virials_from_gradients, {n} atoms": lambda: ops.virials_from_gradients(
            gradients, vectors, index, n
        ),
        f"virial_from_gradients, {n} atoms": lambda: ops.virial_from_gradients(
            gradients, vectors, structure, 1
        ),
        f"native s-NNP in ASE, {n} atoms": lambda: atoms.calc.calculate(atoms, ["forces", "stress"]),
    }


if __name__ == "__main__":
    print(timing.table(measure(7, quick=False)))
