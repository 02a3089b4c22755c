"""Tables and figures of the pages, beside what is stored or what commands print: is it that, rounded?"""

import json
import re
from pathlib import Path

from click.testing import CliRunner

from ase_mlip.cli.program import main

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
NUMBER = re.compile(r"([-+]?)(\d+)(?:\.(\d+))?(?:·10(-?\d+)|e(-?\d+))?")


def page(name: str) -> str:
    """Of docs/, or README.md."""
    return (ROOT / name if name == "README.md" else ROOT / "docs" / name).read_text(encoding="utf-8")


def sentences(name: str) -> str:
    """A page as one line, so that a pattern may go over the ends of lines."""
    return " ".join(page(name).split())


def stored(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def medians(name: str) -> dict[str, float]:
    """What a benchmark that stores rows of `timing.Row` measured."""
    return {row["what"]: row["spread"]["median"] for row in stored(name)["results"] if row["spread"]}


def tables(name: str, *words: str) -> list[list[list[str]]]:
    """Rows of the tables of a page whose headings hold these words."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", page(name), re.MULTILINE):
        heading, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines())
        if all(word in " | ".join(heading) for word in words):
            found.append(rows)
    return found


def table(name: str, *words: str) -> list[list[str]]:
    """The rows of the only such table."""
    found = tables(name, *words)
    assert len(found) == 1, f"{name}: {len(found)} tables with {words}"
    return found[0]


def filled(rows: list[list[str]], columns: int) -> list[list[str]]:
    """With the empty cells of the first columns as those above them."""
    above, found = [""] * columns, []
    for row in rows:
        above = [own or old for own, old in zip(row[:columns], above, strict=True)]
        found.append([*above, *row[columns:]])
    return found


def parsed(text: str) -> tuple[float, float]:
    """A number as pages write it, such as −5.4, 4·10⁻⁵ or 2e-10, and one of its last digit."""
    plain = text.replace("−", "-").replace(" ", "").translate(SUPERSCRIPTS)
    match = NUMBER.fullmatch(plain)
    assert match, f"{text!r} is no number"
    sign, whole, fraction, power, exponent = match.groups()
    scale = 10.0 ** int(power or exponent or 0)
    return float(f"{sign}{whole}.{fraction or 0}") * scale, scale * 10.0 ** -len(fraction or "")


def shows(text: str, value: float) -> bool:
    """Whether a page may write ``text`` for ``value``: rounded, nothing else."""
    number, last = parsed(text)
    return abs(number - value) <= 0.5001 * last


def numbers(text: str) -> list[str]:
    """All numbers in a text, as they stand there."""
    plain = r"[-−+]?(?<![\w.])\d+(?:\.\d+)?(?:·10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+|e-?\d+)?"
    return re.findall(plain, text)


# ---- what commands print -------------------------------------------------------------------------


def agree(texts, values) -> None:
    """Each text shows its value."""
    for text, value in zip(texts, values, strict=True):
        assert shows(text, value), f"{text} for {value}"


def run(*arguments) -> str:
    """What a command prints."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def block(name: str, words: str) -> str:
    """The block of a page that holds these words."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page(name), re.DOTALL | re.MULTILINE)
    (found,) = [text for text in blocks if words in text]
    return found


PRINTED = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])")


def lines_with_numbers(text: str) -> dict[str, list[list[float]]]:
    """The numbers of each line by its words."""
    found = {}
    for line in text.splitlines():
        label = " ".join(PRINTED.sub("#", line).split())
        found.setdefault(label, []).append([float(number) for number in PRINTED.findall(line)])
    return found
