"""What each candidate would add, without a decomposition per candidate.

Let A be the information so far, V = A⁻¹, and X a candidate's rows. By the formula of Woodbury everything
about A + XᵀX is in matrices of the size of the block: S = X V Xᵀ and, with Z = V M V, Q = X Z Xᵀ:

    D: log det(A + XᵀX) − log det A = log det(1 + S)
    I: tr A⁻¹M − tr (A + XᵀX)⁻¹M = tr (1 + S)⁻¹Q

Each class keeps an upper bound of every candidate's gain; gains are computed in the order of the bounds until
no other can win, so the choice is the one that computing all of them makes. E and G are in
:mod:`.sharp_additions`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import linalg

from .blocks import Pool
from .criteria import Determinant, MeanVariance, cholesky, inverse_of

_BATCH, _LARGEST_BATCH = 64, 1024
_FRESH = 50  # additions after which sums that follow by updates are computed anew
_FALL = 1e3  # of the mean variance, by which updates lose as many digits
_UNKNOWN = 1e200  # a bound of what has not been computed yet
_STORED = 1 << 25  # numbers of all S that are kept: 256 MB
_LARGE = 1e4  # a trace of S from which on S is computed anew


def best_by_bounds(
    bounds: np.ndarray, exact: Callable[[np.ndarray], np.ndarray], enough: float = -np.inf
) -> tuple[int, float]:
    """The candidate of the largest score and its score: among equals the first; −1 without any.

    Parameters
    ----------
    bounds: [n], not below the scores; −∞ for those that are not allowed
    exact: scores of an array of candidates
    enough: a score that has to be exceeded
    """
    order = np.argsort(-bounds, kind="stable")
    best, score, start, batch = -1, enough, 0, _BATCH
    while start < len(order) and bounds[order[start]] > -np.inf and bounds[order[start]] >= score:
        chosen = order[start : start + batch]
        chosen = chosen[bounds[chosen] > -np.inf]
        scores = exact(chosen)
        top = scores.max()
        if top >= score and top > enough:
            first = int(chosen[scores == top].min())
            best = first if top > score or best < 0 else min(best, first)
            score = float(top)
        start += batch
        batch = min(2 * batch, _LARGEST_BATCH)
    return best, score


class DeterminantAdditions:
    """D. Gains only fall as the selection grows (log det is submodular), so the last ones computed are upper
    bounds: the lazy greedy selection of M. Minoux, in Optimization Techniques (1978), p. 234.

    S of a candidate computed lately follows the additions since, S − C Cᵀ with C = X K and for each addition
    K Kᵀ = V Xᵀ (1 + S)⁻¹ X V; this is cheaper than X V Xᵀ while K has few columns.
    """

    def __init__(self, pool: Pool, goal: Determinant | None, matrix: np.ndarray, lazy: bool = True):
        self.pool, self.matrix, self.lazy = pool, matrix, lazy
        self.evaluated = 0
        self._bounds = np.full(len(pool), _UNKNOWN)
        self._factor = whitening(matrix)
        shapes = [(len(group), group.shape[1], group.shape[1]) for _, group in pool.groups]
        self._known = [np.zeros(shape) if np.prod(shape) <= _STORED else None for shape in shapes]
        self._steps = np.full(len(pool), -1)  # columns of K that the known S holds; −1 for no S
        self._updates, self._first = np.zeros((pool.columns, 0)), 0  # K, and its columns dropped already

    def best(self, allowed: np.ndarray, costs: np.ndarray) -> tuple[int, float]:
        """The allowed candidate of the largest gain per cost, and its gain."""
        if not self.lazy:
            self._bounds[:] = _UNKNOWN

        def exact(chosen: np.ndarray) -> np.ndarray:
            self._bounds[chosen] = self.gains(chosen)
            return self._bounds[chosen] / costs[chosen]

        best, score = best_by_bounds(np.where(allowed, self._bounds / costs, -np.inf), exact)
        return best, score * costs[best]

    def gains(self, chosen: np.ndarray) -> np.ndarray:
        """log det(1 + S) of candidates, [b]."""
        self.evaluated += len(chosen)
        result = np.empty(len(chosen))
        for number, (_, group) in enumerate(self.pool.groups):
            index = np.flatnonzero(self.pool.group_of[chosen] == number)
            place, members = self.pool.place_of[chosen[index]], chosen[index]
            known = self._known[number]
            if known is None:
                grams, exact = grams_of(group[place], self._factor), False
            else:
                lately = self._steps[members] >= self._first
                known[place[~lately]] = grams_of(group[place[~lately]], self._factor)
                self._follow(group, known, place[lately], self._steps[members[lately]] - self._first)
                grams = known[place]
                # differences of large numbers would be rounding
                exact = np.trace(grams, axis1=1, axis2=2) < _LARGE
            result[index] = np.linalg.slogdet(grams + np.eye(grams.shape[1]))[1]
            self._steps[members] = np.where(exact, self._first + self._updates.shape[1], -1)
        return result

    def _follow(self, group: np.ndarray, known: np.ndarray, place: np.ndarray, steps: np.ndarray) -> None:
        """Bring S of candidates up to date that hold the first ``steps`` columns of K."""
        if not len(place) or steps.min() == self._updates.shape[1]:
            return
        columns = np.arange(steps.min(), self._updates.shape[1])
        change = group[place].reshape(-1, self.pool.columns) @ self._updates[:, columns]
        change = change.reshape(len(place), -1, len(columns)) * (columns >= steps[:, None])[:, None, :]
        known[place] -= change @ change.swapaxes(1, 2)

    def add(self, index: int) -> None:
        """Take a candidate into the information."""
        rows = self.pool.gather(np.array([index]))[0]
        product = rows @ self._factor
        lower = np.linalg.cholesky(np.eye(len(rows)) + product @ product.T)
        new = linalg.solve_triangular(lower, product @ self._factor.T, lower=True).T
        self.matrix = self.matrix + rows.T @ rows
        self._factor = whitening(self.matrix)
        kept = self._updates[:, max(0, self._updates.shape[1] + new.shape[1] - self.pool.columns // 3) :]
        self._first += self._updates.shape[1] - kept.shape[1]
        self._updates = np.concatenate([kept, new], axis=1)


class MeanVarianceAdditions:
    """A and I. S and Q of all candidates follow each addition by updates of its rank."""

    def __init__(self, pool: Pool, goal: MeanVariance, matrix: np.ndarray):
        self.pool, self.root, self.matrix = pool, goal.root, matrix
        self._refresh()

    def best(self, allowed: np.ndarray, costs: np.ndarray) -> tuple[int, float]:
        """The allowed candidate of the largest gain per cost, and its gain."""
        # rounding of the updates must not hide the best
        bounds = (self._upper() * (1.0 + 1e-6) + 1e-9 * self._value) / costs
        best, score = best_by_bounds(
            np.where(allowed, bounds, -np.inf), lambda chosen: self.gains(chosen) / costs[chosen]
        )
        return best, score * costs[best]

    def gains(self, chosen: np.ndarray) -> np.ndarray:
        """tr (1 + S)⁻¹Q of candidates, [b]."""
        result = np.empty(len(chosen))
        for number, (gram, moments) in enumerate(self._updated):
            index = np.flatnonzero(self.pool.group_of[chosen] == number)
            place = self.pool.place_of[chosen[index]]
            system = gram[place] + np.eye(gram.shape[1])
            result[index] = np.trace(np.linalg.solve(system, moments[place]), axis1=1, axis2=2)
        return result

    def add(self, index: int) -> None:
        """Take a candidate into the information.

        With K Kᵀ = V Xᵀ (1 + S)⁻¹ X V the inverse becomes V − K Kᵀ and Z becomes Z − K Eᵀ − E Kᵀ, where
        E = V M K − ½ K (Kᵀ M K).
        """
        rows = self.pool.gather(np.array([index]))[0]
        product = rows @ self._inverse
        lower = np.linalg.cholesky(np.eye(len(rows)) + product @ rows.T)
        k = linalg.solve_triangular(lower, product, lower=True).T
        seen = self.root @ k
        e = self._inverse @ (self.root.T @ seen) - 0.5 * k @ (seen.T @ seen)
        self.matrix = self.matrix + rows.T @ rows
        self._inverse = inverse_of(cholesky(self.matrix))
        self._since += 1
        if self._since >= _FRESH or self._mean() * _FALL < self._value:
            self._refresh()
            return
        both, rank = np.concatenate([k, e], axis=1), k.shape[1]
        for (_, group), (gram, moments) in zip(self.pool.groups, self._updated, strict=True):
            for part in self.pool.batches(group):
                product = (group[part].reshape(-1, len(k)) @ both).reshape(-1, group.shape[1], 2 * rank)
                c, d = product[..., :rank], product[..., rank:]
                gram[part] -= c @ c.swapaxes(1, 2)
                cross = c @ d.swapaxes(1, 2)
                moments[part] -= cross + cross.swapaxes(1, 2)

    def _upper(self) -> np.ndarray:
        """1/(1 + s) ≤ 1 − s/(1 + s̄) for 0 ≤ s ≤ s̄, so tr (1 + S)⁻¹Q ≤ tr Q − tr SQ/(1 + s̄), s̄ = ‖S‖,
        [n]."""
        upper = np.empty(len(self.pool))
        for (index, _), (gram, moments) in zip(self.pool.groups, self._updated, strict=True):
            largest = np.sqrt(np.einsum("nij,nij->n", gram, gram))
            mixed = np.einsum("nij,nij->n", gram, moments)
            upper[index] = np.einsum("nii->n", moments) - mixed / (1.0 + largest)
        return upper

    def _mean(self) -> float:
        half = self.root @ self._inverse
        return float(np.einsum("ij,ij->", half, self.root))

    def _refresh(self) -> None:
        """All from the matrix."""
        factor = whitening(self.matrix)
        self._inverse = factor @ factor.T
        self._value, self._since = self._mean(), 0
        self._updated = [
            (grams_of(group, factor), grams_of(group, self._inverse @ self.root.T))
            for _, group in self.pool.groups
        ]


def whitening(matrix: np.ndarray) -> np.ndarray:
    """F with F Fᵀ = A⁻¹."""
    lower = cholesky(matrix)
    return linalg.solve_triangular(lower, np.eye(len(matrix)), lower=True, check_finite=False).T


def grams_of(rows: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """X F Fᵀ Xᵀ of each of ``rows`` [b, m, p], [b, m, m]."""
    grams = np.empty((len(rows), rows.shape[1], rows.shape[1]))
    step = max(1, (1 << 20) // (rows.shape[1] * rows.shape[2]))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        product = (part.reshape(-1, rows.shape[2]) @ factor).reshape(len(part), rows.shape[1], -1)
        grams[start : start + step] = product @ product.swapaxes(1, 2)
    return grams
