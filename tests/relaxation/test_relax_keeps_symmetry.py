"""Relaxation with an averaged model, within the space group, or left to the model."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.stress import full_3x3_to_voigt_6_stress
from relax_cases import distorted_copper, lattice_constant, simple_cubic
from scipy.linalg import polar
from scipy.spatial.transform import Rotation

from ase_mlip.crystals import space_group
from ase_mlip.errors import StructureError
from ase_mlip.relaxation.relax import OPTIMIZERS, relax


class Tilted(EMT):
    """EMT that favours cells long in x and short in z, by an energy that the cubic group averages away."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")
    bias = 2e-4 * np.diag([-1.0, 0.2, 0.8])  # eV/Å^2

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        metric = self.atoms.cell.array.T @ self.atoms.cell.array
        extra = float(np.tensordot(self.bias, metric))
        stress = (self.bias @ metric + metric @ self.bias) / self.atoms.get_volume()
        self.results["energy"] += extra
        self.results["free_energy"] += extra
        self.results["stress"] = self.results["stress"] + full_3x3_to_voigt_6_stress(stress)


def test_the_bias_is_the_derivative_of_its_energy():
    atoms = distorted_copper()
    atoms.calc = Tilted()
    numerical = []
    for sign in (1.0, -1.0):
        strained = atoms.copy()
        strained.set_cell(
            atoms.cell.array @ (np.eye(3) + sign * 1e-5 * np.diag([1.0, 0.0, 0.0])), scale_atoms=True
        )
        strained.calc = Tilted()
        numerical.append(strained.get_potential_energy())
    assert atoms.get_stress()[0] == pytest.approx(
        (numerical[0] - numerical[1]) / 2e-5 / atoms.get_volume(), rel=1e-5
    )


def strained_primitive() -> Atoms:
    """One atom, as averaging evaluates it 48 times."""
    atoms = bulk("Cu")
    strain = np.array([[0.02, 0.004, 0.0], [0.004, -0.01, 0.002], [0.0, 0.002, 0.015]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain))
    atoms.calc = EMT()
    return atoms


def test_average_restores_what_the_model_breaks():
    reference = bulk("Cu")
    atoms = strained_primitive()
    atoms.calc = Tilted()
    options = {"fmax": 1e-6, "smax": 1e-7, "cell": True, "optimizer": "BFGS"}
    plain = relax(atoms, **options)
    assert plain.spacegroup_after[1e-4] != "Fm-3m (225)"
    result = relax(atoms, symmetrize="crystal", crystal=reference, reference=reference, **options)
    assert result.converged
    assert set(result.spacegroup_after.values()) == {"Fm-3m (225)"}
    assert np.cbrt(4 * result.volume) == pytest.approx(lattice_constant(), abs=1e-5)
    scale = result.atoms.cell[0, 1] / reference.cell[0, 1]
    assert result.atoms.cell.array == pytest.approx(reference.cell.array * scale, abs=1e-6)
    assert result.rmsd_to_reference < 1e-6
    assert result.noise.anisotropy is None


@pytest.mark.filterwarnings("ignore:no distance to the reference")  # without pymatgen
@pytest.mark.parametrize("supercell", [False, True])
def test_average_turns_the_crystal_back_to_the_reference(supercell):
    turn = Rotation.from_rotvec([0.2, -0.5, 0.9]).as_matrix()
    reference = bulk("Cu")
    atoms = strained_primitive()
    if supercell:  # recognised by whole numbers, which a rotation would hide
        atoms = atoms * (2, 1, 1)
        atoms.calc = EMT()
    else:
        atoms.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
    options = {"fmax": 1e-3, "cell": True, "optimizer": "BFGS"}
    result = relax(atoms, symmetrize=reference, reference=reference, **options)
    assert result.converged
    assert result.spacegroup_after[1e-2] == "Fm-3m (225)"
    expected = reference.cell.array * [[1 + supercell], [1], [1]]
    scale = result.atoms.cell[1, 0] / expected[1, 0]
    assert result.atoms.cell.array == pytest.approx(expected * scale, abs=5e-3)


