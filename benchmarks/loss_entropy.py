"""Does loss entropy say how far a potential extrapolates? The study registered in docs/loss_entropy_study.md.

python benchmarks/loss_entropy.py --train --family snnp  # the trainings alone; reads no test frame
"""

from __future__ import annotations

import argparse
import sys

import loss_entropy_models as models


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=("snnp", "pet"), help="models of one family only")
    parser.add_argument("--only", metavar="NAME", help="one model only")
    parser.add_argument("--train", action="store_true", help="train, and measure nothing")
    options = parser.parse_args(arguments)
    for recipe in models.recipes(options.family):
        if options.only in (None, recipe.name):
            print(f"{recipe.name}: {models.trained(recipe)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
