"""Continuous designs against those of textbooks, and their bounds against all selections.

Polynomial regression on [−1, 1]: F. Pukelsheim, Optimal Design of Experiments (1993), chapters 9 and 12.
"""

import numpy as np
import pytest

from ase_mlip.errors import MLIPError
from ase_mlip.optimal_design.algebra import Blocks, continuous_design
from tests.optimal_design.algebra.design_cases import (
    CRITERIA,
    brute_force,
    criterion_of,
    fraction,
    information,
    powers,
    random_pool,
)

GRID = np.linspace(-1.0, 1.0, 101)


def moments_of_the_interval(degree):
    """Rows whose mean product is the mean of x^(i+j) over [−1, 1]: the points and weights of Gauss and
    Legendre."""
    points, weights = np.polynomial.legendre.leggauss(degree + 1)
    return powers(points, degree)[:, 0] * np.sqrt(weights * len(points) / 2.0)[:, None]


@pytest.mark.parametrize(("criterion", "ends"), [("d", 1 / 3), ("a", 1 / 4), ("i", 1 / 4), ("e", 1 / 5)])
def test_quadratic_regression_has_the_weights_of_the_textbook(criterion, ends):
    design = continuous_design(powers(GRID, 2), criterion, target=moments_of_the_interval(2), tolerance=1e-8)
    assert design.weights[[0, -1]] == pytest.approx([ends, ends], abs=2e-3)
    assert design.weights[49:52].sum() == pytest.approx(1.0 - 2.0 * ends, abs=4e-3)
    assert design.weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert 0.0 <= design.gap < 1e-3 * abs(design.value)


def test_quadratic_regression_minimises_the_largest_variance_as_it_maximises_the_determinant():
    """Kiefer and Wolfowitz: the two are the same design, and the largest variance is the number of
    parameters."""
    design = continuous_design(powers(GRID, 2), "g", tolerance=1e-4)
    assert design.value == pytest.approx(3.0, rel=2e-3)
    assert design.bound <= 3.0 + 1e-9
    assert design.gap < 3e-3 * design.value


@pytest.mark.parametrize(
    ("degree", "support"),
    [
        (3, [-1.0, -np.sqrt(1 / 5), np.sqrt(1 / 5), 1.0]),
        (4, [-1.0, -np.sqrt(3 / 7), 0.0, np.sqrt(3 / 7), 1.0]),
    ],
)
def test_determinants_of_cubic_and_quartic_have_the_support_of_legendre(degree, support):
    points = np.sort(np.concatenate([GRID, support]))
    design = continuous_design(powers(points, degree), "d", tolerance=1e-8)
    for point in support:
        near = np.abs(points - point) < 0.015
        assert design.weights[near].sum() == pytest.approx(1.0 / (degree + 1), abs=3e-3)


@pytest.mark.parametrize("degree", [2, 4, 7])
def test_the_largest_variance_of_the_best_determinant_is_the_number_of_parameters(degree):
    blocks = powers(GRID, degree)
    design = continuous_design(blocks, "d", tolerance=1e-7)
    inverse = np.linalg.inv(information(blocks, range(len(blocks)), weights=design.weights))
    variances = np.einsum("ni,ij,nj->n", blocks[:, 0], inverse, blocks[:, 0])
    assert variances.max() == pytest.approx(degree + 1, rel=1e-5)
    assert variances[design.weights > 1e-3] == pytest.approx(degree + 1, rel=1e-3)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_value_and_gap_are_those_of_the_weights(criterion):
    rng = np.random.default_rng(11)
    blocks, target = random_pool(rng, 40, 5), rng.normal(size=(9, 5))
    prior = rng.uniform(0.0, 0.1, size=5)
    design = continuous_design(blocks, criterion, prior=prior, target=target)
    matrix = information(blocks, range(40), prior, design.weights)
    assert design.value == pytest.approx(criterion_of(matrix, criterion, target), rel=1e-8)
    assert design.gap == pytest.approx(abs(design.bound - design.value), abs=1e-12)
    assert design.efficiency == pytest.approx(fraction(design.value, design.bound, criterion, 5), rel=1e-8)
    assert design.efficiency > 0.99 if criterion in "eg" else design.efficiency > 1.0 - 1e-5


