"""The exchange: selected candidates are swapped for others until no swap gains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import linalg

from .additions import smallest_eigenvalue
from .criteria import Determinant, LargestVariance, MeanVariance, SmallestEigenvalue, cholesky, inverse_of
from .greedy import greedy, regular
from .problem import Problem, slack
from .swap_bounds import swap_bounds

TOLERANCE = 1e-6  # of the efficiency: what a swap has to gain
_FEW, _QUICK = 20_000, 3e7  # pairs, and multiplications, up to which all are computed, without bounds
_BATCH = 64  # pairs computed together
_FIRST = 1000  # candidates that the first rounds look at
_PATIENCE = 8  # batches without a swap before bounds are computed anew
_LOST = np.log(1e-10)  # a determinant that falls below this has lost rank
_DIRECTIONS = 12  # eigenvectors that bound E
_WORST, _ROWS = 64, 4096  # rows of G's target looked at first, and together
_NEVER = 1e-300


def exchange(
    problem: Problem,
    chosen: list[int],
    fixed: int,
    budget: float,
    tick: Callable[[int, int], None] | None = None,
    *,
    wide: bool = True,
) -> tuple[list[int], int]:
    """Swap until no swap gains more than ``TOLERANCE`` of the efficiency. Returns the selection and the swaps
    made.

    The exchange of V. V. Fedorov, Theory of Optimal Experiments (1972), with all pairs whose upper bound
    (:mod:`.swap_bounds`) leaves a gain computed, so that the end is proven. Where costs leave room after a
    swap, a further candidate fills it. A selection without full rank is first exchanged for log det with a
    little of the pool's information added, which prefers the larger rank.

    Parameters
    ----------
    problem: candidates, prior, criterion, costs
    chosen: the selection
    fixed: how many of its first stay
    budget: of all together
    tick: called as ``tick(round, swaps)``
    wide: False to look only at the candidates that promise most, and prove nothing
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
        self._renew()

    def _renew(self) -> None:
        self.matrix = self.problem.matrix(self.chosen)
        goal = self.problem.goal
        self.variances = goal.variances(self.matrix) if isinstance(goal, LargestVariance) else None
        if self.variances is None:
            self.value = goal.log_efficiency(self.matrix)
        else:
            self.value = -np.log(self.variances.max())
        self.left = self.budget - self.problem.costs[self.chosen].sum() + slack(self.budget)

    def others(self, narrow: bool) -> np.ndarray:
        """Candidates not selected, or those of them that add most to first order."""
        free = np.ones(len(self.problem.pool), dtype=bool)
        free[self.chosen] = False
        index = np.flatnonzero(free)
        if not narrow or len(index) <= _FIRST:
            return index
        slope = self.problem.goal.slope(self.matrix, 64.0)
        rates = self.problem.pool.squares(slope.factor)[index] / self.problem.costs[index]
        return index[np.argsort(-rates, kind="stable")[:_FIRST]]

    def round(self, others: np.ndarray) -> None:
        """Make the swaps that gain, in the order of their bounds."""
        pairs = self._pairs(others)
        start, idle, before = 0, 0, self.swaps
        while start < len(pairs):
            batch = pairs[start : start + _BATCH]
            start += _BATCH
            made = self.swaps
            while len(batch := self._possible(batch)):
                gains = self._gains(batch)
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

    def _gains(self, pairs: np.ndarray) -> np.ndarray:
        pool = self.problem.pool
        out, into = pool.gather(pairs[:, 0]), pool.gather(pairs[:, 1])
        return swap_gains(self.problem.goal, self.matrix, out, into, self.variances)

    def _swap(self, out: int, into: int) -> bool:
        """Make a swap if the value, made anew from the rows, is better."""
        before, value = list(self.chosen), self.value
        self.chosen[self.chosen.index(out)] = int(into)
        self._renew()
        if self.value > value:
            self.swaps += 1
            return True
        self.chosen = before
        self._renew()
        return False


