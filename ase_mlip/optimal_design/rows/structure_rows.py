"""Rows of one structure: the derivatives of its energy, forces and stress by the coefficients of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import MLIPError

LABELS = ("energy", "forces", "stress")


@dataclass(frozen=True)
class Rows:
    """What one structure tells of p coefficients, each row per unit of a coefficient; arrays are float64.

    Attributes
    ----------
    energy : float64 [1, p]
        of the energy per atom in eV/atom; [0, p] if not asked for
    forces : float64 [k, p]
        of the force components in eV/Å, k = 3N in the order x, y, z of the first atom and so on; or fewer
        rows (a sketch) with the same Gram matrix in the mean over the random directions
    stress : float64 [6, p]
        in eV/Å³, Voigt order xx, yy, zz, yz, xz, xy and ASE's sign; [0, p] without a volume
    atoms : float64 [N, p]
        of the energies of single atoms in eV, whose mean is ``energy``; [0, p] if not asked for
    n_atoms : int
        N
    """

    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray
    atoms: np.ndarray
    n_atoms: int

    @property
    def size(self) -> int:
        """The number of coefficients p."""
        return self.energy.shape[1]

    def block(self, labels: Sequence[str] = LABELS) -> np.ndarray:
        """The rows of ``labels`` among each other, [m, p]."""
        return np.concatenate([getattr(self, label) for label in checked_labels(labels)])

    def sketched(self, directions: int, seed: int) -> Rows:
        """With at most ``directions`` force rows: random ±1 combinations of them.

        For matrices V [k, 3N] of independent signs E[VᵀV]/k = 1, so that E[(VF)ᵀVF]/k = FᵀF: the Gram matrix
        is the same in the mean. Its scatter falls as 1/√k. The signs belong to the positions of the rows.
        """
        if directions < 1:
            raise MLIPError(f"`directions`: expected at least 1, got {directions}")
        if directions >= len(self.forces):
            return self
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(directions, len(self.forces)))
        return replace(self, forces=signs @ self.forces / np.sqrt(directions))


def checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels, once each is one of :data:`LABELS`, and at least one is given.

    Raises
    ------
    MLIPError
        there is none, or another word
    """
    given = (labels,) if isinstance(labels, str) else tuple(labels)
    if not given or not set(given) <= set(LABELS):
        raise MLIPError(f"`labels`: expected some of {', '.join(LABELS)}, got {', '.join(given) or 'none'}")
    return tuple(label for label in LABELS if label in given)


def gram(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Σ XᵀX of blocks: the information of all of them.

    Parameters
    ----------
    blocks : iterable of float64 [m, p]
        rows in units of their σ; m may differ

    Returns
    -------
    float64 [p, p]
        symmetric

    Raises
    ------
    MLIPError
        there is no block
    """
    total = None
    for block in blocks:
        product = block.T @ block
        total = product if total is None else total + product
    if total is None:
        raise MLIPError("`blocks`: expected at least one, got none; read some structures first")
    return total
