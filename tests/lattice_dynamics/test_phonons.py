"""Phonons against ASE's own, against an analytic lattice, and against thermodynamic limits.

It also tests `bands`, `results`, `thermal`.
"""

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list
from ase.phonons import Phonons
from scipy.integrate import trapezoid

from ase_mlip.lattice_dynamics.phonons import phonons

THZ_PER_EV = units._e / units._hplanck / 1e12
POINTS = {"Γ": (0.0, 0.0, 0.0), "X": (0.5, 0.0, 0.5), "L": (0.5, 0.5, 0.5)}


def test_frequencies_equal_those_of_ase(copper, copper_phonons, tmp_path):
    reference = Phonons(copper, EMT(), supercell=(4, 4, 4), delta=0.01, name=str(tmp_path / "phonon"))
    reference.run()
    reference.read(acoustic=True)
    energies = reference.band_structure(np.array(list(POINTS.values())), verbose=False)
    for name, energy in zip(POINTS, energies, strict=True):
        expected = np.sort(energy.real) * THZ_PER_EV
        assert copper_phonons.special_frequencies[name] == pytest.approx(expected, abs=0.01)


def test_conventional_and_primitive_cell_agree(copper_phonons):
    atoms = bulk("Cu", a=3.58982, cubic=True)
    atoms.calc = EMT()
    result = phonons(atoms, supercell_matrix=(2, 2, 2), mesh=(4, 4, 4))
    assert len(result.primitive) == 1
    assert result.n_displacements == 1
    # X is commensurate with both supercells; EMT reaches a little farther than half of the smaller one
    assert result.special_frequencies["X"] == pytest.approx(copper_phonons.special_frequencies["X"], abs=0.02)


class Springs(Calculator):
    """Nearest neighbours on springs: E = k/4 Σ (r - r0)^2, each bond counted from both ends."""

    implemented_properties = ("energy", "forces")

    def __init__(self, k: float, r0: float):
        super().__init__()
        self.k, self.r0 = k, r0

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        i, d, r = neighbor_list("iDd", self.atoms, 1.2 * self.r0)
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, i, self.k * (r - self.r0)[:, None] * d / r[:, None])
        self.results = {"energy": float(0.25 * self.k * ((r - self.r0) ** 2).sum()), "forces": forces}


def test_springs_give_the_textbook_dispersion():
    """fcc with central springs (Born and Huang; any solid-state text): at X, m ω² = 8k twice 4k."""
    k, a = 1.7, 4.0
    atoms = bulk("Ar", a=a)
    atoms.calc = Springs(k, a / np.sqrt(2))
    result = phonons(atoms, supercell_matrix=(4, 4, 4), mesh=(4, 4, 4), distance=1e-3)
    unit = np.sqrt(k / atoms.get_masses()[0]) / (2 * np.pi) * (1e15 * units.fs) / 1e12
    assert result.special_frequencies["X"] == pytest.approx(unit * np.sqrt([4, 4, 8]), rel=1e-5)
    assert result.special_frequencies["L"] == pytest.approx(unit * np.sqrt([2, 2, 8]), rel=1e-5)


def test_acoustic_modes_vanish_at_gamma(copper_phonons):
    assert np.abs(copper_phonons.gamma_frequencies).max() < 1e-3
    assert np.abs(copper_phonons.gamma_frequencies_raw).max() < 1e-2
    assert copper_phonons.sum_rule_error < 1e-6
    assert copper_phonons.residual_force < 1e-10
    assert copper_phonons.stable


def test_the_density_of_states_counts_all_modes(copper_phonons):
    assert trapezoid(copper_phonons.dos, copper_phonons.dos_frequencies) == pytest.approx(3.0, rel=0.01)


def test_heat_capacity_has_its_limits(copper_phonons):
    """Dulong and Petit's 3R from below at high temperature, nothing at zero."""
    thermal = copper_phonons.thermal
    gas_constant = units._k * units._Nav
    assert thermal.heat_capacity[0] < 1e-100
    assert 0.98 * 3 * gas_constant < thermal.heat_capacity[-1] < 3 * gas_constant
    # zero-point energy is half a quantum per mode
    zero_point = 0.5 * (copper_phonons.mesh_weights @ copper_phonons.mesh_frequencies).sum()
    zero_point *= 1e12 * units._hplanck * units._Nav / 1000.0 / copper_phonons.mesh_weights.sum()
    assert thermal.free_energy[0] == pytest.approx(zero_point, rel=1e-4)


