"""Continuous designs: weights of the candidates, and a proven bound on what any design can reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...errors import MLIPError
from .blocks import Pool
from .criteria import LargestVariance, Slope
from .problem import Problem, check_size, prepare

_ALL, _SOME = 2000, 600  # candidates up to which all are worked with at once; of more, at least so many
_FIRST_POWER, _LAST_POWER = 16.0, 65536.0  # how sharp the smooth maximum of E and G is
_MEMORY = 8  # steps back that a step may fall to
_ARMIJO = 1e-4
_STEPS = 300  # between two pricings of all candidates

Progress = Callable[[int, int, str], None]  # ase_mlip.progress.form has it, which this imports not


@dataclass
class ContinuousDesign:
    """A continuous design and how far from the optimum it can be.

    Attributes
    ----------
    weights : array
        [n], not negative; sum one, or with ``size`` at most one each and Σ c_j w_j = size
    value : float
        the criterion of A₀ + Σ w_j X_jᵀX_j
    gap : float
        what the optimum can be better by at most, in the units of ``value`` and never negative
    bound : float
        no design of these constraints has a better value than this
    efficiency : float
        proven fraction of the best efficiency, 0 to 1: D: exp((value − bound)/p); A, I, G:
        bound/value; E: value/bound
    """

    weights: np.ndarray = field(repr=False)
    value: float
    gap: float
    bound: float
    efficiency: float


@dataclass
class Relaxation:
    """Weights [n], log ψ of their matrix, a bound on log ψ of all designs."""

    weights: np.ndarray
    log_value: float
    log_bound: float


def continuous_design(
    blocks,
    criterion: str = "d",
    prior: np.ndarray | None = None,
    target: np.ndarray | None = None,
    size: float | None = None,
    costs: np.ndarray | None = None,
    *,
    tolerance: float = 1e-6,
    progress: Progress | None = None,
) -> ContinuousDesign:
    """The best weights of candidates, as if each could be labelled in part and, without ``size``, repeatedly.

    Without ``size`` A = A₀ + Σ w_j X_jᵀX_j with w ≥ 0 and Σ w_j = 1 (with costs Σ c_j w_j = 1): J. Kiefer and
    J. Wolfowitz, Can. J. Math. 12, 363 (1960). With ``size`` also w_j ≤ 1, and Σ c_j w_j = size: what any
    selection of that size reaches is at most the bound of this.

    The bound is c max tr(ZA(w)) over these weights, which a sorted list solves, where Z is a matrix with
    ψ(A') ≤ c tr(ZA') for every A'. :mod:`.criteria` proves it for the five criteria; for D without prior
    and for blocks of one row it is the theorem of Kiefer and Wolfowitz: log det is within p log(max_x x A⁻¹
    xᵀ/p) of the optimum.

    Weights come from projected gradients with steps of Barzilai and Borwein (E. G. Birgin, J. M. Martínez and
    M. Raydan, SIAM J. Optim. 10, 1196 (2000)), for large pools on the candidates that can matter, which
    pricing all of them chooses. E and G take a smooth maximum that is sharpened as long as that closes the
    gap.

    Parameters
    ----------
    blocks : sequence of array
        rows φ/σ of each candidate, [m_j, p] each: a list, an array [n, m, p] or :class:`~.blocks.Blocks`
    criterion : str
        ``"d"``, ``"a"``, ``"i"``, ``"e"`` or ``"g"``
    prior : array, optional
        A₀, [p], [p, p] or None
    target : array, optional
        rows [m, p] that are to be predicted, for I and G; the rows of the pool if None. D, A and E have
        none
    size : float, optional
        number of candidates that could be selected, or their total cost
    costs : array, optional
        [n], positive; one each if None
    tolerance : float
        the efficiency that may be missing, where the work ends
    progress : callable, optional
        called as ``progress(round, 0, "bound")``

    Returns
    -------
    ContinuousDesign
        weights, value and bound

    Raises
    ------
    MLIPError
        an argument of another shape or kind, numbers that are not finite, a pool that leaves coefficients
        undetermined without a prior, ``size`` beyond the pool or below its cheapest candidate
    """
    if not 0.0 < tolerance < 1.0:
        raise MLIPError(f"`tolerance`: expected a number between 0 and 1, got {tolerance}")
    problem = prepare(blocks, criterion, prior, target, costs)
    budget = 1.0 if size is None else check_size(size, problem.costs, costs is None)
    relaxed = relax(problem, budget, size is not None, tolerance, progress=progress)
    value, bound = (problem.goal.value(log) for log in (relaxed.log_value, relaxed.log_bound))
    return ContinuousDesign(
        weights=relaxed.weights,
        value=value,
        gap=abs(value - bound),
        bound=bound,
        efficiency=float(np.exp(relaxed.log_value - relaxed.log_bound)),
    )


def relax(
    problem: Problem,
    budget: float,
    capped: bool,
    tolerance: float,
    *,
    fixed: np.ndarray | None = None,
    start: np.ndarray | None = None,
    rounds: int = 60,
    effort: float = np.inf,
    progress: Progress | None = None,
) -> Relaxation:
    """Weights for a budget, and the bound.

    Parameters
    ----------
    problem: candidates, prior, criterion, costs
    budget: Σ c_j w_j
    capped: whether w_j ≤ 1
    tolerance: of the efficiency, where the work ends
    fixed: bool [n, 2] or None; the first column marks candidates whose weight is one (their cost is part of
        the budget), the second those whose weight is zero
    start: weights [n] to start from
    rounds: of pricing all candidates
    effort: multiplications after which the work ends, whatever is missing; the bound is true at any time
    progress: called as ``progress(round, 0, "bound")``
    """
    pool, costs, count = problem.pool, problem.costs, len(problem.pool)
    weights = np.zeros(count)
    free = np.ones(count, dtype=bool)
    base = problem.prior
    if fixed is not None:
        weights[fixed[:, 0]] = 1.0
        free = ~fixed.any(axis=1)
        budget = budget - costs[fixed[:, 0]].sum()
        base = problem.matrix(np.flatnonzero(fixed[:, 0]))
    candidates = np.flatnonzero(free)
    left = costs[candidates].sum() if capped else np.inf
    if not len(candidates) or budget <= 1e-12 * costs.max() or left <= budget:
        if left <= budget and budget > 0.0:
            weights[candidates] = 1.0
        value = problem.goal.log_efficiency(base + pool.information(weights * free))
        return Relaxation(weights, value, value)
    inner = pool if free.all() else pool.subset(candidates)
    caps = np.minimum(costs[candidates], budget) if capped else np.full(len(candidates), budget)
    task = _Task(inner, base, problem.goal, costs[candidates], budget, caps)
    task.effort = effort
    shares = task.solve(None if start is None else start[candidates], tolerance, rounds, progress)
    weights[candidates] = shares / costs[candidates]
    return Relaxation(weights, task.log_value, task.log_bound)


class _Task:
    """Maximise log ψ(A₀ + Σ u_j X_jᵀX_j/c_j) over 0 ≤ u ≤ caps, Σu = budget, where u_j = c_j w_j."""

    def __init__(
        self, pool: Pool, base: np.ndarray, goal, costs: np.ndarray, budget: float, caps: np.ndarray
    ):
        self.pool, self.base, self.goal, self.costs = pool, base, goal, costs
        self.budget, self.caps = budget, caps
        self.log_value, self.log_bound = -np.inf, np.inf
        self.effort, self.work = np.inf, 0.0

    def solve(self, start, tolerance: float, rounds: int, progress: Progress | None) -> np.ndarray:
        """The best shares u found, [n]; ``log_value`` and ``log_bound`` belong to them."""
        shares = self._even() if start is None else project(start * self.costs, self.caps, self.budget)
        best, power, idle = shares, _FIRST_POWER, 0
        for number in range(rounds):
            matrix = self.matrix(shares)
            slope = self.goal.slope(matrix, power)
            self.work += self._step_work()
            if slope.factor is None:  # the start has no full rank
                shares = project(0.5 * shares, self.caps, self.budget)
                continue
            value = self.goal.log_efficiency(matrix)
            if value > self.log_value:
                self.log_value, best = value, shares
            prices = self.prices(slope)
            excess = self.excess(slope, prices)
            before, self.log_bound = self.log_bound, min(self.log_bound, slope.log_scale + excess)
            if progress is not None:
                progress(number + 1, 0, "bound")
            missing = self.log_bound - self.log_value
            idle = idle + 1 if before - self.log_bound < 0.02 * missing else 0
            if missing <= tolerance or idle > 8 or self.work > self.effort:
                break
            if self.goal.sharpens and excess < 0.3 * missing:
                power = min(2.0 * power, _LAST_POWER)
            active = self._active(shares, prices)
            part = self._part(active, matrix)
            part.effort = self.effort - self.work
            moved = part.descend(shares[active], power, max(0.3 * tolerance, 0.1 * excess))
            self.work += part.work
            shares = np.zeros(len(self.pool))
            shares[active] = moved
        return best

    def descend(self, shares: np.ndarray, power: float, tolerance: float) -> np.ndarray:
        """Shares whose smooth log ψ is within ``tolerance`` of the best, or as far as the steps led."""
        matrix = self.matrix(shares)
        slope = self.goal.slope(matrix, power)
        prices = self.prices(slope)
        step = self.budget / prices.max() / len(prices)
        recent = [slope.log_value]
        for _ in range(_STEPS):
            if self.excess(slope, prices) <= tolerance or self.work > self.effort:
                break
            self.work += self._step_work()
            direction = project(shares + step * prices, self.caps, self.budget) - shares
            change = self.pool.information(direction / self.costs)
            rise, length = prices @ direction, 1.0
            while True:
                slope = self.goal.slope(matrix + length * change, power)
                if slope.log_value >= min(recent[-_MEMORY:]) + _ARMIJO * length * rise:
                    break
                length *= 0.3
                if length < 1e-12:
                    return shares
            matrix = matrix + length * change
            shares = shares + length * direction
            before, prices = prices, self.prices(slope)
            recent.append(slope.log_value)
            curvature = -length * (direction @ (prices - before))
            square = length**2 * (direction @ direction)
            step = min(square / curvature, 1e6 * step) if curvature > 0.0 else 10.0 * step
        return shares

    def _step_work(self) -> float:
        """Multiplications of a matrix, its slope and the prices."""
        target = self.goal.target.size if isinstance(self.goal, LargestVariance) else 0
        return 2.0 * (self.pool.numbers + target) * self.pool.columns

    def _even(self) -> np.ndarray:
        """Equal shares; in a large pool of those candidates only that then are the dearest."""
        shares = project(np.zeros(len(self.pool)), self.caps, self.budget)
        if len(shares) <= _ALL:
            return shares
        order = np.argsort(-self.prices(self.goal.slope(self.matrix(shares), _FIRST_POWER)), kind="stable")
        enough = int(np.searchsorted(np.cumsum(self.caps[order]), 2.0 * self.budget)) + 1
        chosen = order[: max(_SOME, enough)]
        shares = np.zeros(len(self.pool))
        shares[chosen] = project(np.zeros(len(chosen)), self.caps[chosen], self.budget)
        return shares

    def matrix(self, shares: np.ndarray) -> np.ndarray:
        """A of these shares."""
        return self.base + self.pool.information(shares / self.costs)

    def prices(self, slope: Slope) -> np.ndarray:
        """The derivative of log ψ to each share, [n]."""
        return self.pool.squares(slope.factor) / self.costs

    def excess(self, slope: Slope, prices: np.ndarray) -> float:
        """log of the largest tr(ZA') of all designs."""
        fixed = float(np.einsum("ij,ij->", slope.factor, self.base @ slope.factor))
        return float(np.log(fixed + prices @ fill(prices, self.caps, self.budget)))

    def _active(self, shares: np.ndarray, prices: np.ndarray) -> np.ndarray:
        """The candidates to work with: those of a share, and the dearest of the others."""
        if len(prices) <= _ALL:
            return np.arange(len(prices))
        used = shares > 0.0
        order = np.argsort(np.where(used, np.inf, prices))[::-1]
        return np.sort(order[: max(_SOME, int(1.3 * used.sum()))])

    def _part(self, active: np.ndarray, matrix: np.ndarray) -> _Task:
        goal = self.goal.working(matrix) if isinstance(self.goal, LargestVariance) else self.goal
        if len(active) == len(self.pool):
            return _Task(self.pool, self.base, goal, self.costs, self.budget, self.caps)
        return _Task(
            self.pool.subset(active), self.base, goal, self.costs[active], self.budget, self.caps[active]
        )


def fill(prices: np.ndarray, caps: np.ndarray, budget: float) -> np.ndarray:
    """Shares that maximise Σ prices·u over 0 ≤ u ≤ caps, Σu = budget: the dearest first, [n]."""
    order = np.argsort(-prices, kind="stable")
    before = np.cumsum(caps[order]) - caps[order]
    shares = np.empty(len(prices))
    shares[order] = np.clip(budget - before, 0.0, caps[order])
    return shares


def project(point: np.ndarray, caps: np.ndarray, budget: float) -> np.ndarray:
    """The nearest shares to ``point`` with 0 ≤ u ≤ caps and Σu = budget ≤ Σcaps, [n].

    They are clip(point − μ, 0, caps) for the μ that keeps the budget, and the sum falls linearly in μ between
    the points where a share leaves its cap or reaches zero.
    """
    bends = np.concatenate([point - caps, point])
    order = np.argsort(bends)
    bends = bends[order]
    falling = np.cumsum(
        np.where(order < len(point), 1.0, -1.0)
    )  # shares between their limits, after each bend
    sums = caps.sum() - np.concatenate([[0.0], np.cumsum(falling[:-1] * np.diff(bends))])
    place = int(np.clip(np.searchsorted(-sums, -budget, side="right") - 1, 0, len(bends) - 2))
    slope = falling[place]
    shift = bends[place] + ((sums[place] - budget) / slope if slope > 0.5 else 0.0)
    return np.clip(point - shift, 0.0, caps)
