"""Elastic constants against the literature, second derivatives of the energy and what symmetry demands.

It also tests `moduli`, `voigt`.
"""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from ase import units
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from scipy.spatial.transform import Rotation
from stillinger_weber import LATTICE_CONSTANT, export

from ase_mlip import MLIPCalculator
from ase_mlip.errors import ArgumentError, ResidualWarning, StructureError
from ase_mlip.mechanics.elasticity import average_over, elastic_constants
from ase_mlip.mechanics.eos import equation_of_state
from ase_mlip.mechanics.moduli import moduli
from ase_mlip.relaxation.relax import relax
from ase_mlip.voigt import PAIRS

# of single crystals of copper, GPa; W. C. Overton and J. Gaffney, Phys. Rev. 98, 969 (1955)
C11, C12, C44 = 168.4, 121.4, 75.4


def copper(**options):
    atoms = bulk("Cu", **{"a": 3.58982, "cubic": True, **options})
    atoms.calc = EMT()
    return atoms


def cubic(c11: float, c12: float, c44: float) -> np.ndarray:
    stiffness = np.diag([c11 - c12] * 3 + [c44] * 3)
    stiffness[:3, :3] += c12
    return stiffness


@pytest.fixture(scope="module")
def silicon(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "sw.pt"
    export(path)
    atoms = bulk("Si", a=LATTICE_CONSTANT)
    atoms.calc = MLIPCalculator(path, device="cpu", dtype="float64")
    return atoms


@pytest.fixture(scope="module")
def relaxed_ions(silicon):
    return elastic_constants(silicon, strain=2e-3, strains=2, strained_fmax=1e-5)


def test_stillinger_weber_silicon_has_the_constants_of_the_literature(relaxed_ions):
    """H. Balamane, T. Halicioglu and W. A. Tiller, Phys. Rev. B 46, 2250 (1992), table V."""
    c = relaxed_ions.stiffness
    assert (c[0, 0], c[0, 1], c[3, 3]) == pytest.approx((151.4, 76.4, 56.4), abs=0.15)
    assert relaxed_ions.space_group == "Fd-3m (227)"
    assert relaxed_ions.converged and relaxed_ions.stable
    assert relaxed_ions.symmetry_deviation < 0.05
    assert np.abs(c - cubic(c[0, 0], c[0, 1], c[3, 3])).max() < 1e-9


@pytest.mark.parametrize("strained", [False, True])
def test_a_crystal_away_from_its_minimum_is_said(strained):
    """Forces and stress as the calculator gives them."""
    atoms = copper(a=3.63) if strained else copper()
    if not strained:
        atoms.positions[0, 0] += 0.4
    force = np.linalg.norm(atoms.get_forces(), axis=1).max()
    stress = np.abs(atoms.get_stress()).max() / units.GPa
    found = f"a stress up to {stress:.3g} GPa" if strained else f"forces up to {force:.3g} eV/Å"
    with pytest.warns(ResidualWarning, match=re.escape(found) + ".*relax it first"):
        elastic_constants(atoms, strains=2, clamped=True, impose_symmetry=False, relax_first=False)
    if not strained:
        with pytest.warns(ResidualWarning, match=re.escape(found)):
            equation_of_state(atoms, volume_change=0.2, keep_shape=True, relax_first=False)


def test_strained_cells_that_do_not_come_to_rest_are_said(silicon):
    with pytest.warns(ResidualWarning, match="strained cell did not come to rest; see `strained_fmax`"):
        result = elastic_constants(silicon, strain=2e-3, strains=2, strained_fmax=1e-5, steps=1)
    assert not result.converged


def test_internal_relaxation_softens_shear_only(silicon, relaxed_ions):
    clamped = elastic_constants(silicon, strain=2e-3, strains=2, clamped=True).stiffness
    assert clamped[3, 3] == pytest.approx(energy_curvature(silicon, 3, 3), abs=0.05)
    assert clamped[3, 3] > 1.9 * relaxed_ions.stiffness[3, 3]
    assert clamped[:3, :3] == pytest.approx(relaxed_ions.stiffness[:3, :3], abs=0.05)


def energy_curvature(atoms, first, second, size=2e-3) -> float:
    """∂²E/∂e_I∂e_J / V in GPa by differences of energies."""

    def energy(a: float, b: float) -> float:
        strain = np.zeros((3, 3))
        for component, e in ((first, a), (second, b)):
            i, j = PAIRS[component]
            strain[i, j] += 0.5 * e
            strain[j, i] += 0.5 * e
        strained = atoms.copy()
        strained.calc = atoms.calc
        # exp(strain): of its second order only what a stress-free crystal does not feel
        strained.set_cell(atoms.cell.array @ (np.eye(3) + strain + 0.5 * strain @ strain), scale_atoms=True)
        return strained.get_potential_energy()

    mixed = energy(size, size) - energy(size, -size) - energy(-size, size) + energy(-size, -size)
    return mixed / (4 * size**2) / atoms.get_volume() / units.GPa


@pytest.mark.parametrize("pair", [(0, 0), (0, 1), (3, 3), (4, 4), (5, 5), (0, 3)])
def test_constants_are_second_derivatives_of_the_energy(pair):
    stiffness = elastic_constants(copper(), strain=2e-3, clamped=True, impose_symmetry=False).stiffness
    assert stiffness[pair] == pytest.approx(energy_curvature(copper(), *pair), abs=0.3)


def test_bulk_modulus_is_that_of_the_equation_of_state():
    found = elastic_constants(copper(), strain=2e-3)
    expected = equation_of_state(copper(), volume_change=0.03).bulk_modulus
    assert (found.stiffness[0, 0] + 2 * found.stiffness[0, 1]) / 3 == pytest.approx(expected, rel=5e-3)
    assert found.moduli.bulk == pytest.approx(found.moduli.bulk_voigt)


def test_hexagonal_crystal_is_isotropic_in_its_plane():
    atoms = bulk("Cu", "hcp", a=2.54, c=4.15)
    atoms.calc = EMT()
    atoms = relax(atoms, fmax=1e-4, optimizer="LBFGS", cell=True).atoms
    atoms.calc = EMT()
    raw = elastic_constants(atoms, strain=2e-3, impose_symmetry=False).stiffness
    assert raw[5, 5] == pytest.approx((raw[0, 0] - raw[0, 1]) / 2, abs=0.1)
    assert raw[3, 3] == pytest.approx(raw[4, 4], abs=0.1)
    averaged = elastic_constants(atoms, strain=2e-3)
    assert averaged.space_group == "P6_3/mmc (194)"
    c = averaged.stiffness
    assert c[5, 5] == pytest.approx((c[0, 0] - c[0, 1]) / 2, abs=1e-9)
    assert averaged.symmetry_deviation < 0.1


def test_a_rotated_crystal_has_the_rotated_tensor():
    rotation = Rotation.from_euler("zyx", [0.3, 0.5, -0.7]).as_matrix()
    atoms = copper(cubic=False)
    rotated = atoms.copy()
    rotated.set_cell(atoms.cell.array @ rotation.T, scale_atoms=True)
    rotated.calc = EMT()
    straight, oblique = (elastic_constants(a, strain=1e-3, clamped=True) for a in (atoms, rotated))
    assert oblique.stiffness == pytest.approx(average_over(straight.stiffness, rotation[None]), abs=0.05)
    assert oblique.moduli.shear_reuss == pytest.approx(straight.moduli.shear_reuss, rel=1e-4)
    assert oblique.symmetry_deviation < 0.05


def test_bcc_copper_is_not_stable():
    atoms = bulk("Cu", "bcc", a=2.86, cubic=True)
    atoms.calc = EMT()
    atoms = relax(atoms, fmax=1e-4, cell="volume").atoms
    atoms.calc = EMT()
    result = elastic_constants(atoms, clamped=True)
    assert not result.stable
    assert result.moduli is None
    c = result.stiffness
    assert result.eigenvalues[0] == pytest.approx(c[0, 0] - c[0, 1])
    assert result.eigenvalues[0] < 0.0


def test_averages_are_those_of_a_cubic_crystal():
    """Hill's formulas for cubic crystals, and the relation of the universal index to Zener's ratio."""
    found = moduli(cubic(C11, C12, C44))
    voigt = (C11 - C12 + 3 * C44) / 5
    reuss = 5 * (C11 - C12) * C44 / (4 * C44 + 3 * (C11 - C12))
    assert (found.shear_voigt, found.shear_reuss) == pytest.approx((voigt, reuss))
    assert (found.bulk_voigt, found.bulk_reuss) == pytest.approx(((C11 + 2 * C12) / 3,) * 2)
    zener = 2 * C44 / (C11 - C12)
    assert found.anisotropy == pytest.approx(1.2 * (np.sqrt(zener) - 1 / np.sqrt(zener)) ** 2)


def test_an_isotropic_solid():
    lame, shear = 60.0, 30.0
    found = moduli(cubic(lame + 2 * shear, lame, shear))
    assert found.young == pytest.approx(shear * (3 * lame + 2 * shear) / (lame + shear))
    assert found.poisson_ratio == pytest.approx(lame / (2 * (lame + shear)))
    assert found.anisotropy == pytest.approx(0.0, abs=1e-12)


def test_young_by_direction_is_that_of_a_cubic_crystal():
    """J. F. Nye, Physical Properties of Crystals: 1/E = S11 - 2 (S11 - S12 - S44/2) (l²m² + m²n² + n²l²)."""
    result = elastic_constants(copper(), clamped=True)
    s = result.compliance
    for direction, sum_of_products in (((1, 0, 0), 0.0), ((1, 1, 0), 0.25), ((2, 2, 2), 1 / 3)):
        inverse = s[0, 0] - 2 * (s[0, 0] - s[0, 1] - s[3, 3] / 2) * sum_of_products
        assert result.young(np.array([direction])) == pytest.approx(1 / inverse)


def test_residual_stress_and_linearity_are_reported():
    with pytest.warns(ResidualWarning, match="a stress up to 3.55 GPa"):
        stressed = elastic_constants(copper(a=3.56), clamped=True, relax_first=False)
    expected = copper(a=3.56).get_stress() / units.GPa
    assert stressed.residual_stress == pytest.approx(expected)
    assert expected[0] < -1.0
    coarse = elastic_constants(copper(), strain=0.02, clamped=True)
    fine = elastic_constants(copper(), strain=0.002, clamped=True)
    assert coarse.fit_error > 10 * fine.fit_error


def test_input_is_kept_and_progress_is_reported():
    atoms = copper()
    seen = []
    result = elastic_constants(atoms, strains=2, clamped=True, progress=lambda *row: seen.append(row))
    assert seen == [(i, 12, "") for i in range(1, 13)]
    assert atoms.cell.array == pytest.approx(copper().cell.array)
    assert result.stresses.shape == (6, 2, 6)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="`strains`: expected an even number, got 3"):
        elastic_constants(copper(), strains=3)
    with pytest.raises(ValueError, match="`strain`: expected a number between 0 and 0.1, got 0.0"):
        elastic_constants(copper(), strain=0.0)
    water = molecule("H2O")
    water.calc = EMT()
    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    slab.calc = EMT()
    for atoms in (water, slab):
        with pytest.raises(StructureError, match="`elastic_constants` needs a crystal"):
            elastic_constants(atoms)
    with pytest.raises(StructureError, match="needs a calculator"):
        elastic_constants(bulk("Cu"))
    doubled = copper(cubic=False) * (2, 1, 1)
    doubled.positions[1] = doubled.positions[0]
    doubled.calc = EMT()
    with pytest.raises(StructureError, match="are two atoms at one place"):
        elastic_constants(doubled)
    atoms = copper()
    atoms.calc.averaging = SimpleNamespace(seed=3, name="random 3")
    with pytest.raises(ArgumentError, match="symmetrize='random 3'"):
        elastic_constants(atoms)
