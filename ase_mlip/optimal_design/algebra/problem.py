"""A design problem in the coordinates in which it is solved, checked once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from ...errors import MLIPError
from .blocks import Blocks, Pool, as_blocks, as_rows
from .criteria import (
    CRITERIA,
    Determinant,
    LargestVariance,
    MeanVariance,
    SmallestEigenvalue,
    cholesky,
    root_of,
)
from .information import as_prior, count_rank, symmetric

_SLACK = 1e-9  # of a budget: sums of costs in another order are the same cost


@dataclass
class Problem:
    """Candidates, prior and criterion.

    D, A, I and G are solved in coordinates in which the information of prior and whole pool is the unit
    matrix. They do not depend on the coordinates (D up to a constant; A is I with the unit vectors as its
    target), and rounding then knows only how much of the pool is selected, not how ill-conditioned the basis
    is. E depends on them.

    Attributes
    ----------
    pool: the candidates' rows
    prior: A₀, [p, p]
    everything: A₀ + Σ X_jᵀX_j over the pool, [p, p]
    goal: the criterion
    costs: [n], positive
    """

    pool: Pool
    prior: np.ndarray
    everything: np.ndarray
    goal: Determinant | MeanVariance | LargestVariance | SmallestEigenvalue
    costs: np.ndarray

    def matrix(self, chosen) -> np.ndarray:
        """A of a selection, made anew from its rows."""
        chosen = np.asarray(chosen, dtype=np.int64)
        if not len(chosen):
            return self.prior.copy()
        return self.prior + self.pool.subset(chosen).information()

    def worst(self) -> float:
        """The criterion's value without full rank."""
        return self.goal.value(-np.inf)


def prepare(blocks, criterion: str, prior, target, costs) -> Problem:
    """The problem of :func:`~.selection.select` and :func:`~.continuous.continuous_design`, whose arguments
    these are.

    Raises
    ------
    MLIPError
        an argument of another shape or kind, numbers that are not finite, costs that are not positive, or a
        pool that does not determine all coefficients
    """
    if not isinstance(criterion, str) or criterion.lower() not in CRITERIA:
        raise MLIPError(f"`criterion`: expected one of {', '.join(CRITERIA)}, got {criterion!r}")
    criterion = criterion.lower()
    stored = as_blocks(blocks)
    start = as_prior(prior, stored.columns)
    everything = start + stored.rows.T @ stored.rows
    _require_full_rank(everything)
    checked_costs = _check_costs(costs, len(stored))
    if criterion == "e":
        pool, goal = Pool.from_blocks(stored), SmallestEigenvalue()
        return Problem(pool, start, everything, goal, checked_costs)
    lower = cholesky(everything)
    inverse = linalg.solve_triangular(lower, np.eye(stored.columns), lower=True)
    transform = inverse.T
    goal = _goal(criterion, stored, target, transform, lower)
    whitened = inverse @ start @ transform
    return Problem(
        Pool.from_blocks(stored, transform),
        symmetric(whitened),
        np.eye(stored.columns),
        goal,
        checked_costs,
    )


def _goal(criterion: str, stored: Blocks, target, transform: np.ndarray, lower: np.ndarray):
    """The criterion in coordinates x @ ``transform``."""
    if criterion == "d":
        return Determinant(stored.columns, offset=2.0 * float(np.log(np.diag(lower)).sum()))
    if criterion == "a":
        return MeanVariance(transform.copy())
    rows = stored.rows if target is None else as_rows(target, "target", stored.columns)
    if not rows.any():
        raise MLIPError(
            "`target`: expected a row that is not zero, got zeros only; nothing would be predicted"
        )
    if criterion == "g":
        return LargestVariance(rows @ transform)
    return MeanVariance(root_of(transform.T @ (rows.T @ rows / len(rows)) @ transform))


def _require_full_rank(everything: np.ndarray) -> None:
    diagonal = np.diag(everything)
    scale = np.where(diagonal > 0.0, 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0)), 0.0)
    rank = count_rank(linalg.eigvalsh(everything * scale[:, None] * scale))
    if rank < len(everything) or cholesky(everything) is None:
        raise MLIPError(
            f"`blocks`: expected a pool that determines all {len(everything)} coefficients, got rank "
            f"{rank}; give a `prior`, leave columns out or add candidates that determine the others"
        )


def _check_costs(costs, count: int) -> np.ndarray:
    if costs is None:
        return np.ones(count)
    array = np.asarray(costs, dtype=np.float64)
    if array.shape != (count,):
        raise MLIPError(
            f"`costs`: expected {count} numbers, one for each block, got the shape {list(array.shape)}"
        )
    if not (np.isfinite(array).all() and (array > 0.0).all()):
        index = int(np.flatnonzero(~(np.isfinite(array) & (array > 0.0)))[0])
        raise MLIPError(f"`costs`: expected positive finite numbers, got {array[index]} for block {index}")
    return array


def check_size(size, costs: np.ndarray, counted: bool) -> float:
    """The budget that ``size`` means.

    Parameters
    ----------
    size: a number of candidates, or with costs a total cost
    costs: [n]
    counted: whether candidates are counted, which have no costs of their own

    Raises
    ------
    MLIPError
        not positive, not a whole number where candidates are counted, more than the pool has, or less than
        the cheapest candidate costs
    """
    number = isinstance(size, (int, float, np.integer, np.floating)) and not isinstance(size, bool)
    if not number or not np.isfinite(size) or size <= 0:
        raise MLIPError(f"`size`: expected a positive number, got {size!r}")
    if counted and size != int(size):
        raise MLIPError(
            f"`size`: expected a whole number of candidates, got {size}; `costs` would make it a cost"
        )
    total = float(costs.sum())
    if size > total * (1.0 + _SLACK):
        what = "candidates" if counted else "as the cost of all candidates"
        raise MLIPError(
            f"`size`: expected at most {total:g} {what}, got {size}; ask for less or add candidates"
        )
    if size < costs.min() * (1.0 - _SLACK):
        raise MLIPError(
            f"`size`: expected at least {costs.min():g}, the cost of the cheapest candidate, got {size}; "
            f"raise the budget"
        )
    return float(size)


def check_keep(keep, costs: np.ndarray, budget: float) -> np.ndarray:
    """Indices of the candidates that must be selected, int64 [k].

    Raises
    ------
    MLIPError
        out of range, named twice, or dearer than the budget
    """
    array = np.asarray(list(keep))
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise MLIPError(f"`keep`: expected whole numbers, indices of blocks, got the type {array.dtype}")
    array = array.astype(np.int64)
    outside = array[(array < 0) | (array >= len(costs))]
    if len(outside):
        raise MLIPError(f"`keep`: expected indices of 0 to {len(costs) - 1}, got {outside[0]}")
    if len(np.unique(array)) < len(array):
        raise MLIPError("`keep`: expected every index once, got one twice; name each block once")
    if costs[array].sum() > budget * (1.0 + _SLACK):
        raise MLIPError(
            f"`keep`: expected blocks that cost at most the {budget:g} of `size`, got "
            f"{costs[array].sum():g}; keep fewer or raise `size`"
        )
    return array


def slack(budget: float) -> float:
    """By how much a sum of costs may exceed a budget as rounding."""
    return _SLACK * budget
