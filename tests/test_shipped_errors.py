"""The errors that docs/models.md states: those of the shipped files, on frames the project holds.

Three steps, each with its test: the files give on the frames in tests/files/mlearn what ``errors.json`` says;
over all frames of mlearn's test files that is what the files say of themselves; and the page says the same.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.checks.evaluate import evaluate
from ase_mlip.model_file.info import find_model, read_info, shipped_models

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "tests" / "files" / "mlearn"  # see benchmarks/shipped_errors.py
STORED = json.loads((KEPT / "errors.json").read_text())
NAMES = [name for name in shipped_models() if name in STORED]
UNITS = {"energy": 1e3, "forces": 1.0, "stress": 1e3}  # of the page: meV/atom, eV/Å, meV/Å³


def overall(rows: list[dict]) -> dict[str, float]:
    """Root mean squares over frames: every frame counts once, but for forces every atom."""
    weights = {"energy": None, "forces": [row["atoms"] for row in rows], "stress": None}
    found = {}
    for quantity, weight in weights.items():
        squares = [row[quantity] ** 2 for row in rows]
        found[quantity] = float(np.sqrt(np.average(squares, weights=weight)))
    return found


def page_of(name: str) -> dict[str, list[str]]:
    """The rows of the first table of errors in a potential's section: the row's name, then its numbers."""
    section = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").split(f"\n## {name}\n")[1]
    body = section.split("\n## ")[0].split("**Errors**")[1]
    rows = {}
    for line in body[body.index("\n|") :].lstrip().splitlines():
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[cells[0]] = cells[1:]
    return rows


def test_every_shipped_potential_of_an_element_has_stored_errors():
    expected = [name for name in shipped_models() if name.split("-")[1] in ("si", "ge", "mo")]
    assert expected == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_file_gives_the_stored_errors_on_the_frames_kept_here(name):
    """Every frame by itself, in the file's precision: another network in the file would show."""
    from ase.io import read

    for frame in read(KEPT / f"{name.split('-')[1].capitalize()}.xyz", ":"):
        found = evaluate(name, [frame])
        row = STORED[name][int(frame.info["frame"])]
        assert row["group"] == frame.info["group"] and row["atoms"] == len(frame)
        # float32: 1e-6 of some hundred eV, and of forces of some eV/Å
        assert found.energy_rmse == pytest.approx(row["energy"], rel=1e-3, abs=2e-6)
        assert found.forces_rmse == pytest.approx(row["forces"], rel=1e-3, abs=2e-6)
        assert found.stress_rmse == pytest.approx(row["stress"], rel=1e-3, abs=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_says_of_itself_what_its_frames_give(name):
    stated = read_info(find_model(name)).training["errors"]["test"]
    assert stated["n_structures"] == len(STORED[name])
    for quantity, value in overall(STORED[name]).items():
        assert stated[f"{quantity}_rmse"] == pytest.approx(value, rel=2e-3), quantity


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_what_the_frames_give(name):
    """Each group's row and that of all, to the last digit that stands there."""
    page = page_of(name)
    groups = {row["group"] for row in STORED[name]}
    rows = {re.sub(r" \(.*\)", "", title): cells for title, cells in page.items()}
    assert {*groups, "all"} <= rows.keys()
    for group in (*sorted(groups), "all"):
        expected = overall([row for row in STORED[name] if group in ("all", row["group"])])
        for (quantity, value), text in zip(expected.items(), rows[group], strict=True):
            digits = len(text.partition(".")[2])
            assert float(text) == pytest.approx(UNITS[quantity] * value, abs=0.5001 * 10.0**-digits), group


HEADS = [name for name in NAMES if "direct_forces" in STORED[name][0]]


@pytest.mark.parametrize("name", [name for name in HEADS if "all, direct heads" in page_of(name)])
def test_the_page_says_what_the_direct_heads_give(name):
    rows = [{**row, "forces": row["direct_forces"], "stress": row["direct_stress"]} for row in STORED[name]]
    expected = overall(rows)
    for quantity, text in zip(("forces", "stress"), page_of(name)["all, direct heads"][1:], strict=True):
        digits = len(text.partition(".")[2])
        assert float(text) == pytest.approx(UNITS[quantity] * expected[quantity], abs=0.5001 * 10.0**-digits)


@pytest.mark.parametrize("name", HEADS)
def test_direct_heads_give_the_stored_errors_on_a_frame_kept_here(name):
    from ase.io import read

    frame = read(KEPT / f"{name.split('-')[1].capitalize()}.xyz", 0)
    found = evaluate(MLIPCalculator(name, forces="direct"), [frame])
    row = STORED[name][int(frame.info["frame"])]
    assert found.forces_rmse == pytest.approx(row["direct_forces"], rel=1e-3)
    assert found.stress_rmse == pytest.approx(row["direct_stress"], rel=1e-3)


@pytest.mark.parametrize("name", [name for name in shipped_models() if name not in STORED])
def test_the_page_says_what_the_file_says(name):
    """Where the project may not hold the frames, the file's own errors are what the page is held against."""
    stated = read_info(find_model(name)).training["errors"]["test"]
    for quantity, text in zip(UNITS, page_of(name)["all"], strict=False):
        digits = len(text.partition(".")[2])
        assert float(text) == pytest.approx(
            UNITS[quantity] * stated[f"{quantity}_rmse"], abs=0.5001 * 10.0**-digits
        )
