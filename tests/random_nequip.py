"""NequIP with random weights and any number of layers, made without that package: scalars and vectors."""

import torch

from ase_mlip.networks.equivariant.edges import BesselBasis, ReducedLengths, SphericalHarmonics
from ase_mlip.networks.equivariant.interaction import Gate, Group, Layer
from ase_mlip.networks.equivariant.linear import BlockLinear, Dense, Perceptron, TypedLinear
from ase_mlip.networks.equivariant.nequip import NequIP

CHANNELS, RADIAL = 4, 4
SCALARS, VECTORS = (1, CHANNELS), (3, CHANNELS)


class Weights:
    """Random float64 numbers, in the forms that the parts take."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def random(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def perceptron(self, *widths: int) -> Perceptron:
        sizes = list(zip(widths, widths[1:], strict=False))
        layers = []
        for k, (a, b) in enumerate(sizes):
            activation = "silu" if k + 1 < len(sizes) else "none"
            layers.append(Dense(self.random(a, b), torch.tensor(a**-0.5, dtype=torch.float64), activation))
        return Perceptron(layers)

    def linear(self, shapes_in, shapes_out, paths) -> BlockLinear:
        size = sum(shapes_in[a][1] * shapes_out[b][1] for a, b, _ in paths)
        return BlockLinear(shapes_in, shapes_out, paths, self.random(size))

    def layer(self, shapes: list) -> Layer:
        """From blocks of these shapes, scalars first, to scalars and vectors."""
        gated = [(1, 2 * CHANNELS), VECTORS]
        paths = [(k, k, 0.5) for k in range(len(shapes))]
        one = torch.ones(1, 1, dtype=torch.float64)
        return Layer(
            shapes,
            self.linear(shapes, shapes, paths),
            torch.tensor([0.3], dtype=torch.float64),
            self.perceptron(RADIAL, 8, 2 * CHANNELS),
            [Group(0, 1, CHANNELS, 0, 1, 1, 0, 0), Group(0, 1, CHANNELS, 1, 3, 1, CHANNELS, CHANNELS)],
            [one, torch.eye(3, dtype=torch.float64)],  # scalar × scalar, scalar × vector harmonic
            [[0], [1]],
            self.linear([SCALARS, VECTORS], gated, [(0, 0, 0.5), (1, 1, 0.5)]),
            TypedLinear(
                shapes,
                gated,
                paths,
                self.random(sum(shapes[a][1] * gated[b][1] for a, b, _ in paths) * CHANNELS),
                CHANNELS,
            ),
            Gate(
                [(0, 0, CHANNELS, "silu", 1.5)],
                [(0, CHANNELS, CHANNELS, "sigmoid", 1.5)],
                [(1, 0, CHANNELS, 1.0)],
            ),
            False,
        )

    def last_layer(self) -> Layer:
        both = [SCALARS, VECTORS]
        dot = torch.eye(3, dtype=torch.float64).reshape(9, 1) / 3**0.5  # vector × vector harmonic
        return Layer(
            both,
            self.linear(both, both, [(0, 0, 0.5), (1, 1, 0.5)]),
            torch.tensor([0.3], dtype=torch.float64),
            self.perceptron(RADIAL, 8, 2 * CHANNELS),
            [Group(0, 1, CHANNELS, 0, 1, 1, 0, 0), Group(CHANNELS, 3, CHANNELS, 1, 3, 1, CHANNELS, CHANNELS)],
            [torch.ones(1, 1, dtype=torch.float64), dot],
            [[0, 1]],
            self.linear([(1, 2 * CHANNELS)], [SCALARS], [(0, 0, 0.5)]),
            None,
            Gate([(0, 0, CHANNELS, "silu", 1.5)], [], []),
            False,
        )


def random_nequip(layers: int, species: list[int], cutoff: float, seed: int = 0) -> NequIP:
    """Float64, equivariant under rotations and reflections; two layers or more."""
    weights = Weights(seed)
    middle = [weights.layer([SCALARS, VECTORS]) for _ in range(layers - 2)]
    return NequIP(
        species,
        weights.random(len(species), CHANNELS),
        ReducedLengths(torch.tensor([1.0 / cutoff], dtype=torch.float64), len(species)),
        BesselBasis(torch.arange(1, RADIAL + 1, dtype=torch.float64), 2.0 / cutoff, 6.0),
        SphericalHarmonics(1, []),
        [weights.layer([SCALARS]), *middle, weights.last_layer()],
        weights.perceptron(CHANNELS, 1),
        torch.ones(1, dtype=torch.float64),
    )
