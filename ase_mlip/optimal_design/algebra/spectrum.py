"""The eigenvalues of a matrix, and which changes of it raise the smallest one, without decomposing each.

Let A = UΛUᵀ, let a change be BᵀDB with rows B and signs D = diag(±1), and Y = BU. The matrix

    ( Λ − τ   Yᵀ  )
    (   Y    −D   )

has as many negative eigenvalues as either of its Schur complements together with the block that was taken out
(E. V. Haynsworth, Linear Algebra Appl. 1, 73 (1968)). With k eigenvalues of A below τ and n₊ signs +1,

    number of eigenvalues of A + BᵀDB below τ = k − n₊ + (number of positive eigenvalues of D + Y(Λ − τ)⁻¹Yᵀ),

a matrix of the size of the block.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

_TINY = 1e-14  # of the largest eigenvalue: nearer to the threshold is below it


class Spectrum:
    """A matrix A [p, p] with eigenvalues ``values`` [p], ascending, and ``vectors`` [p, p]."""

    def __init__(self, matrix: np.ndarray):
        self.matrix = matrix
        self.values, self.vectors = linalg.eigh(matrix, check_finite=False)

    @property
    def rounding(self) -> float:
        """Below this a difference of eigenvalues says nothing."""
        return 1e-12 * float(self.values[-1])

    def rises(self, seen: np.ndarray, signs: np.ndarray, limits: np.ndarray) -> np.ndarray:
        """Whether A + BᵀDB has no eigenvalue below its limit, bool [b].

        Parameters
        ----------
        seen: B times the first r of ``vectors``, [b, m, r]. With r < p the answer is that of A and the change
            between these vectors (Rayleigh and Ritz): no means no, yes means perhaps
        signs: D, +1 for rows that come and −1 for rows that go, [m]
        limits: τ of each change, [b]
        """
        count = seen.shape[2]
        gaps = self.values[None, :count] - limits[:, None]
        nearest = _TINY * self.values[-1]
        gaps = np.where(np.abs(gaps) < nearest, -nearest, gaps)
        if count < len(signs):  # the matrix between the vectors itself is the smaller one
            between = (seen * signs[:, None]).swapaxes(1, 2) @ seen
            between[:, np.arange(count), np.arange(count)] += gaps
            return np.linalg.eigvalsh(between)[:, 0] > 0.0
        below, coming = (gaps < 0.0).sum(axis=1), int((signs > 0.0).sum())
        answer = below == 0 if coming == len(signs) else np.zeros(len(seen), dtype=bool)
        open_ = np.flatnonzero((below <= coming) & ~answer)
        part = seen[open_]
        core = (part / gaps[open_, None, :]) @ part.swapaxes(1, 2) + np.diag(signs)
        positive = (np.linalg.eigvalsh(core) > 0.0).sum(axis=1)
        answer[open_] = positive == coming - below[open_]
        return answer

    def smallest_after(self, change: np.ndarray) -> float:
        """The smallest eigenvalue of A + ``change`` [p, p]."""
        return float(linalg.eigvalsh(self.matrix + change, subset_by_index=[0, 0], check_finite=False)[0])
