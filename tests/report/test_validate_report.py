"""The files and the page of a validation: what they hold, and that a browser shows it."""

import csv
import json

import pytest

from ase_mlip.report.validate_report import overview, write_page
from tests.browser import open_page


def test_files(report):
    folder, document = report
    stored = json.loads((folder / "results.json").read_text())
    assert stored["structures"] == json.loads(json.dumps(document.structures))
    header, *rows = list(csv.reader((folder / "results.csv").read_text().splitlines()))
    assert [row[0] for row in rows] == ["silicon", "dimer", "ge"]
    bulk_modulus = float(rows[0][header.index("bulk modulus (GPa)")])
    assert bulk_modulus == pytest.approx(
        document.structures["silicon"]["steps"]["elasticity"]["numbers"]["moduli"]["bulk"], abs=0.06
    )
    assert rows[1][header.index("bulk modulus (GPa)")] == ""
    for name in ("phonopy.yaml", "FORCE_SETS", "force_constants.hdf5", "bands.png", "relaxed.extxyz"):
        assert (folder / "silicon" / name).stat().st_size > 300


@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_it(report, tmp_path, width):
    folder, document = report
    header, _ = overview(document.to_dict())
    found = open_page(folder / "index.html", tmp_path, width, header.index("volume (Å³/atom)"))
    assert found["problems"] == []
    # relaxation, bands, elasticity, symmetry, dynamics of the crystal; three of the dimer
    assert found["images"] == found["loaded"] == 8
    assert found["overflow"] <= 0  # tables scroll by themselves: the page fits a phone
    assert found["ascending"][0] != "–"
    assert found["ascending"][1:] == ["–", "–"]
    # in full size, all of which can be scrolled to where the window is smaller
    assert found["width"] < found["zoomed"] == found["natural"]
    assert found["left"] >= 0 and found["reach"] >= min(found["natural"], found["window"])
    assert found["closed"] and found["escaped"]
    if width == 400:
        assert found["natural"] > found["window"] and found["reach"] == found["natural"]


def test_one_structure_has_no_column_to_sort_but_its_schemes(report, tmp_path):
    folder, document = report
    silicon = document.structures["silicon"]
    for steps, offers in ((["relaxation", "symmetry"], True), (["relaxation"], False)):
        record = {**silicon, "steps": {step: silicon["steps"][step] for step in steps}}
        write_page(tmp_path / "page.html", {**document.to_dict(), "structures": {"silicon": record}}, folder)
        page = (tmp_path / "page.html").read_text()
        assert page.count('class="sortable"') == page.count("head to sort by it") == offers
        assert "a picture to see it in full size" in page


def test_columns_sort_as_numbers(report, tmp_path):
    folder, document = report
    steps = document.structures["silicon"]["steps"]
    copies = {}
    for name, value in (("b", 9.5), ("a", 10.25), ("c", 100.0)):
        changed = {
            **steps["relaxation"],
            "numbers": {**steps["relaxation"]["numbers"], "volume_per_atom": value},
        }
        copies[name] = {"formula": "Si8", "n_atoms": 8, "steps": {"relaxation": changed}}
    header, _ = overview(document.to_dict())
    write_page(tmp_path / "page.html", {**document.to_dict(), "structures": copies}, folder)
    found = open_page(tmp_path / "page.html", tmp_path, column=header.index("volume (Å³/atom)"))
    assert found["ascending"] == ["9.500", "10.250", "100.000"]
    assert found["descending"] == ["100.000", "10.250", "9.500"]
