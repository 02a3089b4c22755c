"""The greedy selection: one candidate after the other, each the one that gains most."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .additions import DeterminantAdditions, MeanVarianceAdditions
from .criteria import Determinant, LargestVariance, MeanVariance, SmallestEigenvalue, cholesky
from .problem import Problem, slack
from .sharp_additions import PLATEAU, LargestVarianceAdditions, SmallestEigenvalueAdditions

_REGULAR = 1e-8  # of the pool's information


def regular(problem: Problem, base: np.ndarray) -> np.ndarray:
    """``base``, or where it has no full rank with a little of the pool's information added.

    With it a candidate that determines more directions gains more than any that does not: the start of a
    selection without a prior has the largest rank first.
    """
    return base if cholesky(base) is not None else base + _REGULAR * problem.everything


def additions_of(problem: Problem, base: np.ndarray):
    """The additions of the problem's criterion to ``base``."""
    kind = {
        Determinant: DeterminantAdditions,
        MeanVariance: MeanVarianceAdditions,
        SmallestEigenvalue: SmallestEigenvalueAdditions,
        LargestVariance: LargestVarianceAdditions,
    }[type(problem.goal)]
    return kind(problem.pool, problem.goal, base)


def greedy(
    problem: Problem,
    chosen: list[int],
    budget: float,
    *,
    among: np.ndarray | None = None,
    by_cost: bool = True,
    tick: Callable[[int], None] | None = None,
) -> list[int]:
    """Add to ``chosen`` the candidate of the largest gain per cost, until the budget ends. Returns all, in
    order.

    E and G, in which an addition often changes nothing, take the gain of D where they have no full rank, and
    where the best gain is rounding.

    Parameters
    ----------
    problem: candidates, prior, criterion, costs
    chosen: those selected already, which come first
    budget: of all together
    among: bool [n], the candidates allowed; all if None
    by_cost: divide gains by costs
    tick: called with the number selected
    """
    chosen = list(chosen)
    start = problem.matrix(chosen)
    base = regular(problem, start)
    own = additions_of(problem, base)
    sharp = problem.goal.sharpens
    helper = DeterminantAdditions(problem.pool, None, base) if sharp else None
    allowed = np.ones(len(problem.pool), dtype=bool) if among is None else among.copy()
    allowed[chosen] = False
    rates = problem.costs if by_cost else np.ones(len(problem.pool))
    left = budget - problem.costs[chosen].sum()
    full = cholesky(start) is not None
    while True:
        allowed &= problem.costs <= left + slack(budget)
        if not allowed.any():
            return chosen
        index = -1
        if not sharp or full:
            index, gain = own.best(allowed, rates)
            if sharp and gain <= PLATEAU * abs(own.value):
                index = -1
        if index < 0:
            index, _ = (helper or own).best(allowed, rates)
        for additions in (own, helper):
            if additions is not None:
                additions.add(index)
        chosen.append(index)
        allowed[index] = False
        left -= problem.costs[index]
        full = full or cholesky(problem.matrix(chosen)) is not None
        if tick is not None:
            tick(len(chosen))
