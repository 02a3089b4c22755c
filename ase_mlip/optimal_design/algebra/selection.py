"""The selection of candidates for a number or a cost, with a certificate of how good it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from .continuous import Progress, Relaxation, relax
from .criteria import LargestVariance
from .exchange.swaps import exchange_candidates
from .greedy import greedy
from .problem import Problem, check_keep, check_size, prepare, slack

_EFFORT = 2e11  # multiplications for the certificate, about ten seconds
_TOLERANCE, _SMOOTHED = 1e-3, 5e-3  # of the certificate, what it may miss; for E and G, which converge slowly


@dataclass
class Selection:
    """Which candidates to label, how much each helps, and how good the selection is at least.

    Attributes
    ----------
    indices : array
        int64 [k], into the pool: those of ``keep`` in their order, then the others in the order of their
        gain (with costs, of gain per cost) given those before
    curve : array
        float64 [k], the criterion after each of them; −∞ (D), 0 (E) or +∞ (A, I, G) until A has full rank
    value : float
        the criterion of the selection
    bound : float
        no selection of this size or cost that holds ``keep`` has a better value
    efficiency : float
        proven fraction of the best selection's efficiency, 0 to 1: D: exp((value − bound)/p); A, I,
        G: bound/value; E: value/bound. 0 where the selection has no full rank
    cost : float
        of the selection; its number if there are no costs
    swaps : int
        made after the greedy selection
    weights : array
        float64 [n], of the continuous design that gives the bound
    """

    indices: np.ndarray
    curve: np.ndarray = field(repr=False)
    value: float
    bound: float
    efficiency: float
    cost: float
    swaps: int
    weights: np.ndarray = field(repr=False)


def select(
    blocks,
    size: float,
    criterion: str = "d",
    costs: np.ndarray | None = None,
    prior: np.ndarray | None = None,
    target: np.ndarray | None = None,
    keep=(),
    *,
    progress: Progress | None = None,
) -> Selection:
    """The candidates that, labelled together, determine the coefficients best.

    A greedy selection (lazy for D, whose gains only fall) and one rounded from the continuous design are
    exchanged until no swap gains more than 1e-6 of the efficiency. The bound is that of
    :func:`~.continuous.continuous_design` with ``size``, the prior and ``keep``, without candidates dearer
    than what ``keep`` leaves; for large pools the work on it is limited, and the bound looser.

    Without a prior the greedy selection starts from 1e-8 of the pool's information, so that candidates that
    determine more directions come first; values, curve and certificate are without it. If no candidates of
    this size determine all coefficients, value and curve say so and the efficiency is 0.

    Parameters
    ----------
    blocks : sequence of array
        rows φ/σ of each candidate, [m_j, p] each: a list, an array [n, m, p] or :class:`~.blocks.Blocks`
    size : float
        how many candidates, of ``keep`` too; with costs their largest total cost
    criterion : str
        ``"d"``, ``"a"``, ``"i"``, ``"e"`` or ``"g"``
    costs : array, optional
        [n], positive; candidates are counted if None
    prior : array, optional
        A₀, [p], [p, p] or None; it holds what is labelled already
    target : array, optional
        rows [m, p] that are to be predicted, for I and G; the rows of the pool if None. D, A and E have
        none
    keep : sequence of int
        indices of candidates that must be selected
    progress : callable, optional
        called as ``progress(done, total, stage)``: "selection" with candidates, "bound" and
        "exchange" with rounds, of which nobody knows how many there will be (0)

    Returns
    -------
    Selection
        the chosen candidates, with the bound

    Raises
    ------
    MLIPError
        an argument of another shape or kind, numbers that are not finite, a pool that leaves coefficients
        undetermined without a prior, ``size`` beyond the pool or below its cheapest candidate, ``keep`` out
        of range or dearer than ``size``
    """
    problem = prepare(blocks, criterion, prior, target, costs)
    budget = check_size(size, problem.costs, costs is None)
    kept = [int(index) for index in check_keep(keep, problem.costs, budget)]
    expected = int(budget) if costs is None else len(problem.pool)
    tick = None if progress is None else (lambda done: progress(done, expected, "selection"))
    picks = greedy(problem, kept, budget, tick=tick)
    relaxed = _relaxed(problem, kept, picks, budget, progress)
    starts = [picks, _rounded(problem, kept, relaxed.weights, budget)]
    if costs is not None:
        starts.append(greedy(problem, kept, budget, by_cost=False))
    chosen, swaps = _best_exchange(problem, starts, len(kept), budget, progress)
    indices = _by_gain(problem, kept, chosen, budget)
    curve = _curve(problem, indices)
    log_bound = max(relaxed.log_bound, curve[-1])  # rounding only: where the relaxation is exact
    return Selection(
        indices=np.array(indices, dtype=np.int64),
        curve=np.array([problem.goal.value(value) for value in curve]),
        value=problem.goal.value(curve[-1]),
        bound=problem.goal.value(log_bound),
        efficiency=float(np.exp(curve[-1] - log_bound)) if np.isfinite(log_bound) else 0.0,
        cost=float(problem.costs[indices].sum()),
        swaps=swaps,
        weights=relaxed.weights,
    )


def _relaxed(problem: Problem, kept: list[int], picks: list[int], budget: float, progress) -> Relaxation:
    """The continuous design over what a selection can hold."""
    fixed = np.zeros((len(problem.pool), 2), dtype=bool)
    fixed[kept, 0] = True
    left = budget - problem.costs[kept].sum()
    fixed[:, 1] = ~fixed[:, 0] & (problem.costs > left + slack(budget))
    start = np.zeros(len(problem.pool))
    start[picks] = 1.0
    tolerance = _SMOOTHED if problem.goal.sharpens else _TOLERANCE
    return relax(
        problem, budget, True, tolerance, fixed=fixed, start=start, effort=_EFFORT, progress=progress
    )


def _rounded(problem: Problem, kept: list[int], weights: np.ndarray, budget: float) -> list[int]:
    """The candidates of the largest weights that fit, and what else fits by its gain."""
    chosen = list(kept)
    left = budget - problem.costs[kept].sum() + slack(budget)
    for index in np.argsort(-weights, kind="stable"):
        if weights[index] <= 0.0:
            break
        if index not in kept and problem.costs[index] <= left:
            chosen.append(int(index))
            left -= problem.costs[index]
    return _filled(problem, chosen, budget)


def _filled(problem: Problem, chosen: list[int], budget: float) -> list[int]:
    free = np.ones(len(problem.pool), dtype=bool)
    free[chosen] = False
    left = budget - problem.costs[chosen].sum() + slack(budget)
    return greedy(problem, chosen, budget) if (problem.costs[free] <= left).any() else chosen


def _best_exchange(problem: Problem, starts: list[list[int]], fixed: int, budget: float, progress):
    """The best selection that exchanges of the starts reach; only the best of them looks at the whole
    pool."""
    tick = None if progress is None else (lambda number, _swaps: progress(number, 0, "exchange"))
    found = [exchange_candidates(problem, chosen, fixed, budget, tick, wide=False) for chosen in starts]
    chosen, swaps = max(found, key=lambda pair: problem.goal.log_efficiency(problem.matrix(pair[0])))
    chosen, more = exchange_candidates(problem, chosen, fixed, budget, tick)
    return chosen, swaps + more


def _by_gain(problem: Problem, kept: list[int], chosen: list[int], budget: float) -> list[int]:
    """The selection in the order in which the greedy selection would take it."""
    order = np.array([*kept, *(index for index in chosen if index not in kept)])
    part = replace(problem, pool=problem.pool.subset(order), costs=problem.costs[order])
    return [int(index) for index in order[greedy(part, list(range(len(kept))), budget)]]


def _curve(problem: Problem, indices: list[int]) -> np.ndarray:
    """log ψ after each of ``indices``, [k]."""
    goal, matrix, values = problem.goal, problem.prior.copy(), []
    if isinstance(goal, LargestVariance):
        goal = goal.falling()
    for index in indices:
        rows = problem.pool.gather(np.array([index]))[0]
        matrix = matrix + rows.T @ rows
        values.append(goal.log_efficiency(matrix))
    return np.array(values)