@pytest.mark.parametrize("criterion", CRITERIA)
def test_no_design_is_better_than_the_bound(criterion):
    """Random designs, and some on the way from them to the best one."""
    rng = np.random.default_rng(12)
    blocks, target = random_pool(rng, 8, 3), rng.normal(size=(6, 3))
    for tolerance in (0.3, 1e-3):
        design = continuous_design(blocks, criterion, target=target, tolerance=tolerance)
        others = np.concatenate([rng.dirichlet(np.full(8, 0.5), size=300), np.eye(8)])
        parts = np.stack([block.T @ block for block in blocks])
        for share in (0.0, 0.5, 0.9, 0.99):
            weights = share * design.weights + (1.0 - share) * others
            values = criterion_of(np.einsum("wj,jab->wab", weights, parts), criterion, target)
            best = values.max() if criterion in "de" else values.min()
            assert fraction(best, design.bound, criterion, 3) <= 1.0 + 1e-9


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("priced", [False, True])
def test_with_a_size_no_selection_is_better_than_the_bound(criterion, priced):
    rng = np.random.default_rng(13)
    for _ in range(5):
        blocks, target = random_pool(rng, 9, 3), rng.normal(size=(5, 3))
        costs = rng.uniform(0.5, 2.0, size=9) if priced else None
        size = 4.5 if priced else 4
        design = continuous_design(blocks, criterion, target=target, size=size, costs=costs)
        charged = design.weights @ (costs if priced else np.ones(9))
        assert charged == pytest.approx(size, rel=1e-9)
        assert design.weights.min() >= 0.0
        assert design.weights.max() <= 1.0 + 1e-12
        best = brute_force(blocks, criterion, target, size=None if priced else 4, costs=costs, budget=size)
        assert fraction(best, design.bound, criterion, 3) <= 1.0 + 1e-9


def test_costs_without_a_size_are_a_design_per_cost():
    """A candidate that costs twice as much is one of half the information."""
    rng = np.random.default_rng(14)
    blocks, costs = random_pool(rng, 12, 3), rng.uniform(0.5, 2.0, size=12)
    dear = continuous_design(blocks, "a", costs=costs)
    scaled = continuous_design([b / np.sqrt(c) for b, c in zip(blocks, costs, strict=True)], "a")
    assert costs @ dear.weights == pytest.approx(1.0)
    assert dear.value == pytest.approx(scaled.value, rel=1e-5)


@pytest.mark.parametrize("criterion", "dig")
def test_designs_do_not_depend_on_the_coordinates(criterion):
    rng = np.random.default_rng(15)
    blocks, target = random_pool(rng, 30, 4), rng.normal(size=(6, 4))
    change = rng.normal(size=(4, 4)) @ np.diag([1.0, 1e3, 1e-4, 10.0])
    design = continuous_design(blocks, criterion, target=target)
    other = continuous_design([b @ change for b in blocks], criterion, target=target @ change)
    offset = 2.0 * np.linalg.slogdet(change)[1] if criterion == "d" else 0.0
    assert other.value - offset == pytest.approx(design.value, rel=3e-3 if criterion == "g" else 1e-5)


def test_the_forms_of_blocks_give_the_same():
    rng = np.random.default_rng(16)
    array = rng.normal(size=(20, 2, 3))
    values = [
        continuous_design(form, "a").value
        for form in (array, list(array), Blocks(array.reshape(40, 3), np.full(20, 2)))
    ]
    assert values[1:] == pytest.approx([values[0]] * 2, rel=1e-12)


