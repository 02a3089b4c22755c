"""The information of a set: updates against fresh decompositions, limits without full rank, regression as the
oracle.

It also tests `blocks`.
"""

import numpy as np
import pytest
from scipy import stats

from ase_mlip.errors import MLIPError
from ase_mlip.optimal_design.algebra import Information


def log_det(matrix):
    return np.linalg.slogdet(matrix)[1]


def filled(rng, columns=12, count=9, prior=None, condition=1.0):
    """An information with blocks of different scales, and these blocks."""
    scales = np.logspace(0.0, condition, columns)
    information = Information(columns if prior is None else prior)
    blocks = [scales * rng.normal(size=(rng.integers(1, 6), columns)) for _ in range(count)]
    for block in blocks:
        information.add(block)
    return information, blocks


@pytest.mark.parametrize("condition", [0.0, 3.0])
def test_updates_follow_a_fresh_inverse_and_determinant(condition):
    rng = np.random.default_rng(1)
    information, blocks = filled(rng, condition=condition, prior=np.full(12, 0.1))
    for step in range(60):
        information.log_det  # noqa: B018  decomposes, so that the next change updates
        if step % 3 == 2:
            information.remove(blocks.pop(0))
        else:
            blocks.append(np.logspace(0, condition, 12) * rng.normal(size=(2, 12)))
            information.add(blocks[-1])
        fresh = 0.1 * np.eye(12) + sum(block.T @ block for block in blocks)
        assert information.log_det == pytest.approx(log_det(fresh), rel=1e-8)
        inverse = np.linalg.inv(fresh)
        scale = np.sqrt(np.outer(np.diag(inverse), np.diag(inverse)))
        assert np.abs((information.covariance - inverse) / scale).max() < 1e-8


def test_gains_of_additions_and_swaps_are_differences_of_log_determinants():
    rng = np.random.default_rng(2)
    information, blocks = filled(rng)
    new = rng.normal(size=(4, 12))
    before = log_det(information.matrix)
    after = log_det(information.matrix + new.T @ new)
    assert information.information_gain(new) == pytest.approx(after - before, rel=1e-8)
    assert information.information_gains([new, blocks[0]])[0] == pytest.approx(after - before, rel=1e-8)
    swapped = log_det(information.matrix + new.T @ new - blocks[0].T @ blocks[0])
    assert information.swap_gain(blocks[0], new) == pytest.approx(swapped - before, rel=1e-8)
    assert information.swap_gain(blocks[0], blocks[0]) == pytest.approx(0.0, abs=1e-9)


def test_a_duplicate_gains_less():
    rng = np.random.default_rng(3)
    information, _ = filled(rng)
    for _ in range(5):
        block = rng.normal(size=(3, 12))
        first = information.information_gain(block)
        information.add(block)
        assert 0.0 < information.information_gain(block) < first


def test_predicted_variance_is_that_of_a_gaussian_process_with_the_same_kernel():
    """k(x, x') = x A₀⁻¹ x'ᵀ, noise of variance one: Rasmussen and Williams (2006), equation 2.26, by a dense
    solve."""
    rng = np.random.default_rng(4)
    half = rng.normal(size=(12, 20))
    prior = half @ half.T
    information, blocks = filled(rng, prior=prior)
    x, t = np.concatenate(blocks), rng.normal(size=(7, 12))
    kernel = np.linalg.inv(prior)
    cross = t @ kernel @ x.T
    gram = x @ kernel @ x.T + np.eye(len(x))
    posterior = np.diag(t @ kernel @ t.T - cross @ np.linalg.solve(gram, cross.T))
    np.testing.assert_allclose(information.predicted_variance(t), posterior, rtol=1e-8)
    np.testing.assert_allclose(np.square(t @ information.whitening()).sum(axis=1), posterior, rtol=1e-8)


@pytest.mark.parametrize("level", [0.68, 0.95])
def test_error_bars_cover_what_they_promise_on_well_specified_data(level):
    """One prediction per fit, so that the trials are independent and the count is binomial."""
    rng = np.random.default_rng(5)
    trials, prior = 2000, np.array([1.0, 4.0, 0.25])
    inside = 0
    for _ in range(trials):
        coefficients = rng.normal(size=3) / np.sqrt(prior)
        x, t = rng.normal(size=(4, 3)), rng.normal(size=(1, 3))
        labels = x @ coefficients + rng.normal(size=4)
        information = Information(prior)
        information.add(x)
        estimate = information.covariance @ (x.T @ labels)
        half = stats.norm.ppf(0.5 + 0.5 * level) * np.sqrt(information.predicted_variance(t)[0])
        inside += abs((t @ (estimate - coefficients))[0]) < half
    low, high = stats.binom.ppf([0.001, 0.999], trials, level)
    assert low <= inside <= high


