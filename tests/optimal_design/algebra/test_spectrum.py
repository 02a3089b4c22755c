"""Whether a change of a matrix raises its smallest eigenvalue, against eigenvalues of the changed matrix."""

import numpy as np
import pytest

from ase_mlip.optimal_design.algebra.criteria import LargestVariance
from ase_mlip.optimal_design.algebra.spectrum import Spectrum


def changes(rng, count, columns, coming, going):
    rows = rng.normal(size=(count, coming + going, columns))
    signs = np.concatenate([np.ones(coming), -np.ones(going)])
    return rows, signs, np.einsum("bmp,m,bmq->bpq", rows, signs, rows)


@pytest.mark.parametrize(("coming", "going"), [(1, 0), (3, 0), (9, 0), (2, 2), (5, 1)])
def test_a_change_rises_above_a_limit_if_its_eigenvalues_do(coming, going):
    rng = np.random.default_rng(41)
    half = rng.normal(size=(12, 7))
    spectrum = Spectrum(half.T @ half)
    rows, signs, change = changes(rng, 400, 7, coming, going)
    smallest = np.linalg.eigvalsh(spectrum.matrix + change)[:, 0]
    limits = spectrum.values[0] + rng.normal(size=400) * np.abs(smallest - spectrum.values[0]).mean()
    answer = spectrum.rises(rows @ spectrum.vectors, signs, limits)
    assert (answer == (smallest > limits)).all()
    assert 20 < answer.sum() < 380
    for count in (1, 2, 4):  # between some of the vectors: whatever rises is not denied
        low = spectrum.rises(rows @ spectrum.vectors[:, :count], signs, limits)
        assert low[answer].all()
    assert spectrum.smallest_after(change[0]) == pytest.approx(smallest[0], rel=1e-10)


def test_an_eigenvalue_as_often_as_a_block_has_rows_rises_only_with_enough_rows():
    """Three equal eigenvalues: two rows leave one of them, three do not."""
    rng = np.random.default_rng(42)
    spectrum = Spectrum(np.diag([1.0, 1.0, 1.0, 4.0, 5.0]))
    for rows, rises in ((2, False), (3, True)):
        block, signs, _ = changes(rng, 50, 5, rows, 0)
        answer = spectrum.rises(10.0 * block @ spectrum.vectors, signs, np.full(50, 1.0 + 1e-9))
        assert (answer == rises).all()


def test_the_largest_variance_of_growing_matrices_is_that_of_all_rows():
    """Of matrices that grow a little, a lot, and not at all."""
    rng = np.random.default_rng(43)
    goal = LargestVariance(rng.normal(size=(9000, 6)) * np.exp(0.5 * rng.normal(size=(9000, 1))))
    falling, matrix = goal.falling(), np.zeros((6, 6))
    for count, scale in ((2, 1.0), (6, 1.0), (1, 0.1), (3, 0.1), (40, 2.0), (1, 0.0), (5, 1e-3)):
        rows = scale * rng.normal(size=(count, 6))
        matrix = matrix + rows.T @ rows
        value = falling.log_efficiency(matrix)
        if np.linalg.matrix_rank(matrix) < 6:
            assert value == -np.inf
        else:
            variances = np.einsum("ti,ij,tj->t", goal.target, np.linalg.inv(matrix), goal.target)
            assert value == pytest.approx(-np.log(variances.max()), rel=1e-10)
            assert falling.top(20).tolist() == np.argsort(-variances)[:20].tolist()
            level = 0.3 * variances.max()
            assert falling.above(level).tolist() == np.flatnonzero(variances > level).tolist()
