"""What a selection is predicted to achieve: errors after each label, random selections beside it, the knee.

A predicted error is the posterior standard deviation of a prediction, in units of the σ of one label. It is
the part of the error that labels can remove; what the model cannot represent is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from .target import Target

KNEE = 0.005  # relative fall of the predicted error by one more calculation
BAND = (5.0, 50.0, 95.0)  # percentiles of random selections
DRAWS = 100
POINTS = 12  # sizes at which random selections are evaluated
FEASIBLE = 1.0  # σ: no group may be known worse than by one label of its own


@dataclass(frozen=True)
class Path:
    """Predicted errors of the target while labels come in, one after the other.

    Attributes
    ----------
    parts: float64 [n + 1, G, K], of the criterion I = tr(A⁻¹M), before the first label and after each
    values: float64 [n + 1], I
    """

    parts: np.ndarray

    @property
    def values(self) -> np.ndarray:
        return self.parts.sum(axis=(1, 2))

    @property
    def gains(self) -> np.ndarray:
        """[n], how far the predicted error √I falls with each label, as a fraction of what it was."""
        roots = np.sqrt(self.values)
        return 1.0 - roots[1:] / roots[:-1]

    def knee(self) -> int | None:
        """The number of labels after which each gains less than 0.5 %; None if the last still gains more."""
        enough = np.flatnonzero(self.gains >= KNEE)
        knee = int(enough[-1]) + 1 if len(enough) else 0
        return knee if knee < len(self.gains) else None


@dataclass(frozen=True)
class Band:
    """Random selections of the same size or cost.

    Attributes
    ----------
    spent: float64 [s], number of labels, or cost, at which they are compared
    roots: float64 [draws, s], √I of each selection
    """

    spent: np.ndarray
    roots: np.ndarray

    def percentiles(self) -> np.ndarray:
        """[3, s]: the 5th, 50th and 95th."""
        return np.percentile(self.roots, BAND, axis=0)


def covariance(information: np.ndarray) -> np.ndarray:
    """A⁻¹ of a positive definite A [p, p], scaled to a unit diagonal before it is factorised."""
    scale = 1.0 / np.sqrt(np.diag(information))
    factor = cho_factor(information * np.outer(scale, scale), lower=True)
    return cho_solve(factor, np.diag(scale)) * scale[:, None]


def follow(start: np.ndarray, blocks: Sequence[np.ndarray], target: Target) -> Path:
    """The path from the information ``start`` [p, p] when blocks [r, p] are labelled in their order."""
    information, parts = start.copy(), [target.parts(covariance(start))]
    for block in blocks:
        information += block.T @ block
        parts.append(target.parts(covariance(information)))
    return Path(np.array(parts))


def random_band(
    start: np.ndarray,
    blocks: Sequence[np.ndarray],
    costs: np.ndarray,
    spend: float,
    target: Target,
    keep: Sequence[int] = (),
    seed: int = 0,
    draws: int = DRAWS,
) -> Band:
    """Random selections that cost at most ``spend`` in all, each with the frames ``keep`` first.

    A frame that costs more than is left is passed over, as the selection itself does it.
    """
    generator = np.random.default_rng(seed)
    moment, kept = target.moment, float(costs[list(keep)].sum())
    first = max(float(costs.min()), kept)
    spent = np.unique(np.round(np.geomspace(first, max(spend, first), POINTS), 9))
    if np.all(costs == 1.0):
        spent = np.unique(np.round(spent))
    others = np.setdiff1d(np.arange(len(blocks)), np.array(keep, dtype=int))
    begin = start + sum((blocks[k].T @ blocks[k] for k in keep), np.zeros_like(start))
    roots = np.zeros((draws, len(spent)))
    for draw in range(draws):
        order, used, information = list(generator.permutation(others)), kept, begin.copy()
        for column, limit in enumerate(spent):
            passed = []
            for k in order:
                if used + costs[k] > limit * (1 + 1e-12):
                    passed.append(k)
                    continue
                used += costs[k]
                information += blocks[k].T @ blocks[k]
            order = passed
            roots[draw, column] = np.sqrt(max(float((covariance(information) * moment).sum()), 0.0))
    return Band(spent, roots)


def reasons(path: Path, target: Target) -> list[str]:
    """For each label the group and kind that it served most, as in "Surface energy −43 %".

    Most is meant in the criterion I; the number is the relative change of that group's predicted error.
    """
    found = []
    for before, after in zip(path.parts[:-1], path.parts[1:], strict=True):
        g, k = np.unravel_index(np.argmax(before - after), before.shape)
        change = 1.0 - np.sqrt(after[g, k] / before[g, k]) if before[g, k] > 0 else 0.0
        found.append(f"{target.groups[g]} {target.kinds[k]} −{percent(change)} %")
    return found


def at_least(fraction: float) -> str:
    """The per cent of a lower bound, rounded down: 97, 99.31, 99.99; 4.3, 0.02; never 100 for less."""
    value = 100.0 * fraction
    if value < 1e-6:
        return "0"
    digits = 2 if value >= 99.0 else 0 if value >= 10.0 else 1
    if value < 1.0:
        digits = -int(np.floor(np.log10(value)))
    return f"{np.floor(value * 10.0**digits + 1e-9) / 10.0**digits:.{digits}f}"


def percent(fraction: float) -> str:
    """With as many digits as help: 43, 4.3, 0.43, and 99.97; 100 for nothing less, to the seventh digit."""
    value = 100.0 * fraction
    if 99.0 < value < 100.0 - 1e-5:
        return f"{value:.{max(2, int(np.ceil(-np.log10(100.0 - value))))}f}"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.2g}"
