"""Smooth cutoffs: bump and cosine, and the adaptive radius of an atom in two ways (arXiv 2601.16195)."""

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
    distances, cutoffs : Tensor
        [E], Å
    width : float
        length over which the weight falls from 1 to 0, Å

    Returns
    -------
    Tensor
        [E]
    """
    s = _scaled(distances, cutoffs, width)
    return torch.nn.functional.logsigmoid(2.0 / torch.tan(math.pi * s))


def log_cosine(distances: Tensor, cutoffs: Tensor, width: float) -> Tensor:
    """Logarithm of ½(1 + cos πs) = sin²(½π(1 - s)), s as in :func:`log_bump`; at least log 1e-15.

    The sine of what is left to the cutoff keeps all digits where 1 + cos would cancel.

    Parameters
    ----------
    distances, cutoffs : Tensor
        [E], Å
    width : float
        length over which the weight falls from 1 to 0, Å

    Returns
    -------
    Tensor
        [E]
    """
    left = ((cutoffs - distances) / width).clamp(2e-8, 1.0)
    return 2.0 * torch.log(torch.sin(0.5 * math.pi * left))


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
    by bisection. On a CPU they end once a step is so small that the next one, whose error is its
    square, meets rounding. The result is differentiable once with respect to ``distances``: one Newton
    step at the root is the implicit function theorem.

    Parameters
    ----------
    distances : Tensor
        [E], Å
    centres : Tensor
        int64 [E]
    n_nodes : int
        number of nodes N
    target : float
        wanted number of neighbours
    cutoff : float
        largest radius, Å
    width : float
        of the bump, Å
    steps : int, optional
        Newton steps at most

    Returns
    -------
    Tensor
        [N], Å, between cutoff/16 and cutoff
    """
    fixed = distances.detach()
    low = torch.zeros(n_nodes, dtype=fixed.dtype, device=fixed.device)
    high = low + cutoff
    radii = 0.5 * high
    small = cutoff * (1e-5 if fixed.dtype == torch.float32 else 1e-8)
    for _ in range(steps):
        before = radii
        count, slope = _count_and_slope(radii, fixed, centres, width, target, cutoff)
        excess = count - target
        low = torch.where(excess <= 0, radii, low)
        high = torch.where(excess <= 0, high, radii)
        newton = radii - excess / slope.clamp(min=1e-6)
        inside = (newton >= low) & (newton <= high)
        radii = torch.where(inside, newton, 0.5 * (low + high))
        if not radii.is_cuda and not bool(((radii - before).abs() > small).any()):
            break
    slope = _count_and_slope(radii, fixed, centres, width, target, cutoff)[1]
    count = _count_and_slope(radii, distances, centres, width, target, cutoff)[0]
    return (radii - (count - target) / slope.clamp(min=1e-6)).clamp(cutoff / 16.0, cutoff)


def adaptive_radii_on_grid(
    distances: Tensor,
    centres: Tensor,
    n_nodes: int,
    target: float,
    cutoff: float,
    width: float,
) -> Tensor:
    """Radius of each atom as a weighted mean of trial radii: how PET chose it before :func:`adaptive_radii`.

    Trial radii r_k = 0.5 Å + k·width/4 below the cutoff, K of them, have the excess
    n_k = Σ_j bump(d_j; r_k, width) + target·(k/(K - 1))³ - target and the Gaussian weights
    exp(-½(n_k/n'_k)²), n' the central difference of n along k. Networks trained with these radii need them.

    Parameters
    ----------
    distances : Tensor
        [E], Å
    centres : Tensor
        int64 [E]
    n_nodes : int
        number of nodes N
    target : float
        wanted number of neighbours
    cutoff : float
        largest radius, Å
    width : float
        of the bump, Å

    Returns
    -------
    Tensor
        [N], Å, between 0.5 Å and the cutoff
    """
    dtype, device = distances.dtype, distances.device
    trial = torch.arange(0.5, cutoff, 0.25 * width, dtype=dtype, device=device)
    k = trial.size(0)
    weights = log_bump(distances[:, None], trial[None, :], width).exp()  # [E, K]
    counts = torch.zeros(n_nodes, k, dtype=dtype, device=device).index_add(0, centres, weights)
    baseline = target * torch.linspace(0.0, 1.0, k, dtype=dtype, device=device) ** 3
    excess = counts - target + baseline
    if k > 1:
        ends = excess[:, 1:] - excess[:, :-1]
        inner = 0.5 * (excess[:, 2:] - excess[:, :-2])
        slope = torch.cat([ends[:, :1], inner, ends[:, -1:]], dim=1).abs().clamp(min=1e-12)
    else:
        slope = 0.5 * excess.abs() + 1e-12
    return torch.softmax(-0.5 * (excess / slope) ** 2, dim=1) @ trial
