"""What each candidate would add to the criteria E and G, in which an addition often changes nothing.

With A, V, X and S of :mod:`.additions`:

    E: whether A + XᵀX has an eigenvalue below a limit, the inertia of a matrix of the block's size says
       (:mod:`.spectrum`)
    G: t A⁻¹ tᵀ falls by h (1 + S)⁻¹ hᵀ, h = t V Xᵀ
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from .additions import best_by_bounds
from .blocks import Pool
from .criteria import LargestVariance, SmallestEigenvalue, cholesky, inverse_of
from .spectrum import Spectrum

PLATEAU = 1e-9  # of the value: gains below are rounding
_FIRST, _DIRECTIONS = 8, 32  # eigenvectors that bound the gain of E, first and then
_FEW, _WORST = 8, 64  # rows of the target that bound the gain of G, of all candidates and of the best


class SmallestEigenvalueAdditions:
    """E. With u_k, λ_k the lowest eigenvectors of A the smallest eigenvalue of A + XᵀX is at most that of
    this matrix between any of the u_k (Rayleigh and Ritz): λ_k + ‖X u_k‖² for one of them.

    Attributes
    ----------
    value: the criterion before the addition that ``best`` looked for last
    """

    def __init__(self, pool: Pool, goal: SmallestEigenvalue, matrix: np.ndarray):
        self.pool, self.matrix = pool, matrix
        self.value = 0.0

    def best(self, allowed: np.ndarray, costs: np.ndarray) -> tuple[int, float]:
        """The allowed candidate of the largest gain per cost, and its gain; −1 and 0 where no gain is more
        than rounding."""
        spectrum = Spectrum(self.matrix)
        self.value = float(spectrum.values[0])
        lowest = spectrum.values[:_DIRECTIONS]
        seen = self.pool.times(spectrum.vectors[:, :_DIRECTIONS])
        upper = np.full(len(self.pool), np.inf)
        for index, rows in seen.groups:
            upper[index] = (lowest + np.einsum("nmr,nmr->nr", rows, rows)).min(axis=1)
        bounds = (upper - self.value + spectrum.rounding) / costs
        search = _RisingSearch(self.pool, spectrum, seen, costs)
        best, score = best_by_bounds(np.where(allowed, bounds, -np.inf), search.scores)
        return (best, score * costs[best]) if best >= 0 else (-1, 0.0)

    def add(self, index: int) -> None:
        """Take a candidate into the information."""
        rows = self.pool.gather(np.array([index]))[0]
        self.matrix = self.matrix + rows.T @ rows


class _RisingSearch:
    """Gains per cost of those candidates that gain more than the best one so far."""

    def __init__(self, pool: Pool, spectrum: Spectrum, seen: Pool, costs: np.ndarray):
        self.pool, self.spectrum, self.seen, self.costs = pool, spectrum, seen, costs
        self.best = -np.inf

    def scores(self, chosen: np.ndarray) -> np.ndarray:
        """Of candidates [b]; −∞ for those that gain less, or nothing."""
        found = np.full(len(chosen), -np.inf)
        low = self.seen.gather(chosen)
        left = np.arange(len(chosen))
        for count in (_FIRST, _DIRECTIONS):
            signs, limits = np.ones(low.shape[1]), self._limits(chosen[left])
            left = left[self.spectrum.rises(low[left, :, :count], signs, limits)]
        if not len(left):
            return found
        rows = self.pool.gather(chosen[left])
        whole = (rows.reshape(-1, rows.shape[2]) @ self.spectrum.vectors).reshape(rows.shape)
        while len(left):
            rises = self.spectrum.rises(whole, np.ones(whole.shape[1]), self._limits(chosen[left]))
            left, rows, whole = left[rises], rows[rises], whole[rises]
            if not len(left):
                break
            place = left[0]
            after = self.spectrum.smallest_after(rows[0].T @ rows[0])
            found[place] = (after - self.spectrum.values[0]) / self.costs[chosen[place]]
            self.best = max(self.best, found[place])
            left, rows, whole = left[1:], rows[1:], whole[1:]
        return found

    def _limits(self, chosen: np.ndarray) -> np.ndarray:
        """What the smallest eigenvalue has to exceed, [b]; equals of the best are not left out."""
        smallest = self.spectrum.values[0]
        gains = np.maximum(self.best * self.costs[chosen] - self.spectrum.rounding, PLATEAU * abs(smallest))
        return smallest + gains


class LargestVarianceAdditions:
    """G. Variances only fall, so those of the worst rows after an addition bound the largest one from
    below.

    Attributes
    ----------
    value: the criterion before the addition that ``best`` looked for last
    """

    def __init__(self, pool: Pool, goal: LargestVariance, matrix: np.ndarray):
        self.pool, self.goal, self.matrix = pool, goal, matrix
        self.falling = goal.falling()
        self.falling.move(matrix)
        self.value = np.inf

    def best(self, allowed: np.ndarray, costs: np.ndarray) -> tuple[int, float]:
        """The allowed candidate of the largest gain per cost, and its gain."""
        inverse, worst = inverse_of(cholesky(self.matrix)), self.falling.top(_WORST)
        few, variances = worst[:_FEW], self.falling.variances
        largest = self.value = float(variances[few[0]])
        images = inverse @ self.goal.target[few].T
        lower = np.zeros(len(self.pool))
        for index, group in self.pool.groups:
            for part in self.pool.batches(group):
                product = group[part].reshape(-1, len(images)) @ images
                squares = np.square(product, out=product).reshape(-1, group.shape[1], len(few)).sum(axis=1)
                lower[index[part]] = least_variance(variances[few], squares).max(axis=1)
        bounds = (largest - lower) * (1.0 + 1e-9) / costs
        search = _FallingSearch(self, inverse, worst, costs)
        best, score = best_by_bounds(np.where(allowed, bounds, -np.inf), search.scores)
        return best, score * costs[best]

    def add(self, index: int) -> None:
        """Take a candidate into the information."""
        rows = self.pool.gather(np.array([index]))[0]
        self.matrix = self.matrix + rows.T @ rows
        self.falling.move(self.matrix)

    def half(self, index: int, inverse: np.ndarray) -> np.ndarray:
        """H [m, p] with HᵀH = V Xᵀ (1 + S)⁻¹ X V."""
        rows = self.pool.gather(np.array([index]))[0]
        product = rows @ inverse
        lower = np.linalg.cholesky(np.eye(len(rows)) + product @ rows.T)
        return linalg.solve_triangular(lower, product, lower=True)


class _FallingSearch:
    """Gains per cost of those candidates that gain more than the best one so far."""

    def __init__(self, additions, inverse: np.ndarray, worst: np.ndarray, costs: np.ndarray):
        self.additions, self.inverse, self.worst, self.costs = additions, inverse, worst, costs
        self.images = inverse @ additions.goal.target[self.worst].T
        self.best = -np.inf

    def scores(self, chosen: np.ndarray) -> np.ndarray:
        """Of candidates [b]; −∞ for those that gain less."""
        own = self.additions
        found = np.full(len(chosen), -np.inf)
        bounds = self._bounds(chosen, self._at_least(chosen))
        left = np.flatnonzero(bounds >= self.best)
        if len(left) > 1:
            bounds[left] = self._bounds(chosen[left], self._worst_after(chosen[left]))
        for place in left[np.argsort(-bounds[left], kind="stable")]:
            if bounds[place] < self.best:
                break
            cost = self.costs[chosen[place]]
            half = own.half(chosen[place], self.inverse)
            useless = own.value - self.best * cost
            found[place] = (own.value - self._largest_after(half, useless)) / cost
            self.best = max(self.best, found[place])
        return found

    def _largest_after(self, half: np.ndarray, useless: float) -> float:
        """max_t (v_t − ‖half t‖²); what is certainly larger than ``useless`` need not be known better."""
        falling, target = self.additions.falling, self.additions.goal.target

        def largest_of(rows: np.ndarray) -> float:
            return float((falling.variances[rows] - np.square(target[rows] @ half.T).sum(axis=1)).max())

        largest = largest_of(self.worst)
        if largest > useless:
            return largest
        others = np.setdiff1d(falling.above(largest), self.worst, assume_unique=True)
        return max(largest, largest_of(others)) if len(others) else largest

    def _bounds(self, chosen: np.ndarray, after: np.ndarray) -> np.ndarray:
        return (self.additions.value - after) * (1.0 + 1e-9) / self.costs[chosen]

    def _at_least(self, chosen: np.ndarray) -> np.ndarray:
        """What the largest variance of the worst rows is at least after adding each candidate, [b]."""
        rows = self.additions.pool.gather(chosen)
        squares = np.square(rows.reshape(-1, rows.shape[2]) @ self.images).reshape(*rows.shape[:2], -1)
        variances = self.additions.falling.variances[self.worst]
        return least_variance(variances, squares.sum(axis=1)).max(axis=1)

    def _worst_after(self, chosen: np.ndarray) -> np.ndarray:
        """The largest variance of the worst rows after adding each candidate, [b]."""
        rows = self.additions.pool.gather(chosen)
        product = (rows.reshape(-1, rows.shape[2]) @ self.inverse).reshape(rows.shape)
        system = product @ rows.swapaxes(1, 2) + np.eye(rows.shape[1])
        images = rows @ self.images
        falls = np.einsum("bmt,bmt->bt", images, np.linalg.solve(system, images))
        return (self.additions.falling.variances[self.worst] - falls).max(axis=1)


def least_variance(variances: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """What a variance v = t V tᵀ is at least after adding rows X, from ‖X V tᵀ‖²: v²/(v + ‖X V tᵀ‖²).

    With a = V^½ tᵀ and B = X V^½ it becomes aᵀ(1 + BᵀB)⁻¹a, which is at least ‖a‖⁴/aᵀ(1 + BᵀB)a by the
    inequality of Cauchy and Schwarz.
    """
    return np.square(variances) / (variances + squares)
