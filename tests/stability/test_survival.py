"""Lifetimes against estimates worked out by hand."""

import numpy as np
import pytest
from scipy.stats import norm

from ase_mlip.errors import MLIPError
from ase_mlip.stability.survival import logrank, median_survival, survival

TIMES, FAILED = [1.0, 2.0, 2.0, 3.0, 4.0], [True, True, False, True, False]


def test_kaplan_meier_by_hand():
    found = survival(TIMES, FAILED)
    assert found.times.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    # 4/5, then 3/4 of that, then (two at risk) half of that
    assert found.survival == pytest.approx([1.0, 0.8, 0.6, 0.3, 0.3])
    # Greenwood for log(-log S) at t = 1: V = 1/(5*4)/log(0.8)^2
    half = 1.959964 * np.sqrt(1 / 20) / abs(np.log(0.8))
    assert found.low[1] == pytest.approx(0.8 ** np.exp(half))
    assert found.high[1] == pytest.approx(0.8 ** np.exp(-half))
    assert found.low[0] == found.high[0] == 1.0


def test_restricted_mean_by_hand():
    found = survival(TIMES, FAILED)
    assert found.restricted_mean == pytest.approx(1.0 + 0.8 + 0.6 + 0.3)
    half = 1.959964 * np.sqrt(1.7**2 / 20 + 0.9**2 / 12 + 0.3**2 / 2)
    assert found.restricted_mean_interval == pytest.approx((2.7 - half, 2.7 + half))


def test_constant_hazard_by_hand():
    found = survival(TIMES, FAILED)
    assert found.mean_time == pytest.approx(12.0 / 3)
    # Poisson limits for 3 events: 0.6187 and 8.7673
    assert found.mean_time_interval == pytest.approx((12 / 8.7673, 12 / 0.6187), rel=1e-4)


def test_what_runs_without_failure_prove():
    found = survival([2.0] * 4, [False] * 4)
    assert found.mean_time == np.inf
    assert found.mean_time_interval == pytest.approx((8.0 / np.log(40.0), np.inf))
    assert found.restricted_mean == 2.0
    assert (found.survival == 1.0).all() and (found.low == 1.0).all()
    assert found.probability_interval == pytest.approx((0.025**0.25, 1.0))


@pytest.mark.parametrize("time", [0.0, 0.5])
def test_all_dead_at_once(time):
    found = survival([time] * 3, [True] * 3)
    assert found.survival[-1] == 0.0
    assert found.restricted_mean == time
    assert np.isfinite([*found.low, *found.high]).all()
    assert found.probability == 0.0


@pytest.mark.parametrize(("confidence", "binomial"), [(0.5, 0.656), (0.9, 0.978)])
def test_the_intervals_hold_the_truth_as_often_as_they_say(confidence, binomial):
    """Of exponential lifetimes cut off at 0.7; too wide an interval is as wrong as one too narrow.

    Counts are discrete: exact limits hold the truth more often than they say. ``binomial`` is the sum of
    the binomial distribution of ten replicas over the counts whose Clopper-Pearson limits hold exp(-0.7).
    """
    rng, trials, end = np.random.default_rng(0), 200, 0.7
    lived = rng.exponential(1.0, (trials, 10))
    found = [survival(np.minimum(one, end), one < end, confidence=confidence) for one in lived]
    noise = 3.0 * np.sqrt(confidence * (1.0 - confidence) / trials)
    low, high = np.array([one.probability_interval for one in found]).T
    covered = np.mean((low <= np.exp(-end)) & (np.exp(-end) <= high))
    assert abs(covered - binomial) < noise
    low, high = np.array([one.mean_time_interval for one in found]).T
    assert confidence - noise < np.mean((low <= 1.0) & (high >= 1.0)) < min(binomial + noise, 0.97)
    missed = 0.5 * (1.0 - confidence)  # on each side, at most
    assert 0.0 < np.mean(low > 1.0) < missed + noise and 0.0 < np.mean(high < 1.0) < missed + noise


def test_the_median_and_its_interval():
    found = survival(TIMES, FAILED)
    median, low, high = median_survival(found)
    assert median == 3.0  # S(2) = 0.6, S(3) = 0.3
    assert low == found.times[np.flatnonzero(found.low <= 0.5)[0]] and high == np.inf
    assert median_survival(survival([2.0] * 4, [False] * 4)) == (np.inf,) * 3


def test_logrank_by_hand():
    """At 1, one of 3 + 3 fails, at 2 two of 2 + 3: observed 2, expected 0.5 + 0.8, variance 0.25 + 0.36."""
    p = logrank([1.0, 2.0, 3.0], [True, True, False], [2.0, 4.0, 5.0], [True, True, True])
    assert p == pytest.approx(2.0 * norm.sf(0.7 / np.sqrt(0.61)))
    assert logrank([2.0, 2.0], [False] * 2, [3.0], [False]) == 1.0


def test_logrank_of_a_textbook():
    """J. M. Bland and D. G. Altman, BMJ 328, 1073 (2004): weeks with two kinds of glioma, P < 0.01."""
    censored = {31, 47, 80, 82, 149}
    first = [6, 13, 21, 30, 31, 37, 38, 47, 49, 50, 63, 79, 80, 82, 82, 86, 98, 149, 202, 219]
    second = (
        "10 10 12 13 14 15 16 17 18 20 24 24 25 28 30 33 34+ 35 37 40 40 40+ 46 48 70+ 76 81 82 91 112 181"
    )
    words = second.split()
    p = logrank(
        first,
        [time not in censored for time in first],
        [float(word.rstrip("+")) for word in words],
        [not word.endswith("+") for word in words],
    )
    assert p == pytest.approx(0.0062, abs=1e-4)


def test_bad_input_is_refused():
    with pytest.raises(MLIPError, match="`logrank`"):
        logrank([1.0], [True], [1.0, 2.0], [True])
    for times, failed in (([], []), ([1.0], [True, False]), ([-1.0], [True])):
        with pytest.raises(MLIPError, match="`survival`"):
            survival(times, failed)
    with pytest.raises(MLIPError, match="`confidence`"):
        survival([1.0], [True], confidence=95)
