"""Displacements between structures against ones that were put in."""

import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from ase_mlip.errors import StructureError
from ase_mlip.relaxation.matching import (
    MissingMatcher,
    displacement_rms,
    matched_rms,
    require_same_substance,
    rmsd_to_reference,
)


def displaced(first: Atoms, rms: float = 0.05, seed: int = 0) -> Atoms:
    """A copy with displacements of a known root mean square and no mean."""
    moves = np.random.default_rng(seed).normal(size=(len(first), 3))
    moves -= moves.mean(axis=0)
    second = first.copy()
    second.positions += moves * rms / np.sqrt((moves**2).sum(axis=1).mean())
    return second


def test_displacement_ignores_strain_and_drift():
    first = bulk("Cu", cubic=True)
    second = first.copy()
    second.set_cell(second.cell.array * 1.05, scale_atoms=True)
    second.positions += 0.7
    assert displacement_rms(first, second) == pytest.approx(0.0, abs=1e-12)
    third = first.copy()
    third.positions[0, 0] += 0.4  # less its mean of 0.1: 0.3 once and -0.1 three times
    assert displacement_rms(first, third) == pytest.approx(np.sqrt((0.3**2 + 3 * 0.1**2) / 4))


def test_the_reference_may_have_atoms_in_other_cells():
    first = bulk("Cu", cubic=True) * (2, 1, 1)
    second = displaced(first)
    second.positions[:3] += first.cell.array[0] - 2 * first.cell.array[2]
    second.positions += [0.3, 1.2, -0.8]
    assert rmsd_to_reference(second, first) == pytest.approx(0.05, rel=1e-6)
    assert displacement_rms(first, second, nearest=True) == pytest.approx(0.05, rel=1e-6)


def test_a_molecule_is_compared_in_its_order():
    first = molecule("CH3OH")
    assert rmsd_to_reference(displaced(first), first) == pytest.approx(0.05)
    assert rmsd_to_reference(molecule("H2O"), first) is None


def test_without_pymatgen_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymatgen.analysis.structure_matcher", None)
    with pytest.raises(MissingMatcher, match=r"pip install 'pymatgen>="):
        matched_rms(bulk("Cu"), bulk("Cu", cubic=True))
    with pytest.warns(UserWarning, match=r"no distance to the reference: .*'pymatgen>="):
        assert rmsd_to_reference(bulk("Cu"), bulk("Cu", cubic=True)) is None


def test_other_atoms_are_another_substance():
    require_same_substance(bulk("NaCl", "rocksalt", a=5.6), bulk("NaCl", "cesiumchloride", a=3.4) * (2, 1, 1))
    require_same_substance(molecule("C6H6")[::-1], molecule("C6H6"))
    for atoms, reference in (
        (bulk("Si"), bulk("Ge")),
        (bulk("NaCl", "rocksalt", a=5.6), bulk("Na")),
        (molecule("C6H6"), molecule("C2H2")),
        (Atoms("H4", [[i, 0, 0] for i in range(4)]), molecule("H2")),
    ):
        with pytest.raises(StructureError, match=r"`reference` expected the atoms of the structure, .* got"):
            require_same_substance(atoms, reference)


def test_molecules_are_not_matched():
    with pytest.raises(StructureError, match="two crystals"):
        matched_rms(molecule("H2O"), molecule("H2O"))


def test_crystals_are_matched_in_any_order_and_cell():
    pytest.importorskip("pymatgen", reason="pymatgen is not installed")
    first = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    second = displaced(first)
    second.set_cell(second.cell.array * 1.02, scale_atoms=True)
    order = np.random.default_rng(1).permutation(len(first))
    expected = 0.05 * np.sqrt(1.02)  # in the mean of both cells
    assert matched_rms(second[order], first) == pytest.approx(expected, rel=1e-3)
    assert rmsd_to_reference(second, bulk("NaCl", "rocksalt", a=5.6)) == pytest.approx(expected, rel=1e-3)
    assert matched_rms(bulk("NaCl", "cesiumchloride", a=3.4), first) is None
