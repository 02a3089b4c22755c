"""From rows of training atoms to a leverage: whitening matrices, and what they give for the atoms left out.

Every atom of the training data is a row φ/σ, of which A = A₀ + Σ φφᵀ/σ² is the information, A₀ the prior. The
variance of an atom's energy is φᵀA⁻¹φ. That of an atom that took part in A is small for that reason alone, so
that the atoms are judged by what they have without their own structure s, with Φ its rows:

    A₋ₛ⁻¹ = A⁻¹ + A⁻¹Φᵀ (σ² - Φ A⁻¹ Φᵀ)⁻¹ Φ A⁻¹            (Woodbury)

Where the coefficients of centres of one kind do not appear in the energies of another, A falls into blocks.
NumPy and SciPy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, eigvalsh, solve_triangular

from ...errors import DataError

QUANTILE = 0.99  # of the training atoms, left out: there the leverage is 1
QUANTILES = (0.5, 0.9, 0.99, 1.0)  # that are kept for each element
PRIOR = 1e-6  # of the mean square of a feature, that of all training atoms together

Prior = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Whitening:
    """The leverage of training data.

    Attributes
    ----------
    matrices: float64 [B, F, F], W of each block, lower triangular, WᵀW = A⁻¹, in units of eV per φ
    ranks: of each block, how many combinations of coefficients the data say more of than the prior
    left_out: for each structure, float64 [copies · N], the variance of each of its atoms' energy, without the
        structure and all its copies, eV²
    structures_left_out: float64 [structures, copies], likewise the variance of the energy per atom, eV²
    """

    matrices: np.ndarray
    ranks: list[int]
    left_out: list[np.ndarray]
    structures_left_out: np.ndarray

    @property
    def scale(self) -> float:
        """The variance of an atom's energy at which the leverage is 1, eV²."""
        return float(np.quantile(np.concatenate(self.left_out), QUANTILE))

    @property
    def structure_scale(self) -> float:
        """The same for the energy per atom of a structure, eV²."""
        return float(np.quantile(self.structures_left_out, QUANTILE))


def isotropic(information: np.ndarray, share: float = PRIOR) -> np.ndarray:
    """The prior of a network's features, [F, F]: ``share`` of the mean diagonal element, the same for all."""
    return share * np.mean(np.diag(information)) * np.eye(len(information))


def by_coefficient(information: np.ndarray, share: float = PRIOR) -> np.ndarray:
    """The prior of a basis whose functions have sizes of their own, [F, F].

    It is ``share`` of each diagonal element, and of the largest where that is zero: no data are there.
    """
    diagonal = np.diag(information)
    return share * np.diag(np.where(diagonal > 0.0, diagonal, diagonal.max()))


def whiten(
    features: Sequence[np.ndarray],
    blocks: Sequence[np.ndarray],
    n_blocks: int,
    sigma: float,
    copies: int = 1,
    prior: Prior = isotropic,
) -> Whitening:
    """The whitening of training data.

    Parameters
    ----------
    features: of each structure, float64 [copies · N, F], φ of its atoms
    blocks: of each structure, int64 [copies · N], the block that each row belongs to
    n_blocks: B
    sigma: standard deviation of one atom's energy as data, eV
    copies: of each structure, such as rotated ones, one after another; they count as one structure together
    prior: gives A₀ from Σ φφᵀ/σ² [F, F] of a block

    Raises
    ------
    DataError
        no structures, a σ that is not positive, features that are not finite, or no information at all
    """
    if not features:
        raise DataError("`data`: expected at least one structure, got none; name the training data")
    if not 0.0 < sigma < np.inf:
        raise DataError(f"`sigma`: expected a positive number of eV, got {sigma}")
    variance = copies * sigma**2  # of one row
    matrices, ranks = [], []
    for block in range(n_blocks):
        matrix, rank = _of_block(features, blocks, block, variance, prior)
        matrices.append(matrix)
        ranks.append(rank)
    whitening = np.stack(matrices)
    left_out, structures = [], []
    for rows, own in zip(features, blocks, strict=True):
        atoms, whole = _without(rows, own, whitening, variance, copies)
        left_out.append(atoms)
        structures.append(whole)
    return Whitening(whitening, ranks, left_out, np.stack(structures))


def _of_block(features, blocks, block: int, variance: float, prior: Prior) -> tuple[np.ndarray, int]:
    """W and the rank of one block."""
    size = features[0].shape[1]
    information = np.zeros((size, size))
    for rows, own in zip(features, blocks, strict=True):
        mine = rows[own == block]
        information += mine.T @ mine / variance
    if not np.isfinite(information).all() or not np.trace(information) > 0.0:
        raise DataError(
            "`features`: expected finite numbers, not all of them zero, in every block of elements, got "
            "others; the model does not know these structures"
        )
    before = prior(information)
    root = cholesky(information + before, lower=True)
    matrix = np.tril(solve_triangular(root, np.eye(size), lower=True))
    return matrix, int((eigvalsh(information, before) > 1.0).sum())


def _without(
    rows: np.ndarray, blocks: np.ndarray, whitening: np.ndarray, variance: float, copies: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of a structure that is left out: variances of its atoms [copies · N], of energies per atom [copies]."""
    n_atoms = len(rows) // copies
    atoms, structure = np.zeros(len(rows)), np.zeros(copies)
    means = np.kron(np.eye(copies), np.full((1, n_atoms), 1.0 / n_atoms))
    for block, matrix in enumerate(whitening):
        mine = np.flatnonzero(blocks == block)
        if len(mine) == 0:
            continue
        left, singular, right = np.linalg.svd(rows[mine] @ matrix.T, full_matrices=False)
        # along a singular vector the variance λ becomes λ + λ²/(c - λ)
        factors = 1.0 / (1.0 - np.minimum(singular**2 / variance, 1.0 - 1e-15))
        atoms[mine] = (left**2) @ (singular**2 * factors)
        along = (means[:, mine] @ left) * singular
        structure += (along**2) @ factors
    return atoms, structure


def quantiles_by_element(
    left_out: Sequence[np.ndarray], symbols: Sequence[Sequence[str]], scale: float
) -> dict[str, dict[str, float]]:
    """Quantiles of the left-out leverage of the training atoms of each element, in units of ``scale`` (eV²).

    Parameters
    ----------
    left_out: of :class:`Whitening`
    symbols: chemical symbols of each structure's rows
    """
    leverages, elements = np.concatenate(left_out) / scale, np.concatenate([list(s) for s in symbols])
    return {
        str(element): {
            f"{share:g}": float(np.quantile(leverages[elements == element], share)) for share in QUANTILES
        }
        for element in sorted(set(elements))
    }
