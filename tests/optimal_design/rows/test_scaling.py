"""Weights of rows: σ scales them, energies and forces of a pool count equally."""

import numpy as np
import pytest

from ase_mlip.errors import MLIPError
from ase_mlip.optimal_design.rows.scaling import Scaling, balanced
from ase_mlip.optimal_design.rows.structure_rows import Rows


def rows(seed: int, units: np.ndarray, atoms=5) -> Rows:
    """The last column is a constant, which forces do not see."""
    rng = np.random.default_rng(seed)
    p = len(units)
    energy, forces = rng.normal(size=(1, p)) * units, 30.0 * rng.normal(size=(3 * atoms, p)) * units
    forces[:, -1] = 0.0
    stress = np.zeros((6, p))
    return Rows(energy, forces, stress, energy[:0], atoms)


UNITS = np.array([1.0, 1e-3, 50.0, 1.0])


def shares(pool: list[Rows], scaling: Scaling) -> float:
    """The forces' part of every column's squares, in the mean over the columns that both see."""
    blocks = [(scaling.of(one, ["energy"]), scaling.of(one, ["forces"])) for one in pool]
    energy, forces = (sum(np.square(block[k]).sum(axis=0) for block in blocks)[:-1] for k in (0, 1))
    return float(np.mean(forces / (energy + forces)))


def test_a_block_is_the_rows_over_their_sigma():
    one = rows(0, UNITS)
    block = Scaling(energy=0.02, forces=0.5, stress=0.1).of(one)
    expected = np.concatenate([one.energy / 0.02, one.forces / 0.5, one.stress / 0.1])
    assert np.array_equal(block, expected)
    assert np.array_equal(Scaling(forces=0.5).of(one, ["forces"]), one.forces / 0.5)


@pytest.mark.parametrize("start", [Scaling(), Scaling(energy=3.0, forces=1e-3)])
def test_energies_and_forces_of_the_pool_get_equal_weight(start):
    pool = [rows(seed, UNITS, atoms=seed + 2) for seed in range(20)]
    found = balanced(pool, start)
    assert shares(pool, found) == pytest.approx(0.5, abs=1e-12)
    assert found.energy == start.energy
    assert found.stress / found.forces == pytest.approx(start.stress / start.forces)


def test_the_balance_does_not_depend_on_the_units_of_coefficients_or_the_size_of_the_pool():
    pool = [rows(seed, UNITS) for seed in range(8)]
    expected = balanced(pool).forces
    assert balanced([rows(seed, np.ones(4)) for seed in range(8)]).forces == pytest.approx(expected)
    assert balanced(pool * 3).forces == pytest.approx(expected)


def test_one_label_alone_needs_no_balance():
    assert balanced([rows(0, UNITS)], labels=["energy"]) == Scaling()
    assert balanced([rows(0, UNITS)], labels=["forces", "stress"]) == Scaling()


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf"), "1"])
def test_a_sigma_that_is_not_positive_is_refused(sigma):
    with pytest.raises(MLIPError, match="`sigma`: expected a positive number for `forces`"):
        Scaling(forces=sigma)


def test_nothing_to_balance_is_refused():
    with pytest.raises(MLIPError, match="expected rows of at least one structure"):
        balanced([])
