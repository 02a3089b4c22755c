"""Phonons by hand, as phonopy's manual has them: what docs/phonons.md says of a network without symmetry."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from phonopy import Phonopy

from ase_mlip import MLIPCalculator
from ase_mlip.lattice_dynamics.input import relaxed_within_symmetry
from ase_mlip.lattice_dynamics.supercells.cells import to_phonopy

DOCS = Path(__file__).parents[2] / "docs" / "phonons.md"


def optical_at_gamma(crystal, calculator, subtract):
    calculation = Phonopy(to_phonopy(crystal), 2 * np.eye(3, dtype=int), primitive_matrix="auto")
    calculation.generate_displacements(distance=0.01)
    forces = []
    for cell in (calculation.supercell, *calculation.supercells_with_displacements):
        atoms = Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)
        forces.append(calculator.get_property("forces", atoms))
    calculation.forces = np.array(forces[1:]) - (forces[0] if subtract else 0.0)
    calculation.produce_force_constants()
    calculation.run_qpoints([[0.0, 0.0, 0.0]])
    frequencies = calculation.qpoints.frequencies[0][3:]
    assert np.ptp(frequencies) < 1e-3
    return frequencies.mean()


def said() -> list[str]:
    """What the page says: forces as they come, less those of the undisplaced supercell, and averaged."""
    return re.findall(r"\| (\d\d\.\d\d) \|", DOCS.read_text(encoding="utf-8").split("## By hand")[1])


def test_the_docstring_of_the_calculator_says_the_same():
    plain, _, averaged = said()
    text = " ".join(MLIPCalculator.__doc__.split())
    assert (
        f"`pet-si` then gives {plain} THz at Γ of silicon instead of {averaged}. Pass the undisplaced" in text
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:primitive_matrix defaulted")
def test_the_numbers_of_the_page_are_those_found():
    crystal = bulk("Si", cubic=True)
    crystal.calc = plain = MLIPCalculator("pet-si", device="cpu", dtype="float64")
    relaxed_within_symmetry(crystal)
    averaged = MLIPCalculator(plain.model, symmetrize=crystal)
    found = [
        optical_at_gamma(crystal, plain, subtract=False),
        optical_at_gamma(crystal, plain, subtract=True),
        optical_at_gamma(crystal, averaged, subtract=False),
    ]
    assert [float(number) for number in said()] == pytest.approx(found, abs=0.02)
    assert abs(found[1] - found[2]) < 0.05 < found[0] - found[1]
