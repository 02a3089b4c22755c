"""The five criteria as information functions, with the matrices that bound them.

Every criterion is an increasing function of an *efficiency function* ψ(A) of F. Pukelsheim, Optimal Design of
Experiments (1993), chapter 5: positively homogeneous, ψ(sA) = s ψ(A), concave and monotone:

    D: ψ = det(A)^(1/p)    A, I: ψ = 1/tr A⁻¹M    G: ψ = 1/max_t t A⁻¹ tᵀ    E: ψ = smallest eigenvalue

so that ψ(A)/ψ(A') is the efficiency of A against A', whatever the criterion.

**The bound.** Let c > 0 and Z ⪰ 0 be such that ψ(A') ≤ c tr(ZA') for every A'. Then no design A' of a set is
better than c max tr(ZA') over that set, which is a linear programme in the weights. Such pairs are

- D, A, I: c = ψ(A), Z = ∇log ψ(A). A concave function lies below its tangent plane, ψ(A') ≤ ψ(A) +
  tr(∇ψ(A)(A'−A)), and tr(∇ψ(A)A) = ψ(A) by Euler's theorem on homogeneous functions, so ψ(A') ≤ tr(∇ψ(A)A').
- G, not differentiable: for any weights q ≥ 0, Σq = 1, of the target's rows the largest variance is at least
  the mean Σ q_t t A'⁻¹ tᵀ = tr A'⁻¹M_q, so that ψ_G(A') is at most ψ_I of M = M_q, which is bounded as above.
- E, not differentiable: the smallest eigenvalue is at most tr(ZA')/tr Z for every Z ⪰ 0, since tr(ZA') is a
  sum of vᵀA'v with Σ‖v‖² = tr Z. So c = 1/tr Z.

The bound is true for every q and Z; that it is close to the optimum is the work of the choice. Both come from
a smooth function, with the power s instead of the maximum: G: ψ_s = (Σ v_t^s)^(−1/s), E: ψ_s = (tr
A^(−s))^(−1/s), whose gradients have q_t ∝ v_t^(s−1) and Z ∝ A^(−s−1). They are Pukelsheim's matrix means for
E, and concave for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

CRITERIA = ("d", "a", "i", "e", "g")

_ROUNDING = 4.0 * np.finfo(float).eps  # of the largest eigenvalue, for each column
_ROWS = 2000  # rows of G's target that a search works with
_TOGETHER = 4096  # rows of it in one product
_NEGLIGIBLE = 1e-14  # of the largest weight of a target's row
_MARGIN = 500  # rows that may be among the largest variances once they are known


@dataclass
class Slope:
    """A smooth ψ at a matrix A, and a plane above the criterion's own ψ.

    Attributes
    ----------
    log_value: log ψ_s(A); −∞ without full rank
    factor: F [p, r] with ∇log ψ_s(A) = Z = F Fᵀ and tr(ZA) = 1
    log_scale: log c, with ψ(A') ≤ c tr(ZA') for every A'
    """

    log_value: float
    factor: np.ndarray | None = None
    log_scale: float = -np.inf


_FLAT = Slope(-np.inf)


class Determinant:
    """D: log det A + ``offset``, which a change of coordinates takes off."""

    sharpens = False

    def __init__(self, columns: int, offset: float = 0.0):
        self.columns, self.offset = columns, offset

    def log_efficiency(self, matrix: np.ndarray) -> float:
        """log ψ(A)."""
        lower = cholesky(matrix)
        return -np.inf if lower is None else self._log(lower)

    def slope(self, matrix: np.ndarray, power: float) -> Slope:
        """ψ is smooth itself, whatever the power."""
        lower = cholesky(matrix)
        if lower is None:
            return _FLAT
        value = self._log(lower)
        factor = _inverse_lower(lower).T / np.sqrt(self.columns)
        return Slope(value, factor, value)

    def value(self, log_efficiency: float) -> float:
        """The criterion of an efficiency."""
        return self.columns * log_efficiency

    def _log(self, lower: np.ndarray) -> float:
        return (2.0 * np.log(np.diag(lower)).sum() + self.offset) / self.columns


class MeanVariance:
    """A and I: tr A⁻¹M, M = BᵀB with ``root`` B [r, p]; A has M = 1."""

    sharpens = False

    def __init__(self, root: np.ndarray):
        self.root = root

    def log_efficiency(self, matrix: np.ndarray) -> float:
        lower = cholesky(matrix)
        if lower is None:
            return -np.inf
        half = linalg.solve_triangular(lower, self.root.T, lower=True, check_finite=False)
        return -np.log(np.square(half).sum())

    def slope(self, matrix: np.ndarray, power: float) -> Slope:
        lower = cholesky(matrix)
        if lower is None:
            return _FLAT
        half = linalg.solve_triangular(lower, self.root.T, lower=True, check_finite=False)
        total = np.square(half).sum()
        factor = linalg.solve_triangular(lower, half, lower=True, trans=1, check_finite=False) / np.sqrt(
            total
        )
        return Slope(-np.log(total), factor, -np.log(total))

    def value(self, log_efficiency: float) -> float:
        return float(np.exp(-log_efficiency))


class LargestVariance:
    """G: the largest t A⁻¹ tᵀ over the rows of ``target`` [t, p]."""

    sharpens = True

    def __init__(self, target: np.ndarray):
        self.target = target
        self._last: tuple[np.ndarray | None, np.ndarray] = (None, np.empty(0))

    def variances(self, matrix: np.ndarray) -> np.ndarray:
        """t A⁻¹ tᵀ of each row, [t]; infinite without full rank. Those of the last matrix are kept."""
        if matrix is self._last[0]:
            return self._last[1]
        lower = cholesky(matrix)
        variances = np.full(len(self.target), np.inf)
        if lower is not None:
            factor = _inverse_lower(lower).T
            for part in _chunks(len(self.target)):
                product = self.target[part] @ factor
                variances[part] = np.einsum("ij,ij->i", product, product)
        self._last = (matrix, variances)
        return variances

    def log_efficiency(self, matrix: np.ndarray) -> float:
        largest = self.variances(matrix).max()
        return -np.log(largest)

    def remember(self, matrix: np.ndarray, variances: np.ndarray) -> None:
        """These are the rows' variances for ``matrix``, which need not be computed again."""
        self._last = (matrix, variances)

    def slope(self, matrix: np.ndarray, power: float) -> Slope:
        lower = cholesky(matrix)
        if lower is None:
            return _FLAT
        variances = self.variances(matrix)
        largest = variances.max()
        relative = variances / largest
        norm = (relative**power).sum() ** (1.0 / power)
        weights = (relative / norm) ** (power - 1.0)
        used = np.flatnonzero(weights > _NEGLIGIBLE * weights.max())
        moments = np.zeros_like(matrix)
        for part in _chunks(len(used)):
            rows = self.target[used[part]] * np.sqrt(weights[used[part], None])
            moments += rows.T @ rows
        inverse = _inverse_lower(lower)
        moments = inverse @ moments @ inverse.T
        mean = (weights * variances).sum() / weights.sum()
        factor = inverse.T @ root_of(moments / (largest * norm)).T
        return Slope(-np.log(largest * norm), factor, -np.log(mean))

    def falling(self) -> FallingVariance:
        """The criterion of matrices each of which is at least the one before."""
        return FallingVariance(self)

    def working(self, matrix: np.ndarray) -> LargestVariance:
        """The criterion of the rows with the largest variances only: quicker, and never larger."""
        if len(self.target) <= _ROWS:
            return self
        variances = self.variances(matrix)
        return LargestVariance(self.target[np.argpartition(-variances, _ROWS)[:_ROWS]])

    def value(self, log_efficiency: float) -> float:
        return float(np.exp(-log_efficiency))


