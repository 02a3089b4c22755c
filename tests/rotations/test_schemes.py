"""Groups and sets of rotations against oracles: scipy's harmonics, spglib's point groups.

It also tests `averaging`.
"""

import numpy as np
import pytest
from ase.build import bulk, molecule
from random_pet import rotated, silicon
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from ase_mlip.errors import MLIPError, StructureError
from ase_mlip.rotations.averaging import random_rotation
from ase_mlip.rotations.schemes import find_averaging

COUNTS = {"octahedral": 24, "icosahedral": 60, "octahedral+inversion": 48, "lebedev 3": 24, "lebedev 5": 84}


@pytest.mark.parametrize("scheme", COUNTS)
def test_numbers_of_rotations(scheme):
    chosen = find_averaging(scheme)
    assert chosen.evaluations == COUNTS[scheme]
    assert chosen.weights.sum() == pytest.approx(1.0, abs=1e-14)
    products = chosen.rotations @ chosen.rotations.transpose(0, 2, 1)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(3), products.shape), atol=1e-14)


@pytest.mark.parametrize("scheme", ["octahedral", "icosahedral", "icosahedral+inversion"])
def test_groups_are_closed(scheme):
    matrices = find_averaging(scheme).rotations
    products = (matrices[:, None] @ matrices[None]).reshape(-1, 9)
    distances = np.abs(products[:, None] - matrices.reshape(1, -1, 9)).max(axis=2)
    assert distances.min(axis=1).max() < 1e-12


@pytest.mark.parametrize(
    ("scheme", "degree"), [("octahedral", 3), ("icosahedral", 5), ("lebedev 5", 5), ("lebedev 9", 9)]
)
def test_which_harmonics_are_averaged_away(scheme, degree):
    """Oracle: scipy's spherical harmonics in a general direction; one degree more is not averaged away."""
    chosen = find_averaging(scheme)
    direction = np.array([0.36, 0.48, 0.8])
    axes = chosen.rotations @ direction
    polar, azimuth = np.arccos(axes[:, 2]), np.arctan2(axes[:, 1], axes[:, 0])

    def left(l):
        return max(abs(np.sum(chosen.weights * sph_harm_y(l, m, polar, azimuth))) for m in range(l + 1))

    assert max(left(l) for l in range(1, degree + 1)) < 1e-12
    assert left(degree + 1) > 1e-3


@pytest.mark.parametrize(("name", "order"), [("diamond", 48), ("hexagonal", 24), ("rattled", 1)])
def test_point_groups_of_crystals(name, order):
    atoms = {"diamond": bulk("Si", cubic=True), "hexagonal": bulk("Mg"), "rattled": silicon()}[name]
    rotation = Rotation.from_euler("xyz", [0.3, 0.5, 0.7]).as_matrix()
    for structure in (atoms, rotated(atoms, rotation)):
        chosen = find_averaging(structure)
        assert chosen.evaluations == order
        chosen.check_lattice(structure)
        chosen.check_lattice(structure.repeat((2, 2, 2)))
        for matrix in chosen.rotations:  # every operation maps the crystal onto itself, up to a translation
            environment = structure.get_all_distances(mic=True, vector=True)
            vectors = rotated(structure, matrix).get_all_distances(mic=True, vector=True)
            assert sorted(np.linalg.norm(environment, axis=2).ravel().round(6)) == sorted(
                np.linalg.norm(vectors, axis=2).ravel().round(6)
            )


def test_random_rotations_are_uniform_and_reproducible():
    matrices = np.array([random_rotation(7, k) for k in range(4000)])
    np.testing.assert_allclose(matrices.mean(axis=0), 0.0, atol=0.05)
    np.testing.assert_allclose((matrices**2).mean(axis=0), 1 / 3, atol=0.03)
    assert np.array_equal(random_rotation(7, 12), matrices[12])
    assert not np.allclose(random_rotation(8, 12), matrices[12])


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ("cubic", "unknown scheme 'cubic'; expected none, octahedral"),
        ("octohedral", "unknown scheme 'octohedral'; .*; octahedral is one"),
        ("lebedev", "unknown scheme 'lebedev'"),
        ("crystal", r"give the undisplaced crystal \(`ase.Atoms`\)"),
        ("lebedev 4", "no Lebedev rule of degree 4; expected an odd number"),
        ("random -1", "unknown scheme 'random -1'"),
        ("auto", "is for calculators of model files"),
    ],
)
def test_unknown_schemes(scheme, message):
    with pytest.raises(MLIPError, match=message):
        find_averaging(scheme)


def test_a_molecule_has_no_crystal_group():
    with pytest.raises(StructureError, match="periodic in three directions"):
        find_averaging(molecule("H2O"))
