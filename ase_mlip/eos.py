"""Equation of state: energy against volume, fitted with the third-order Birch-Murnaghan form.

F. Birch, Phys. Rev. 71, 809 (1947); the form fitted here is that of ``ase.eos``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units
from ase.eos import EquationOfState, birchmurnaghan

from .crystals import require_crystal, with_calculator
from .errors import StructureError
from .relax import relax

# Of the bulk modulus' derivative by pressure. A choice of this project: that of most solids is near 4
PLAUSIBLE = (2.0, 8.0)


@dataclass
class EOSResult:
    """A fitted equation of state. Volumes and energies are those of the whole cell, Å^3 and eV.

    Attributes
    ----------
    volumes, energies: what was computed, [n]
    volume, energy: at the fitted minimum
    bulk_modulus: at the minimum, GPa
    bulk_modulus_derivative: with respect to pressure, no unit
    fit_error: root mean square deviation of the fit, eV/atom
    n_atoms: atoms in the cell
    """

    volumes: np.ndarray = field(repr=False)
    energies: np.ndarray = field(repr=False)
    volume: float
    energy: float
    bulk_modulus: float
    bulk_modulus_derivative: float
    fit_error: float
    n_atoms: int

    @property
    def plausible(self) -> bool:
        """Whether the derivative is one that a solid may have; otherwise the curve does not fit."""
        return PLAUSIBLE[0] <= self.bulk_modulus_derivative <= PLAUSIBLE[1]

    def curve(self, volumes: np.ndarray) -> np.ndarray:
        """The fitted energy (eV) at ``volumes`` (Å^3)."""
        modulus = self.bulk_modulus * units.GPa
        return birchmurnaghan(
            np.asarray(volumes), self.energy, modulus, self.bulk_modulus_derivative, self.volume
        )


def equation_of_state(
    atoms: Atoms,
    strain: float = 0.06,
    points: int = 9,
    fmax: float | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> EOSResult:
    """Energies of ``atoms`` at scaled volumes, and the equation of state through them.

    Parameters
    ----------
    atoms: crystal near its equilibrium volume, with a calculator; not modified
    strain: relative change of the volume to either side
    points: number of volumes, at least 5
    fmax: relax the atoms at each volume to this force, eV/Å; None scales their positions only, which suffices
        where symmetry fixes them
    progress: called as ``progress(done, total)``

    Raises
    ------
    StructureError
        for molecules, and where no minimum lies within the volumes
    """
    work = with_calculator(atoms, "equation_of_state")
    require_crystal(work, "equation_of_state")
    if points < 5:
        raise ValueError(f"`points` must be at least 5 for a fit of four parameters, got {points}")
    scales = np.linspace(1.0 - strain, 1.0 + strain, points) ** (1.0 / 3.0)
    cell = work.cell.array.copy()
    volumes, energies = [], []
    for done, scale in enumerate(scales):
        work.set_cell(cell * scale, scale_atoms=True)
        if fmax is None:
            energies.append(work.get_potential_energy())
        else:
            energies.append(relax(work, fmax=fmax, check_noise=False).energy)
        volumes.append(work.get_volume())
        if progress is not None:
            progress(done + 1, points)
    return _fit(np.array(volumes), np.array(energies), len(work))


def _fit(volumes: np.ndarray, energies: np.ndarray, n_atoms: int) -> EOSResult:
    lowest = int(np.argmin(energies))
    if not np.isfinite(energies).all() or lowest in (0, len(energies) - 1):
        raise StructureError(
            f"`equation_of_state` needs a minimum inside {volumes[0]:.3f} to {volumes[-1]:.3f} Å^3, got the "
            f"lowest energy at {volumes[lowest]:.3f} Å^3; relax the cell first or widen `strain`"
        )
    # energies relative to the minimum: the fit's own convergence test is relative to the size of the numbers
    offset = energies[lowest]
    fit = EquationOfState(volumes, energies - offset, eos="birchmurnaghan")
    volume, energy, modulus = fit.fit(warn=False)
    derivative = float(fit.eos_parameters[2])
    residual = birchmurnaghan(volumes, energy, modulus, derivative, volume) - (energies - offset)
    return EOSResult(
        volumes=volumes,
        energies=energies,
        volume=float(volume),
        energy=float(energy + offset),
        bulk_modulus=float(modulus / units.GPa),
        bulk_modulus_derivative=derivative,
        fit_error=float(np.sqrt((residual**2).mean())) / n_atoms,
        n_atoms=n_atoms,
    )
