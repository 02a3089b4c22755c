"""The equation of state against finite differences and against a curve that is known."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.eos import birchmurnaghan

from ase_mlip.eos import equation_of_state
from ase_mlip.errors import StructureError


def copper(a: float = 3.59):
    atoms = bulk("Cu", cubic=True, a=a)
    atoms.calc = EMT()
    return atoms


def test_bulk_modulus_is_minus_v_dp_dv_of_the_stress():
    """The oracle differentiates pressures at the minimum; the fit sees energies only."""
    result = equation_of_state(copper(), strain=0.03)

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
    fixed = equation_of_state(atoms, points=5)
    free = equation_of_state(atoms, points=5, fmax=1e-3)
    assert np.all(free.energies < fixed.energies - 1e-5)


def test_input_is_kept_and_progress_is_reported():
    atoms = copper()
    seen = []
    equation_of_state(atoms, points=5, progress=lambda *row: seen.append(row))
    assert seen == [(i, 5) for i in range(1, 6)]
    assert atoms.cell.lengths() == pytest.approx(3.59)


def test_bad_input_is_named():
    with pytest.raises(StructureError, match=r"minimum inside.*relax the cell first"):
        equation_of_state(copper(3.9))
    with pytest.raises(ValueError, match="`points` must be at least 5"):
        equation_of_state(copper(), points=4)
    water = molecule("H2O")
    water.calc = EMT()
    with pytest.raises(StructureError, match="needs a crystal"):
        equation_of_state(water)
