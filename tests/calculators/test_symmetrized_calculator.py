"""Averaging of any ASE calculator: against our own for model files, and on calculators that need none."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from ase_mlip import MLIPCalculator, SymmetrizedCalculator
from ase_mlip.errors import MLIPError, StructureError
from ase_mlip.lattice_dynamics.phonons import phonons
from ase_mlip.relaxation.relax import relax


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
    atoms = molecule("H2O")
    atoms.calc = SymmetrizedCalculator(EMT(), "octahedral")
    assert BFGS(atoms, logfile=None).run(fmax=0.01, steps=50)


@pytest.mark.parametrize("scheme", ["octahedral", "crystal"])
def test_relaxation_within_the_symmetry_is_that_of_a_symmetric_potential(scheme):
    """The constraints of the structure are not those of its rotated copies."""
    atoms = bulk("Cu", a=3.61)
    options = {
        "cell": True,
        "keep_space_group": True,
        "fmax": 1e-3,
        "optimizer": "BFGS",
        "check_noise": False,
    }
    atoms.calc = SymmetrizedCalculator(EMT(), atoms.copy() if scheme == "crystal" else scheme)
    result = relax(atoms, **options)
    atoms.calc = EMT()
    expected = relax(atoms, **options)
    assert result.converged and result.spacegroup_after[1e-6] == "Fm-3m (225)"
    assert result.atoms.cell.lengths() == pytest.approx(expected.atoms.cell.lengths(), abs=1e-6)
    assert result.energy == pytest.approx(expected.energy, abs=1e-8)


def test_ases_fix_symmetry_works_beside_it():
    atoms = bulk("Cu", a=3.62) * (2, 1, 1)
    atoms.calc = SymmetrizedCalculator(EMT(), "octahedral")
    atoms.set_constraint([FixSymmetry(atoms), FixAtoms([0])])
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.01, steps=50)
    assert np.cbrt(atoms.get_volume() * 2) == pytest.approx(3.5898, abs=1e-3)


def test_phonons_are_those_of_a_symmetric_potential():
    atoms = bulk("Cu", a=3.62)
    frequencies = []
    for calculator in (EMT(), SymmetrizedCalculator(EMT(), "octahedral")):
        atoms.calc = calculator
        frequencies.append(phonons(atoms, supercell_matrix=(2, 2, 2), mesh=(3, 3, 3)).mesh_frequencies)
    assert frequencies[1] == pytest.approx(frequencies[0], abs=1e-3)


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
