"""Directions through the weights, normalised filter by filter.

A step of the same length means little in one filter and much in another, and rescaling two layers against
each other changes no function. So each filter of a direction has the norm of the model's own: H. Li et al.,
Visualizing the loss landscape of neural nets, arXiv 1712.09913. A direction has then the norm of all weights,
and positions x along it are in units of that.

``gaussian``: independent normal numbers, normalised. Filter f of n_f weights is uniform on the sphere of
radius |θ_f|, so that the mean of d dᵀ is |θ_f|²/n_f times the unit matrix.

``legacy``: what the tool of J. A. Vita and D. Schwalbe-Koda (arXiv 2302.05823) draws, for comparison with
its numbers: uniform numbers from 0 to 1, all positive, normalised alike, so that the cosine of two directions
is about (1/2)²/(1/3) = 0.750; where a stored tensor has one axis only (vectors, and the irrep blocks of the
networks it was made for), d = |θ| element by element, every time the same.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError
from .families import BLOCK, VECTOR
from .weights import Weights

DIRECTIONS = ("gaussian", "legacy")
ONE_AXIS = (VECTOR, BLOCK)


def direction(weights: Weights, kind: str, seed: int, number: int) -> Tensor:
    """A direction of the norm of θ*, float64 [size]; it follows from (seed, number) alone.

    Raises
    ------
    ArgumentError
        a kind that is neither ``gaussian`` nor ``legacy``
    """
    if kind not in DIRECTIONS:
        raise ArgumentError(f"`directions`: expected `gaussian` or `legacy`, got {kind!r}")
    generator = np.random.default_rng([seed, number])
    if kind == "gaussian":
        return normalised(weights, generator.standard_normal(weights.size))
    found = normalised(weights, generator.random(weights.size))
    for entry in weights.filters:
        if entry.kind in ONE_AXIS:
            found[entry.start : entry.stop] = weights.start[entry.start : entry.stop].abs()
    return found


def normalised(weights: Weights, values: np.ndarray) -> Tensor:
    """``values`` [size] with each filter scaled to the norm it has in θ*, float64."""
    starts = np.array([entry.start for entry in weights.filters])
    sizes = np.array([entry.size for entry in weights.filters])
    start = weights.start.numpy()
    wanted, drawn = (np.sqrt(np.add.reduceat(v * v, starts)) for v in (start, values))
    factors = np.divide(wanted, drawn, out=np.zeros_like(wanted), where=drawn > 0.0)
    return torch.from_numpy(values * np.repeat(factors, sizes))


def expected_cosine(weights: Weights) -> float:
    """The root mean square cosine of two Gaussian directions, (Σ_f s_f²/n_f)^½ with s_f = |θ_f|²/|θ|²."""
    total = float(weights.start.square().sum())
    if total == 0.0:
        return 0.0
    shares = [float(weights.start[f.start : f.stop].square().sum()) / total for f in weights.filters]
    return float(np.sqrt(sum(share**2 / f.size for share, f in zip(shares, weights.filters, strict=True))))
