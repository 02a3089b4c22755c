"""The information of a set of structures, kept up to date block by block."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from ...errors import MLIPError
from .blocks import as_blocks, as_rows

_OUTSIDE = 1e-6  # of a row's length: what lies in directions without information, above rounding
_UNDETERMINED = 1e-9  # of a coefficient's unit vector


def symmetric(matrix: np.ndarray) -> np.ndarray:
    """The symmetric part of [p, p]; here once more, because the algebra imports nothing of the package."""
    return 0.5 * (matrix + matrix.T)


class Information:
    """A = A₀ + Σ X_jᵀX_j over the blocks added so far, for coefficients whose noise rows are scaled to one.

    A⁻¹ is the covariance of the coefficients in linear regression with Gaussian noise, and the posterior
    covariance with the prior N(0, A₀⁻¹); C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for
    Machine Learning (2006), section 2.1. The inverse follows added and removed blocks by the formula of
    Woodbury and is made anew from A by Cholesky's decomposition after as many rows as there are columns, so
    that rounding does not pile up.

    Without full rank every number is its limit for a prior εI with ε → 0: a row that reaches into
    undetermined directions has an infinite variance, a block that determines more of them an infinite gain.

    Parameters
    ----------
    prior : int or array
        A₀ as [p] (a diagonal, not negative) or [p, p] (symmetric, positive semi-definite); or the number
        of columns p, for none

    Raises
    ------
    MLIPError
        the prior has another shape, is not finite or has a negative eigenvalue
    """

    def __init__(self, prior: int | np.ndarray):
        columns = int(prior) if np.ndim(prior) == 0 else len(prior)
        self.prior = as_prior(None if np.ndim(prior) == 0 else prior, columns)
        self.matrix = self.prior.copy()
        self._decomposition: _Decomposition | None = None
        self._rows_since = 0

    @property
    def columns(self) -> int:
        """p, the number of coefficients."""
        return len(self.matrix)

    def copy(self) -> Information:
        """One that changes independently."""
        other = Information(self.prior)
        other.matrix = self.matrix.copy()
        return other

    def add(self, block: np.ndarray) -> None:
        """Add the rows [m, p] of a structure. Raises MLIPError for another shape or a number that is not
        finite."""
        rows = self._rows(block, "block")
        self._change(rows, 1.0)

    def remove(self, block: np.ndarray) -> None:
        """Take off rows [m, p] that were added before.

        Raises
        ------
        MLIPError
            another shape, a number that is not finite, or rows that A does not hold
        """
        rows = self._rows(block, "block")
        left = self.matrix - rows.T @ rows
        scale = _unit_scale(self.matrix)
        if linalg.eigvalsh(left * scale[:, None] * scale)[0] < -1e-8:
            raise MLIPError(
                "`block`: expected rows that were added before, got others, which A does not hold"
            )
        self._change(rows, -1.0)

    @property
    def rank(self) -> int:
        """Number of directions with information, of the matrix scaled to a unit diagonal; at most p."""
        return self._decomposed().rank

    @property
    def condition_number(self) -> float:
        """Largest over smallest eigenvalue of A; infinite without full rank."""
        values = linalg.eigvalsh(self.matrix)
        return float(values[-1] / values[0]) if self.rank == self.columns and values[0] > 0.0 else np.inf

    @property
    def log_det(self) -> float:
        """log det A; −∞ without full rank."""
        return self._decomposed().log_det if self.rank == self.columns else -np.inf

    @property
    def covariance(self) -> np.ndarray:
        """A⁻¹, [p, p]. Raises MLIPError without full rank."""
        self._require_full_rank("covariance")
        return self._decomposed().inverse.copy()

    def whitening(self) -> np.ndarray:
        """W [p, p] with W Wᵀ = A⁻¹, so that ‖x W‖² is the predicted variance of x. Raises MLIPError as
        covariance."""
        self._require_full_rank("whitening")
        lower = linalg.cholesky(self.matrix, lower=True)
        return linalg.solve_triangular(lower, np.eye(self.columns), lower=True).T

    def information_gain(self, block: np.ndarray) -> float:
        """log det(A + XᵀX) − log det A for X [m, p]: twice the information in nats that labelling it would
        give.

        V. V. Fedorov, Theory of Optimal Experiments (1972); for potentials M. Barzdajn and C. P. Race,
        Modelling Simul. Mater. Sci. Eng. 33, 025011 (2025).
        """
        rows = self._rows(block, "block")
        decomposition = self._decomposed()
        if decomposition.outside(rows).any():
            return np.inf
        gram = rows @ decomposition.inverse @ rows.T
        return float(np.linalg.slogdet(np.eye(len(rows)) + gram)[1])

    def information_gains(self, blocks) -> np.ndarray:
        """:meth:`information_gain` of every block, [n]."""
        return np.array([self.information_gain(block) for block in as_blocks(blocks)])

    def swap_gain(self, out: np.ndarray, into: np.ndarray) -> float:
        """Change of log det A if the rows ``out`` [m, p] are taken off and ``into`` [m', p] added.

        det(A + VᵀDV) = det A · det D · det(D + V A⁻¹ Vᵀ), V = [into; out], D = diag(+1, …, −1, …): the lemma
        of Sylvester. −∞ if the rank becomes smaller, +∞ if it grows.

        Raises
        ------
        MLIPError
            another shape, a number that is not finite, or ``out`` is no part of A
        """
        minus, plus = self._rows(out, "out"), self._rows(into, "into")
        decomposition = self._decomposed()
        both = np.concatenate([plus, minus])
        signs = np.concatenate([np.ones(len(plus)), -np.ones(len(minus))])
        if self.rank == self.columns:
            sign, value = np.linalg.slogdet(np.diag(signs) + both @ decomposition.inverse @ both.T)
            if sign * np.prod(signs) > 0.0 and value > np.log(1e-8):
                return float(value)
        # near a loss of rank the small determinant is rounding: decide with the matrix itself
        after = self.copy()
        after.remove(minus)
        after.add(plus)
        if after.rank != self.rank:
            return np.inf if after.rank > self.rank else -np.inf
        return after._pseudo_log_det() - self._pseudo_log_det()

    def predicted_variance(self, rows: np.ndarray) -> np.ndarray:
        """x A⁻¹ xᵀ of each row of ``rows`` [m, p], [m]: the posterior variance of x·θ; infinite where
        undetermined."""
        rows = self._rows(rows, "rows")
        decomposition = self._decomposed()
        variance = np.einsum("ij,ij->i", rows @ decomposition.inverse, rows)
        return np.where(decomposition.outside(rows), np.inf, np.maximum(variance, 0.0))

    def variance_ratio(self) -> np.ndarray:
        """Posterior over prior variance of each coefficient, [p]: 1 where the data say nothing, near 0 where
        they decide.

        Without a prior 0 where the coefficient is determined, and where it is not the squared length of its
        unit vector's part in undetermined directions.
        """
        before, after = _Decomposition(self.prior), self._decomposed()
        open_before, open_after = before.openness(), after.openness()
        with np.errstate(divide="ignore", invalid="ignore"):
            finite = np.diag(after.inverse) / np.diag(before.inverse)
            limit = open_after / open_before
        return np.clip(np.where(open_before > _UNDETERMINED, limit, finite), 0.0, 1.0)

    def _rows(self, block, name: str) -> np.ndarray:
        return as_rows(block, name, self.columns)

    def _decomposed(self) -> _Decomposition:
        if self._decomposition is None:
            self._decomposition, self._rows_since = _Decomposition(self.matrix), 0
        return self._decomposition

    def _change(self, rows: np.ndarray, sign: float) -> None:
        """Change A, and where it is safe A⁻¹ with it."""
        known, self._decomposition = self._decomposition, None
        self.matrix = self.matrix + sign * (rows.T @ rows)
        self._rows_since += len(rows)
        if known is None or known.rank < self.columns or self._rows_since > self.columns:
            return
        core = np.eye(len(rows)) + sign * (rows @ known.inverse @ rows.T)
        values = linalg.eigvalsh(core)
        if values[0] > 1e-4 and values[-1] < 1e4:  # beyond, the update would lose digits
            self._decomposition = known.updated(rows, sign, core)

    def _pseudo_log_det(self) -> float:
        """log of the product of the eigenvalues that are not zero."""
        rank = self.rank
        return float(np.log(linalg.eigvalsh(self.matrix)[self.columns - rank :]).sum()) if rank else 0.0

    def _require_full_rank(self, name: str) -> None:
        if self.rank < self.columns:
            raise MLIPError(
                f"`{name}`: expected an information of rank {self.columns}, got {self.rank}; add blocks that "
                f"determine the other directions, or a prior"
            )


class _Decomposition:
    """A generalised inverse of a matrix that is positive semi-definite, its rank, and what it leaves open."""

    def __init__(self, matrix: np.ndarray):
        scale = _unit_scale(matrix)
        values, vectors = linalg.eigh(matrix * scale[:, None] * scale)
        self.rank = count_rank(values)
        kept = len(values) - self.rank
        self.scale = scale
        # null vectors of the scaled matrix, in the coordinates of the given one
        self.null = scale[:, None] * vectors[:, :kept]
        if self.rank == len(values):
            lower = linalg.cholesky(matrix, lower=True)
            self.inverse = linalg.cho_solve((lower, True), np.eye(len(matrix)))
            self.log_det = 2.0 * float(np.log(np.diag(lower)).sum())
        else:
            vectors = scale[:, None] * vectors[:, kept:]
            self.inverse = (vectors / values[kept:]) @ vectors.T
            self.log_det = -np.inf

    def updated(self, rows: np.ndarray, sign: float, core: np.ndarray) -> _Decomposition:
        """That of A ± XᵀX, both of full rank; ``core`` is I ± X A⁻¹ Xᵀ (Woodbury)."""
        new = object.__new__(_Decomposition)
        product = rows @ self.inverse
        inverse = self.inverse - sign * (product.T @ linalg.solve(core, product, assume_a="pos"))
        new.inverse = symmetric(inverse)
        new.log_det = self.log_det + float(np.linalg.slogdet(core)[1])
        new.rank, new.null, new.scale = self.rank, self.null, self.scale
        return new

    def outside(self, rows: np.ndarray) -> np.ndarray:
        """Which rows reach into directions without information, bool [m]."""
        if not self.null.shape[1]:
            return np.zeros(len(rows), dtype=bool)
        # both lengths in scaled coordinates, where every column with information counts alike
        lengths = np.linalg.norm(rows * self.scale, axis=1)
        return np.linalg.norm(rows @ self.null, axis=1) > _OUTSIDE * lengths

    def openness(self) -> np.ndarray:
        """Squared length of each unit vector's part in the null space, [p]."""
        if not self.null.shape[1]:
            return np.zeros(len(self.null))
        orthonormal = linalg.qr(self.null, mode="economic")[0]
        return np.square(orthonormal).sum(axis=1)


def _unit_scale(matrix: np.ndarray) -> np.ndarray:
    """d with d A d of unit diagonal; 1 where the diagonal is zero."""
    diagonal = np.diag(matrix)
    return np.where(diagonal > 0.0, 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0)), 1.0)


