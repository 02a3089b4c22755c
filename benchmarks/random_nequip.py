"""A NequIP of ours with random weights, of which only the speed counts: silicon, l ≤ 1, three layers."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from ase_mlip import export_model
from ase_mlip.networks.equivariant.edges import BesselBasis, ReducedLengths, SphericalHarmonics
from ase_mlip.networks.equivariant.interaction import Gate, Group, Layer
from ase_mlip.networks.equivariant.linear import BlockLinear, Dense, Perceptron
from ase_mlip.networks.equivariant.nequip import NequIP

CHANNELS = 32
CUTOFF = 5.0  # Å
BASIS = 8
HIDDEN = 64
NEIGHBOURS = 28.0
SCALARS, VECTORS = (1, CHANNELS), (3, CHANNELS)


def export_nequip(path: Path) -> Path:
    torch.manual_seed(0)
    layers = [_layer([SCALARS]), _layer([SCALARS, VECTORS]), _layer([SCALARS, VECTORS], last=True)]
    network = NequIP(
        [14],
        torch.randn(1, CHANNELS),
        ReducedLengths(torch.tensor([1.0 / CUTOFF]), 1),
        BesselBasis(torch.arange(1.0, BASIS + 1.0), 1.0, 6.0),
        SphericalHarmonics(1, []),
        layers,
        _perceptron([CHANNELS, 1]),
        torch.ones(1),
    )
    claims = {"name": "random-nequip", "species": [14], "cutoff": CUTOFF, "equivariant": True}
    claims |= {"interaction_range": 3 * CUTOFF, "message_passing_layers": 3}
    export_model(network.eval(), path, claims)
    return path


def _layer(shapes: list[tuple[int, int]], last: bool = False) -> Layer:
    """Scalars and vectors from what ``shapes`` say; the last layer gives scalars alone."""
    groups, couplings, outputs = _paths(shapes, last)
    blocks = [(d, CHANNELS * len(numbers)) for d, numbers in zip((1, 3), outputs, strict=False)]
    given = [SCALARS] if last else [(1, 2 * CHANNELS), VECTORS]
    return Layer(
        shapes,
        _linear(shapes, shapes),
        torch.tensor(1.0 / math.sqrt(NEIGHBOURS)),
        _perceptron([BASIS, HIDDEN, CHANNELS * len(groups)]),
        groups,
        couplings,
        outputs,
        _linear(blocks, given),
        None,
        Gate(
            [(0, 0, CHANNELS, "silu", 1.0)],
            [] if last else [(0, CHANNELS, CHANNELS, "sigmoid", 1.0)],
            [] if last else [(1, 0, CHANNELS, 1.0)],
        ),
        False,
    )


def _paths(shapes: list[tuple[int, int]], last: bool) -> tuple[list[Group], list[Tensor], list[list[int]]]:
    """Products of features with harmonics of l = 0 and 1, their couplings, and what they add to."""
    groups: list[Group] = []
    couplings: list[Tensor] = []
    outputs: list[list[int]] = [[]] if last else [[], []]
    feature = total = 0
    for d1, channels in shapes:
        for harmonic, d2 in ((0, 1), (1, 3)):
            is_scalar = d1 == d2
            if is_scalar or not last:
                outputs[0 if is_scalar else 1].append(len(groups))
                groups.append(Group(feature, d1, channels, harmonic, d2, 1, CHANNELS * len(couplings), total))
                one = torch.eye(3, dtype=torch.float64)
                dot = torch.eye(d1, dtype=torch.float64).reshape(d1 * d2, 1) if is_scalar else one
                couplings.append(dot / math.sqrt(d1) if is_scalar else one)
                total += d2 * d1 * channels
        feature += d1 * channels
    return groups, couplings, outputs


def _linear(shapes: list[tuple[int, int]], given: list[tuple[int, int]]) -> BlockLinear:
    pairs = list(zip(shapes, given, strict=False))
    paths = [(k, k, 1.0 / math.sqrt(enter[1])) for k, (enter, _) in enumerate(pairs)]
    weight = torch.cat([torch.randn(enter[1] * leave[1]) for enter, leave in pairs])
    return BlockLinear(shapes, given, paths, weight)


def _perceptron(widths: list[int]) -> Perceptron:
    layers = []
    for k in range(len(widths) - 1):
        alpha = torch.tensor(1.0 / math.sqrt(widths[k]))
        activation = "none" if k == len(widths) - 2 else "silu"
        layers.append(Dense(torch.randn(widths[k], widths[k + 1]), alpha, activation))
    return Perceptron(layers)
