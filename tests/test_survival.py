"""Lifetimes against estimates worked out by hand."""

import numpy as np
import pytest

from ase_mlip.errors import MLIPError
from ase_mlip.survival import survival

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


def test_bad_input_is_refused():
    for times, failed in (([], []), ([1.0], [True, False]), ([-1.0], [True])):
        with pytest.raises(MLIPError, match="`survival`"):
            survival(times, failed)
    with pytest.raises(MLIPError, match="`confidence`"):
        survival([1.0], [True], confidence=95)