@pytest.mark.filterwarnings("ignore:no distance to the reference")  # without pymatgen
def test_the_crystal_of_the_average_and_the_reference_are_two_things():
    """The group and the orientation are those of ``crystal``; ``reference`` is only compared with."""
    options = {"fmax": 1e-3, "cell": True, "optimizer": "BFGS", "symmetrize": "crystal"}
    alone = relax(strained_primitive(), crystal=bulk("Cu"), **options)
    both = relax(strained_primitive(), crystal=bulk("Cu"), reference=bulk("Cu", "bcc", a=2.9), **options)
    assert alone.rmsd_to_reference is None
    assert both.atoms.cell.array == pytest.approx(alone.atoms.cell.array, abs=1e-12)
    assert both.spacegroup_after[1e-2] == "Fm-3m (225)"


def test_a_model_may_be_averaged_and_the_space_group_kept():
    """Of a crystal that has its symmetry, one implies the other."""
    options = {"fmax": 1e-4, "cell": True, "optimizer": "BFGS", "symmetrize": "crystal"}
    atoms = bulk("Cu", a=3.7)
    atoms.calc = Tilted()
    alone, both = (relax(atoms, keep_space_group=kept, **options) for kept in (False, True))
    assert alone.refinement is None and both.refinement.made == "Fm-3m (225)"
    assert both.converged and both.averaging == "crystal m-3m"
    assert both.energy == pytest.approx(alone.energy, abs=1e-8)
    assert both.atoms.cell.array == pytest.approx(alone.atoms.cell.array, abs=1e-5)


def test_the_cell_is_deformed_without_rotation():
    atoms = distorted_copper()
    relaxed = relax(atoms, fmax=1e-3, cell=True).atoms
    rotation, _ = polar(np.linalg.solve(atoms.cell.array, relaxed.cell.array).T)
    assert rotation == pytest.approx(np.eye(3), abs=1e-9)


def test_a_reference_of_another_lattice_is_refused():
    with pytest.raises(StructureError, match=r"`crystal` expected one of which.*2 atoms"):
        relax(distorted_copper(), symmetrize=bulk("Cu", "bcc", a=2.9, cubic=True), cell=True)


def test_a_saddle_is_left_unless_symmetry_is_kept():
    options = {"fmax": 1e-3, "cell": True, "optimizer": "BFGS"}
    left = relax(simple_cubic(rattle=0.01), steps=40, **options)
    with pytest.warns(UserWarning, match=r"space group P1 \(1\), within 0\.01 Å, was made Pm-3m \(221\)"):
        fixed = relax(simple_cubic(rattle=0.01), keep_space_group=True, symprec=0.1, **options)
    assert 0.005 < fixed.refinement.moved < 0.05
    averaged = relax(simple_cubic(), symmetrize="crystal", **options)
    assert fixed.spacegroup_before[1e-2] == "P1 (1)"
    for kept in (fixed, averaged):
        assert kept.converged
        assert set(kept.spacegroup_after.values()) == {"Pm-3m (221)"}
        assert left.energy < kept.energy - 1.0
    assert fixed.energy == pytest.approx(averaged.energy, abs=1e-4)
    assert left.spacegroup_after[1e-2] != "Pm-3m (221)"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_atom_keeps_its_symmetry_under_large_strain(optimizer):
    """FixSymmetry allows the cell small steps only."""
    atoms = bulk("Cu", a=4.2)
    atoms.calc = EMT()
    result = relax(atoms, fmax=1e-3, cell=True, keep_space_group=True, optimizer=optimizer)
    assert result.converged
    assert set(result.spacegroup_after.values()) == {"Fm-3m (225)"}
    assert result.atoms.constraints == []


def test_fixed_symmetry_wants_a_crystal_without_constraints():
    nitrogen = molecule("N2")
    nitrogen.calc = EMT()
    with pytest.raises(StructureError, match=r"keep_space_group=True.*needs a crystal"):
        relax(nitrogen, keep_space_group=True)
    atoms = distorted_copper()
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(StructureError, match=r"without constraints, got FixAtoms"):
        relax(atoms, keep_space_group=True)


def test_constraints_of_the_user_are_kept():
    atoms = distorted_copper()
    atoms.set_constraint(FixAtoms([0]))
    result = relax(atoms, fmax=1e-3)
    assert result.atoms.positions[0] == pytest.approx(atoms.positions[0], abs=1e-12)
    assert len(result.atoms.constraints) == 1


def test_the_distance_to_the_reference_is_reported():
    atoms = distorted_copper()
    result = relax(atoms, fmax=1e-4, cell=True, reference=bulk("Cu", cubic=True))
    assert result.rmsd_to_reference < 1e-3
    assert result.rmsd > 0.05
    assert relax(atoms, steps=0).rmsd_to_reference is None
    assert space_group(result.atoms, 1e-2) == "Fm-3m (225)"
