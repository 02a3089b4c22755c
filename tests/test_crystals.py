"""Space groups, idealisation, and the refusal of input that no workflow can use."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from ase_mlip.crystals import (
    idealized,
    largest_force,
    require_crystal,
    space_group,
    space_groups,
    with_calculator,
)
from ase_mlip.errors import StructureError


@pytest.mark.parametrize(
    ("atoms", "expected"),
    [
        (bulk("Si", cubic=True), "Fd-3m (227)"),
        (bulk("Cu"), "Fm-3m (225)"),
        (bulk("Fe", cubic=True), "Im-3m (229)"),
        (bulk("ZnS", "zincblende", a=5.4), "F-43m (216)"),
        (bulk("Mg"), "P6_3/mmc (194)"),
        (molecule("H2O"), ""),
    ],
)
def test_space_group_of_textbook_crystals(atoms, expected):
    assert space_group(atoms) == expected


def test_space_group_depends_on_tolerance():
    atoms = bulk("Si", cubic=True)
    atoms.rattle(1e-3, seed=0)
    groups = space_groups(atoms, (1e-1, 1e-2, 1e-5))
    assert groups[1e-2] == "Fd-3m (227)"
    assert groups[1e-5] == "P1 (1)"


def test_two_atoms_at_one_place_have_no_space_group():
    assert space_group(Atoms("Si2", cell=np.eye(3) * 5, positions=np.zeros((2, 3)), pbc=True)) == ""


def test_idealized_restores_the_symmetry_and_keeps_the_volume():
    atoms = bulk("Si", cubic=True)
    exact = atoms.get_volume()
    atoms.rattle(1e-3, seed=3)
    result = idealized(atoms)
    assert space_group(result, 1e-8) == "Fd-3m (227)"
    assert result.get_volume() == pytest.approx(exact, rel=1e-6)


def test_a_molecule_is_refused_with_the_remedy():
    with pytest.raises(StructureError, match=r"`phonons` needs a crystal.*vibrations"):
        require_crystal(molecule("H2O"), "phonons")
    with pytest.raises(StructureError, match="cell with a volume"):
        require_crystal(Atoms("Si", pbc=True), "phonons")


def test_missing_calculator_or_atoms_is_named():
    with pytest.raises(StructureError, match=r"needs a calculator.*atoms\.calc"):
        with_calculator(bulk("Cu"), "relax")
    empty = Atoms()
    empty.calc = EMT()
    with pytest.raises(StructureError, match="at least one atom"):
        with_calculator(empty, "relax")


def test_a_copy_shares_the_calculator_but_not_the_atoms():
    atoms = bulk("Cu")
    atoms.calc = EMT()
    copy = with_calculator(atoms, "relax")
    copy.positions += 1.0
    assert copy.calc is atoms.calc
    assert np.all(atoms.positions == 0.0)


def test_infinite_forces_are_an_error():
    with pytest.raises(StructureError, match="NaN or infinity"):
        largest_force(np.array([[0.0, np.nan, 0.0]]))