def test_thermodynamics_equal_those_of_phonopy(copper_phonons):
    copper_phonons.phonopy.run_thermal_properties(t_min=0, t_max=1000, t_step=10, cutoff_frequency=0.05)
    reference = copper_phonons.phonopy.thermal_properties
    ours = copper_phonons.thermal
    assert ours.temperatures == pytest.approx(reference.temperatures)
    assert ours.free_energy == pytest.approx(reference.free_energy, rel=1e-5, abs=2e-5)
    assert ours.entropy == pytest.approx(reference.entropy, rel=1e-5, abs=1e-8)
    assert ours.heat_capacity == pytest.approx(reference.heat_capacity, rel=1e-5, abs=1e-8)


def test_the_path_is_continuous_and_labelled(copper):
    result = phonons(copper, supercell_matrix=(2, 2, 2), mesh=(2, 2, 2), path="GXU,KGL", points=60)
    assert [name for _, name in result.bands.labels] == ["Γ", "X", "U|K", "Γ", "L"]
    assert np.all(np.diff(result.bands.distances) >= 0.0)
    for start, stop in result.bands.segments:
        assert np.abs(np.diff(result.bands.frequencies[start:stop], axis=0)).max() < 1.5
    gamma_to_x = result.bands.distances[result.bands.segments[0][1] - 1]
    assert gamma_to_x == pytest.approx(1.0 / 3.58982)


def test_without_symmetry_every_atom_moves_and_the_answer_stays(copper):
    few = phonons(copper, supercell_matrix=(2, 2, 2), mesh=(2, 2, 2))
    many = phonons(copper, supercell_matrix=(2, 2, 2), mesh=(2, 2, 2), is_symmetry=False, is_plusminus=True)
    assert (few.n_displacements, many.n_displacements) == (1, 6)
    assert many.special_frequencies["X"] == pytest.approx(few.special_frequencies["X"], abs=5e-3)


def test_an_unstable_lattice_is_reported():
    """bcc copper is no minimum of EMT."""
    atoms = bulk("Cu", "bcc", a=2.87)
    atoms.calc = EMT()
    result = phonons(atoms, supercell_matrix=(3, 3, 3), mesh=(6, 6, 6))
    assert not result.stable
    assert result.lowest_frequency < -0.5
    assert result.thermal is None
    assert result.imaginary[0][1] == result.lowest_frequency
    assert all(frequency < -0.1 for _, frequency in result.imaginary)
    again = result.frequencies_at([result.lowest_q])[0].min()
    assert again == pytest.approx(result.lowest_frequency, abs=1e-6)


class Biased(EMT):
    """EMT with a constant force on the first atom, as a network without symmetry leaves one."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["forces"][0, 0] += 0.02


def test_a_residual_force_is_reported_and_subtracted(copper):
    atoms = copper.copy()
    atoms.calc = Biased()
    biased = phonons(atoms, supercell_matrix=(2, 2, 2), mesh=(2, 2, 2), relax_first=False)
    assert biased.residual_force == pytest.approx(0.02)
    clean = phonons(copper, supercell_matrix=(2, 2, 2), mesh=(2, 2, 2))
    assert biased.special_frequencies["X"] == pytest.approx(clean.special_frequencies["X"], abs=1e-6)


def test_group_velocities_are_slopes_of_the_bands(copper_phonons):
    step = 1e-4
    q = np.array([0.1, 0.17, 0.05])
    reciprocal = copper_phonons.primitive.cell.reciprocal().array
    velocities = copper_phonons.group_velocities([q])[0]
    for axis in range(3):
        moved = q + np.array([-step, step])[:, None] * np.linalg.inv(reciprocal)[axis]
        low, high = copper_phonons.frequencies_at(moved)
        assert velocities[:, axis] == pytest.approx((high - low) / (2 * step), abs=1e-3)


def test_progress_counts_the_supercells(copper):
    seen = []
    phonons(copper, supercell_matrix=(2, 2, 2), mesh=(2, 2, 2), progress=lambda *row: seen.append(row))
    assert seen == [(1, 2, ""), (2, 2, "")]