def count_rank(values: np.ndarray) -> int:
    """How many of the ascending eigenvalues are above rounding."""
    return int((values > 4.0 * len(values) * np.finfo(float).eps * max(values[-1], 0.0)).sum())


def as_prior(prior, columns: int) -> np.ndarray:
    """A₀ as a matrix [p, p]; zero for None.

    Raises
    ------
    MLIPError
        no columns, another shape, numbers that are not finite, not symmetric, or a negative eigenvalue
    """
    if columns < 1:
        raise MLIPError(f"`prior`: expected at least one column, got {columns}")
    if prior is None:
        return np.zeros((columns, columns))
    matrix = np.asarray(prior, dtype=np.float64)
    if matrix.shape not in ((columns,), (columns, columns)):
        raise MLIPError(
            f"`prior`: expected the shape [{columns}] or [{columns}, {columns}], a number for each column of "
            f"the blocks, got {list(matrix.shape)}"
        )
    if not np.isfinite(matrix).all():
        raise MLIPError("`prior`: expected finite numbers, got NaN or infinity; use 0 for no prior")
    if matrix.ndim == 1:
        matrix = np.diag(matrix)
    scale = _unit_scale(matrix)
    if not np.allclose(matrix, matrix.T, rtol=0.0, atol=1e-10 * np.abs(matrix).max(initial=0.0)):
        raise MLIPError("`prior`: expected a symmetric matrix, got another; pass its symmetric part")
    matrix = symmetric(matrix)
    smallest = linalg.eigvalsh(matrix * scale[:, None] * scale)[0]
    if smallest < -1e-10:
        raise MLIPError(
            f"`prior`: expected no negative eigenvalue, got {smallest:.2g} (of the matrix scaled to a unit "
            f"diagonal); a prior is the inverse of a covariance"
        )
    return matrix
