"""Print the lower bounds of pyproject.toml as what pip installs, a line each: ``vesin==0.4.2``.

`make test-oldest` calls it before anything is installed, so that it needs nothing but Python.

    python tests/lower_bounds.py dependencies [EXTRA ...]
"""

import re
import sys
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def lower_bounds(lists: list[str]) -> list[str]:
    """Of these lists of requirements. Raises SystemExit for one that pyproject.toml does not have."""
    text = PYPROJECT.read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for name in lists:
        listed = re.search(rf"^{name} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
        if listed is None:
            raise SystemExit(f"`{name}`: expected a list of pyproject.toml, got none of that name")
        for requirement in re.findall(r'"(.*?)"', listed.group(1)):
            bound = re.match(r"([\w.-]+(?:\[[\w,]+\])?)>=([\w.]+)", requirement)
            if bound is None:
                raise SystemExit(f"`{requirement}`: expected a lower bound, `name>=version`")
            marker = requirement.partition(";")[2]
            found[bound.group(1)] = f"{bound.group(1)}=={bound.group(2)}" + (f"; {marker}" if marker else "")
    return list(found.values())


if __name__ == "__main__":
    print("\n".join(lower_bounds(sys.argv[1:])))
