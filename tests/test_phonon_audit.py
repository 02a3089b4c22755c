"""What nothing imposes on phonons: of a symmetric potential everything holds, of a broken one it does not."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_mlip.phonon_audit import audit_phonons
from ase_mlip.phonon_cells import new_phonopy, to_ase
from ase_mlip.phonons import phonons
from ase_mlip.symmetrized_calculator import SymmetrizedCalculator
from tests.test_cosets import Skewed


def crystal(calculator):
    atoms = bulk("Cu", a=3.58982, cubic=True)
    atoms.calc = calculator
    return atoms


@pytest.fixture(scope="module")
def emt():
    return audit_phonons(crystal(EMT()), (2, 2, 2))


def test_a_symmetric_potential_passes(emt):
    assert emt.splitting < 1e-6
    assert emt.sum_rule_error < 1e-5
    assert emt.permutation_error < 1e-5
    assert np.abs(emt.acoustic).max() < 0.05
    assert len(emt.optical) == 0
    assert emt.n_displacements == emt.evaluations == 6


def test_frequencies_equal_those_of_production(emt):
    """Nothing imposed and everything imposed are the same thing where the potential has the symmetry."""
    result = phonons(crystal(EMT()), (2, 2, 2), mesh=(2, 2, 2), relax_first=False)
    full = result.phonopy.force_constants[result.phonopy.primitive.p2s_map]
    assert emt.force_constants == pytest.approx(full, abs=2e-4)


def test_an_anisotropic_potential_is_found_out():
    found = audit_phonons(crystal(Skewed()), (2, 2, 2), relax_first=False)
    assert found.splitting > 0.1
    assert found.symmetry_error > 0.01
    # it is conservative and does not know where it is: those rules hold all the same
    assert found.sum_rule_error < 1e-4
    assert found.permutation_error < 1e-4


def test_averaging_over_the_crystals_group_mends_it():
    atoms = crystal(Skewed())
    averaged = audit_phonons(atoms, (2, 2, 2), symmetry="crystal", relax_first=False)
    whole = SymmetrizedCalculator(Skewed(), atoms)
    supercell = to_ase(new_phonopy(atoms, 2 * np.eye(3, dtype=int)).supercell)
    supercell.positions[0, 0] += 0.01
    supercell.calc = whole
    forces = supercell.get_forces()
    supercell.positions[0, 0] -= 0.02
    row = (supercell.get_forces() - forces) / 0.02
    assert averaged.averaging == "crystal m-3m"
    assert averaged.evaluations == 6 * 6  # of 48: a displacement along x keeps eight of them
    assert averaged.splitting < 1e-6
    assert averaged.force_constants[0, :, 0] == pytest.approx(row, abs=1e-6)


def test_a_primitive_cell_and_a_lattice_that_is_not_orthogonal():
    atoms = bulk("Cu", "hcp", a=2.55, c=4.16)
    atoms.calc = EMT()
    found = audit_phonons(atoms, (3, 3, 2))
    assert found.n_displacements == 12
    assert len(found.optical) == 3
    # along directions that are not equivalent, displacements of finite length leave errors of their square
    smaller = audit_phonons(atoms, (3, 3, 2), 0.005)
    assert found.splitting == pytest.approx(4.0 * smaller.splitting, rel=0.05)
    assert found.permutation_error == pytest.approx(4.0 * smaller.permutation_error, rel=0.05)
    assert max(found.splitting, found.permutation_error) < 1e-3
