"""What swapping a selected candidate for another can gain at most, for all pairs at once.

Let A hold the rows Y of the selected candidate i, let X be those of the candidate j, V = A⁻¹, S = X V Xᵀ,
P = Xᵀ(1 + S)⁻¹X, and V' = (A − YᵀY)⁻¹ = V + W.

*D.* log det is concave, so log det(1 + X V' Xᵀ) ≤ log det(1 + S) + tr (1 + S)⁻¹ X W Xᵀ: the gain of the swap
is at most the gain of adding j, less the loss of taking i away, plus tr PW.

*A, I.* V' ⪰ V, so (1 + X V' Xᵀ)⁻¹ ⪯ (1 + S)⁻¹, and tr A⁻¹M falls by at most tr (1 + S)⁻¹ X V'MV' Xᵀ: the same
sum, with V'MV' − VMV in place of W.

*G.* For weights q of the target's rows the largest variance is at least tr A⁻¹M_q, bounded as I.

*E.* The smallest eigenvalue is at most uᵀ(A − YᵀY + XᵀX)u for any unit vector u.

Besides, for all of them, ψ(A') ≤ c tr(ZA') (:mod:`.criteria`).
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from .additions import grams_of
from .blocks import Pool
from .criteria import Determinant, LargestVariance, MeanVariance, SmallestEigenvalue, cholesky, inverse_of

_NUMBERS = 1 << 23  # in the arrays [b, p, p] worked on together: 64 MB
_ESSENTIAL = 1e-6  # of a block's information left without it: below, taking it away loses rank
_DIRECTIONS = 16  # eigenvectors that bound E
_POWERS = (16.0, 256.0, 4096.0)  # that weight the target's rows for G
_NEVER = 1e-300


def swap_bounds(goal, matrix: np.ndarray, selected: Pool, others: Pool, tolerance: float) -> np.ndarray:
    """Upper bounds of log ψ(A − YᵀY + XᵀX) − log ψ(A), [k, n]; some of those below ``tolerance`` are loose.

    Parameters
    ----------
    goal: the criterion
    matrix: A [p, p], of full rank
    selected: k candidates whose rows A holds
    others: n candidates
    tolerance: gains that matter
    """
    if isinstance(goal, SmallestEigenvalue):
        return _eigenvalue_bounds(matrix, selected, others)
    slopes = [goal.slope(matrix, power) for power in (_POWERS if goal.sharpens else (1.0,))]
    value = goal.log_efficiency(matrix)
    bounds = np.full((len(selected), len(others)), np.inf)
    for slope in slopes:
        change = others.squares(slope.factor)[None, :] - selected.squares(slope.factor)[:, None]
        bounds = np.minimum(bounds, slope.log_scale - value + np.log(np.maximum(1.0 + change, _NEVER)))
    promising = np.flatnonzero((bounds > tolerance).any(axis=0))
    if not len(promising):
        return bounds
    part = others.subset(promising)
    tight = bounds[:, promising]
    if isinstance(goal, Determinant):
        gains = _second_bounds(matrix, None, selected, part)
        tight = np.minimum(tight, gains / len(matrix))
    else:
        for root in _roots(goal, matrix):
            half = linalg.solve_triangular(cholesky(matrix), root.T, lower=True)
            mean = np.square(half).sum()
            gains = _second_bounds(matrix, root, selected, part)
            tight = np.minimum(tight, -value - np.log(np.maximum(mean - gains, _NEVER)))
    bounds[:, promising] = tight
    return bounds


def _roots(goal: MeanVariance | LargestVariance, matrix: np.ndarray) -> list[np.ndarray]:
    """B with M = BᵀB; of G for some weights of its rows, the last for the worst alone."""
    if isinstance(goal, MeanVariance):
        return [goal.root]
    variances = goal.variances(matrix)
    order = np.argsort(-variances)[: 4 * len(matrix)]
    relative = variances[order] / variances[order[0]]
    roots = []
    for power in (_POWERS[1],):
        weights = relative**power / (relative**power).sum()
        used = weights > 1e-12
        roots.append(goal.target[order[used]] * np.sqrt(weights[used])[:, None])
    return [*roots, goal.target[order[:1]]]


def _second_bounds(matrix: np.ndarray, root: np.ndarray | None, selected: Pool, others: Pool) -> np.ndarray:
    """Upper bounds of the gain in log det, or with ``root`` of the fall of tr A⁻¹M, [k, n]."""
    columns = len(matrix)
    inverse = inverse_of(cholesky(matrix))
    step = max(1, _NUMBERS // columns**2)
    losses, changes = [], []
    for index in range(len(selected)):
        rows = selected.gather(np.array([index]))[0]
        loss, change = _without(rows, inverse, root)
        losses.append(loss)
        changes.append(change)
    losses = np.array(losses)
    bounds = np.empty((len(selected), len(others)))
    factor = linalg.solve_triangular(cholesky(matrix), np.eye(columns), lower=True).T
    for start in range(0, len(selected), step):
        flat = np.stack(changes[start : start + step]).reshape(-1, columns**2).T
        for index, group in others.groups:
            for first in range(0, len(group), step):
                rows = group[first : first + step]
                gains, projected = _with(rows, factor, inverse, root)
                block = projected.reshape(len(rows), -1) @ flat + gains[:, None]
                bounds[start : start + step, index[first : first + step]] = block.T
    return bounds - losses[:, None]


def _without(rows: np.ndarray, inverse: np.ndarray, root: np.ndarray | None) -> tuple[float, np.ndarray]:
    """What taking rows away loses, and by how much V (or VMV) grows, [p, p].

    Where rank is lost the loss is −∞, so that the bound says nothing.
    """
    product = rows @ inverse
    core = np.eye(len(rows)) - product @ rows.T
    if linalg.eigvalsh(core)[0] < _ESSENTIAL:
        return -np.inf, np.zeros_like(inverse)
    lower = np.linalg.cholesky(core)
    k = linalg.solve_triangular(lower, product, lower=True).T
    if root is None:
        return -2.0 * float(np.log(np.diag(lower)).sum()), k @ k.T
    seen = root @ k
    e = inverse @ (root.T @ seen) + 0.5 * k @ (seen.T @ seen)
    change = k @ e.T
    return float(np.square(seen).sum()), change + change.T


def _with(rows, factor, inverse, root) -> tuple[np.ndarray, np.ndarray]:
    """What adding each of ``rows`` [b, m, p] gains, [b], and P [b, p, p]."""
    system = grams_of(rows, factor) + np.eye(rows.shape[1])
    solved = np.linalg.solve(system, rows)
    if root is None:
        gains = np.linalg.slogdet(system)[1]
    else:
        images = rows @ (inverse @ root.T)
        gains = np.einsum("bmr,bmr->b", solved @ (inverse @ root.T), images)
    return gains, rows.swapaxes(1, 2) @ solved


def _eigenvalue_bounds(matrix: np.ndarray, selected: Pool, others: Pool) -> np.ndarray:
    values, vectors = linalg.eigh(matrix)
    bounds = np.full((len(selected), len(others)), np.inf)
    for value, vector in zip(values[:_DIRECTIONS], vectors.T[:_DIRECTIONS], strict=True):
        gained = others.squares(vector[:, None])[None, :]
        bounds = np.minimum(bounds, value + gained - selected.squares(vector[:, None])[:, None])
    return np.log(np.maximum(bounds, _NEVER)) - np.log(values[0])
