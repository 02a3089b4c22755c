"""Does loss entropy say how far a potential extrapolates? The study registered in docs/loss_entropy_study.md.

    python benchmarks/loss_entropy.py                 # everything, s-NNPs first; hours; goes on where it was
    python benchmarks/loss_entropy.py --family snnp   # one family, or --only NAME for one model
    python benchmarks/loss_entropy.py --train         # the trainings alone, which read no test frame
    python benchmarks/loss_entropy.py --stored        # tables and verdicts from what is stored, without data
    python benchmarks/loss_entropy.py --quick --only pet-long  # that all of it works, and what it costs

Needs ../shared/data/3bpa. Models and curves lie in runs/loss-entropy, the numbers of each model in
benchmarks/results/loss-entropy. For one core, start it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import loss_entropy_models as models
import timing

RESULTS = Path(__file__).resolve().parent / "results" / "loss-entropy"
BUDGET = 20.0  # CPU-hours


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=("snnp", "pet"), help="models of one family only")
    parser.add_argument("--only", metavar="NAME", help="one model only")
    parser.add_argument("--train", action="store_true", help="train, and measure nothing")
    parser.add_argument("--stored", action="store_true", help="print what is stored and what is missing")
    parser.add_argument("--quick", action="store_true", help="a short model: what it costs; stores nothing")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the numbers")
    options = parser.parse_args(arguments)
    chosen = [r for r in models.recipes(options.family) if options.only in (None, r.name)]
    if not chosen:
        parser.error(f"--only: expected one of {', '.join(r.name for r in models.recipes(options.family))}")
    if options.quick:
        import loss_entropy_quick as quick

        for recipe in {recipe.family: recipe for recipe in reversed(chosen)}.values():
            print(quick.text(recipe, quick.measured(recipe)[1]) + "\n")
        return 0
    if not options.stored:
        for recipe, late in [(r, False) for r in chosen] + [(r, True) for r in chosen]:
            if spent(read_results(options.output)) > BUDGET:
                print(f"the budget of {BUDGET:g} CPU-hours is spent", file=sys.stderr)
                break
            _work(recipe, options, late)
        if options.train:
            return 0
    import loss_entropy_tables as tables

    print(tables.text(read_results(options.output), chosen))
    return 0


def _work(recipe: models.Recipe, options: argparse.Namespace, late: bool) -> None:
    """Everything but the committees, which need two more trainings each, or with ``late`` those."""
    print(recipe.name, file=sys.stderr)
    if options.train:
        models.trained(recipe)
        return
    import loss_entropy_measures as measures

    path = options.output / f"{recipe.name}.json"
    stored = json.loads(path.read_text()) if path.exists() else {"family": recipe.family}

    def store(document: dict) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {**document, "environment": timing.environment()}
        timing._write(path, json.dumps(document, ensure_ascii=False) + "\n")

    measures.measured(recipe, stored, store, late)


def read_results(folder: Path) -> dict[str, dict]:
    """What is stored, by model."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def spent(results: dict[str, dict]) -> float:
    """CPU-hours of everything that is stored."""
    import loss_entropy_tables as tables

    return tables.hours(results)


if __name__ == "__main__":
    sys.exit(main())
