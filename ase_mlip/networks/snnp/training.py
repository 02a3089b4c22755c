"""The features of an s-NNP as functions of edge vectors and coefficients that autograd knows, on a CPU.

The loss of a training step contains forces, that is derivatives of the energy by the vectors; its gradient by
the coefficients is what these operators give in one pass, instead of a graph of every operation on every pair
of neighbours. ``FeatureSlopes`` has no derivative by the vectors: that would be a second derivative of the
energy by positions, which training does not ask for.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Constants(NamedTuple):
    """What the operators take beside vectors and coefficients; see csrc/snnp/training.h.

    Attributes
    ----------
    starts : Tensor
        int64 [N + 1], first edge of each node, and E
    types : Tensor
        int64 [N]
    neighbour_types : Tensor
        int64 [E]
    grids : list of Tensor
        float64 [M, 3] of φ, ρ, f, g: first knot, distance of knots, number of intervals
    cases : list of Tensor
        int64 tables of :func:`.parts.case_tables`: of pairs, radial, of angles
    cutoff, angular_cutoff : float
        Å
    """

    starts: Tensor
    types: Tensor
    neighbour_types: Tensor
    grids: list[Tensor]
    cases: list[Tensor]
    cutoff: float
    angular_cutoff: float

    def arguments(self, vectors: Tensor, coefficients: list[Tensor]) -> tuple:
        """The arguments of an operator, in its order.

        Parameters
        ----------
        vectors : Tensor
            float64 [E, 3], Å
        coefficients : list of Tensor
            float64 [M, C, n + 3] of φ, ρ, f and g

        Returns
        -------
        tuple
            for ``torch.ops.ase_mlip.snnp_features`` and those of its derivatives
        """
        return (
            *(vectors, self.starts, self.types, self.neighbour_types, coefficients, self.grids, self.cases),
            *(self.cutoff, self.angular_cutoff),
        )


class Features(torch.autograd.Function):
    """½Σφ, G2 and G3 of every node, float64 [N, P]."""

    @staticmethod
    def forward(ctx, constants: Constants, vectors: Tensor, *coefficients: Tensor) -> Tensor:
        """The features.

        Parameters
        ----------
        constants : Constants
            graph, tables and cutoffs
        vectors : Tensor
            float64 [E, 3], Å
        *coefficients : Tensor
            float64 [M, C, n + 3] of φ, ρ, f and g

        Returns
        -------
        Tensor
            float64 [N, P]
        """
        ctx.constants = constants
        ctx.save_for_backward(vectors, *coefficients)
        return torch.ops.ase_mlip.snnp_features(*constants.arguments(vectors, list(coefficients)))

    @staticmethod
    def backward(ctx, given: Tensor) -> tuple:
        """Gradients by vectors [E, 3] and coefficients, from ``given`` [N, P] by the features."""
        vectors, *coefficients = ctx.saved_tensors
        by_vectors, by_coefficients = None, [None] * len(coefficients)
        if ctx.needs_input_grad[1]:
            by_vectors = FeatureSlopes.apply(ctx.constants, given, vectors, *coefficients)
        if any(ctx.needs_input_grad[2:]) and not torch.is_grad_enabled():
            nothing = (torch.zeros_like(given), torch.zeros_like(vectors))
            arguments = ctx.constants.arguments(vectors, coefficients)
            by_coefficients = torch.ops.ase_mlip.snnp_features_parameters(given, *nothing, *arguments)[1:]
        return (None, by_vectors, *by_coefficients)


class FeatureSlopes(torch.autograd.Function):
    """Σ_p w_p dF_p/d vectors, float64 [E, 3], for weights w [N, P] of the features F."""

    @staticmethod
    def forward(ctx, constants: Constants, given: Tensor, vectors: Tensor, *coefficients: Tensor) -> Tensor:
        """The slopes.

        Parameters
        ----------
        constants : Constants
            graph, tables and cutoffs
        given : Tensor
            float64 [N, P], weights of the features
        vectors : Tensor
            float64 [E, 3], Å
        *coefficients : Tensor
            float64 [M, C, n + 3] of φ, ρ, f and g

        Returns
        -------
        Tensor
            float64 [E, 3]
        """
        ctx.constants = constants
        ctx.save_for_backward(given, vectors, *coefficients)
        arguments = constants.arguments(vectors, list(coefficients))
        return torch.ops.ase_mlip.snnp_features_backward(given, *arguments)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, directions: Tensor) -> tuple:
        """Gradients by the weights and the coefficients, from ``directions`` [E, 3] by the slopes."""
        given, vectors, *coefficients = ctx.saved_tensors
        arguments = ctx.constants.arguments(vectors, coefficients)
        by_given, *by_coefficients = torch.ops.ase_mlip.snnp_features_parameters(
            torch.zeros_like(given), given, directions.contiguous(), *arguments
        )
        return (None, by_given, None, *by_coefficients)
