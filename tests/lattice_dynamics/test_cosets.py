"""Forces from coset representatives against the whole group's average."""

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_mlip.calculators.symmetrized_calculator import SymmetrizedCalculator
from ase_mlip.lattice_dynamics.conductivity import thermal_conductivity
from ase_mlip.lattice_dynamics.cosets import averaged_forces, coset_representatives, is_group, own_symmetry
from ase_mlip.lattice_dynamics.phonons import phonons
from ase_mlip.rotations.schemes import crystal_averaging, find_averaging
from tests.emt_variants import Skewed

CRYSTALS = {
    "fcc": bulk("Cu", cubic=True),
    "hcp": bulk("Cu", "hcp", a=2.55, c=4.2),
    "alloy": bulk("NiAl", "cesiumchloride", a=2.9),
}


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("displacement", [(0.0, 0.0, 0.0), (0.02, 0.0, 0.0), (0.01, 0.013, -0.02)])
def test_forces_equal_those_of_the_whole_group(name, displacement):
    crystal = CRYSTALS[name]
    calculator = SymmetrizedCalculator(Skewed(), crystal)
    supercell = crystal.repeat(2)
    supercell.positions[0] += displacement
    forces, evaluations = averaged_forces(supercell, calculator)
    whole = supercell.copy()
    whole.calc = calculator
    assert forces == pytest.approx(whole.get_forces(), abs=1e-10)
    if not any(displacement):
        assert evaluations == 1
    elif displacement[1] == 0.0 and name != "hcp":
        # of the 48 operations 8 (fcc, CsCl: fourfold axis with its mirrors) keep the displacement
        assert evaluations == 48 // 8
    elif displacement[1]:
        assert evaluations == calculator.averaging.evaluations


def test_silicon_needs_twelve_of_forty_eight():
    silicon = bulk("Si", cubic=True)
    averaging = crystal_averaging(silicon)
    supercell = silicon.repeat(2)
    supercell.positions[0, 0] += 0.01
    rotations, permutations = own_symmetry(supercell, averaging, 1e-5)
    assert len(averaging.rotations) == 48
    assert len(rotations) == 4
    assert len(coset_representatives(averaging, rotations).rotations) == 12
    for rotation, permutation in zip(rotations, permutations, strict=True):
        assert sorted(permutation) == list(range(len(supercell)))
        assert rotation[:, 0] == pytest.approx([1.0, 0.0, 0.0])


def test_only_groups_are_reduced():
    assert is_group(find_averaging("octahedral"))
    assert is_group(find_averaging("icosahedral+inversion"))
    assert not is_group(find_averaging("lebedev 5"))
    assert not is_group(find_averaging("none"))


def test_without_averaging_the_calculator_is_used_as_it_is():
    atoms = bulk("Cu", cubic=True)
    atoms.positions[0, 0] += 0.1
    forces, evaluations = averaged_forces(atoms, EMT())
    atoms.calc = EMT()
    assert evaluations == 1
    assert forces == pytest.approx(atoms.get_forces())


@pytest.mark.parametrize("function", [phonons, thermal_conductivity])
def test_the_point_group_of_a_crystal_as_given_is_that_within_the_tolerance_for_input(function):
    """Where a file rounds an atom by 0.001 Å, the caller means the cube's 48 rotations."""
    if function is thermal_conductivity:
        pytest.importorskip("phono3py", reason="the extra `kappa` is not installed")
    atoms = CRYSTALS["alloy"].copy()
    atoms.positions[1] += (0.001, 0.0004, 0.0002)
    used = []

    class Counted(Skewed):
        def calculate(self, *args, **kwargs):
            used.append(0)
            super().calculate(*args, **kwargs)

    options = {"is_symmetry": False} if function is phonons else {"temperatures": [300.0]}
    options["relax_first"] = False
    found = {}
    for tolerance in (0.01, 1e-5):
        used.clear()
        function(
            atoms,
            Counted(),
            supercell_matrix=(1, 1, 1),
            mesh=(2, 2, 2),
            symmetrize="crystal",
            symprec=tolerance,
            **options,
        )
        found[tolerance] = len(used)
    assert found[0.01] >= 48 * found[1e-5] - 48
