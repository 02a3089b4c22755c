"""The repulsion of nuclei behind their electrons.

J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter (1985), with the digits
of LAMMPS' ``pair_style zbl``.
"""

import torch
from torch import Tensor

_FITTED = 400  # distances at which a spline is fitted


def zbl(first: Tensor, second: Tensor, r: Tensor) -> Tensor:
    """Energy of the repulsion of two atoms, for each of several pairs.

    Parameters
    ----------
    first, second : Tensor
        float, atomic numbers; any shapes that broadcast with ``r``
    r : Tensor
        distances, Å

    Returns
    -------
    Tensor
        eV
    """
    scaled = (torch.pow(first, 0.23) + torch.pow(second, 0.23)) * r / 0.46850
    screening = 0.02817 * torch.exp(-0.20162 * scaled) + 0.28022 * torch.exp(-0.40290 * scaled)
    screening = screening + 0.50986 * torch.exp(-0.94229 * scaled) + 0.18175 * torch.exp(-3.19980 * scaled)
    coulomb = 14.399645  # e²/(4πε₀), eV·Å; not a global, which TorchScript does not read
    return coulomb * first * second / r * screening


def fade(r: Tensor, begin: float, end: float) -> Tensor:
    """One below ``begin``, zero beyond ``end``, with two continuous derivatives.

    Parameters
    ----------
    r : Tensor
        distances, Å, of any shape
    begin, end : float
        Å

    Returns
    -------
    Tensor
        of the shape of ``r``
    """
    t = ((r - begin) / (end - begin)).clamp(0.0, 1.0)
    return 1.0 - t * t * t * (10.0 - 15.0 * t + 6.0 * t * t)


def core_coefficients(first: int, second: int, end: float, step: float, count: int) -> Tensor:
    """The repulsion as ``count`` coefficients of B-splines on the knots before ``end``.

    It is faded out between half of ``end`` and ``end``. The coefficients are those of least relative
    deviation; the B-splines that follow, from ``end`` on, are not used.

    Parameters
    ----------
    first, second : int
        atomic numbers
    end : float
        where the knots of the trained spline begin, Å
    step : float
        distance of knots, Å
    count : int
        number of intervals before ``end``

    Returns
    -------
    Tensor
        float64 [count], eV
    """
    r = torch.linspace(end - count * step, end, _FITTED, dtype=torch.float64)
    charges = [torch.tensor(float(z), dtype=torch.float64) for z in (first, second)]
    energies = zbl(charges[0], charges[1], r) * fade(r, 0.5 * end, end)
    place = (r - r[0]) / step
    piece = place.floor().clamp(max=count - 1).long()
    u = (place - piece)[:, None]
    basis = torch.cat(
        [(1 - u) ** 3, 4 - 6 * u**2 + 3 * u**3, 1 + 3 * u + 3 * u**2 - 3 * u**3, u**3], dim=1
    ) / 6.0  # fmt: skip
    columns = torch.zeros(_FITTED, count + 3, dtype=torch.float64)
    columns.scatter_(1, piece[:, None] + torch.arange(4), basis)
    weights = 1.0 / (energies + 1.0)[:, None]
    return torch.linalg.lstsq(columns[:, :count] * weights, energies[:, None] * weights).solution[:, 0]
