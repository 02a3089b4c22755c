"""Moduli of a polycrystal from the stiffness of its crystals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Moduli:
    """Moduli of a polycrystal: the bounds of Voigt and Reuss, and what follows from their mean (Hill).

    R. Hill, Proc. Phys. Soc. A 65, 349 (1952); the index is that of S. I. Ranganathan and
    M. Ostoja-Starzewski, Phys. Rev. Lett. 101, 055504 (2008).

    Attributes
    ----------
    bulk_voigt, bulk_reuss, bulk : float
        bulk modulus, GPa: upper and lower bound, and their mean
    shear_voigt, shear_reuss, shear : float
        shear modulus, GPa, likewise
    young : float
        of the two means, GPa
    poisson_ratio : float
        of the two means, no unit
    anisotropy : float
        the universal index 5 G_V/G_R + K_V/K_R - 6, no unit, zero for an isotropic crystal
    """

    bulk_voigt: float
    bulk_reuss: float
    bulk: float
    shear_voigt: float
    shear_reuss: float
    shear: float
    young: float
    poisson_ratio: float
    anisotropy: float


def moduli(stiffness: np.ndarray) -> Moduli:
    """Voigt's, Reuss's and Hill's averages of a positive definite ``stiffness`` [6, 6] in GPa."""
    compliance = np.linalg.inv(stiffness)

    def sums(tensor: np.ndarray) -> tuple[float, float, float]:
        diagonal = float(np.trace(tensor[:3, :3]))
        return diagonal, 0.5 * float(tensor[:3, :3].sum() - diagonal), float(np.trace(tensor[3:, 3:]))

    normal, mixed, shears = sums(stiffness)
    bulk_voigt, shear_voigt = (normal + 2.0 * mixed) / 9.0, (normal - mixed + 3.0 * shears) / 15.0
    normal, mixed, shears = sums(compliance)
    bulk_reuss = 1.0 / (normal + 2.0 * mixed)
    shear_reuss = 15.0 / (4.0 * normal - 4.0 * mixed + 3.0 * shears)
    bulk, shear = 0.5 * (bulk_voigt + bulk_reuss), 0.5 * (shear_voigt + shear_reuss)
    return Moduli(
        bulk_voigt=bulk_voigt,
        bulk_reuss=bulk_reuss,
        bulk=bulk,
        shear_voigt=shear_voigt,
        shear_reuss=shear_reuss,
        shear=shear,
        young=9.0 * bulk * shear / (3.0 * bulk + shear),
        poisson_ratio=(3.0 * bulk - 2.0 * shear) / (2.0 * (3.0 * bulk + shear)),
        anisotropy=5.0 * shear_voigt / shear_reuss + bulk_voigt / bulk_reuss - 6.0,
    )
