"""What nothing imposes on phonons: of a symmetric potential everything holds, of a broken one it does not."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.calculators.symmetrized_calculator import SymmetrizedCalculator
from ase_mlip.errors import PrecisionWarning, StructureError
from ase_mlip.lattice_dynamics.audit import audit_phonons
from ase_mlip.lattice_dynamics.phonons import phonons
from ase_mlip.lattice_dynamics.supercells.cells import new_phonopy, to_ase
from tests.emt_variants import Interrupted, Skewed


def crystal(calculator):
    atoms = bulk("Cu", a=3.58982, cubic=True)
    atoms.calc = calculator
    return atoms


@pytest.fixture(scope="module")
def emt():
    return audit_phonons(crystal(EMT()), supercell_matrix=(2, 2, 2))


def test_a_symmetric_potential_passes(emt):
    assert emt.splitting < 1e-6
    assert emt.sum_rule_error < 1e-5
    assert emt.permutation_error < 1e-5
    assert np.abs(emt.acoustic).max() < 0.05
    assert len(emt.optical) == 0
    assert emt.n_displacements == emt.evaluations == 6


def test_frequencies_equal_those_of_production(emt):
    """Nothing imposed and everything imposed are the same thing where the potential has the symmetry."""
    result = phonons(crystal(EMT()), supercell_matrix=(2, 2, 2), mesh=(2, 2, 2), relax_first=False)
    full = result.phonopy.force_constants[result.phonopy.primitive.p2s_map]
    assert emt.force_constants == pytest.approx(full, abs=2e-4)


def test_central_differences_are_those_of_phonopy():
    """phonopy's own solver with nothing imposed, which displaces along cell vectors: here x, y and z."""
    places = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]
    atoms = Atoms("CuAu", scaled_positions=places, cell=[2.8, 2.8, 3.7], pbc=True, calculator=EMT())
    found = audit_phonons(atoms, supercell_matrix=(2, 2, 1), relax_first=False)
    calculation = new_phonopy(atoms, np.diag([2, 2, 1]), is_symmetry=False)
    calculation.generate_displacements(distance=0.01, is_plusminus=True, is_diagonal=False)
    forces = []
    for cell in calculation.supercells_with_displacements:
        displaced = to_ase(cell)
        displaced.calc = EMT()
        forces.append(displaced.get_forces())
    calculation.forces = np.array(forces)
    calculation.produce_force_constants(show_drift=False)
    assert len(forces) == found.n_displacements
    moved = calculation.primitive.p2s_map
    expected = calculation.force_constants
    expected = expected if len(expected) == len(moved) else expected[moved]
    assert np.abs(expected).max() > 1.0
    assert found.force_constants == pytest.approx(expected, abs=1e-9)


def test_a_killed_audit_goes_on_with_the_supercells_it_has(emt, tmp_path):
    options = {"relax_first": False, "checkpoint": tmp_path / "audit.npz"}
    with pytest.raises(KeyboardInterrupt):
        audit_phonons(crystal(Interrupted(last=5)), supercell_matrix=(2, 2, 2), **options)
    rest = Interrupted()
    found = audit_phonons(crystal(rest), supercell_matrix=(2, 2, 2), **options)
    assert rest.calls == 6 - 4 + 1  # one again, to see that the calculator is the same
    assert found.evaluations == 6
    whole = audit_phonons(crystal(EMT()), supercell_matrix=(2, 2, 2), relax_first=False)
    assert found.force_constants == pytest.approx(whole.force_constants, abs=1e-12)


def test_rounding_of_float32_is_said(pair_model_path):
    """Before the work, which here cannot begin."""
    atoms = bulk("Si", cubic=True)
    for dtype, count in (("float32", 1), ("float64", 0)):
        atoms.calc = MLIPCalculator(pair_model_path, device="cpu", dtype=dtype)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", PrecisionWarning)
            with pytest.raises(StructureError, match="reduce to a primitive cell"):
                audit_phonons(atoms, min_length=9.0, primitive_matrix="Q", relax_first=False)
        assert [('dtype="float64"' in str(w.message)) for w in caught] == [True] * count


def test_an_anisotropic_potential_is_found_out():
    found = audit_phonons(crystal(Skewed()), supercell_matrix=(2, 2, 2), relax_first=False)
    assert found.splitting > 0.1
    assert found.symmetry_error > 0.01
    # it is conservative and does not know where it is: those rules hold all the same
    assert found.sum_rule_error < 1e-4
    assert found.permutation_error < 1e-4


def test_averaging_over_the_crystals_group_removes_it():
    atoms = crystal(Skewed())
    averaged = audit_phonons(atoms, supercell_matrix=(2, 2, 2), symmetrize="crystal", relax_first=False)
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
    found = audit_phonons(atoms, supercell_matrix=(3, 3, 2))
    assert found.n_displacements == 12
    assert len(found.optical) == 3
    # along directions that are not equivalent, displacements of finite length leave errors of their square
    smaller = audit_phonons(atoms, supercell_matrix=(3, 3, 2), distance=0.005)
    assert found.splitting == pytest.approx(4.0 * smaller.splitting, rel=0.05)
    assert found.permutation_error == pytest.approx(4.0 * smaller.permutation_error, rel=0.05)
    assert max(found.splitting, found.permutation_error) < 1e-3
