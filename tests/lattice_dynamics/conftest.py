"""Copper and its phonons, which several files compare with something."""

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_mlip.lattice_dynamics.phonons import phonons


@pytest.fixture(scope="module")
def copper():
    return _copper()


@pytest.fixture(scope="session")
def copper_phonons():
    return phonons(_copper(), supercell_matrix=(4, 4, 4), mesh=(12, 12, 12))


def _copper():
    atoms = bulk("Cu", a=3.58982)
    atoms.calc = EMT()
    return atoms
