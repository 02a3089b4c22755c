"""Conductivities in docs/conductivity.md are those that the command gives."""

import re

import pytest
from ase.build import bulk
from doc_tables import ROOT, block, lines_with_numbers, parsed, run, sentences, shows, stored, table
from optional_packages import needs_phono3py
from stillinger_weber import LATTICE_CONSTANT

from ase_mlip import MLIPCalculator
from ase_mlip.lattice_dynamics.conductivity import thermal_conductivity

SILICON = ROOT / "examples" / "structures" / "silicon.cif"
ROWS = table("conductivity.md", "third-order supercell", "W/m/K")
ROW = "# # # # # # # #"  # temperature, mean, components


def shown() -> dict[str, list[list[float]]]:
    return lines_with_numbers(block("conductivity.md", "Wigner transport equation"))


def test_silicon_conducts_six_times_too_little():
    (experiment,) = re.findall(r"Natural silicon has (\S+) W/m/K at 300 K", sentences("conductivity.md"))
    (at_300,) = [row[1] for row in shown()[ROW] if row[0] == 300]
    assert float(experiment) / at_300 == pytest.approx(6.0, abs=0.5)
    assert shows(ROWS[0][-1], at_300)
    reference = stored("validation-pet-si")["rows"]["reference: crystal"]
    assert "within 0.22 THz of DFT" in sentences("conductivity.md") and shows(
        "0.22", reference["max_error_THz"]
    )


@needs_phono3py
@pytest.mark.slow
def test_the_example():
    options = ["--supercell", *(2, 2, 2), "--phonon-supercell", *(3, 3, 3), "--mesh", *(19, 19, 19)]
    temperatures = [option for kelvin in (200, 300, 500, 800) for option in ("--temperature", kelvin)]
    found, expected = (
        lines_with_numbers(run("conductivity", "pet-si", SILICON, *options, *temperatures)),
        shown(),
    )
    for label in ("second order: supercell of # atoms, faces # Å apart, displacements: #",
                  "third order: supercell of # atoms, faces # Å apart, displacements: #"):  # fmt: skip
        assert found[label] == expected[label]
    for measured, stated in zip(found[ROW], expected[ROW], strict=True):
        assert measured == pytest.approx(stated, rel=2e-3, abs=2e-3)
    (label,) = [label for label in expected if label.startswith("of the mean, coherences")]
    assert found[label][0] == pytest.approx(expected[label][0], abs=2e-3)


@needs_phono3py
@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS[1:], ids=lambda row: " ".join(row[:4]))
def test_other_settings(row):
    third, mesh, distance, more, stated = row
    second = "3 3 3" if third == "2 2 2" else "2 2 2"
    options = (
        f"--supercell {third} --phonon-supercell {second} --mesh {mesh} {mesh} {mesh} --distance {distance}"
    )
    found = lines_with_numbers(
        run("conductivity", "pet-si", SILICON, *options.split(), *more.strip("`").split())
    )
    ((_, mean, *_),) = found[ROW]
    assert parsed(stated)[0] == pytest.approx(mean, rel=0.01)


@needs_phono3py
@pytest.mark.slow
def test_the_stillinger_weber_potential_conducts_too_well(sw_path):
    (stated,) = re.findall(r"gives (\d+) W/m/K for the Stillinger-Weber", sentences("conductivity.md"))
    atoms = bulk("Si", a=LATTICE_CONSTANT, cubic=True)
    atoms.calc = MLIPCalculator(sw_path, device="cpu", dtype="float64")
    found = thermal_conductivity(
        atoms,
        supercell_matrix=(2, 2, 2),
        phonon_supercell_matrix=(2, 2, 2),
        mesh=(11, 11, 11),
        isotopes=False,
    )
    assert float(stated) == pytest.approx(found.mean_kappa[0], rel=0.01)
