"""Allegro with random weights and one layer, made without that package: splines, scalars and vectors."""

import math

import torch
from random_nequip import Weights

from ase_mlip.networks.equivariant.allegro import Allegro, Contraction, SplineBasis, SplineEmbedding
from ase_mlip.networks.equivariant.edges import ReducedLengths, SphericalHarmonics

SCALARS, CHANNELS, SPLINES = 5, 3, 6
DEGREES = 2  # scalars and vectors


def random_allegro(species: list[int], cutoff: float, seed: int = 0) -> Allegro:
    """Float64, invariant under rotations and reflections."""
    weights, n_types = Weights(seed), len(species)
    lower = torch.linspace(0.0, 0.75, SPLINES, dtype=torch.float64)
    couplings = torch.zeros(2, 4, 4, 1, dtype=torch.float64)  # scalar × scalar, vector · vector
    couplings[0, 0, 0, 0] = 1.0
    couplings[1, range(1, 4), range(1, 4), 0] = 3**-0.5
    projected = SCALARS + CHANNELS * DEGREES
    return Allegro(
        species,
        ReducedLengths(torch.tensor([1.0 / cutoff], dtype=torch.float64), n_types),
        SplineBasis(lower, lower + 0.25, 2.0 * math.pi / 0.25),
        SphericalHarmonics(1, []),
        SplineEmbedding(weights.random(n_types**2, SCALARS, SPLINES), n_types),
        weights.perceptron(SCALARS, 8, SCALARS),
        weights.perceptron(SCALARS, CHANNELS * DEGREES),
        weights.perceptron(SCALARS, projected),
        [weights.perceptron(SCALARS + CHANNELS, 8, SCALARS)],
        [Contraction(weights.random(CHANNELS, 2), couplings)],
        weights.perceptron(2 * SCALARS, 1),
        SCALARS,
        CHANNELS,
        torch.tensor([0.3], dtype=torch.float64),
        torch.tensor([0.5], dtype=torch.float64),
        torch.ones(1, dtype=torch.float64),
    )
