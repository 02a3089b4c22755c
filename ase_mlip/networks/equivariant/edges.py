"""What equivariant networks are told of edges: radial functions of lengths, harmonics of directions."""

import math

import torch
from torch import Tensor

from ..repulsion import zbl


def polynomial_cutoff(reduced: Tensor, power: float) -> Tensor:
    """1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2), zero beyond x = 1 (arXiv 2003.03123).

    Parameters
    ----------
    reduced : Tensor
        x, lengths over their cutoff, of any shape
    power : float
        p

    Returns
    -------
    Tensor
        of the shape of ``reduced``
    """
    high = torch.pow(reduced, power)
    inner = power * (power + 2.0) - (0.5 * power * (power + 1.0)) * reduced
    value = 1.0 + high * (reduced * inner - 0.5 * (power + 1.0) * (power + 2.0))
    return value * (reduced < 1.0)


class ReducedLengths(torch.nn.Module):
    """r / r_c with one cutoff per ordered pair of types, or one for all.

    Parameters
    ----------
    inverse_cutoffs : Tensor
        1/Å, [1] or [T²], row of the centre's type
    n_types : int
        number of types T
    """

    inverse_cutoffs: Tensor

    def __init__(self, inverse_cutoffs: Tensor, n_types: int):
        super().__init__()
        self.n_types = n_types
        self.register_buffer("inverse_cutoffs", inverse_cutoffs.detach().clone().reshape(-1))

    def forward(self, lengths: Tensor, centre_types: Tensor, neighbour_types: Tensor) -> Tensor:
        """Lengths over the cutoffs of their pairs.

        Parameters
        ----------
        lengths : Tensor
            [E, 1], Å
        centre_types, neighbour_types : Tensor
            int64 [E]

        Returns
        -------
        Tensor
            [E, 1]
        """
        inverse = self.inverse_cutoffs.to(lengths.dtype)
        if inverse.numel() > 1:
            inverse = inverse[centre_types * self.n_types + neighbour_types].unsqueeze(1)
        return lengths * inverse


class BesselBasis(torch.nn.Module):
    """factor · sin(π n x)/(π x) · polynomial cutoff, for the roots n.

    Parameters
    ----------
    roots : Tensor
        [B], the n
    factor : float
        of all functions
    power : float
        of :func:`polynomial_cutoff`
    """

    roots: Tensor

    def __init__(self, roots: Tensor, factor: float, power: float):
        super().__init__()
        self.register_buffer("roots", roots.detach().clone().reshape(1, -1))
        self.factor = factor
        self.power = power

    def forward(self, reduced: Tensor) -> Tensor:
        """Values of the B functions.

        Parameters
        ----------
        reduced : Tensor
            [E, 1], lengths over their cutoff

        Returns
        -------
        Tensor
            [E, B]
        """
        scaled = math.pi * reduced
        waves = torch.sin(scaled * self.roots.to(reduced.dtype))
        return waves * (self.factor * polynomial_cutoff(reduced, self.power) / scaled)


class SphericalHarmonics(torch.nn.Module):
    """Real spherical harmonics up to l_max of the direction of r, |Y_l|² = 2l + 1.

    Parameters
    ----------
    l_max : int
        the highest degree
    steps : list of Tensor
        float64 [2l+1, 3, 2l+3] for l = 1 ...: Y_{l+1} from the product of Y_l and Y_1
    """

    steps: list[Tensor]

    def __init__(self, l_max: int, steps: list[Tensor]):
        super().__init__()
        self.l_max = l_max
        self.steps = steps

    def forward(self, directions: Tensor) -> Tensor:
        """All harmonics, those of degree l at l² and behind.

        Parameters
        ----------
        directions : Tensor
            [E, 3], unit vectors

        Returns
        -------
        Tensor
            [E, (l_max + 1)²]
        """
        # Also the constant one is differentiable, which matters where it is alone.
        found = [1.0 + 0.0 * directions[:, :1]]
        if self.l_max > 0:
            first = math.sqrt(3.0) * directions
            found.append(first)
            last = first
            for step in self.steps:
                table = step.to(device=last.device, dtype=last.dtype).flatten(0, 1)
                last = torch.matmul((last.unsqueeze(2) * first.unsqueeze(1)).flatten(1), table)
                found.append(last)
        return torch.cat(found, dim=1)


class ZBL(torch.nn.Module):
    """Ziegler-Biersack-Littmark repulsion with a polynomial cutoff; half of a pair's energy per edge.

    Parameters
    ----------
    charges : Tensor
        [T], atomic number per type
    power : float
        of :func:`polynomial_cutoff`
    """

    charges: Tensor

    def __init__(self, charges: Tensor, power: float):
        super().__init__()
        self.register_buffer("charges", charges.detach().clone().reshape(-1))
        self.power = power

    def forward(self, lengths: Tensor, reduced: Tensor, centre_types: Tensor, neighbour: Tensor) -> Tensor:
        """Energies of the edges.

        Parameters
        ----------
        lengths : Tensor
            [E, 1], Å
        reduced : Tensor
            [E, 1], lengths over their cutoff
        centre_types, neighbour : Tensor
            int64 [E], types

        Returns
        -------
        Tensor
            [E], eV
        """
        r = lengths.squeeze(1)
        charges = self.charges.to(r.dtype)
        energy = 0.5 * zbl(charges[centre_types], charges[neighbour], r)
        return energy * polynomial_cutoff(reduced, self.power).squeeze(1)


class EdgeFunctions(torch.nn.Module):
    """What a network is told of its edges.

    Parameters
    ----------
    lengths : ReducedLengths
        lengths over cutoffs
    basis : torch.nn.Module
        radial functions of the reduced lengths, [E, 1] → [E, B]
    harmonics : SphericalHarmonics
        of the directions
    pair : ZBL or None
        a pair potential
    """

    def __init__(
        self,
        lengths: ReducedLengths,
        basis: torch.nn.Module,
        harmonics: SphericalHarmonics,
        pair: ZBL | None,
    ):
        super().__init__()
        self.lengths, self.basis, self.harmonics = lengths, basis, harmonics
        self.pair = pair

    def forward(self, types: Tensor, edge_index: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Radial functions, harmonics and pair energies of the edges.

        Parameters
        ----------
        types : Tensor
            int64 [N]
        edge_index : Tensor
            int64 [2, E]
        vectors : Tensor
            [E, 3], Å

        Returns
        -------
        tuple of Tensor
            radial functions [E, B], harmonics [E, H], pair energies [E] in eV (zeros without a potential)
        """
        lengths = torch.sqrt((vectors * vectors).sum(1, keepdim=True))
        centre, neighbour = types[edge_index[0]], types[edge_index[1]]
        reduced = self.lengths(lengths, centre, neighbour)
        pairs = 0.0 * reduced.squeeze(1)
        if self.pair is not None:
            pairs = self.pair(lengths, reduced, centre, neighbour)
        return self.basis(reduced), self.harmonics(vectors / lengths), pairs
