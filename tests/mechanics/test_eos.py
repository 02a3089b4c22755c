"""The equation of state against finite differences and against a curve that is known."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.eos import birchmurnaghan
from ase.spacegroup import crystal

from ase_mlip import MLIPCalculator
from ase_mlip.errors import ResidualWarning, StructureError
from ase_mlip.mechanics.elasticity import elastic_constants
from ase_mlip.mechanics.eos import equation_of_state
from ase_mlip.relaxation.relax import relax


def copper(a: float = 3.59):
    atoms = bulk("Cu", cubic=True, a=a)
    atoms.calc = EMT()
    return atoms


def test_bulk_modulus_is_minus_v_dp_dv_of_the_stress():
    """The oracle differentiates pressures at the minimum; the fit sees energies only."""
    result = equation_of_state(copper(), volume_change=0.03)

    def pressure(volume: float) -> float:
        atoms = copper(np.cbrt(volume))
        return -atoms.get_stress()[:3].mean()

    step = 1e-3 * result.volume
    modulus = -result.volume * (pressure(result.volume + step) - pressure(result.volume - step)) / (2 * step)
    assert result.bulk_modulus == pytest.approx(modulus / units.GPa, rel=5e-3)
    assert pressure(result.volume) / units.GPa == pytest.approx(0.0, abs=0.02)
    assert result.fit_error < 1e-5


class KnownCurve(Calculator):
    """An energy that is a Birch-Murnaghan curve of the volume."""

    implemented_properties = ("energy", "forces")
    parameters_of_curve = (-43.0, 90.0 * units.GPa, 4.3, 160.0)

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy = birchmurnaghan(self.atoms.get_volume(), *self.parameters_of_curve)
        self.results = {"energy": float(energy), "forces": np.zeros((len(self.atoms), 3))}


def test_a_known_curve_is_recovered():
    atoms = bulk("Si", cubic=True, a=5.40)
    atoms.calc = KnownCurve()
    result = equation_of_state(atoms)
    energy, _, derivative, volume = KnownCurve.parameters_of_curve
    assert result.volume == pytest.approx(volume, rel=1e-6)
    assert result.bulk_modulus == pytest.approx(90.0, rel=1e-5)
    assert result.bulk_modulus_derivative == pytest.approx(derivative, rel=1e-3)
    assert result.energy == pytest.approx(energy, abs=1e-8)
    assert result.curve(result.volumes) == pytest.approx(result.energies, abs=1e-7)


def test_primitive_and_conventional_cell_agree():
    primitive = bulk("Cu", a=3.59)
    primitive.calc = EMT()
    one, four = equation_of_state(primitive), equation_of_state(copper())
    assert 4 * one.volume == pytest.approx(four.volume, rel=1e-6)
    assert one.bulk_modulus == pytest.approx(four.bulk_modulus, rel=1e-4)


def test_free_atoms_soften_the_crystal():
    """Relaxing the positions at each volume can only lower each energy."""
    atoms = bulk("Cu", cubic=True, a=3.59) * (2, 1, 1)
    atoms.numbers[0] = 79
    atoms.set_cell(atoms.cell.array * 1.012, scale_atoms=True)
    atoms.calc = EMT()
    options = {"volumes": 5, "keep_shape": True, "relax_first": False}
    with pytest.warns(ResidualWarning, match="forces up to 0.545 eV/Å"):
        fixed = equation_of_state(atoms, **options)
    free = equation_of_state(atoms, relax_atoms=1e-3, **options)
    assert np.all(free.energies < fixed.energies - 1e-5)


@pytest.fixture(scope="module")
def tin(sw_path):
    """β-tin silicon, tetragonal, at the minimum of Stillinger and Weber's potential."""
    atoms = crystal(
        "Si", [(0, 0, 0)], spacegroup=141, cellpar=[4.9, 4.9, 2.7, 90, 90, 90], primitive_cell=True
    )
    atoms.calc = MLIPCalculator(sw_path, device="cpu", dtype="float64")
    relaxed = relax(atoms, cell=True, keep_space_group=True, fmax=1e-5, optimizer="BFGS", check_noise=False)
    assert relaxed.converged and relaxed.spacegroup_after[1e-2] == "I4_1/amd (141)"
    relaxed.atoms.calc = atoms.calc
    return relaxed.atoms