class FallingVariance:
    """The rows' variances for matrices each of which is at least the one before, whose variances bound the
    next ones: only rows that can be among the largest are computed.

    Parameters
    ----------
    goal: the criterion with the target's rows
    """

    def __init__(self, goal: LargestVariance):
        self.goal = goal
        self.variances = np.full(len(goal.target), np.inf)  # upper bounds where they are not known
        self._known = np.zeros(len(goal.target), dtype=bool)
        self._factor = np.empty((0, 0))

    def move(self, matrix: np.ndarray) -> bool:
        """Go on to the next matrix. False where it has no full rank, and nothing is known."""
        lower = cholesky(matrix)
        if lower is not None:
            self._factor = _inverse_lower(lower).T
            self._known[:] = False
        return lower is not None

    def top(self, count: int) -> np.ndarray:
        """The rows of the ``count`` largest variances, which are known then, from the largest on, [k]."""
        count = min(count, len(self.variances))
        likely = np.argpartition(-self.variances, min(count + _MARGIN, len(self.variances)) - 1)
        likely = likely[: count + _MARGIN]
        self._compute(likely)
        least = np.partition(-self.variances[likely], count - 1)[count - 1]
        rows = np.union1d(likely, self.above(-least))
        return rows[np.argsort(-self.variances[rows], kind="stable")[:count]]

    def above(self, level: float) -> np.ndarray:
        """The rows of variances above ``level``, which are known then, [k]."""
        rows = np.flatnonzero(self.variances > level)
        for part in _chunks(len(rows)):
            self._compute(rows[part])
        return rows[self.variances[rows] > level]

    def log_efficiency(self, matrix: np.ndarray) -> float:
        """log ψ of the next matrix."""
        return -np.log(self.variances[self.top(1)[0]]) if self.move(matrix) else -np.inf

    def _compute(self, rows: np.ndarray) -> None:
        rows = rows[~self._known[rows]]
        product = self.goal.target[rows] @ self._factor
        self.variances[rows] = np.einsum("ij,ij->i", product, product)
        self._known[rows] = True


