"""Numbers that pages print for the shipped potentials are those that the commands give."""

import re
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write
from doc_tables import block, lines_with_numbers, run

ROOT = Path(__file__).resolve().parents[1]
SILICON = ROOT / "examples" / "structures" / "silicon.cif"


def test_elastic_constants_of_pet_si():
    expected = lines_with_numbers(block("elasticity.md", "stiffness, GPa (relaxed ions"))
    found = lines_with_numbers(run("elastic", "pet-si", SILICON))
    for label in ("xx # # # # # #", "yz # # # # # #", "bulk modulus # # # GPa", "shear modulus # # # GPa"):
        assert expected[label][0] == pytest.approx(found[label][0], abs=0.05), label
    (label,) = [label for label in expected if label.startswith("Poisson")]
    assert expected[label][0] == pytest.approx(found[label][0], abs=1e-3)
    text = (ROOT / "docs" / "elasticity.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| C44, clamped ions"))
    clamped = lines_with_numbers(run("elastic", "pet-si", SILICON, "--clamped"))
    assert float(row.split("|")[2]) == pytest.approx(clamped["yz # # # # # #"][0][3], abs=0.1)


def test_equation_of_state_of_pet_si():
    text = (ROOT / "docs" / "elasticity.md").read_text(encoding="utf-8")
    stated = re.search(r"finds ([\d.]+) Å\^3/atom, ([\d.]+) GPa and a pressure derivative of ([\d.]+)", text)
    found = run("eos", "pet-si", SILICON)
    volume = re.search(r"volume ([\d.]+) Å\^3/atom", found)
    modulus = re.search(r"bulk modulus ([\d.]+) GPa, its derivative ([\d.]+)", found)
    assert float(stated[1]) == pytest.approx(float(volume[1]), abs=2e-3)
    assert float(stated[2]) == pytest.approx(float(modulus[1]), abs=0.1)
    assert float(stated[3]) == pytest.approx(float(modulus[2]), abs=0.1)


@pytest.mark.slow
def test_dynamics_of_pet_si(tmp_path):
    """Paths of single precision part after some hundred femtoseconds; averages over a picosecond do not."""
    write(tmp_path / "si.extxyz", bulk("Si", a=5.469, cubic=True))
    row = "# # # # # # # #"
    expected = lines_with_numbers(block("md_stability.md", "Si8 with pet-si: 3 x 1 ps"))[row]
    options = ["--temperature", 600, "--time", 1, "--replicas", 3, "--device", "cpu"]
    text = run("md", "pet-si", tmp_path / "si.extxyz", *options)
    found = lines_with_numbers(text)[row]
    assert text.rstrip().endswith("stable") and len(expected) == len(found) == 3
    for stated, measured in zip(expected, found, strict=True):
        _, _, temperature, slope, fluctuation, shortest, *bonds = measured
        assert stated[2] == pytest.approx(temperature, abs=5)
        assert stated[3] == pytest.approx(slope, abs=1e-3)
        assert stated[4] == pytest.approx(fluctuation, rel=0.15)
        assert stated[5] == pytest.approx(shortest, abs=0.02)
        assert bonds == [0, 0]
