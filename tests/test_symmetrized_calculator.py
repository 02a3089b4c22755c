"""Averaging of any ASE calculator: against our own for model files, and on calculators that need none."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from ase_mlip import MLIPCalculator, SymmetrizedCalculator
from ase_mlip.errors import MLIPError, StructureError


@pytest.mark.parametrize("scheme", ["octahedral", "icosahedral+inversion", "random 4", "none"])
def test_it_is_the_average_that_model_files_have(scheme):
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    inside = MLIPCalculator("pet-si", dtype="float64", symmetrize=scheme)
    outside = SymmetrizedCalculator(MLIPCalculator(inside.model, symmetrize="none"), scheme)
    inside.calculate(atoms)
    outside.calculate(atoms)
    for name in ["energy", "free_energy", "energies", "forces", "stress"]:
        np.testing.assert_allclose(outside.results[name], inside.results[name], atol=1e-9, err_msg=name)
    spreads = ["energy_spread", "forces_spread", "stress_spread"]
    names = spreads if inside.averaging.evaluations > 1 else []
    assert sorted(inside.diagnostics) == sorted(outside.diagnostics) == sorted(names)
    for name in names:
        np.testing.assert_allclose(
            outside.diagnostics[name], inside.diagnostics[name], atol=1e-9, err_msg=name
        )


def test_a_symmetric_potential_does_not_change():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    atoms.calc = SymmetrizedCalculator(EMT(), "icosahedral")
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-10)
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-10)
    np.testing.assert_allclose(atoms.get_stress(), stress, atol=1e-11)
    assert atoms.calc.diagnostics["energy_spread"] < 1e-10
    assert atoms.calc.diagnostics["forces_spread"].max() < 1e-10


def test_molecules_and_optimisers():
    from ase.optimize import BFGS

    atoms = molecule("H2O")
    atoms.calc = SymmetrizedCalculator(EMT(), "octahedral")
    assert BFGS(atoms, logfile=None).run(fmax=0.01, steps=50)


def test_wrong_arguments():
    with pytest.raises(MLIPError, match="`symmetrize='auto'` is for calculators of model files"):
        SymmetrizedCalculator(EMT(), "auto")
    with pytest.raises(MLIPError, match="expected an ASE calculator, got str"):
        SymmetrizedCalculator("EMT", "octahedral")
    crystal = bulk("Cu", cubic=True)
    long = crystal.repeat((1, 1, 2))
    long.calc = SymmetrizedCalculator(EMT(), crystal)
    with pytest.raises(StructureError, match="map onto itself"):
        long.get_potential_energy()
