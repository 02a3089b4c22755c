"""Predicted errors against sums over single rows; random selections; the knee; reasons in words.

It also tests `target`.
"""

import numpy as np
import pytest

from ase_mlip.optimal_design.forecast import Path, covariance, follow, percent, random_band, reasons
from ase_mlip.optimal_design.target import Target

P = 6


@pytest.fixture(scope="module")
def case():
    """Ten structures of two groups with an energy and nine force rows each, and their target."""
    generator = np.random.default_rng(3)
    rows = [
        {"energy": generator.normal(size=(1, P)), "forces": generator.normal(size=(9, P))} for _ in range(10)
    ]
    groups = ["bulk"] * 7 + ["surface"] * 3
    counts = [{"energy": 1, "forces": 9}] * 10
    target = Target.of(rows, counts, groups, ("energy", "forces"))
    blocks = [np.concatenate(list(one.values())) for one in rows]
    return rows, groups, blocks, target, np.eye(P)


def test_errors_are_root_mean_squares_over_the_rows_of_a_group(case):
    rows, groups, blocks, target, start = case
    spread = np.linalg.inv(start + blocks[4].T @ blocks[4])
    errors = target.errors(target.parts(spread))
    for g, name in enumerate(("bulk", "surface")):
        for k, kind in enumerate(("energy", "forces")):
            own = np.concatenate(
                [one[kind] for one, group in zip(rows, groups, strict=True) if group == name]
            )
            expected = np.sqrt(np.mean(np.einsum("rp,pq,rq->r", own, spread, own)))
            assert errors[g, k] == pytest.approx(expected)


@pytest.mark.parametrize("balance", ["groups", "frames"])
def test_the_criterion_is_the_mean_over_frames_balanced_by_group(case, balance):
    rows, groups, blocks, _, start = case
    target = Target.of(rows, [{"energy": 1, "forces": 9}] * 10, groups, ("energy", "forces"), balance)
    spread = covariance(start)
    of_frames = np.array([np.trace(block @ spread @ block.T) for block in blocks])
    expected = of_frames.mean() if balance == "frames" else (of_frames[:7].mean() + of_frames[7:].mean()) / 2
    assert target.parts(spread).sum() == pytest.approx(expected)
    factor = target.rows()
    assert np.allclose(factor.T @ factor / len(factor), target.moment)


def test_the_inverse_is_right_for_coefficients_of_any_unit():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(50, P)) * 10.0 ** np.arange(-6, 6, 2)
    matrix = rows.T @ rows
    assert np.allclose(covariance(matrix) @ matrix, np.eye(P), atol=1e-6)


def test_the_path_is_that_of_sums_made_anew(case):
    _, _, blocks, target, start = case
    order = [3, 8, 1]
    path = follow(start, [blocks[k] for k in order], target)
    for n in range(4):
        matrix = start + sum((blocks[k].T @ blocks[k] for k in order[:n]), np.zeros((P, P)))
        assert path.values[n] == pytest.approx(np.trace(np.linalg.inv(matrix) @ target.moment))
    assert np.all(path.gains > 0)


def test_random_selections_of_all_frames_are_the_floor(case):
    _, _, blocks, target, start = case
    band = random_band(start, blocks, np.ones(10), 10.0, target, draws=20)
    floor = np.sqrt(np.trace(np.linalg.inv(start + sum(b.T @ b for b in blocks)) @ target.moment))
    assert band.spent[0] == 1 and band.spent[-1] == 10
    assert band.roots[:, -1] == pytest.approx(floor)
    assert np.all(np.diff(band.roots, axis=1) < 0)


def test_random_selections_keep_to_the_budget_and_hold_what_is_kept(case):
    _, _, blocks, target, start = case
    costs = np.arange(1.0, 11.0)
    everything = random_band(start, blocks, costs, costs.sum(), target, keep=[9], draws=5)
    assert everything.spent[0] == 10.0
    alone = start + blocks[9].T @ blocks[9]
    assert everything.roots[:, 0] == pytest.approx(np.sqrt(np.trace(np.linalg.inv(alone) @ target.moment)))


def test_random_selections_are_the_same_for_a_seed(case):
    _, _, blocks, target, start = case
    first, second, other = (
        random_band(start, blocks, np.ones(10), 4.0, target, seed=s, draws=5) for s in (1, 1, 2)
    )
    assert np.array_equal(first.roots, second.roots)
    assert not np.array_equal(first.roots, other.roots)


def path_with(gains):
    roots = np.concatenate([[1.0], np.cumprod(1.0 - np.array(gains))])
    return Path((roots**2)[:, None, None])


def test_the_knee_is_where_no_later_label_gains_half_a_percent():
    assert path_with([0.3, 0.004, 0.01, 0.004, 0.003]).knee() == 3
    assert path_with([0.3, 0.1]).knee() is None
    assert path_with([0.001]).knee() == 0


def test_reasons_name_the_group_and_kind_that_a_label_serves_most():
    target = Target(("Bulk", "Surface"), ("energy", "forces"), np.zeros((2, 2, 1, 1)), np.ones((2, 2)),
                    np.ones(2, int), np.full(2, 0.5))  # fmt: skip
    parts = np.array([[[1.0, 1.0], [4.0, 1.0]], [[1.0, 0.9], [1.3, 1.0]]])
    assert reasons(Path(parts), target) == ["Surface energy −43 %"]


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0.43, "43"),
        (0.0432, "4.3"),
        (0.00432, "0.43"),
        (0.99978, "99.98"),
        (0.9999962, "99.9996"),
        (1.0, "100"),
    ],
)
def test_percentages_have_the_digits_that_help(fraction, text):
    assert percent(fraction) == text
