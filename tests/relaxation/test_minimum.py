"""A crystal is brought to the minimum that its potential is known to have, and stays as it was given."""

from functools import partial

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from stillinger_weber import LATTICE_CONSTANT

from ase_mlip import MLIPCalculator
from ase_mlip.errors import ArgumentError, ResidualWarning
from ase_mlip.provenance import Parts
from ase_mlip.relaxation import minimum
from ase_mlip.relaxation.minimum import RelaxFirst, at_minimum, document_of, relax_crystal
from ase_mlip.relaxation.relax import relax


@pytest.fixture
def strained(sw_path):
    """Silicon, sheared, stretched, and with a displaced atom."""
    atoms = bulk("Si", a=1.02 * LATTICE_CONSTANT)
    atoms.set_cell(atoms.cell.array @ np.diag([1.01, 1.0, 0.99]), scale_atoms=True)
    atoms.positions[0] += [0.04, 0.0, 0.02]
    atoms.calc = MLIPCalculator(sw_path, device="cpu", dtype="float64")
    return atoms


@pytest.fixture
def copper():
    atoms = bulk("Cu", a=3.7)
    atoms.calc = EMT()
    return atoms


@pytest.mark.parametrize("keep_space_group", [True, False])
def test_the_minimum_is_that_of_the_potential(strained, keep_space_group):
    """Stillinger and Weber's silicon: its lattice constant, with atoms where diamond has them."""
    before = strained.copy()
    found, how = at_minimum(strained, "test", RelaxFirst(keep_space_group=keep_space_group), Parts())
    assert how.converged and how.fmax < 1e-4 and how.to_dict()["steps"] > 2
    assert found.get_volume() == pytest.approx(LATTICE_CONSTANT**3 / 4, rel=1e-3)
    assert found.get_distance(0, 1, mic=True) == pytest.approx(LATTICE_CONSTANT * 3**0.5 / 4, rel=1e-3)
    assert found.calc is strained.calc and how.atoms.calc is None
    assert np.array_equal(strained.positions, before.positions) and np.array_equal(strained.cell, before.cell)


def test_a_crystal_that_is_not_to_be_relaxed_is_taken_as_it_is(copper):
    found, how = at_minimum(copper, "test", RelaxFirst(relax_first=False), Parts())
    assert found is copper and how is None and document_of(how) == {}


def test_the_relaxed_crystal_is_kept_among_the_parts(copper):
    """Bit by bit, without another relaxation."""
    parts = Parts()
    first, how = at_minimum(copper, "test", RelaxFirst(), parts)
    copper.calc = None  # nothing can be computed any more
    again, same = at_minimum(copper, "test", RelaxFirst(), parts)
    assert np.array_equal(first.positions, again.positions) and np.array_equal(first.cell, again.cell)
    assert how.to_dict() == same.to_dict()


def test_a_relaxation_that_stops_is_said_with_what_was_asked_for(copper, monkeypatch):
    monkeypatch.setattr(minimum, "relax", partial(relax, steps=1))
    said = r"after 1 steps, above `relax_fmax=1e-06`; `dtype=.float64.` helps"
    with pytest.warns(ResidualWarning, match=said):
        found = relax_crystal(copper, RelaxFirst(relax_fmax=1e-6))
    assert not found.converged and found.fmax > 1e-6


class WithoutStress(EMT):
    """EMT that gives forces only."""

    implemented_properties = ("energy", "forces")


def test_without_a_stress_the_atoms_are_relaxed_and_the_cell_is_kept():
    atoms = bulk("Cu", cubic=True, a=3.7)
    atoms.positions[0, 0] += 0.1
    atoms.calc = WithoutStress()
    found = relax_crystal(atoms, RelaxFirst(keep_space_group=False))
    assert found.converged and np.array_equal(found.atoms.cell, atoms.cell)
    assert found.largest_force < 1e-4 < np.abs(atoms.get_forces()).max()


@pytest.mark.parametrize("name", ["relax_fmax", "symprec"])
def test_numbers_that_are_not_positive_are_named(name):
    with pytest.raises(ArgumentError, match=f"`{name}`: expected a positive number of .*Å, got 0"):
        RelaxFirst(**{name: 0.0})
