"""Supercells: as wide as the model reaches, compact whatever the cell, with the crystal's symmetry.

It also tests `cells`.
"""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from phonopy import Phonopy

from ase_mlip import Ensemble, MLIPCalculator, SymmetrizedCalculator
from ase_mlip.crystals import heights
from ase_mlip.errors import ArgumentError
from ase_mlip.lattice_dynamics.phonons import phonons
from ase_mlip.lattice_dynamics.supercells.cells import to_phonopy
from ase_mlip.lattice_dynamics.supercells.supercell import (
    compact_supercell,
    find_supercell,
    reach_of,
    warn_if_small,
    width_of,
)


def reaching(cutoff, layers=1):
    info = SimpleNamespace(name="toy", cutoff=cutoff, interaction_range=cutoff * layers)
    return SimpleNamespace(model=SimpleNamespace(info=info))


def atoms_in(atoms, matrix):
    return round(np.linalg.det(matrix)) * len(atoms)


def test_lithium_gets_faces_twice_the_cutoff_apart():
    """2×2×2 of its primitive cell, which was the default, is 4.9 Å wide: it was called unstable."""
    lithium = bulk("Li", a=3.44)
    assert width_of(lithium, 2 * np.eye(3)) < 4.9
    matrix = find_supercell(lithium, None, None, reaching(5.0))
    assert width_of(lithium, matrix) >= 10.0
    assert atoms_in(lithium, matrix) == 54  # 3×3×3 of the cubic cell, not the primitive one's 125


@pytest.mark.parametrize(
    ("cutoff", "layers", "atoms", "width"),
    [
        (5.0, 1, 64, 10.86),  # twice the cutoff
        (5.0, 2, 512, 21.72),  # twice the interaction range, in 512 atoms
        (5.0, 3, 64, 10.86),  # which here takes more
    ],
)
def test_message_passing_counts_up_to_512_atoms(cutoff, layers, atoms, width):
    for silicon in (bulk("Si", cubic=True, a=5.43), bulk("Si", a=5.43)):
        matrix = find_supercell(silicon, None, None, reaching(cutoff, layers))
        assert atoms_in(silicon, matrix) == atoms
        assert width_of(silicon, matrix) == pytest.approx(width)
    third = find_supercell(silicon, None, None, reaching(cutoff, layers), only_direct=True)
    assert width_of(silicon, third) < 4 * cutoff


