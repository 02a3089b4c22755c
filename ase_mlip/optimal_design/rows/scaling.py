"""Weights of rows: a label's σ scales its rows, and energies and forces count equally where no labels exist.

With rows X and standard deviations σ of the labels' errors, XᵀX/σ² is the information of a structure, the
inverse covariance of the coefficients (Fisher). Without labels only ratios of σ matter. Force rows are 3N to
one energy row, and would decide alone: by default the pool's energy rows and its force rows are given equal
total weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import MLIPError
from .structure_rows import LABELS, Rows, checked_labels


@dataclass(frozen=True)
class Scaling:
    """Standard deviation of each label's errors.

    Attributes
    ----------
    energy : float
        eV/atom
    forces : float
        eV/Å
    stress : float
        eV/Å³

    Raises
    ------
    MLIPError
        one is not a positive finite number
    """

    energy: float = 0.01
    forces: float = 1.0
    stress: float = 0.01

    def __post_init__(self) -> None:
        for label in LABELS:
            sigma = getattr(self, label)
            if not (isinstance(sigma, (int, float)) and 0.0 < sigma < float("inf")):
                raise MLIPError(
                    f"`sigma`: expected a positive number for `{label}`, got {sigma!r}; write for instance "
                    f"{label}={getattr(Scaling, label)}"
                )

    def of(self, rows: Rows, labels: Sequence[str] = LABELS) -> np.ndarray:
        """The block φ/σ [m, p] of one structure: rows of ``labels`` over their standard deviation."""
        parts = [getattr(rows, label) / getattr(self, label) for label in checked_labels(labels)]
        return np.concatenate(parts)


def balanced(pool: Iterable[Rows], scaling: Scaling | None = None, labels: Sequence[str] = LABELS) -> Scaling:
    """The scaling with which energy and force rows of the pool have equal total weight; the energy's σ stays.

    The total weight of a label is the mean over the p coefficients c of Σ x_c² / Σ_all x_c², where the sums
    are of that label's scaled rows and of the energies' and forces' together. It lies between 0 and 1, and
    does not depend on the units of the coefficients. The forces' σ is that for which both are 1/2. The
    stress keeps its ratio to the forces. Without one of the two among ``labels`` there is nothing to do.

    Parameters
    ----------
    pool : iterable of Rows
        rows of all structures
    scaling : Scaling, optional
        σ to start from; the ratio of energy and forces is replaced
    labels : sequence of str
        those that will be used

    Returns
    -------
    Scaling
        with other σ of forces and stress

    Raises
    ------
    MLIPError
        no rows, or an unknown label
    """
    scaling = scaling or Scaling()
    chosen = checked_labels(labels)
    if not {"energy", "forces"} <= set(chosen):
        return scaling
    squares = [(np.square(rows.energy).sum(axis=0), np.square(rows.forces).sum(axis=0)) for rows in pool]
    if not squares:
        raise MLIPError("`pool`: expected rows of at least one structure, got none")
    energy, forces = np.sum(squares, axis=0)
    ratio = _equal_shares(energy / scaling.energy**2, forces)
    return replace(scaling, forces=ratio, stress=scaling.stress * ratio / scaling.forces)


def _equal_shares(energy: np.ndarray, forces: np.ndarray) -> float:
    """The σ of the forces for which Σ_c f_c/σ² / (e_c + f_c/σ²) is half the number of coefficients in use.

    The constants of elements have energies alone, and count for neither. The sum falls with σ: bisection.
    """
    both = (energy > 0) & (forces > 0)
    if not both.any():
        return 1.0
    ratios = np.log(forces[both] / energy[both])
    low, high = ratios.min() - 1.0, ratios.max() + 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        share = np.mean(1.0 / (1.0 + np.exp(middle - ratios)))
        low, high = (middle, high) if share > 0.5 else (low, middle)
    return float(np.exp(0.25 * (low + high)))
