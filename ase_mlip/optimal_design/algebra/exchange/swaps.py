"""The exchange: selected candidates are swapped for others until no swap gains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..criteria import Determinant, LargestVariance, cholesky
from ..greedy import greedy, regular
from ..problem import Problem, slack
from .bounds import swap_bounds
from .gains import TOLERANCE, SwapGains

_FEW, _QUICK = 20_000, 3e7  # pairs, and multiplications, up to which all are computed, without bounds
_BATCH, _LARGEST_BATCH = 64, 512  # pairs computed together
_FIRST = 1000  # candidates that the first rounds look at
_FRESH = 50  # swaps after which variances of G that follow by updates are computed anew
_LITTLE = 1e-3  # of the longest column of a factor: for an order of the candidates it does not matter
_PATIENCE = 8  # batches without a swap before bounds are computed anew


def exchange_candidates(
    problem: Problem,
    chosen: list[int],
    fixed: int,
    budget: float,
    tick: Callable[[int, int], None] | None = None,
    *,
    wide: bool = True,
) -> tuple[list[int], int]:
    """Swap until no swap gains more than ``TOLERANCE`` of the efficiency.

    The exchange of V. V. Fedorov, Theory of Optimal Experiments (1972), with all pairs whose upper bound
    (:mod:`.bounds`) leaves a gain computed, so that the end is proven. Where costs leave room after a swap, a
    further candidate fills it. A selection without full rank is first exchanged for log det with a little of
    the pool's information added, which prefers the larger rank.

    Parameters
    ----------
    problem : Problem
        candidates, prior, criterion, costs
    chosen : list of int
        the selection, numbers of candidates
    fixed : int
        how many of its first stay
    budget : float
        of all together
    tick : callable, optional
        called as ``tick(round, swaps)``
    wide : bool
        False to look only at the candidates that promise most, and prove nothing

    Returns
    -------
    list of int
        the selection
    int
        the swaps made
    """
    swaps = 0
    if cholesky(problem.matrix(chosen)) is None:
        base = regular(problem, problem.prior)
        ranked = replace(problem, prior=base, goal=Determinant(len(base)))
        chosen, swaps = _exchange(ranked, chosen, fixed, budget, tick, True)
        if cholesky(problem.matrix(chosen)) is None:
            return chosen, swaps
    chosen, more = _exchange(problem, chosen, fixed, budget, tick, wide)
    return chosen, swaps + more


def _exchange(problem, chosen, fixed, budget, tick, wide) -> tuple[list[int], int]:
    state = _State(problem, list(chosen), fixed, budget)
    narrow = True
    number = 0
    while len(state.chosen) > fixed:
        before = state.swaps
        others = state.others(narrow)
        if len(others):
            state.round(others)
        if tick is not None:
            number += 1
            tick(number, state.swaps)
        if state.fill_up() or state.swaps > before:
            continue
        if not narrow or not wide:
            break
        narrow = False
    return state.chosen, state.swaps


class _State:
    """A selection on its way."""

    def __init__(self, problem: Problem, chosen: list[int], fixed: int, budget: float):
        self.problem, self.chosen, self.fixed, self.budget = problem, chosen, fixed, budget
        self.swaps = 0
        self.variances: np.ndarray | None = None
        self._renew()

    def _renew(self, variances: np.ndarray | None = None) -> None:
        """All that belongs to the selection. For G ``variances`` of the target's rows can be given."""
        self.matrix = self.problem.matrix(self.chosen)
        goal = self.problem.goal
        if isinstance(goal, LargestVariance):
            self.variances = goal.variances(self.matrix) if variances is None else variances
            goal.remember(self.matrix, self.variances)
            self.value = -np.log(self.variances.max())
        else:
            self.value = goal.log_efficiency(self.matrix)
        self.left = self.budget - self.problem.costs[self.chosen].sum() + slack(self.budget)
        self._known_gains: SwapGains | None = None

    def others(self, narrow: bool) -> np.ndarray:
        """Candidates not selected, or those of them that add most to first order."""
        free = np.ones(len(self.problem.pool), dtype=bool)
        free[self.chosen] = False
        index = np.flatnonzero(free)
        if not narrow or len(index) <= _FIRST:
            return index
        factor = self.problem.goal.slope(self.matrix, 64.0).factor
        lengths = np.square(factor).sum(axis=0)
        factor = factor[:, lengths > _LITTLE * lengths.max()]
        rates = self.problem.pool.squares(factor)[index] / self.problem.costs[index]
        return index[np.argsort(-rates, kind="stable")[:_FIRST]]

    def round(self, others: np.ndarray) -> None:
        """Make the swaps that gain, in the order of their bounds."""
        pairs, pool = self._pairs(others), self.problem.pool
        start, idle, before, size = 0, 0, self.swaps, _BATCH
        while start < len(pairs):
            batch = pairs[start : start + size]
            start, size = start + size, min(2 * size, _LARGEST_BATCH)
            made = self.swaps
            while len(batch := self._possible(batch)):
                gains = self._gains()(pool.gather(batch[:, 0]), pool.gather(batch[:, 1]))
                best = int(np.argmax(gains))
                if not gains[best] > TOLERANCE or not self._swap(*batch[best]):
                    break
                batch = batch[gains > 0.0]
            idle = idle + 1 if self.swaps == made else 0
            if idle >= _PATIENCE and self.swaps > before:
                return

    def fill_up(self) -> bool:
        """Whether a candidate still fits into the budget, and was added."""
        free = np.ones(len(self.problem.pool), dtype=bool)
        free[self.chosen] = False
        if not (self.problem.costs[free] <= self.left).any():
            return False
        self.chosen = greedy(self.problem, self.chosen, self.budget)
        self._renew()
        return True

    def _pairs(self, others: np.ndarray) -> np.ndarray:
        """Selected and other candidate of each affordable pair that may gain, the largest bound first, [b,
        2]."""
        movable = np.array(self.chosen[self.fixed :])
        costs = self.problem.costs
        fits = costs[others][None, :] <= costs[movable][:, None] + self.left
        pool = self.problem.pool
        count = len(movable) * len(others)
        # bounds take about as long as a few pairs of each candidate, and leave a small part of the pairs
        if count <= _FEW and 2 * count * pool.widest * pool.columns**2 <= _QUICK:
            bounds = np.full(fits.shape, np.inf)
        else:
            bounds = swap_bounds(
                self.problem.goal, self.matrix, pool.subset(movable), pool.subset(others), TOLERANCE
            )
        bounds = np.where(fits, bounds, -np.inf)
        i, j = np.nonzero(bounds > TOLERANCE)
        order = np.argsort(-bounds[i, j], kind="stable")
        return np.stack([movable[i[order]], others[j[order]]], axis=1)

    def _possible(self, pairs: np.ndarray) -> np.ndarray:
        """Those pairs that earlier swaps have left."""
        selected = np.zeros(len(self.problem.pool), dtype=bool)
        selected[self.chosen] = True
        costs = self.problem.costs
        fits = costs[pairs[:, 1]] <= costs[pairs[:, 0]] + self.left
        return pairs[selected[pairs[:, 0]] & ~selected[pairs[:, 1]] & fits]

    def _gains(self) -> SwapGains:
        if self._known_gains is None:
            self._known_gains = SwapGains(self.problem.goal, self.matrix, self.variances)
        return self._known_gains

    def _swap(self, out: int, into: int) -> bool:
        """Make a swap if the value, made anew from the rows, is better."""
        before, value, variances = list(self.chosen), self.value, self.variances
        updated = None
        if variances is not None and (self.swaps + 1) % _FRESH != 0:
            pool = self.problem.pool
            rows = [pool.gather(np.array([index]))[0] for index in (out, into)]
            updated = self._gains().variances_after(*rows)
        self.chosen[self.chosen.index(out)] = int(into)
        self._renew(updated)
        if self.value > value:
            self.swaps += 1
            return True
        self.chosen = before
        self._renew(variances)
        return False
