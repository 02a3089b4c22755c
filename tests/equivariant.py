"""NequIP with random weights, made without that package: two layers, scalars and vectors."""

import torch

from ase_mlip.networks.equivariant.edges import BesselBasis, ReducedLengths, SphericalHarmonics
from ase_mlip.networks.equivariant.interaction import Gate, Group, Layer
from ase_mlip.networks.equivariant.linear import BlockLinear, Dense, Perceptron, TypedLinear
from ase_mlip.networks.equivariant.nequip import NequIP

CHANNELS, RADIAL = 4, 4


def random_nequip(species: list[int], cutoff: float, seed: int = 0) -> NequIP:
    """Float64, equivariant under rotations and reflections."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def perceptron(*widths: int) -> Perceptron:
        sizes = list(zip(widths, widths[1:], strict=False))
        layers = []
        for k, (a, b) in enumerate(sizes):
            activation = "silu" if k + 1 < len(sizes) else "none"
            layers.append(Dense(random(a, b), torch.tensor(a**-0.5, dtype=torch.float64), activation))
        return Perceptron(layers)

    scalars, vectors = (1, CHANNELS), (3, CHANNELS)
    one = torch.ones(1, 1, dtype=torch.float64)  # [d2 · d1, d3] of scalar × scalar → scalar
    identity = torch.eye(3, dtype=torch.float64)  # scalar feature × vector harmonic → vector
    dot = identity.reshape(9, 1) / 3**0.5  # vector feature × vector harmonic → scalar

    def linear(shapes_in, shapes_out, paths) -> BlockLinear:
        size = sum(shapes_in[a][1] * shapes_out[b][1] for a, b, _ in paths)
        return BlockLinear(shapes_in, shapes_out, paths, random(size))

    n = len(species)
    first = Layer(
        [scalars],
        linear([scalars], [scalars], [(0, 0, CHANNELS**-0.5)]),
        torch.tensor([0.3], dtype=torch.float64),
        perceptron(RADIAL, 8, 2 * CHANNELS),
        [
            Group(0, 1, CHANNELS, 0, 1, 1, 0, 0),
            Group(0, 1, CHANNELS, 1, 3, 1, CHANNELS, CHANNELS),
        ],
        [one, identity],
        [[0], [1]],
        linear([scalars, vectors], [(1, 2 * CHANNELS), vectors], [(0, 0, 0.5), (1, 1, 0.5)]),
        TypedLinear(
            [scalars], [(1, 2 * CHANNELS), vectors], [(0, 0, 0.3)], random(2 * CHANNELS**3), CHANNELS
        ),
        Gate(
            [(0, 0, CHANNELS, "silu", 1.5)],
            [(0, CHANNELS, CHANNELS, "sigmoid", 1.5)],
            [(1, 0, CHANNELS, 1.0)],
        ),
        False,
    )
    both = [scalars, vectors]
    second = Layer(
        both,
        linear(both, both, [(0, 0, 0.5), (1, 1, 0.5)]),
        torch.tensor([0.3], dtype=torch.float64),
        perceptron(RADIAL, 8, 2 * CHANNELS),
        [
            Group(0, 1, CHANNELS, 0, 1, 1, 0, 0),
            Group(CHANNELS, 3, CHANNELS, 1, 3, 1, CHANNELS, CHANNELS),
        ],
        [one, dot],
        [[0, 1]],
        linear([(1, 2 * CHANNELS)], [scalars], [(0, 0, 0.5)]),
        None,
        Gate([(0, 0, CHANNELS, "silu", 1.5)], [], []),
        False,
    )
    return NequIP(
        species,
        random(n, CHANNELS),
        ReducedLengths(torch.tensor([1.0 / cutoff], dtype=torch.float64), n),
        BesselBasis(torch.arange(1, RADIAL + 1, dtype=torch.float64), 2.0 / cutoff, 6.0),
        SphericalHarmonics(1, []),
        [first, second],
        perceptron(CHANNELS, 1),
        torch.ones(1, dtype=torch.float64),
    )
