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


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        lived = rng.exponential(1.0, 10)
        found = survival(np.minimum(lived, 0.7), lived < 0.7, confidence=0.9)
        low, high = found.mean_time_interval
        covered += low <= 1.0 <= high
    assert covered / 300 > 0.87


def test_bad_input_is_refused():
    for times, failed in (([], []), ([1.0], [True, False]), ([-1.0], [True])):
        with pytest.raises(MLIPError, match="`survival`"):
            survival(times, failed)
    with pytest.raises(MLIPError, match="`confidence`"):
        survival([1.0], [True], confidence=95)
