"""What swapping a selected candidate for another can gain at most, for all pairs at once.

Let A hold the rows Y of the selected candidate i, let X be those of the candidate j, V = A⁻¹, S = X V Xᵀ,
P = Xᵀ(1 + S)⁻¹X, and V' = (A − YᵀY)⁻¹ = V + W.

*D.* log det is concave, so log det(1 + X V' Xᵀ) ≤ log det(1 + S) + tr (1 + S)⁻¹ X W Xᵀ: the gain of the swap
is at most the gain of adding j, less the loss of taking i away, plus tr PW.

*A, I.* V' ⪰ V, so (1 + X V' Xᵀ)⁻¹ ⪯ (1 + S)⁻¹, and tr A⁻¹M falls by at most tr (1 + S)⁻¹ X V'MV' Xᵀ: the same
sum, with V'MV' − VMV in place of W.

*G.* Without i the variance of a target's row t is v = t V' tᵀ, and with j at least v²/(v + ‖X V' tᵀ‖²)
(:func:`~.sharp_additions.least_variance`): for those rows that are the worst without i.

*E.* The smallest eigenvalue is at most uᵀ(A − YᵀY)u + ‖Xu‖² for any unit vector u: for the lowest ones of
A − YᵀY between the lowest eigenvectors of A.

Besides, for D, A and I, ψ(A') ≤ c tr(ZA') (:mod:`.criteria`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import linalg

from ..additions import grams_of
from ..blocks import Pool
from ..criteria import Determinant, LargestVariance, SmallestEigenvalue, cholesky, inverse_of
from ..sharp_additions import least_variance
from .gains import NEVER

_NUMBERS = 1 << 23  # in the arrays [b, p, p] worked on together: 64 MB
_ESSENTIAL = 1e-6  # of a block's information left without it: below, taking it away loses rank
_BETWEEN, _DIRECTIONS = 64, 16  # eigenvectors of A for E, and of A without i
_WORST, _ROWS = 512, 8  # rows of the target for G, and of those without i
_TOGETHER = 128  # directions in one product


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
    if isinstance(goal, LargestVariance):
        return _largest_variance_bounds(goal, matrix, selected, others)
    slope, value = goal.slope(matrix, 1.0), goal.log_efficiency(matrix)
    change = others.squares(slope.factor)[None, :] - selected.squares(slope.factor)[:, None]
    bounds = slope.log_scale - value + np.log(np.maximum(1.0 + change, NEVER))
    promising = np.flatnonzero((bounds > tolerance).any(axis=0))
    if not len(promising):
        return bounds
    part = others.subset(promising)
    tight = bounds[:, promising]
    if isinstance(goal, Determinant):
        gains = _second_bounds(matrix, None, selected, part)
        tight = np.minimum(tight, gains / len(matrix))
    else:
        half = linalg.solve_triangular(cholesky(matrix), goal.root.T, lower=True)
        mean = np.square(half).sum()
        gains = _second_bounds(matrix, goal.root, selected, part)
        tight = np.minimum(tight, -value - np.log(np.maximum(mean - gains, NEVER)))
    bounds[:, promising] = tight
    return bounds


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
    half = _half_without(rows, inverse)
    if half is None:
        return -np.inf, np.zeros_like(inverse)
    k = half.T
    if root is None:
        return -float(np.linalg.slogdet(np.eye(len(rows)) - rows @ inverse @ rows.T)[1]), k @ k.T
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
    between = vectors[:, :_BETWEEN]
    starts, directions = [], []
    for index in range(len(selected)):
        rows = selected.gather(np.array([index]))[0] @ between
        left, axes = linalg.eigh(np.diag(values[:_BETWEEN]) - rows.T @ rows)
        starts.append(left[:_DIRECTIONS])
        directions.append(axes[:, :_DIRECTIONS])
    smallest = np.empty((len(selected), len(others)))
    for part, squares in _along(others.times(between), np.array(directions)):
        smallest[part] = (np.array(starts[part])[:, None, :] + squares).min(axis=2)
    return np.log(np.maximum(smallest, NEVER)) - np.log(values[0])


def _largest_variance_bounds(
    goal: LargestVariance, matrix: np.ndarray, selected: Pool, others: Pool
) -> np.ndarray:
    variances, inverse = goal.variances(matrix), inverse_of(cholesky(matrix))
    worst = np.argsort(-variances)[:_WORST]
    images = goal.target[worst] @ inverse
    starts, directions = [], []
    for index in range(len(selected)):
        rows = selected.gather(np.array([index]))[0]
        half = _half_without(rows, inverse)
        if half is None:  # rank is lost: nothing is said
            starts.append(np.full(min(_ROWS, len(worst)), NEVER))
            directions.append(np.zeros((len(matrix), min(_ROWS, len(worst)))))
            continue
        seen = goal.target[worst] @ half.T
        without = variances[worst] + np.square(seen).sum(axis=1)
        rows = np.argsort(-without)[:_ROWS]
        starts.append(without[rows])
        directions.append((images[rows] + seen[rows] @ half).T)
    largest = np.empty((len(selected), len(others)))
    for part, squares in _along(others, np.array(directions)):
        largest[part] = least_variance(np.array(starts[part])[:, None, :], squares).max(axis=2)
    return np.log(variances[worst[0]]) - np.log(largest)


def _along(pool: Pool, directions: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """‖X_j u_iq‖² of directions u [k, p, q]: slices of i and [slice, n, q]."""
    count, columns, each = directions.shape
    step = max(1, _TOGETHER // each)
    for first in range(0, count, step):
        part = slice(first, min(first + step, count))
        flat = directions[part].transpose(1, 0, 2).reshape(columns, -1)
        yield part, pool.squares_along(flat).reshape(len(pool), -1, each).swapaxes(0, 1)


def _half_without(rows: np.ndarray, inverse: np.ndarray) -> np.ndarray | None:
    """H [m, p] with HᵀH = (A − YᵀY)⁻¹ − A⁻¹; None where rank is lost."""
    product = rows @ inverse
    core = np.eye(len(rows)) - product @ rows.T
    if linalg.eigvalsh(core)[0] < _ESSENTIAL:
        return None
    return linalg.solve_triangular(np.linalg.cholesky(core), product, lower=True)
