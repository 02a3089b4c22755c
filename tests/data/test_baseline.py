"""Energies per atom that a training takes off."""

import pytest
from ase.build import molecule

from ase_mlip.data.baseline import atomic_baseline, composition_baseline
from ase_mlip.data.references import Sample
from ase_mlip.errors import DataError


def test_baseline_recovers_known_atomic_energies():
    known = {1: -13.6, 6: -1030.0, 8: -2040.5}
    samples = []
    for name in ("CH4", "H2O", "CO2", "CH3CH2OH", "H2"):
        atoms = molecule(name)
        samples.append(Sample(atoms=atoms, energy=sum(known[z] for z in atoms.numbers)))
    samples.append(Sample(atoms=molecule("H2O2")))  # without an energy: no part of the fit
    baseline = composition_baseline(samples)
    assert list(baseline) == [1, 6, 8]
    assert baseline == pytest.approx(known, abs=1e-9)


def test_baseline_of_a_constant_composition_is_the_one_of_least_norm():
    """n_H = 2, n_O = 1 with energy E: minimise h² + o² under 2h + o = E, so h = 2E/5, o = E/5."""
    samples = [Sample(atoms=molecule("H2O"), energy=-10.0), Sample(atoms=molecule("H2O"), energy=-12.0)]
    assert composition_baseline(samples) == pytest.approx({1: -4.4, 8: -2.2}, abs=1e-12)


def test_baseline_needs_energies():
    with pytest.raises(DataError, match="energy"):
        composition_baseline([Sample(atoms=molecule("H2O"))])


def test_given_energies_are_taken_for_the_elements_that_occur():
    samples = [Sample(atoms=molecule("H2O"), energy=-10.0)]
    assert atomic_baseline(samples, {"O": -2.0, "H": -1.5, "C": -9.0}) == {1: -1.5, 8: -2.0}
    assert atomic_baseline(samples, {}) == composition_baseline(samples)


def test_given_energies_lack_an_element():
    with pytest.raises(DataError, match="none for O; add it"):
        atomic_baseline([Sample(atoms=molecule("H2O"), energy=-10.0)], {"H": -1.5})


def test_without_energies_there_is_no_constant_to_take_off():
    assert atomic_baseline([Sample(atoms=molecule("H2O"))], {}) == {1: 0.0, 8: 0.0}
    assert atomic_baseline([Sample(atoms=molecule("H2O"))], {"H": -1.0, "O": -2.0}) == {1: -1.0, 8: -2.0}
