"""Rank correlations of a few models, with bootstrap intervals; NumPy and SciPy only.

Spearman's ρ is the linear correlation of ranks, ties with the mean of their ranks. The partial correlation of
x and y given z is that of what is left of both after a linear fit to z,

    ρ_xy·z = (ρ_xy - ρ_xz ρ_yz) / √((1 - ρ_xz²)(1 - ρ_yz²)),

here of ranks (M. G. Kendall, Biometrika 32, 277 (1942), has it for another rank correlation). It asks whether
x says more of y than z says alone.

Intervals are percentiles of a bootstrap over models (B. Efron and R. J. Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13). A sample in which a correlation is undefined, such as one that drew one model
only, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from ...errors import MLIPError
from ..entropy import CONFIDENCE

LEAST_MODELS = 5  # of fewer no correlation is given
RESAMPLES = 9999
ROUNDING = 1e-12


@dataclass(frozen=True)
class Correlation:
    """A rank correlation of n models.

    Attributes
    ----------
    value : float
        between -1 and 1; NaN where there is none
    low, high : float
        its interval at the level ``confidence``; NaN where there is none
    n : int
        models
    confidence : float
        as 0.95
    reason : str
        why there is none, a sentence; empty where there is one
    """

    value: float
    low: float
    high: float
    n: int
    confidence: float
    reason: str = ""

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0.0 or self.high < 0.0

    def __str__(self) -> str:
        if self.reason:
            return self.reason
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def spearman(
    x: Sequence,
    y: Sequence,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Correlation:
    """Spearman's rank correlation.

    Parameters
    ----------
    x, y : sequence of float [n]
        of the same models; infinite values have the first or the last rank
    resamples, confidence, seed : int, float, int
        of the bootstrap

    Returns
    -------
    Correlation
        with its interval, or the reason why there is none

    Raises
    ------
    MLIPError
        sequences of different lengths, NaN, or a confidence outside (0, 1)
    """
    return _of({"x": x, "y": y}, _linear, resamples, confidence, seed)


def partial_spearman(
    x: Sequence,
    y: Sequence,
    control: Sequence,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Correlation:
    """The rank correlation of x and y given the control.

    Parameters
    ----------
    x, y, control : sequence of float [n]
        of the same models; infinite values have the first or the last rank
    resamples, confidence, seed : int, float, int
        of the bootstrap

    Returns
    -------
    Correlation
        with its interval, or the reason why there is none

    Raises
    ------
    MLIPError
        sequences of different lengths, NaN, or a confidence outside (0, 1)
    """
    return _of({"x": x, "y": y, "control": control}, _partial, resamples, confidence, seed)


def _of(given: dict[str, Sequence], statistic, resamples: int, confidence: float, seed: int) -> Correlation:
    values = _checked(given, confidence)
    n = values.shape[1]
    if n < LEAST_MODELS:
        reason = f"There is no correlation of fewer than {LEAST_MODELS} models, and here {_are(n)}."
        return _none(n, confidence, reason)
    for name, row in zip(given, values, strict=True):
        if (row == row[0]).all():
            reason = f"There is no correlation: `{name}` is the same for all {n} models."
            return _none(n, confidence, reason)
    value = float(statistic(_ranks(values[:, None, :]))[0])
    if np.isnan(value):
        reason = f"There is no partial correlation: the control ranks the {n} models as `x` or `y` does."
        return _none(n, confidence, reason)
    drawn = np.random.default_rng(seed).integers(0, n, (resamples, n))
    found = statistic(_ranks(values[:, drawn]))
    found = found[~np.isnan(found)]
    tails = (0.5 - 0.5 * confidence, 0.5 + 0.5 * confidence)
    low, high = np.quantile(found, tails) if len(found) else (np.nan, np.nan)
    return Correlation(value, float(low), float(high), n, confidence)


def _are(n: int) -> str:
    return "is one" if n == 1 else f"are {n or 'none'}"


def _none(n: int, confidence: float, reason: str) -> Correlation:
    return Correlation(float("nan"), float("nan"), float("nan"), n, confidence, reason)


def _checked(given: dict[str, Sequence], confidence: float) -> np.ndarray:
    """All sequences, float64 [sequences, n]."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in given.items()}
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    if any(array.ndim != 1 for array in arrays.values()) or len({len(a) for a in arrays.values()}) != 1:
        raise MLIPError(
            f"`{'`, `'.join(given)}`: expected numbers [n] of the same models, got the shapes {shapes}"
        )
    for name, array in arrays.items():
        if np.isnan(array).any():
            raise MLIPError(
                f"`{name}`: expected numbers, got NaN for {int(np.isnan(array).sum())}; leave those out"
            )
    if not 0.0 < confidence < 1.0:
        raise MLIPError(f"`confidence`: expected a number between 0 and 1, got {confidence}")
    return np.stack(list(arrays.values()))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis less their mean."""
    return rankdata(values, axis=-1) - 0.5 * (values.shape[-1] + 1)


def _pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Linear correlations of centred rows [..., n]; NaN where one is constant."""
    norms = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=-1) / np.where(norms > 0.0, norms, np.nan)


def _linear(ranks: np.ndarray) -> np.ndarray:
    return _pearson(ranks[0], ranks[1])


def _partial(ranks: np.ndarray) -> np.ndarray:
    x, y, control = ranks
    xy, xz, yz = _pearson(x, y), _pearson(x, control), _pearson(y, control)
    rest = (1.0 - xz**2) * (1.0 - yz**2)
    possible = np.minimum(1.0 - xz**2, 1.0 - yz**2) > ROUNDING
    return np.where(possible, (xy - xz * yz) / np.sqrt(np.where(possible, rest, 1.0)), np.nan).clip(-1.0, 1.0)