def test_rank_and_condition_number():
    rng = np.random.default_rng(6)
    information = Information(5)
    assert information.rank == 0
    assert information.condition_number == np.inf
    for rank in (2, 4):
        information.add(rng.normal(size=(2, 5)))
        assert information.rank == rank
    information.add(rng.normal(size=(3, 5)))
    assert information.rank == 5
    assert information.condition_number == pytest.approx(np.linalg.cond(information.matrix), rel=1e-8)


def test_rank_does_not_depend_on_the_units_of_columns():
    rng = np.random.default_rng(7)
    rows, scales = rng.normal(size=(6, 5)), np.array([1e-7, 1.0, 1e6, 1e-3, 10.0])
    information = Information(5)
    information.add(rows * scales)
    assert information.rank == 5


def test_without_full_rank_numbers_are_limits_of_a_vanishing_prior():
    rng = np.random.default_rng(8)
    rows = rng.normal(size=(3, 6)) @ np.diag([1.0, 2.0, 3.0, 1.0, 1.0, 0.0])
    information, small = Information(6), Information(np.full(6, 1e-9))
    for each in (information, small):
        each.add(rows)
    inside, outside = rows[:2] * 0.5, np.eye(6)[5:]
    assert information.log_det == -np.inf
    np.testing.assert_allclose(
        information.predicted_variance(inside), small.predicted_variance(inside), rtol=1e-6
    )
    assert information.predicted_variance(outside)[0] == np.inf
    assert information.information_gain(inside) == pytest.approx(small.information_gain(inside), rel=1e-6)
    assert information.information_gain(outside) == np.inf
    assert information.swap_gain(rows, np.concatenate([rows, outside])) == np.inf
    assert information.swap_gain(rows, rows[:1]) == -np.inf
    assert information.swap_gain(rows, 2.0 * rows) == pytest.approx(3 * np.log(4.0), rel=1e-6)
    np.testing.assert_allclose(information.variance_ratio(), small.variance_ratio(), atol=1e-6)
    assert information.variance_ratio()[5] == pytest.approx(1.0)


def test_variance_ratio_is_posterior_over_prior_variance():
    rng = np.random.default_rng(9)
    prior = np.array([1.0, 2.0, 5.0, 0.5])
    information = Information(prior)
    np.testing.assert_allclose(information.variance_ratio(), 1.0)
    information.add(np.array([[3.0, 0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(information.variance_ratio(), [1.0 / 10.0, 1.0, 1.0, 1.0])
    information.add(rng.normal(size=(6, 4)))
    expected = np.diag(np.linalg.inv(information.matrix)) * prior
    np.testing.assert_allclose(information.variance_ratio(), expected, rtol=1e-8)
    determined = Information(4)
    determined.add(rng.normal(size=(6, 4)))
    np.testing.assert_allclose(determined.variance_ratio(), 0.0, atol=1e-12)


def test_a_copy_changes_independently():
    information, blocks = filled(np.random.default_rng(10))
    before = information.log_det
    other = information.copy()
    other.add(blocks[0])
    assert information.log_det == before < other.log_det


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i: i.add(np.ones((2, 3))), r"`block`: expected an array \[m, 4\].*\[2, 3\]"),
        (lambda i: i.add(np.ones((0, 4))), r"`block`.*at least one row"),
        (lambda i: i.add(np.array([[1.0, np.nan, 0, 0]])), "`block`: expected finite numbers.*row 0"),
        (lambda i: i.remove(np.ones((1, 4))), "`block`: expected rows that were added before"),
        (
            lambda i: i.swap_gain(5.0 * np.ones(4), np.ones(4)),
            "`block`: expected rows that were added before",
        ),
        (lambda i: i.predicted_variance(np.ones(3)), "`rows`"),
        (lambda i: i.covariance, "`covariance`: expected an information of rank 4, got 0; add"),
        (lambda i: i.whitening(), "`whitening`: expected an information of rank 4"),
    ],
)
def test_wrong_calls_are_named(change, words):
    with pytest.raises(MLIPError, match=words):
        change(Information(4))


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        (0, "at least one column"),
        (np.array([1.0, -1.0]), "no negative eigenvalue"),
        (np.array([1.0, np.inf]), "finite"),
        (np.array([[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (np.ones((2, 3)), r"the shape \[2\] or \[2, 2\]"),
    ],
)
def test_wrong_priors_are_named(prior, words):
    with pytest.raises(MLIPError, match=f"`prior`.*{words}"):
        Information(prior)