def test_the_modulus_of_a_crystal_that_is_not_cubic_is_that_of_the_elastic_constants(tin):
    """Its response to pressure is Reuss's, that to a uniform strain Voigt's."""
    moduli = elastic_constants(tin, strained_fmax=1e-5).moduli
    assert moduli.bulk_voigt > 1.15 * moduli.bulk_reuss
    relaxed = equation_of_state(tin, volume_change=0.01)
    assert relaxed.shape == "relaxed" and relaxed.converged
    assert relaxed.bulk_modulus == pytest.approx(moduli.bulk_reuss, rel=2e-3)
    kept = equation_of_state(tin, volume_change=0.01, keep_shape=True)
    assert kept.shape == "kept"
    assert kept.bulk_modulus == pytest.approx(moduli.bulk_voigt, rel=2e-3)
    assert (relaxed.energies[[0, -1]] < kept.energies[[0, -1]] - 1e-5).all()
    assert relaxed.volumes == pytest.approx(kept.volumes, rel=1e-9)


def test_a_cubic_crystal_has_its_shape_from_symmetry():
    primitive = bulk("Cu", a=3.59)
    primitive.calc = EMT()
    assert equation_of_state(primitive).shape == "fixed by symmetry"


def test_a_shape_needs_stresses_to_be_relaxed():
    atoms = bulk("Mg")
    atoms.calc = KnownCurve()
    with pytest.raises(StructureError, match=r"needs stresses, got .*KnownCurve.*`keep_shape=True`"):
        equation_of_state(atoms)


@pytest.mark.parametrize(("strain", "trusted"), [(0.06, True), (0.2, True), (0.5, False), (0.85, False)])
def test_a_fit_is_trusted_where_its_minimum_is_that_of_the_energies(strain, trusted):
    """Too wide a range moves volume and modulus, with a derivative that solids may have."""
    said = nullcontext() if trusted else pytest.warns(UserWarning, match="deviate from Birch's curve")
    with said:
        result = equation_of_state(copper(), volume_change=strain)
    right = equation_of_state(copper(), volume_change=0.02)
    assert 2.0 < result.bulk_modulus_derivative < 8.0
    assert (result.bulk_modulus == pytest.approx(right.bulk_modulus, rel=0.02)) or not trusted
    assert result.plausible == trusted
    assert [("deviate from Birch's curve" in doubt) for doubt in result.doubts()] == [True] * (not trusted)


def test_a_minimum_away_from_the_lowest_energy_is_doubted():
    result = equation_of_state(copper())
    assert result.plausible
    moved = replace(result, volume=1.05 * result.volume, fit_error=0.0)
    (doubt,) = moved.doubts()
    assert "is not beside the lowest energy" in doubt


def test_input_is_kept_and_progress_is_reported():
    atoms = copper()
    seen = []
    equation_of_state(atoms, volumes=5, progress=lambda *row: seen.append(row))
    assert seen == [(i, 5, "") for i in range(1, 6)]
    assert atoms.cell.lengths() == pytest.approx(3.59)


def test_bad_input_is_named():
    with pytest.raises(StructureError, match=r"minimum inside.*relax the cell first"):
        equation_of_state(copper(3.9), relax_first=False)
    with pytest.raises(ValueError, match="`volumes`: expected a whole number of at least 5, got 4"):
        equation_of_state(copper(), volumes=4)
    for strain in (0.0, -0.06, 1.0, 6.0, np.nan):
        with pytest.raises(ValueError, match=f"`volume_change`: .* between 0 and 1, got {strain}"):
            equation_of_state(copper(), volume_change=strain)
    water = molecule("H2O")
    water.calc = EMT()
    with pytest.raises(StructureError, match="needs a crystal"):
        equation_of_state(water)
