"""Replicas of a small molecule: CPU time of evaluating them in batches, and of all else that a step costs.

python benchmarks/replicas.py              # a minute on one core; stores benchmarks/results/replicas.*
python benchmarks/replicas.py --quick      # less of everything

Times are of the processor, with one thread, per replica and step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timing
from timing import Row, interleaved, ratio, spread

ATOMS = 8  # of the silicon clusters
REPLICAS = 32
BATCHES = (1, 4, 32, None)


def cpu_time(function: Callable[[], object], parts: int) -> Callable[[], float]:
    """A measurement: CPU time of one call, in µs, divided by ``parts``."""

    def measure() -> float:
        start = time.process_time()
        function()
        return 1e6 * (time.process_time() - start) / parts

    return measure


def measure_steps(repeats: int, steps: int) -> list[Row]:
    """Dynamics and criteria without a model: forces are zero."""
    from ase import units
    from ase.build import molecule

    from ase_mlip.dynamics.criteria import Criteria
    from ase_mlip.dynamics.replicas import run_replicas
    from ase_mlip.dynamics.thermostats import Thermostat

    atoms = molecule("CH3CH2OH")
    nothing = Criteria(bonds=False, temperature_factor=None, lost_distance=None, energy_jump=None)

    def run(kind: str, n: int, interval: int) -> Callable[[], float]:
        thermostat = None if kind == "constant energy" else Thermostat(kind, 300.0)

        def dynamics() -> None:
            run_replicas(
                [atoms] * n, lambda x: (np.zeros(len(x)), np.zeros(x.shape)), thermostat, 0.5 * units.fs,
                steps, interval, temperature_K=1.0, criteria=nothing,
            )  # fmt: skip

        return cpu_time(dynamics, n * steps)

    cases = {}
    for kind in ("constant energy", "langevin", "nose-hoover"):
        for n, interval in ((1, steps), (REPLICAS, steps), (REPLICAS, 10)):
            when = f"a record every {interval} steps" if interval < steps else "records at both ends"
            cases[f"ethanol, {kind}, replicas: {n}, {when}"] = run(kind, n, interval)
    values = interleaved(cases, repeats, 1, "steps")
    return [Row(name, "µs", spread(found)) for name, found in values.items()]


def measure_model(name: str, repeats: int, calls: int) -> list[Row]:
    """Energies and forces of clusters that move a little from call to call."""
    from ase.build import bulk

    from ase_mlip import MLIPCalculator, load_model
    from ase_mlip.calculators.batches.batch_evaluator import BatchEvaluator
    from ase_mlip.dynamics.replicas import one_by_one

    model = load_model(name, "cpu")
    atoms = bulk("Si", cubic=True)
    atoms.pbc = False
    rng = np.random.default_rng(0)
    start = atoms.positions + 0.05 * rng.normal(size=(REPLICAS, ATOMS, 3))
    away = 0.03 * rng.normal(size=start.shape)  # and back: lists are kept, as in most steps of dynamics
    path = [start + np.sin(0.1 * step) * away for step in range(calls)]

    def case(evaluate) -> Callable[[], float]:
        return cpu_time(lambda: [evaluate(places) for places in path], calls * REPLICAS)

    atoms.calc = MLIPCalculator(model)
    cases = {f"{name}, the calculator, one after another": case(one_by_one(atoms))}
    for largest in BATCHES:
        what = "as many as are fastest" if largest is None else f"{largest} at once"
        cases[f"{name}, batches, {what}"] = case(BatchEvaluator(model, atoms, largest=largest))
    values = interleaved(cases, repeats, 1, name)
    rows = [Row(what, "µs", spread(found)) for what, found in values.items()]
    first, *_, last = values.values()
    return [*rows, Row(f"{name}: gain of batches", "×", ratio(first, last))]


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps, calls and rounds")
    parser.add_argument("--output", type=Path, default=timing.ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    repeats, steps, calls = (2, 100, 1) if arguments.quick else (3, 300, 2)
    record = timing.environment(threads=1, time="of the processor")
    rows = measure_steps(repeats, steps)
    for name, more in (("snnp-si", 50), ("pet-si", 1)):
        rows += measure_model(name, repeats, more * calls)
    print(timing.table(rows))
    print(timing.store("replicas", "Replicas of small molecules", rows, record, arguments.output))


if __name__ == "__main__":
    main()
