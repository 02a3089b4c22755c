"""What a potential is for: the rows of the target's structures, summed by group and kind of label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Target:
    """Sums over the rows of the target, scaled by σ, from which every predicted error follows.

    Attributes
    ----------
    groups: their names, G
    kinds: labels that are predicted, K of energy, forces, stress
    sums: float64 [G, K, p, p], Σφᵀφ of the rows of a group and kind
    counts: float64 [G, K], how many rows these stand for
    frames: int64 [G]
    weights: float64 [G], what a group counts in the mean over all; their sum is one
    """

    groups: tuple[str, ...]
    kinds: tuple[str, ...]
    sums: np.ndarray
    counts: np.ndarray
    frames: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(
        cls,
        rows: Sequence[Mapping[str, np.ndarray]],
        counts: Sequence[Mapping[str, int]],
        groups: Sequence[str],
        kinds: Sequence[str],
        balance: str = "groups",
    ) -> Target:
        """Of structures with scaled ``rows`` by kind, [r, p] each, that stand for ``counts`` rows each.

        ``balance`` "groups" gives every group the same weight, "frames" every frame.
        """
        names = tuple(dict.fromkeys(groups))
        place = {name: k for k, name in enumerate(names)}
        p = rows[0][kinds[0]].shape[1]
        sums = np.zeros((len(names), len(kinds), p, p))
        numbers = np.zeros((len(names), len(kinds)))
        frames = np.bincount([place[group] for group in groups], minlength=len(names))
        for block, count, group in zip(rows, counts, groups, strict=True):
            for k, kind in enumerate(kinds):
                sums[place[group], k] += block[kind].T @ block[kind]
                numbers[place[group], k] += count[kind]
        weights = np.ones(len(names)) if balance == "groups" else frames.astype(float)
        return cls(names, tuple(kinds), sums, numbers, frames, weights / weights.sum())

    @property
    def moment(self) -> np.ndarray:
        """M [p, p]: the mean over frames of a group of all its rows, and that over groups by weight."""
        return np.einsum("g,gkij->ij", self.weights / self.frames, self.sums)

    def rows(self) -> np.ndarray:
        """T [m, p] with TᵀT/m the :attr:`moment`, as the criteria want it."""
        values, vectors = np.linalg.eigh(self.moment)
        used = values > 1e-15 * values[-1]
        return np.sqrt(used.sum() * values[used, None]) * vectors.T[used]

    def parts(self, covariance: np.ndarray) -> np.ndarray:
        """[G, K]: what each group and kind adds to tr(A⁻¹M), for the covariance A⁻¹ [p, p]."""
        traces = np.einsum("gkij,ij->gk", self.sums, covariance)
        return np.maximum(traces, 0.0) * (self.weights / self.frames)[:, None]

    def errors(self, parts: np.ndarray) -> np.ndarray:
        """[..., G, K]: root mean square of the predicted error over a group's rows, in units of σ."""
        scale = self.frames[:, None] / (self.weights[:, None] * np.where(self.counts > 0, self.counts, 1.0))
        return np.sqrt(parts * scale)