def test_blocks_of_more_rows_than_columns_are_used_whole():
    rng = np.random.default_rng(17)
    blocks = [rng.normal(size=(rng.integers(1, 12), 3)) for _ in range(15)]
    target = np.concatenate(blocks)
    for criterion in CRITERIA:
        design = continuous_design(blocks, criterion)
        matrix = information(blocks, range(15), weights=design.weights)
        assert design.value == pytest.approx(criterion_of(matrix, criterion, target), rel=1e-8)


def test_a_large_pool_is_priced_whole():
    """More candidates than are worked with at once: the bound still holds for all of them."""
    rng = np.random.default_rng(18)
    blocks = rng.normal(size=(5000, 1, 6)) * np.exp(0.3 * rng.normal(size=(5000, 1, 1)))
    seen = []
    design = continuous_design(blocks, "d", size=60, tolerance=1e-5, progress=lambda *step: seen.append(step))
    assert design.efficiency >= 1.0 - 1e-5
    assert design.weights.sum() == pytest.approx(60.0)
    inverse = np.linalg.inv(information(blocks, range(5000), weights=design.weights))
    gains = np.einsum("ni,ij,nj->n", blocks[:, 0], inverse, blocks[:, 0])
    assert np.sort(gains)[-60:].sum() <= 6.0 * (1.0 + 2e-5)  # the theorem with caps, written down once more
    assert {stage for _, _, stage in seen} == {"bound"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"blocks": []}, "`blocks`: expected at least one block.*empty"),
        (
            {"blocks": [np.ones((2, 3)), np.ones((1, 2))]},
            r"`blocks\[1\]`: expected an array \[m, 3\].*\[1, 2\]",
        ),
        ({"blocks": [np.full((1, 2), np.nan)]}, r"`blocks\[0\]`: expected finite numbers.*row 0"),
        ({"blocks": [np.zeros((0, 2))]}, r"`blocks\[0\]`.*at least one row"),
        (
            {"blocks": [np.ones((1, 2))]},
            "`blocks`: expected a pool that determines all 2.*rank 1; give a `prior`",
        ),
        ({"criterion": "x"}, "`criterion`: expected one of d, a, i, e, g, got 'x'"),
        ({"criterion": "i", "target": np.zeros((1, 2))}, "`target`: expected a row that is not zero"),
        ({"criterion": "g", "target": np.ones((1, 3))}, r"`target`: expected an array \[m, 2\]"),
        ({"prior": np.ones(3)}, r"`prior`: expected the shape \[2\]"),
        ({"costs": np.ones(2)}, "`costs`: expected 3 numbers"),
        (
            {"costs": np.array([1.0, 0.0, 1.0])},
            "`costs`: expected positive finite numbers, got 0.0 for block 1",
        ),
        ({"size": 4}, "`size`: expected at most 3 candidates, got 4"),
        ({"size": 1.5}, "`size`: expected a whole number"),
        ({"size": 0}, "`size`: expected a positive number, got 0"),
        ({"size": "2"}, "`size`: expected a positive number, got '2'"),
        ({"size": 7.0, "costs": np.full(3, 2.0)}, "`size`: expected at most 6 as the cost of all"),
        ({"size": 1.0, "costs": np.full(3, 2.0)}, "`size`: expected at least 2, the cost of the cheapest"),
        ({"tolerance": 0.0}, "`tolerance`"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    blocks = [np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]])]
    with pytest.raises(MLIPError, match=words):
        continuous_design(**{"blocks": blocks, **arguments})


def test_stored_blocks_are_checked():
    with pytest.raises(MLIPError, match="`counts`: expected a sum of 3"):
        Blocks(np.ones((3, 2)), [1, 1])
    with pytest.raises(MLIPError, match="`counts`: expected at least one candidate"):
        Blocks(np.ones((3, 2)), [3, 0])
    stored = Blocks(np.arange(6.0).reshape(3, 2), [1, 2])
    assert [len(block) for block in stored] == [1, 2]
    assert stored[-1].tolist() == [[2.0, 3.0], [4.0, 5.0]]
    with pytest.raises(IndexError):
        stored[2]
