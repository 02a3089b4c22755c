"""How long simulations live: estimates from replicas of which some were still alive at the end."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from ..errors import MLIPError


@dataclass
class Survival:
    """Survival of n replicas. Times in ps; intervals (low, high) at the level ``confidence``.

    Attributes
    ----------
    n, failures : int
        replicas, and how many failed
    observed_time : float
        what all replicas lived together
    times, survival : array
        the Kaplan-Meier curve: the probability to live longer than each time, [m]
    low, high : array
        its pointwise interval: Greenwood's variance of log(-log S), [m]
    restricted_mean : float
        mean survival time within the length of the run: the area under the curve
    restricted_mean_interval : tuple of float
        from its normal approximation; without width where no replica failed
    mean_time : float
        mean survival time if the hazard is constant, observed_time / failures; infinite without any
    mean_time_interval : tuple of float
        of that, limits of a Poisson count; its lower end is meaningful without failures
    probability, probability_interval : float, tuple of float
        fraction that survived the run, interval of Clopper and Pearson
    confidence : float
        as 0.95
    """

    n: int
    failures: int
    observed_time: float
    times: np.ndarray = field(repr=False)
    survival: np.ndarray = field(repr=False)
    low: np.ndarray = field(repr=False)
    high: np.ndarray = field(repr=False)
    restricted_mean: float
    restricted_mean_interval: tuple[float, float]
    mean_time: float
    mean_time_interval: tuple[float, float]
    probability: float
    probability_interval: tuple[float, float]
    confidence: float


def survival(times: Sequence[float], failed: Sequence[bool], confidence: float = 0.95) -> Survival:
    """Estimates from right-censored lifetimes.

    - Kaplan-Meier curve: E. L. Kaplan and P. Meier, J. Am. Stat. Assoc. 53, 457 (1958), from scipy.
    - Restricted mean over [0, T], T the longest time: area A(0, T) under the curve, with variance
      Σ A(t_i, T)² d_i / (Y_i (Y_i - d_i)) over failure times t_i with d_i of Y_i replicas failing;
      J. P. Klein and M. L. Moeschberger, Survival Analysis (2003), section 4.5.
    - Constant hazard: mean time Θ = T_tot/k for k failures in the total time T_tot, with limits of a Poisson
      count
      2 T_tot/χ²(1-α/2; 2k+2) < Θ < 2 T_tot/χ²(α/2; 2k); F. Garwood, Biometrika 28, 437 (1936).

    Parameters
    ----------
    times : sequence of float
        when each replica failed, or the length of its run if it did not, ps
    failed : sequence of bool
        which of the two
    confidence : float
        level of the intervals, between 0 and 1

    Returns
    -------
    Survival
        curve, means and their intervals, ps

    Raises
    ------
    MLIPError
        no replicas, lengths that differ, negative times, or a confidence outside (0, 1)
    """
    lived, dead = np.asarray(times, dtype=float), np.asarray(failed, dtype=bool)
    if lived.ndim != 1 or not len(lived) or lived.shape != dead.shape or not (lived >= 0.0).all():
        raise MLIPError(
            f"`survival`: expected as many non-negative times as outcomes, got {len(lived)} and {len(dead)}"
        )
    if not 0.0 < confidence < 1.0:
        raise MLIPError(f"`confidence`: expected a number between 0 and 1, got {confidence}")
    grid, curve, low, high = _kaplan_meier(lived, dead, confidence)
    mean, deviation = _restricted_mean(lived, dead, grid, curve)
    half = float(stats.norm.ppf(0.5 + 0.5 * confidence)) * deviation
    failures, total = int(dead.sum()), float(lived.sum())
    alive = stats.binomtest(len(lived) - failures, len(lived)).proportion_ci(confidence, method="exact")
    return Survival(
        n=len(lived),
        failures=failures,
        observed_time=total,
        times=grid,
        survival=curve,
        low=low,
        high=high,
        restricted_mean=mean,
        restricted_mean_interval=(max(0.0, mean - half), min(float(lived.max()), mean + half)),
        mean_time=total / failures if failures else float("inf"),
        mean_time_interval=_constant_hazard(failures, total, confidence),
        probability=1.0 - failures / len(lived),
        probability_interval=(float(alive.low), float(alive.high)),
        confidence=confidence,
    )


def _kaplan_meier(
    lived: np.ndarray, dead: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Times and survival with its bounds, from time 0 with survival 1 (unless some failed at 0)."""
    sample = stats.CensoredData(uncensored=lived[dead], right=lived[~dead])
    function = stats.ecdf(sample).sf
    grid, curve = function.quantiles, function.probabilities
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # log(-log S) of S = 0 and 1, replaced below
        interval = function.confidence_interval(confidence, method="log-log")
    low, high = (np.array(bound.probabilities) for bound in (interval.low, interval.high))
    certain = curve == 1.0  # nobody has failed yet: no variance, and scipy gives NaN
    low[certain], high[certain] = 1.0, 1.0
    low, high = np.nan_to_num(low, nan=0.0), np.where(np.isnan(high), curve, high)
    if grid[0] > 0.0:
        grid = np.concatenate([[0.0], grid])
        curve, low, high = (np.concatenate([[1.0], values]) for values in (curve, low, high))
    return grid, curve, low, high


