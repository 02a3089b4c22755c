"""Rank correlations: SciPy's own, residuals of a regression, simulated coverage, the published models."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ase_mlip.errors import MLIPError
from ase_mlip.landscapes.comparison.correlations import partial_spearman, spearman

PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "data" / "loss_landscapes"


def three(n: int, seed: int, digits: int = 6) -> np.ndarray:
    """Correlated numbers [3, n]; few digits make ties."""
    draw = np.random.default_rng(seed).multivariate_normal(
        np.zeros(3), [[1.0, 0.6, 0.5], [0.6, 1.0, 0.7], [0.5, 0.7, 1.0]], n
    )
    return draw.T.round(digits)


@pytest.mark.parametrize("digits", [6, 0])
@pytest.mark.parametrize("n", [5, 8, 24])
def test_value_is_that_of_scipy_with_ties_as_well(n, digits):
    x, y, _ = three(n, seed=n, digits=digits)
    assert spearman(x, y, resamples=10).value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_interval_is_that_of_scipys_bootstrap():
    x, y, _ = three(12, seed=3)
    theirs = stats.bootstrap(
        (x, y),
        lambda a, b: stats.spearmanr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=1500,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    found = spearman(x, y, resamples=1500)
    assert found.low == pytest.approx(theirs.low, abs=0.05)
    assert found.high == pytest.approx(theirs.high, abs=0.03)


@pytest.mark.parametrize("digits", [6, 0])
def test_partial_correlation_is_that_of_the_residuals_of_ranks(digits):
    x, y, z = three(15, seed=4, digits=digits)
    ranks = [stats.rankdata(values) for values in (x, y, z)]
    rests = [rank - np.polyval(np.polyfit(ranks[2], rank, 1), ranks[2]) for rank in ranks[:2]]
    expected = stats.pearsonr(*rests).statistic
    assert partial_spearman(x, y, z, resamples=10).value == pytest.approx(expected, abs=1e-10)


def test_partial_correlation_is_that_of_the_inverse_of_the_matrix():
    """-P_xy/√(P_xx P_yy) with P the inverse of the matrix of correlations, as other packages compute it."""
    values = three(15, seed=5)
    inverse = np.linalg.inv(stats.spearmanr(values.T).statistic)
    expected = -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
    assert partial_spearman(*values, resamples=10).value == pytest.approx(expected, abs=1e-10)


def test_what_a_control_explains_leaves_no_partial_correlation():
    generator = np.random.default_rng(6)
    z = generator.normal(size=300)
    x, y = z + 0.5 * generator.normal(size=300), z + 0.5 * generator.normal(size=300)
    plain, partial = spearman(x, y), partial_spearman(x, y, z)
    assert plain.value > 0.7
    assert plain.excludes_zero
    assert abs(partial.value) < 0.15
    assert not partial.excludes_zero


def test_intervals_cover_the_true_value_about_as_often_as_they_say():
    """ρ_s = 6/π asin(r/2) of a bivariate normal distribution; 24 models, 95 %."""
    r, n, trials, covered = 0.6, 24, 300, 0
    expected = 6.0 / np.pi * np.arcsin(0.5 * r)
    generator = np.random.default_rng(7)
    for _ in range(trials):
        x = generator.normal(size=n)
        y = r * x + np.sqrt(1.0 - r * r) * generator.normal(size=n)
        found = spearman(x, y, resamples=400)
        covered += found.low <= expected <= found.high
    assert 0.89 <= covered / trials <= 0.98


def test_order_and_scale_do_not_matter_and_a_seed_repeats():
    x, y, z = three(9, seed=8)
    first = partial_spearman(x, y, z, resamples=200, seed=2)
    assert partial_spearman(np.exp(3.0 * x), y, -z, resamples=200, seed=2) == first
    assert partial_spearman(x, y, z, resamples=200, seed=3) != first


def test_infinite_values_have_the_last_rank():
    x = [1.0, 2.0, 3.0, 4.0, np.inf, -np.inf]
    assert spearman(x, [2.0, 3.0, 4.0, 5.0, 6.0, 1.0], resamples=10).value == pytest.approx(1.0)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_fewer_than_five_models_have_a_sentence_instead(n):
    found = spearman(range(n), range(n))
    assert np.isnan(found.value)
    assert "fewer than 5 models" in str(found)
    assert not found.excludes_zero


def test_what_does_not_vary_has_no_correlation():
    assert "`y` is the same for all 6 models" in str(spearman(range(6), [1.0] * 6))
    assert "`control`" in str(partial_spearman(range(6), [3, 1, 2, 6, 5, 4], [1.0] * 6))
    assert "ranks the 6 models as" in str(partial_spearman(range(6), [3, 1, 2, 6, 5, 4], range(6)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [1.0]), "same models"),
        (([[1.0, 2.0]], [[1.0, 2.0]]), "same models"),
        (([1.0, np.nan, 2.0], [1.0, 2.0, 3.0]), "`x`: expected numbers, got NaN for 1"),
        (([1.0, 2.0], [1.0, 2.0], 10, 1.5), "`confidence`"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(MLIPError, match=message):
        spearman(*arguments)


def rows(name: str) -> list[dict]:
    with (PUBLISHED / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="../shared/data/loss_landscapes is not there")
def test_published_nequip_models():
    """Ten models have errors, all thirteen have survival; the partial correlation is the honest number."""
    entropies = {row[""]: row for row in rows("nequip_entropy.csv")}
    errors = {
        row["label"]: row for row in rows("nequip_extrapolation_errors.csv") if row["nsamples"] == "500"
    }
    both = [name for name in entropies if name in errors]
    assert (len(both), len(entropies)) == (10, 13)
    hot = [float(errors[name]["test_1200K_forces"]) for name in both]
    cold = [float(errors[name]["test_300K_forces"]) for name in both]
    of_forces = spearman([float(entropies[name]["Sf"]) for name in both], hot)
    assert of_forces.value == pytest.approx(-0.81, abs=0.005)
    assert of_forces.high < 0.0
    every = entropies.values()
    survival = spearman([float(r["S"]) for r in every], [float(r["explosion_mean"]) for r in every])
    assert survival.value == pytest.approx(0.80, abs=0.005)
    assert survival.low > 0.0
    partial = partial_spearman([float(entropies[name]["S"]) for name in both], hot, cold)
    assert partial.value == pytest.approx(-0.55, abs=0.005)
    assert not partial.excludes_zero
