"""Does optimal design choose better training sets? The study registered in docs/optimal_design_study.md.

    python benchmarks/optimal_design.py            # H1 to H7 for Mo, Ge and Ta; minutes; needs ../shared/data
    python benchmarks/optimal_design.py Si         # the element it was developed on; decides nothing
    python benchmarks/optimal_design.py --seconds  # the selections of H7 again: their processor time
    python benchmarks/optimal_design.py --pet      # H8: six small trainings of PET on Mo; 12 CPU minutes
    python benchmarks/optimal_design.py --stored   # the tables from the stored numbers, without data

Farthest points, CUR and QUESTS appear beside the others where scikit-matter and quests can be imported.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import timing

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "optimal-design.json"
ELEMENTS = ("Mo", "Ge", "Ta")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("elements", nargs="*", help="Mo, Ge, Ta, Si; by default the three that decide")
    parser.add_argument("--pet", action="store_true", help="H8 alone")
    parser.add_argument("--seconds", action="store_true", help="make H7's selections again")
    parser.add_argument("--stored", action="store_true", help="print what is stored")
    parser.add_argument("--output", type=Path, default=RESULT, help="file of the numbers")
    options = parser.parse_args(arguments)
    stored = json.loads(options.output.read_text()) if options.output.exists() else {"elements": {}}
    if not options.stored:
        _measure(options, stored)
    import optimal_design_tables as tables

    print(tables.text(stored))
    return 0


def _measure(options: argparse.Namespace, stored: dict) -> None:
    if options.pet:
        import optimal_design_pet

        stored["pet"] = {**optimal_design_pet.measure(), "environment": timing.environment()}
        _store(options.output, stored)
        return
    from optimal_design_element import Element
    from optimal_design_hypotheses import hypotheses, repeated

    for name in options.elements or ELEMENTS:
        if options.seconds:
            found, element = stored["elements"][name], Element.read(name)
            for size in found["sizes"].values():
                size["again"] = repeated(element, size)
            found["environment of again"] = timing.environment()
            _store(options.output, stored)
            continue
        print(f"{name}: rows", file=sys.stderr)
        stored["elements"][name] = {**hypotheses(Element.read(name)), "environment": timing.environment()}
        _store(options.output, stored)


def _store(path: Path, document: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    timing._write(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
