"""Smooth cutoffs: the bump function and the adaptive per-atom radius (arXiv 2601.16195)."""

import math

import torch
from torch import Tensor


def _scaled(distances: Tensor, cutoffs: Tensor, width: float) -> Tensor:
    """s in (0, 1) across the falling part; the margin keeps cot(πs) finite, where the bump is 1 or 0."""
    return ((distances - cutoffs + width) / width).clamp(1e-6, 1.0 - 1e-6)


def log_bump(distances: Tensor, cutoffs: Tensor, width: float) -> Tensor:
    """Logarithm of ½(1 + tanh(cot πs)), s = (d - cutoff + width)/width clamped to (0, 1).

    ½(1 + tanh x) is the logistic function of 2x; the logarithm taken that way stays accurate in
    float32 where 1 + tanh x would round to zero.

    Parameters
    ----------
    distances, cutoffs: [E], Å
    width: length over which the weight falls from 1 to 0, Å
    """
    s = _scaled(distances, cutoffs, width)
    return torch.nn.functional.logsigmoid(2.0 / torch.tan(math.pi * s))


def _count_and_slope(
    radii: Tensor, distances: Tensor, centres: Tensor, width: float, target: float, cutoff: float
) -> tuple[Tensor, Tensor]:
    """n(r) = Σ_j bump(d_j; r) + target·(r/cutoff)³ and dn/dr, each [N]."""
    s = _scaled(distances, radii[centres], width)
    weight = torch.sigmoid(2.0 / torch.tan(math.pi * s))
    inside = ((s > 1e-6) & (s < 1.0 - 1e-6)).to(weight.dtype)
    sine = torch.sin(math.pi * s)
    slope = inside * (2.0 * math.pi / width) * weight * (1.0 - weight) / (sine * sine)
    x = radii / cutoff
    count = (target * x**3).index_add(0, centres, weight)
    return count, (3.0 * target / cutoff * x * x).index_add(0, centres, slope)


def adaptive_radii(
    distances: Tensor,
    centres: Tensor,
    n_nodes: int,
    target: float,
    cutoff: float,
    width: float,
    steps: int = 16,
) -> Tensor:
    """Radius of each atom at which its weighted neighbour count meets ``target``.

    Solves n(r) = Σ_j bump(d_j; r, width) + target·(r/cutoff)³ = target. The cubic term makes n
    monotonic on [0, cutoff] and the root unique; Newton steps that leave the bracket are replaced
    by bisection. The result is differentiable once with respect to ``distances``: one Newton step
    at the root is the implicit function theorem.

    Parameters
    ----------
    distances: [E], Å;  centres: int64 [E];  n_nodes: number of nodes N
    target: wanted number of neighbours;  cutoff: largest radius, Å;  width: of the bump, Å

    Returns
    -------
    [N], Å, between cutoff/16 and cutoff
    """
    fixed = distances.detach()
    low = torch.zeros(n_nodes, dtype=fixed.dtype, device=fixed.device)
    high = low + cutoff
    radii = 0.5 * high
    for _ in range(steps):
        count, slope = _count_and_slope(radii, fixed, centres, width, target, cutoff)
        excess = count - target
        low = torch.where(excess <= 0, radii, low)
        high = torch.where(excess <= 0, high, radii)
        newton = radii - excess / slope.clamp(min=1e-6)
        inside = (newton >= low) & (newton <= high)
        radii = torch.where(inside, newton, 0.5 * (low + high))
    slope = _count_and_slope(radii, fixed, centres, width, target, cutoff)[1]
    count = _count_and_slope(radii, distances, centres, width, target, cutoff)[0]
    return (radii - (count - target) / slope.clamp(min=1e-6)).clamp(cutoff / 16.0, cutoff)
