"""Equation of state: energy against volume, fitted with the third-order Birch-Murnaghan form.

F. Birch, Phys. Rev. 71, 809 (1947); the form fitted here is that of ``ase.eos``. Under pressure a crystal
takes the shape of lowest energy at each volume, so the shape of the cell is relaxed unless symmetry fixes it.
The modulus at fixed shape is that of a uniform strain, Voigt's, which is an upper bound of it (R. Hill, Proc.
Phys. Soc. A 65, 349 (1952)); the modulus of the relaxed one is Reuss's.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms, units
from ase.eos import EquationOfState, birchmurnaghan

from ..calculators.averaged import averaging_of, is_crystal
from ..calculators.identity import parts_of
from ..calculators.inputs import renamed
from ..crystals import (
    SYMPREC,
    largest_force,
    require_between,
    require_flags,
    require_positive,
    require_whole,
    symmetry_dataset,
    warn_of_residual,
)
from ..errors import ResidualWarning, StructureError, users_line
from ..progress.form import Progress, told
from ..provenance import plain
from ..relaxation.minimum import (
    RELAXED,
    FirstRelaxation,
    RelaxFirst,
    at_minimum,
    crystal_with_calculator,
    document_of,
)
from ..relaxation.relax import relax

if TYPE_CHECKING:
    from ..calculators.averaged import Scheme
    from ..calculators.identity import Checkpoint
    from ..calculators.inputs import Potential, Structure

# Of the bulk modulus' derivative by pressure. A choice of this project: that of most solids is near 4
PLAUSIBLE = (2.0, 8.0)
# The largest relative change of the volume that may cost as much energy as the fit deviates: a choice, too.
# ±20 % of copper (EMT) and silicon are below it, ±30 to 50 % above, where volume and modulus begin to change
CLOSE = 0.015
CUBIC = 195  # the first cubic space group
SHAPE_FMAX = 1e-3  # eV/Å, of relaxations of the shape; the energy's error is of second order
STEPS = 500


@dataclass
class EOSResult:
    """A fitted equation of state. Volumes and energies are those of the whole cell, Å^3 and eV.

    Attributes
    ----------
    volumes, energies : float64 [n]
        what was computed
    volume, energy : float
        at the fitted minimum
    bulk_modulus : float
        at the minimum, GPa
    bulk_modulus_derivative : float
        with respect to pressure, no unit
    fit_error : float
        root mean square deviation of the fit, eV/atom
    n_atoms : int
        atoms in the cell
    shape : str
        of the cell at each volume: "relaxed", "kept", or "fixed by symmetry"
    converged : bool
        whether all relaxations came to rest
    averaging : str
        what the model was averaged over, "none" for nothing
    relaxation : FirstRelaxation or None
        how the crystal was relaxed first, with the relaxed crystal; None where it was taken as it is
    """

    volumes: np.ndarray = field(repr=False)
    energies: np.ndarray = field(repr=False)
    volume: float
    energy: float
    bulk_modulus: float
    bulk_modulus_derivative: float
    fit_error: float
    n_atoms: int
    shape: str = "kept"
    converged: bool = True
    averaging: str = "none"
    relaxation: FirstRelaxation | None = field(default=None, repr=False)

    @property
    def plausible(self) -> bool:
        """Whether the fit may be trusted: :meth:`doubts` has none."""
        return not self.doubts()

    def doubts(self) -> list[str]:
        """Why the fit should not be trusted, a sentence each."""
        found = []
        stiffness = self.bulk_modulus * units.GPa * self.volume / self.n_atoms  # eV/atom
        change = np.sqrt(2.0 * self.fit_error / stiffness) if stiffness > 0.0 else np.inf
        if change > CLOSE:
            away = np.abs(self.curve(self.volumes) - self.energies) / self.n_atoms
            worst = int(away.argmax())
            found.append(
                f"the energies deviate from Birch's curve by {1000.0 * self.fit_error:.3g} meV/atom, as much "
                f"as {100.0 * change:.2g} % of the volume cost (at most {100.0 * CLOSE:g} % here), most "
                f"({1000.0 * away[worst]:.3g} meV/atom) at {self.volumes[worst] / self.volume:.2f} times "
                "the volume at the minimum"
            )
        lowest = int(self.energies.argmin())
        low, high = self.volumes[lowest - 1], self.volumes[min(lowest + 1, len(self.volumes) - 1)]
        if not low < self.volume < high:
            found.append(
                f"the fitted minimum {self.volume / self.n_atoms:.3f} Å^3/atom is not beside the lowest "
                f"energy, at {self.volumes[lowest] / self.n_atoms:.3f} Å^3/atom"
            )
        if not PLAUSIBLE[0] <= self.bulk_modulus_derivative <= PLAUSIBLE[1]:
            found.append(
                f"in solids the bulk modulus has a derivative of about {PLAUSIBLE[0]:g} to {PLAUSIBLE[1]:g}, "
                f"here {self.bulk_modulus_derivative:.2f}: the energies do not follow Birch's curve, and the "
                "bulk modulus is uncertain, too"
            )
        return found

    def curve(self, volumes: np.ndarray) -> np.ndarray:
        """The fitted energy (eV) at ``volumes`` (Å^3)."""
        modulus = self.bulk_modulus * units.GPa
        return birchmurnaghan(
            np.asarray(volumes), self.energy, modulus, self.bulk_modulus_derivative, self.volume
        )

    def to_dict(self) -> dict:
        """Everything as JSON values, with the doubts in words."""
        units_of_all = "volumes Å^3 and energies eV of the cell; bulk_modulus GPa; fit_error eV/atom"
        more = {"plausible": self.plausible, "doubts": self.doubts()}
        more["relaxation"] = document_of(self.relaxation)
        return plain({"units": units_of_all} | vars(self) | more)

    def plot(self, path: str | Path, label: str = "") -> None:
        """Draw energies and the fitted curve into a PNG, PDF or SVG; ``label`` names the energies."""
        from ..pictures.plots import plot_eos, save_figure

        save_figure(plot_eos(self, label), path)


@renamed(strain="volume_change", points="volumes", fmax="relax_atoms")
def equation_of_state(
    atoms: Structure,
    calculator: Potential | None = None,
    *,
    volume_change: float = 0.06,
    volumes: int = 9,
    relax_atoms: float | None = None,
    keep_shape: bool = False,
    relax_first: bool = True,
    keep_space_group: bool = True,
    relax_fmax: float = RELAXED,
    symmetrize: Scheme | None = None,
    symprec: float = SYMPREC,
    checkpoint: Checkpoint = None,
    progress: Progress | None = None,
) -> EOSResult:
    """Energies of a crystal at scaled volumes, and the equation of state through them.

    Parameters
    ----------
    atoms : ase.Atoms, str or Path
        the crystal, or a file with it; not modified
    calculator : ASE calculator, Model, str or Path, optional
        an ASE calculator, a loaded model, a model file or the name of a shipped potential, which are
        computed in float64; None takes the calculator that ``atoms`` has
    volume_change : float
        largest relative change of the volume to either side, between 0 and 1
    volumes : int
        their number, at least 5
    relax_atoms : float, optional
        relax the atoms at each volume to this force, eV/Å. None scales their positions where the shape is
        not relaxed, which suffices where symmetry fixes them, and stands for 0.001 where it is
    keep_shape : bool
        scale the cell as it is. By default its shape and the atoms are relaxed at each volume within the
        crystal's space group, unless that is cubic, which fixes the shape
    relax_first : bool
        relax the atoms and the cell first, as ``ase-mlip eos`` does; otherwise ``atoms`` are taken as they
        are, and should be near the equilibrium volume
    keep_space_group : bool
        relax within the space group that ``atoms`` have within ``symprec``
    relax_fmax : float
        relax until no force and no stress is larger, eV/Å, see :func:`ase_mlip.relaxation.relax.relax`
    symmetrize : str, ase.Atoms or Averaging, optional
        average the model over rotations, see :func:`ase_mlip.rotations.schemes.find_averaging`; None takes
        the calculator as it is. ``"crystal"`` is the point group of the crystal, relaxed if it is, and
        ``"auto"`` chooses by ``atoms``. The group of a crystal has to keep its cell, not those whose shape is
        relaxed
    symprec : float
        tolerance for the crystal's symmetry, Å
    checkpoint : str or Path, optional
        keep the energies of finished volumes in this JSON file, from which a run that was ended goes on
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each volume, see :mod:`ase_mlip.progress`

    Returns
    -------
    EOSResult
        energies, volumes and the fit

    Raises
    ------
    StructureError
        for molecules, with constraints, where no minimum lies within the volumes, for a shape that cannot be
        relaxed because there is no stress, and naming the volume for energies that are not finite
    ArgumentError
        for an option of another type or a number that makes no sense, an unknown ``symmetrize`` or
        "random:SEED"

    Warns
    -----
    PrecisionWarning
        for a model in float32
    ResidualWarning
        for a crystal with forces above 0.05 eV/Å, whose atoms are not relaxed, where it does not reach
        ``relax_fmax``, and where a relaxation at one volume does not come to rest
    UserWarning
        for each of :meth:`EOSResult.doubts`, and for a ``checkpoint`` of another run, whose volumes are
        computed anew

    References
    ----------
    F. Birch, Phys. Rev. 71, 809 (1947); the form fitted here is that of ``ase.eos``.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_mlip import equation_of_state
    >>> found = equation_of_state(bulk("Si"), "snnp-si", volume_change=0.1)
    >>> print(f"{found.bulk_modulus:.0f} GPa")
    91 GPa
    """
    progress = told(progress)
    first = RelaxFirst(relax_first, keep_space_group, relax_fmax, is_crystal(symmetrize), symprec)
    require_between(0.0, 1.0, volume_change=volume_change)
    require_whole(5, volumes=volumes)  # for a fit of four parameters
    if relax_atoms is not None:
        require_positive("eV/Å", relax_atoms=relax_atoms)
    require_flags(keep_shape=keep_shape)
    work = crystal_with_calculator(atoms, calculator, "equation_of_state", symmetrize, symprec)
    computed, energies, converged = [], [], True
    scales = np.linspace(1.0 - volume_change, 1.0 + volume_change, volumes)
    given = {"scales": scales, "how": (relax_atoms, keep_shape), "first": asdict(first)}
    with parts_of(checkpoint, [work], work.calc, **given) as parts:
        work, relaxation = at_minimum(work, "equation_of_state", first, parts, strained=True)
        shape = "kept" if keep_shape else _shape_of(work, symprec)
        if shape != "relaxed" and relax_atoms is None and "forces" in work.calc.implemented_properties:
            warn_of_residual("equation_of_state", largest_force(work.get_forces()))
        cell, how = work.cell.array.copy(), (relax_atoms, shape == "relaxed", symprec)
        for done, scale in enumerate(scales):
            work.set_cell(cell * np.cbrt(scale), scale_atoms=True)
            energy, volume, reached = parts.once(f"volume {done}", partial(_energy, work, *how))
            if not np.isfinite(energy):
                raise StructureError(
                    f"`equation_of_state`: expected finite energies, got {energy} eV at {scale:.3f} times "
                    "the volume; use a smaller `volume_change`"
                )
            computed.append(volume)
            energies.append(energy)
            converged = converged and reached
            progress(done + 1, volumes, "")
    fitted = _fit(np.array(computed), np.array(energies), len(work))
    more = {"shape": shape, "converged": converged, "averaging": averaging_of(work.calc)}
    result = EOSResult(**fitted, **more, relaxation=relaxation)
    _warn(result)
    return result


def _warn(result: EOSResult) -> None:
    """Say why the curve should not be trusted, to whoever called the public function."""
    if not result.converged:
        text = "a relaxation at one volume did not come to rest; see `relax_atoms`"
        warnings.warn(text, ResidualWarning, stacklevel=users_line())
    remedy = "try another `volume_change`, and compare with elastic constants"
    for doubt in result.doubts():
        warnings.warn(f"{doubt}; {remedy}", UserWarning, stacklevel=users_line())


def _shape_of(atoms: Atoms, symprec: float) -> str:
    dataset = symmetry_dataset(atoms, symprec)
    if dataset is not None and dataset.number >= CUBIC:
        return "fixed by symmetry"
    if "stress" not in getattr(atoms.calc, "implemented_properties", ()):
        raise StructureError(
            "`equation_of_state` relaxes the shape of a cell that is not cubic, which needs stresses, got a "
            f"calculator without them ({type(atoms.calc).__name__}); use `keep_shape=True` for the modulus "
            "of a uniform strain"
        )
    return "relaxed"


def _energy(atoms: Atoms, fmax: float | None, with_shape: bool, symprec: float) -> tuple[float, float, bool]:
    """Energy (eV) and volume (Å^3) once relaxed as asked, and whether that came to rest; not modified."""
    if not with_shape and fmax is None:
        return float(atoms.get_potential_energy()), float(atoms.get_volume()), True
    options = {"fmax": SHAPE_FMAX if fmax is None else fmax, "steps": STEPS, "check_noise": False}
    if with_shape:
        options |= {"cell": "shape", "keep_space_group": True, "optimizer": "BFGS", "symprec": symprec}
    result = relax(atoms, **options)
    return result.energy, float(result.atoms.get_volume()), result.converged


def _fit(volumes: np.ndarray, energies: np.ndarray, n_atoms: int) -> dict:
    """Fields of EOSResult."""
    lowest = int(np.argmin(energies))
    if lowest in (0, len(energies) - 1):
        raise StructureError(
            f"`equation_of_state` needs a minimum inside {volumes[0]:.3f} to {volumes[-1]:.3f} Å^3, got the "
            f"lowest energy at {volumes[lowest]:.3f} Å^3; relax the cell first or give a larger "
            "`volume_change`"
        )
    # energies relative to the minimum: the fit's own convergence test is relative to the size of the numbers
    offset = energies[lowest]
    fit = EquationOfState(volumes, energies - offset, eos="birchmurnaghan")
    volume, energy, modulus = fit.fit(warn=False)
    derivative = float(fit.eos_parameters[2])
    residual = birchmurnaghan(volumes, energy, modulus, derivative, volume) - (energies - offset)
    return {
        "volumes": volumes,
        "energies": energies,
        "volume": float(volume),
        "energy": float(energy + offset),
        "bulk_modulus": float(modulus / units.GPa),
        "bulk_modulus_derivative": derivative,
        "fit_error": float(np.sqrt((residual**2).mean())) / n_atoms,
        "n_atoms": n_atoms,
    }