class SmallestEigenvalue:
    """E: the smallest eigenvalue of A."""

    sharpens = True

    def log_efficiency(self, matrix: np.ndarray) -> float:
        values = linalg.eigvalsh(matrix, check_finite=False)
        if values[0] <= _ROUNDING * len(values) * values[-1]:
            return -np.inf
        return float(np.log(values[0]))

    def slope(self, matrix: np.ndarray, power: float) -> Slope:
        values, vectors = linalg.eigh(matrix, check_finite=False)
        if values[0] <= _ROUNDING * len(values) * values[-1]:
            return _FLAT
        relative = values[0] / values
        total = (relative**power).sum()
        weights = relative ** (power + 1.0) / (total * values[0])
        used = weights > _NEGLIGIBLE * weights[0]
        log_value = np.log(values[0]) - np.log(total) / power
        return Slope(log_value, vectors[:, used] * np.sqrt(weights[used]), -np.log(weights[used].sum()))

    def value(self, log_efficiency: float) -> float:
        return float(np.exp(log_efficiency))


def cholesky(matrix: np.ndarray) -> np.ndarray | None:
    """The lower triangle L with A = LLᵀ, or None where A has no full rank up to rounding.

    Rounding can leave a matrix without full rank with positive pivots of any size, so the condition number
    decides: LAPACK's estimate for A with columns scaled to a diagonal of ones.
    """
    lower, info = linalg.lapack.dpotrf(matrix, lower=1, clean=1)
    if info != 0:
        return None
    scale = 1.0 / np.sqrt(np.diag(matrix))
    norm = np.abs(matrix * (scale * scale[:, None])).sum(axis=0).max()
    inverse_condition, _ = linalg.lapack.dpocon(lower * scale[:, None], norm, uplo="L")
    return lower if inverse_condition > _ROUNDING * len(matrix) else None


def inverse_of(lower: np.ndarray) -> np.ndarray:
    """A⁻¹ of A = LLᵀ, [p, p]."""
    half = _inverse_lower(lower)
    return half.T @ half


def _inverse_lower(lower: np.ndarray) -> np.ndarray:
    return linalg.lapack.dtrtri(lower, lower=1)[0]


def _chunks(count: int):
    """Slices of a range of rows that are worked on together."""
    return (slice(start, min(start + _TOGETHER, count)) for start in range(0, count, _TOGETHER))


def root_of(moments: np.ndarray) -> np.ndarray:
    """B [r, p] with BᵀB = M up to rounding, r the rank of M."""
    values, vectors = linalg.eigh(moments, check_finite=False)
    used = values > len(values) * np.finfo(float).eps * max(values[-1], 0.0)
    return (vectors[:, used] * np.sqrt(values[used])).T