def _restricted_mean(
    lived: np.ndarray, dead: np.ndarray, grid: np.ndarray, curve: np.ndarray
) -> tuple[float, float]:
    """Area under the curve up to the longest time, and its standard deviation, ps."""
    areas = np.concatenate([np.diff(grid) * curve[:-1], [0.0]])
    after = areas[::-1].cumsum()[::-1]  # from each time of the grid to the end
    variance = 0.0
    for time, area in zip(grid, after, strict=True):
        deaths, at_risk = int((dead & (lived == time)).sum()), int((lived >= time).sum())
        if deaths and at_risk > deaths:
            variance += area**2 * deaths / (at_risk * (at_risk - deaths))
    return float(after[0]), float(np.sqrt(variance))


def _constant_hazard(failures: int, total: float, confidence: float) -> tuple[float, float]:
    tail = 0.5 * (1.0 - confidence)
    low = 2.0 * total / stats.chi2.ppf(1.0 - tail, 2 * failures + 2)
    high = 2.0 * total / stats.chi2.ppf(tail, 2 * failures) if failures else float("inf")
    return float(low), float(high)


def median_survival(found: Survival) -> tuple[float, float, float]:
    """Median lifetime in ps and its interval (low, high); infinite where the curve stays above one half.

    The median is the first time at which the curve is at most 1/2, the interval what the curve's pointwise
    bounds give; R. Brookmeyer and J. Crowley, Biometrics 38, 29 (1982).
    """

    def first(curve: np.ndarray) -> float:
        below = np.flatnonzero(curve <= 0.5)
        return float(found.times[below[0]]) if len(below) else float("inf")

    return first(found.survival), first(found.low), first(found.high)


def logrank(
    times: Sequence[float], failed: Sequence[bool], other_times: Sequence[float], other_failed: Sequence[bool]
) -> float:
    """p of the log-rank test, two-sided: the probability of such a difference between equal survivals.

    N. Mantel, Cancer Chemother. Rep. 50, 163 (1966), from scipy. Arguments are those of :func:`survival`, of
    two groups. 1 where nobody failed in either.

    Parameters
    ----------
    times, failed : sequence of float, sequence of bool
        of the first group, as of :func:`survival`, ps
    other_times, other_failed : sequence of float, sequence of bool
        of the second, ps

    Returns
    -------
    float
        p, two-sided
    """
    groups = []
    for lived, dead in ((times, failed), (other_times, other_failed)):
        lived, dead = np.asarray(lived, dtype=float), np.asarray(dead, dtype=bool)
        if lived.ndim != 1 or not len(lived) or lived.shape != dead.shape:
            raise MLIPError(
                f"`logrank`: expected as many times as outcomes, got {lived.size} and {dead.size}"
            )
        groups.append((lived, dead))
    if not any(dead.any() for _, dead in groups):
        return 1.0
    samples = [stats.CensoredData(uncensored=lived[dead], right=lived[~dead]) for lived, dead in groups]
    return float(stats.logrank(*samples).pvalue)
