"""What swaps of a selected candidate for another gain, computed for many pairs together.

With the rows Y that go and X that come, B = [X; Y], D = diag(+1, …, −1, …), V = A⁻¹ and C = D + B V Bᵀ: the
determinant changes by det D det C, the inverse by −V Bᵀ C⁻¹ B V.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from ..criteria import Determinant, LargestVariance, MeanVariance, SmallestEigenvalue, cholesky, inverse_of
from ..spectrum import Spectrum

TOLERANCE = 1e-6  # of the efficiency: what a swap has to gain
_LOST = np.log(1e-10)  # a determinant that falls below this has lost rank
_DIRECTIONS = (8, 32)  # eigenvectors that bound E
_FEW, _ROWS = 8, 4096  # rows of G's target looked at first, and together
NEVER = 1e-300  # as good as zero, with a logarithm


class SwapGains:
    """Gains log ψ(A − YᵀY + XᵀX) − log ψ(A) of pairs. What they share is computed once.

    Parameters
    ----------
    goal: the criterion
    matrix: A [p, p], of full rank
    variances: of the target's rows, for G
    """

    def __init__(
        self,
        goal: Determinant | MeanVariance | LargestVariance | SmallestEigenvalue,
        matrix: np.ndarray,
        variances: np.ndarray | None = None,
    ):
        self.goal, self.matrix, self.variances = goal, matrix, variances
        if isinstance(goal, SmallestEigenvalue):
            self.spectrum = Spectrum(matrix)
            return
        lower = cholesky(matrix)
        self.inverse = inverse_of(lower)
        if isinstance(goal, MeanVariance):
            half = linalg.solve_triangular(lower, goal.root.T, lower=True)
            self.mean = float(np.square(half).sum())
        if isinstance(goal, LargestVariance):
            self.order = np.argsort(-variances)

    def __call__(self, out: np.ndarray, into: np.ndarray) -> np.ndarray:
        """Of pairs with rows Y [b, m, p] and X [b, m', p], [b]; −∞ where rank is lost.

        A gain below ``TOLERANCE`` may be an upper bound of it (E and G).
        """
        both = np.concatenate([into, out], axis=1)
        signs = np.concatenate([np.ones(into.shape[1]), -np.ones(out.shape[1])])
        if isinstance(self.goal, SmallestEigenvalue):
            return self._of_eigenvalue(both, signs)
        product = (both.reshape(-1, both.shape[2]) @ self.inverse).reshape(both.shape)
        core = np.diag(signs) + product @ both.swapaxes(1, 2)
        sign, logs = np.linalg.slogdet(core)
        alive = (sign * np.prod(signs) > 0.0) & (logs > _LOST)
        if isinstance(self.goal, Determinant):
            return np.where(alive, logs / len(self.matrix), -np.inf)
        gains = np.full(len(both), -np.inf)
        if isinstance(self.goal, MeanVariance):
            images = product[alive] @ self.goal.root.T
            falls = np.einsum("bmr,bmr->b", np.linalg.solve(core[alive], images), images)
            gains[alive] = -np.log(np.maximum(1.0 - falls / self.mean, NEVER))
        else:
            gains[alive] = self._of_largest_variance(product[alive], core[alive])
        return gains

    def _of_eigenvalue(self, both: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Those that raise the smallest eigenvalue by enough are computed, the others need not be known."""
        smallest = self.spectrum.values[0]
        limits = np.full(len(both), smallest * (1.0 + TOLERANCE))
        gains = np.full(len(both), TOLERANCE)
        left = np.arange(len(both))
        for count in (*_DIRECTIONS, len(self.matrix)):
            seen = both[left] @ self.spectrum.vectors[:, :count]
            left = left[self.spectrum.rises(seen, signs, limits[left])]
        for index in left:
            after = self.spectrum.smallest_after((both[index] * signs[:, None]).T @ both[index])
            gains[index] = np.log(max(after, NEVER) / smallest)
        return gains

    def _of_largest_variance(self, product: np.ndarray, core: np.ndarray) -> np.ndarray:
        """The worst rows say for most swaps that they gain nothing; the others are looked at for those rows
        that can become the worst.

        Rows that go raise a variance to at most 1/(1 − s) of it, s the largest eigenvalue of Y V Yᵀ, and rows
        that come lower it.
        """
        largest = self.variances[self.order[0]]
        enough = largest * (1.0 - 0.5 * TOLERANCE)
        after = self._largest_after(self.order[:_FEW], product, core)
        for place in np.flatnonzero(after < enough):
            pair = slice(place, place + 1)
            going = np.diag(core[place]) < 0.0
            share = np.linalg.eigvalsh(core[place][np.ix_(going, going)])[-1] + 1.0 if going.any() else 0.0
            start, count = _FEW, 64
            while start < len(self.order) and after[place] < enough:
                rest = self.order[start : start + count]
                if self.variances[rest[0]] <= after[place] * (1.0 - share):
                    break
                after[place] = max(after[place], self._largest_after(rest, product[pair], core[pair])[0])
                start, count = start + count, min(4 * count, _ROWS)
        return np.log(largest / np.maximum(after, NEVER))

    def variances_after(self, out: np.ndarray, into: np.ndarray) -> np.ndarray:
        """The variances of the target's rows after the swap of rows Y [m, p] for X [m', p], [t]."""
        both = np.concatenate([into, out])
        signs = np.concatenate([np.ones(len(into)), -np.ones(len(out))])
        product = both @ self.inverse
        values, vectors = linalg.eigh(np.diag(signs) + product @ both.T)
        half = vectors.T @ product
        after = self.variances.copy()
        for start in range(0, len(after), _ROWS):
            images = self.goal.target[start : start + _ROWS] @ half.T
            after[start : start + _ROWS] -= np.square(images, out=images) @ (1.0 / values)
        return after

    def _largest_after(self, rows: np.ndarray, product: np.ndarray, core: np.ndarray) -> np.ndarray:
        """The largest variance of some rows of the target after each swap, [b]."""
        images = product @ self.goal.target[rows].T
        falls = np.einsum("bmt,bmt->bt", images, np.linalg.solve(core, images))
        return (self.variances[rows] - falls).max(axis=1)
