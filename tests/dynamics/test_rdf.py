"""Distributions of distances against shells of crystals, the ideal gas, and ASE's own.

It also tests `graph.pairs`.
"""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.geometry.rdf import get_rdf

from ase_mlip.dynamics.rdf import rdf, rdf_error
from ase_mlip.errors import MLIPError, StructureError
from ase_mlip.graph.pairs import find_pairs


def neighbours(found, atoms, name, start, stop, species=None):
    """Atoms in a spherical shell, from g(r)."""
    count = len(atoms) if species is None else sum(atoms.symbols == species)
    inside = (found.r > start) & (found.r < stop)
    shells = 4.0 / 3.0 * np.pi * ((found.r + found.width / 2) ** 3 - (found.r - found.width / 2) ** 3)
    return (found.g[name] * shells)[inside].sum() * count / atoms.get_volume()


@pytest.mark.parametrize("cubic", [False, True])
def test_shells_of_fcc_from_cells_smaller_than_the_range(cubic):
    atoms = bulk("Cu", a=3.6, cubic=cubic)
    found = rdf([atoms], rmax=6.0)
    # at a/√2, a, a√(3/2), a√2
    for distance, number in ((2.5456, 12), (3.6, 6), (4.409, 24), (5.091, 12)):
        assert neighbours(found, atoms, "all", distance - 0.1, distance + 0.1) == pytest.approx(number)


def test_species_are_told_apart():
    atoms = bulk("NaCl", crystalstructure="rocksalt", a=5.6)
    found = rdf([atoms, atoms], rmax=5.0)
    assert set(found.g) == {"all", "Cl-Cl", "Cl-Na", "Na-Na"}
    assert neighbours(found, atoms, "Cl-Na", 2.7, 2.9, "Na") == pytest.approx(6)
    assert neighbours(found, atoms, "Na-Na", 3.8, 4.1, "Na") == pytest.approx(12)
    assert found.frames == 2


def test_an_ideal_gas_is_flat():
    rng = np.random.default_rng(0)
    gas = [Atoms("Ar500", positions=rng.uniform(0, 12, (500, 3)), cell=[12] * 3, pbc=True) for _ in range(20)]
    found = rdf(gas, rmax=8.0, width=0.25)
    outer = found.r > 2.0
    assert found.g["all"][outer] == pytest.approx(np.ones(outer.sum()), abs=0.02)
    assert found.g["all"][outer].mean() == pytest.approx(1.0, abs=0.004)


def test_it_is_that_of_ase():
    atoms = bulk("Cu", cubic=True).repeat(4)
    atoms.rattle(0.1, seed=1)
    found = rdf([atoms], rmax=6.0, width=0.1)
    expected, r = get_rdf(atoms, rmax=6.0, nbins=60)
    assert found.r == pytest.approx(r)
    assert found.g["all"] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_distances_of_a_molecule():
    water = molecule("H2O")
    found = rdf([water], rmax=3.0)
    assert not found.periodic
    for name in ("all", "H-O", "H-H"):
        assert found.g[name].sum() * found.width == pytest.approx(1.0)
    assert found.r[found.g["H-H"].argmax()] == pytest.approx(1.527, abs=0.05)
    assert "O-O" not in found.g


def test_the_error_is_the_area_between():
    near, far = (Atoms("H2", positions=[[0, 0, 0], [0, 0, d]]) for d in (0.7, 1.4))
    assert rdf_error(rdf([near]), rdf([near]))["all"] == 0.0
    assert rdf_error(rdf([near]), rdf([far]))["all"] == pytest.approx(2.0)
    assert rdf_error(rdf([near, near, near, far]), rdf([near]))["all"] == pytest.approx(0.5)


def test_what_cannot_be_compared_is_refused():
    copper, water = bulk("Cu"), molecule("H2O")
    with pytest.raises(StructureError, match="at least one frame"):
        rdf([])
    with pytest.raises(StructureError, match="both kinds"):
        rdf([copper, water])
    with pytest.raises(StructureError, match="`reference`"):
        rdf_error(rdf([copper]), rdf([water]))
    with pytest.raises(StructureError, match="same `rmax`"):
        rdf_error(rdf([copper]), rdf([copper], rmax=5.0))
    with pytest.raises(StructureError, match="same substance"):
        rdf_error(rdf([copper]), rdf([bulk("NaCl", "rocksalt", a=5.6)]))
    with pytest.raises(StructureError, match="expected frames of Cu, got Al; use a reference of the same"):
        rdf_error(rdf([copper]), rdf([bulk("Al", a=3.61)]))
    with pytest.raises(MLIPError, match="0 < width <= rmax"):
        rdf([copper], width=0.0)


@pytest.mark.parametrize("pbc", [True, False, (True, True, False)])
def test_pairs_are_those_of_all_images(pbc):
    rng = np.random.default_rng(3)
    cell = np.array([[3.1, 0, 0], [0.7, 3.4, 0], [-0.4, 0.5, 2.9]])
    positions = rng.uniform(-4, 6, (5, 3))  # some outside the cell
    i, j, shifts, distances = find_pairs(positions, cell, np.broadcast_to(pbc, 3), 4.0)
    images = [range(-6, 7) if periodic else [0] for periodic in np.broadcast_to(pbc, 3)]
    expected = {}
    for shift in np.array(np.meshgrid(*images)).reshape(3, -1).T:
        vectors = positions[None] - positions[:, None] + shift @ cell
        lengths = np.linalg.norm(vectors, axis=2)
        for a, b in zip(*np.nonzero((lengths < 4.0) & (lengths > 0)), strict=True):
            expected[(a, b, *shift)] = lengths[a, b]
    found = dict(zip(map(tuple, np.column_stack([i, j, shifts]).tolist()), distances, strict=True))
    assert found.keys() == {tuple(map(int, key)) for key in expected}
    assert all(found[tuple(map(int, key))] == pytest.approx(value) for key, value in expected.items())