def test_what_is_given_is_taken_and_unknown_reach_is_ten_angstrom():
    copper = bulk("Cu", a=3.6)
    given = [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert find_supercell(copper, given, None, reaching(9.0)).tolist() == given
    assert width_of(copper, find_supercell(copper, None, None, EMT())) >= 10.0
    assert width_of(copper, find_supercell(copper, None, 14.0, reaching(2.0))) >= 14.0
    with pytest.raises(ArgumentError, match="got both"):
        find_supercell(copper, given, 14.0)


def crystals():
    skewed = np.array([[1, 0, 0], [3, 1, 0], [-2, 4, 1]])
    aluminium = bulk("Al", a=4.05)
    triclinic = Atoms("Si2", scaled_positions=[[0, 0, 0], [0.4, 0.3, 0.2]], pbc=True,
                      cell=[[3.0, 0.2, 0.1], [9.3, 4.0, 0.3], [0.5, 8.4, 5.0]])  # fmt: skip
    return {
        "fcc": aluminium,
        "fcc, skewed": make_supercell(aluminium, skewed),
        "diamond, rotated": rotated(bulk("Si")),
        "hcp": bulk("Mg"),
        "hcp, skewed": make_supercell(bulk("Mg"), skewed),
        "bcc": bulk("Li"),
        "tetragonal": bulk("In", "bct", a=3.25, c=4.95),
        "rhombohedral": bulk("Bi", "rhombohedral", a=4.75, alpha=57.2),
        "triclinic, skewed": triclinic,
        "surface cell": Atoms("Al4", cell=[4.05, 4.05, 30], pbc=True,
                              scaled_positions=[[0, 0, 0], [0.5, 0.5, 0], [0, 0, 0.4], [0.5, 0.5, 0.4]]),
    }  # fmt: skip


def rotated(atoms):
    atoms.rotate(37, (1, 2, 3), rotate_cell=True)
    return atoms


@pytest.mark.parametrize("name", crystals())
def test_supercells_are_compact_and_keep_the_symmetry(name):
    atoms = crystals()[name]
    matrix = compact_supercell(atoms, 10.0)
    supercell = matrix.T @ atoms.cell.array
    assert heights(supercell).min() >= 10.0 - 1e-9
    assert np.linalg.det(supercell) > 0
    # three faces at least 10 Å apart need 1000 Å³; up to a layer of cells more in each direction
    if name != "surface cell":
        assert abs(np.linalg.det(supercell)) < 4000.0
    # the lattice is phonopy's, and has the point group of the crystal: phonopy warns of it otherwise
    calculation = Phonopy(to_phonopy(atoms), matrix, primitive_matrix=np.eye(3))
    assert calculation.supercell.cell == pytest.approx(supercell)
    whole = len(calculation.primitive_symmetry.pointgroup_operations)
    assert len(np.unique(calculation.symmetry.pointgroup_operations, axis=0)) == whole


def test_the_width_of_a_skewed_matrix_is_that_of_phonopys_supercell():
    atoms = Atoms("Si", cell=[3.0, 4.0, 5.0], pbc=True)
    matrix = np.array([[1, 3, 0], [0, 2, 0], [0, 0, 1]])
    calculation = Phonopy(to_phonopy(atoms), matrix, primitive_matrix=np.eye(3))
    expected = heights(calculation.supercell.cell).min()
    assert width_of(atoms, matrix) == pytest.approx(expected)
    assert width_of(atoms, matrix.T) != pytest.approx(expected)


def test_the_reach_of_committees_and_of_what_is_rotated(pair_model_path, sw_path):
    first, second = (MLIPCalculator(path, device="cpu") for path in (pair_model_path, sw_path))
    of_one = reach_of(first)
    assert reach_of(SymmetrizedCalculator(first, "octahedral")) == of_one
    both = reach_of(Ensemble([first, second]))
    assert both.cutoff == max(of_one.cutoff, reach_of(second).cutoff)
    assert reach_of(Ensemble([first, EMT()])) is None and reach_of(EMT()) is None


def test_phonons_choose_and_name_the_supercell(sw_path):
    atoms = bulk("Si", a=5.431)
    atoms.calc = MLIPCalculator(sw_path, device="cpu", dtype="float64")
    found = phonons(atoms, mesh=(2, 2, 2))
    assert found.supercell_width >= 2 * reach_of(atoms.calc).cutoff
    assert found.to_dict()["supercell_width"] == found.supercell_width
    assert found.supercell_width == pytest.approx(heights(found.phonopy.supercell.cell).min())
    assert found.n_atoms_supercell <= 64


def test_a_supercell_as_wide_as_asked_for_is_not_small():
    """Rounding must not make it so."""
    cell = bulk("Si", cubic=True, a=5.0)
    warn_if_small(cell, 2 * np.eye(3, dtype=int), reaching(5.0))


def test_min_length_makes_a_supercell():
    copper = bulk("Cu", a=3.58982, cubic=True)
    copper.calc = EMT()
    result = phonons(copper, min_length=7.0, mesh=(2, 2, 2), relax_first=False)
    assert result.supercell_matrix.tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    assert heights(result.phonopy.supercell.cell) == pytest.approx(2 * 3.58982)
    with pytest.raises(ArgumentError, match="got both"):
        phonons(copper, supercell_matrix=(2, 2, 2), min_length=7.0)


def test_a_supercell_is_small_by_the_interaction_range():
    """An atom between a displaced atom and its image feels both where each is within its range."""
    atoms = bulk("Si", cubic=True, a=5.0)
    for layers, size, message in (
        (1, 1, r"5\.00 Å apart, less than twice the cutoff of `toy` \(8 Å\): displaced"),
        (2, 1, r"less than twice the cutoff of `toy` \(8 Å\): displaced atoms feel their own images;"),
        (
            2,
            3,
            r"interaction range of `toy` \(16 Å\): .* their own images through message passing;",
        ),
        (1, 2, None),
        (2, 4, None),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_if_small(atoms, size * np.eye(3, dtype=int), reaching(4.0, layers))
        assert [bool(re.search(message, str(w.message))) for w in caught] == ([True] if message else [])
