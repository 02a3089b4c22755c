"""Model files that an earlier version of the package wrote give the numbers that it gave.

``files/schema_2_*.pt`` and their numbers were written before the modules moved into packages, with random
weights: a PET, an s-NNP and a NequIP of two species, on a rattled crystal in float64.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from ase_mlip import MLIPCalculator

FILES = Path(__file__).parents[2] / "files"
EXPECTED = json.loads((FILES / "schema_2.json").read_text())


@pytest.mark.parametrize("kind", ["pet", "snnp", "nequip"])
def test_a_file_of_an_earlier_version_gives_the_same_numbers(kind):
    atoms = bulk("Si", cubic=True)
    atoms.numbers[::3] = 8
    atoms.rattle(0.1, seed=0)
    atoms.calc = MLIPCalculator(FILES / f"schema_2_{kind}.pt", device="cpu", dtype="float64")
    expected = EXPECTED[kind]
    close = {"rtol": 1e-11, "atol": 1e-11}
    np.testing.assert_allclose(atoms.get_potential_energies(), expected["energies"], **close)
    np.testing.assert_allclose(atoms.get_forces(), expected["forces"], **close)
    np.testing.assert_allclose(atoms.get_stress(), expected["stress"], **close)
    assert np.abs(expected["forces"]).max() > 0.1