def swap_gains(
    goal, matrix: np.ndarray, out: np.ndarray, into: np.ndarray, variances: np.ndarray | None = None
) -> np.ndarray:
    """log ψ(A − YᵀY + XᵀX) − log ψ(A) of pairs, [b]; −∞ where rank is lost.

    With B = [X; Y], D = diag(+1, …, −1, …) and C = D + B V Bᵀ, V = A⁻¹: the determinant changes by det D det
    C, the inverse by −V Bᵀ C⁻¹ B V. A gain below ``TOLERANCE`` may be an upper bound of it (E and G).

    Parameters
    ----------
    goal: the criterion
    matrix: A [p, p], of full rank
    out, into: rows Y [b, m, p] and X [b, m', p]
    variances: of the target's rows, for G
    """
    if isinstance(goal, SmallestEigenvalue):
        return _eigenvalue_gains(matrix, out, into)
    inverse = inverse_of(cholesky(matrix))
    both = np.concatenate([into, out], axis=1)
    signs = np.concatenate([np.ones(into.shape[1]), -np.ones(out.shape[1])])
    product = (both.reshape(-1, both.shape[2]) @ inverse).reshape(both.shape)
    core = np.diag(signs) + product @ both.swapaxes(1, 2)
    sign, logs = np.linalg.slogdet(core)
    alive = (sign * np.prod(signs) > 0.0) & (logs > _LOST)
    if isinstance(goal, Determinant):
        return np.where(alive, logs / len(matrix), -np.inf)
    gains = np.full(len(both), -np.inf)
    if isinstance(goal, MeanVariance):
        images = product[alive] @ goal.root.T
        falls = np.einsum("bmr,bmr->b", np.linalg.solve(core[alive], images), images)
        half = linalg.solve_triangular(cholesky(matrix), goal.root.T, lower=True)
        gains[alive] = -np.log(np.maximum(1.0 - falls / np.square(half).sum(), _NEVER))
        return gains
    alive = np.flatnonzero(alive)
    order = np.argsort(-variances)
    largest = variances[order[0]]
    # the worst rows say for most swaps that they gain nothing
    after = _largest_after(goal.target, variances, order[:_WORST], product[alive], core[alive])
    for place in np.flatnonzero(after < largest * (1.0 - 0.5 * TOLERANCE)):
        pair = alive[place : place + 1]
        for start in range(_WORST, len(order), _ROWS):
            rest = order[start : start + _ROWS]
            after[place] = max(
                after[place], _largest_after(goal.target, variances, rest, product[pair], core[pair])[0]
            )
    gains[alive] = np.log(largest / np.maximum(after, _NEVER))
    return gains


def _largest_after(target, variances, rows, product, core) -> np.ndarray:
    """The largest variance of some rows of the target after each swap, [b]."""
    images = product @ target[rows].T
    falls = np.einsum("bmt,bmt->bt", images, np.linalg.solve(core, images))
    return (variances[rows] - falls).max(axis=1)


def _eigenvalue_gains(matrix: np.ndarray, out: np.ndarray, into: np.ndarray) -> np.ndarray:
    values, vectors = linalg.eigh(matrix)
    lowest, directions = values[:_DIRECTIONS], vectors[:, :_DIRECTIONS]
    gained, lost = into @ directions, out @ directions
    middle = np.diag(lowest) + gained.swapaxes(1, 2) @ gained - lost.swapaxes(1, 2) @ lost
    # of the matrix between the lowest eigenvectors: not less than that of the whole (Rayleigh, Ritz)
    gains = np.log(np.maximum(np.linalg.eigvalsh(middle)[:, 0], _NEVER) / values[0])
    for index in np.flatnonzero(gains > TOLERANCE):
        after = matrix + into[index].T @ into[index] - out[index].T @ out[index]
        gains[index] = np.log(max(smallest_eigenvalue(after), _NEVER) / values[0])
    return gains
