"""What `phonons` does with a structure before it computes: relaxes it in its space group, or refuses it."""

import warnings

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from ase_mlip.errors import ArgumentError, StructureError
from ase_mlip.lattice_dynamics.audit import audit_phonons
from ase_mlip.lattice_dynamics.phonons import phonons
from ase_mlip.relaxation.relax import relax


def test_the_structure_is_relaxed_first(copper):
    """A cell of a wrong size and a little skewed comes back to the minimum, in its space group."""
    atoms = bulk("Cu", a=3.62)
    atoms.set_cell(atoms.cell.array * (1 + 1e-5 * np.arange(9).reshape(3, 3)), scale_atoms=True)
    atoms.calc = EMT()
    result = phonons(atoms, supercell_matrix=(2, 2, 2), mesh=(2, 2, 2))
    assert result.relaxation.converged
    assert result.relaxation.atoms.cell.lengths() * np.sqrt(2) == pytest.approx(3.58982, abs=2e-4)
    assert result.space_group == "Fm-3m (225)"
    clean = phonons(copper, supercell_matrix=(2, 2, 2), mesh=(2, 2, 2), relax_first=False)
    assert clean.relaxation is None
    assert result.special_frequencies["X"] == pytest.approx(clean.special_frequencies["X"], abs=5e-3)


def off_centre(shift):
    """CuAu of caesium chloride's structure whose gold is off the centre along z."""
    atoms = bulk("CuAu", "cesiumchloride", a=2.95)
    atoms.positions[1, 2] += shift
    atoms.calc = EMT()
    return atoms


def test_a_weak_distortion_is_not_lost_in_silence():
    """0.004 Å, within the tolerance; and with a smaller one it is kept, as far as the model does."""
    atoms = off_centre(0.004)
    options = {"mesh": (2, 2, 2), "allow_unrelaxed": True}
    lost = r"the space group P4mm \(99\), within 0\.001 Å, was made Pm-3m \(221\), .* moved by up to 0\.0020"
    for compute in (
        lambda: phonons(atoms, supercell_matrix=(2, 2, 2), **options),
        lambda: audit_phonons(atoms, supercell_matrix=(2, 2, 2)),
    ):
        with pytest.warns(UserWarning, match=lost):
            found = compute()
    with pytest.warns(UserWarning, match=lost):
        found = phonons(atoms, supercell_matrix=(2, 2, 2), **options)
    made = found.to_dict()["preparation"]
    assert (made["given"], made["made"]) == ("P4mm (99)", "Pm-3m (221)")
    assert made["moved"] == pytest.approx(0.002, abs=1e-4)  # half of it: without the drift
    with pytest.warns(UserWarning, match=lost):
        relax(atoms, keep_space_group=True, check_noise=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = phonons(atoms, supercell_matrix=(2, 2, 2), symprec=1e-3, **options)
    assert not [w for w in caught if "was made" in str(w.message)]
    assert kept.relaxation.refinement.made == "P4mm (99)"
    # whose minimum is the centre
    assert [("from the space group P4mm (99) to Pm-3m" in str(w.message)) for w in caught] == [True]


def test_rounded_coordinates_are_no_distortion():
    """A file with four digits."""
    atoms = bulk("Cu", "hcp", a=2.5612, c=4.1825)
    atoms.set_scaled_positions(atoms.get_scaled_positions().round(4))
    atoms.calc = EMT()
    result = phonons(atoms, supercell_matrix=(2, 2, 2), mesh=(2, 2, 2), allow_unrelaxed=True)
    assert 0.0 < result.relaxation.refinement.moved < 1e-3


def test_a_crystal_that_goes_far_is_another_one():
    atoms = bulk("Cu", a=4.1)
    atoms.calc = EMT()
    with pytest.raises(
        StructureError, match=r"strained by up to 0\.1\d\d in the relaxation, .*`allow_unrelaxed=True`"
    ):
        phonons(atoms, supercell_matrix=(2, 2, 2))


def test_an_unconverged_relaxation_is_refused_unless_forced(copper, monkeypatch):
    monkeypatch.setattr("ase_mlip.lattice_dynamics.input.RELAXED", 0.0)
    monkeypatch.setattr("ase_mlip.lattice_dynamics.input.MAX_STEPS", 1)
    with pytest.raises(StructureError, match=r"expected the relaxation to reach.*`allow_unrelaxed=True`"):
        phonons(copper, supercell_matrix=(2, 2, 2), mesh=(2, 2, 2))
    assert phonons(copper, supercell_matrix=(2, 2, 2), mesh=(2, 2, 2), allow_unrelaxed=True).stable


def test_bad_input_is_named(copper):
    water = molecule("H2O")
    water.calc = EMT()
    with pytest.raises(StructureError, match=r"`phonons` needs a crystal.*ase\.vibrations"):
        phonons(water)
    with pytest.raises(StructureError, match="needs a calculator"):
        phonons(bulk("Cu"))
    for matrix in ((2, 2, 0), (2, 2), 2, (1.5, 2, 2), np.ones((2, 2), dtype=int), "FFF"):
        with pytest.raises(ArgumentError, match="`supercell_matrix` must be three integers or"):
            phonons(copper, supercell_matrix=matrix)
    for matrix in ((2, 2, -2), [[0, 2, 0], [2, 0, 0], [0, 0, 2]]):
        with pytest.raises(ArgumentError, match=r"positive determinant, got -8 .* exchange two of its"):
            phonons(copper, supercell_matrix=matrix)
    for mesh in ((2, 2), 8, (2, 2, 0), (2.0, 2.0, 2.0)):
        with pytest.raises(ArgumentError, match=r"`mesh` must be three positive integers, .* got"):
            phonons(copper, supercell_matrix=(2, 2, 2), mesh=mesh)
    mirrored = copper.copy()
    mirrored.set_cell(copper.cell.array[[1, 0, 2]])
    mirrored.calc = EMT()
    with pytest.raises(StructureError, match="needs a right-handed cell.*exchange two of its vectors"):
        phonons(mirrored, supercell_matrix=(2, 2, 2))
    with pytest.raises(StructureError, match="that phonopy can reduce to a primitive cell, got Cu"):
        phonons(copper, supercell_matrix=(2, 2, 2), primitive_matrix=0.3 * np.eye(3))
    for primitive_matrix in ("Q", -np.eye(3), np.full((3, 3), np.nan)):
        with pytest.raises(ArgumentError, match="`primitive_matrix`: expected one of auto, P, F, I"):
            phonons(copper, supercell_matrix=(2, 2, 2), primitive_matrix=primitive_matrix)
    rattled = bulk("Cu", cubic=True)
    rattled.rattle(0.1, seed=0)
    rattled.calc = EMT()
    with pytest.raises(StructureError, match=r"needs a relaxed structure.*got \d\.\d+ eV/Å"):
        phonons(rattled, supercell_matrix=(1, 1, 1), relax_first=False)
