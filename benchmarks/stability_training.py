"""Does StABlE training pay? The study registered in docs/stability_training_study.md.

    python benchmarks/stability_training.py            # case 1, third registration; needs ../shared/data
    python benchmarks/stability_training.py snnp-0     # one of snnp-0, snnp-1, snnp-2, pet-0
    python benchmarks/stability_training.py --water    # case 2, third registration: pet-water
    python benchmarks/stability_training.py --registration 1  # an earlier one of case 1, or of --water
    python benchmarks/stability_training.py --stored   # the tables from the stored numbers, without data

Every step is stored when it is done, and a call goes on where the last one stopped. Work lies in ``--work``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stability_training_ethanol import POTENTIALS, REGISTRATIONS, ethanol
from stability_training_parts import ROOT, Store
from stability_training_tables import text
from stability_training_water import MODEL, water
from stability_training_water import REGISTRATIONS as OF_WATER

RESULT = ROOT / "benchmarks" / "results" / "stability-training.json"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("potentials", nargs="*", help=f"of {', '.join(POTENTIALS)}; by default the s-NNPs")
    parser.add_argument("--registration", type=int, metavar="N", help="number; by default the newest")
    parser.add_argument(
        "--water",
        type=Path,
        nargs="?",
        const=MODEL,
        metavar="FILE",
        help="case 2; the model file of pet-water",
    )
    parser.add_argument("--stored", action="store_true", help="print what is stored")
    parser.add_argument("--output", type=Path, default=RESULT, help="file of the numbers")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "stability_training", help="folder")
    options = parser.parse_args(arguments)
    store = Store(options.output, options.work.resolve())
    registered = OF_WATER if options.water else REGISTRATIONS
    number = options.registration or max(registered)
    if number not in registered:
        parser.error(f"--registration: expected one of {', '.join(map(str, registered))}, got {number}")
    if not options.stored:
        if options.water:
            water(store, options.water.resolve(), OF_WATER[number])
        else:
            for name in options.potentials or POTENTIALS[:3]:
                ethanol(store, name, REGISTRATIONS[number])
    print(text(store.document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
