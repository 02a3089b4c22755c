"""How far a calculator's forces can be trusted: their rounding, and what they owe to the orientation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ..crystals import rotated
from ..errors import PrecisionWarning, users_line

ROTATION = (0.4, 0.9, 1.3)  # rad about x, y, z together: no operation of any crystal's point group
SINGLE = 1e-4  # eV/Å; less than this may be single precision, which reordering does not always show
CLEARLY = 3.0  # times the rounding: a smaller anisotropy is rounding itself


@dataclass(frozen=True)
class ForceNoise:
    """The largest change of a force that should not change, eV/Å; None where it was not measured.

    Attributes
    ----------
    rounding : float or None
        when the atoms are listed in another order
    anisotropy : float or None
        when the structure is rotated as a whole and its forces are rotated back
    """

    rounding: float | None
    anisotropy: float | None


def force_noise(atoms: Atoms) -> ForceNoise:
    """Measure the noise of the forces on ``atoms`` with its calculator, in two further evaluations.

    The anisotropy is left out for a calculator that is averaged over a crystal's point group, which is tied
    to the crystal's orientation; either is left out where the calculator refuses the changed structure.

    Raises
    ------
    What the calculator raises for ``atoms`` itself.
    """
    bare = atoms.copy()
    bare.set_constraint()
    forces = _forces(bare, atoms.calc)
    averaging = getattr(atoms.calc, "averaging", None)
    tied = averaging is not None and averaging.lattice
    return ForceNoise(
        rounding=_attempt(_rounding, bare, atoms.calc, forces),
        anisotropy=None if tied else _attempt(_anisotropy, bare, atoms.calc, forces),
    )


@dataclass(frozen=True)
class Remedies:
    """How whoever reads of noise writes what it is above, and the ways out of it."""

    fmax: str
    limit: str
    precision: str
    averaging: str


IN_PYTHON = Remedies(
    "`fmax`",
    "`fmax={:g}`",
    'dtype="float64"',
    'symmetrize="octahedral" or "icosahedral", or "crystal" where it is known',
)


def noise_messages(noise: ForceNoise, fmax: float, remedies: Remedies = IN_PYTHON) -> list[str]:
    """A sentence for each kind of noise above ``fmax`` (eV/Å), with its remedy."""
    rounding = noise.rounding or 0.0
    anisotropy = noise.anisotropy or 0.0
    above = f"more than {remedies.limit.format(fmax)} eV/Å"
    found = []
    if rounding > fmax:
        found.append(
            f"reordering the atoms changes their forces by up to {rounding:.1e} eV/Å, {above}, so the end of "
            f"the relaxation is rounding; use {remedies.precision} or a larger {remedies.fmax}"
        )
    if anisotropy > max(fmax, CLEARLY * rounding):
        first = f"try {remedies.precision} first, then " if anisotropy < SINGLE else ""
        found.append(
            f"rotating the structure changes its forces by up to {anisotropy:.1e} eV/Å, {above}, so the "
            f"minimum depends on the orientation; {first}average the model over more rotations "
            f"({remedies.averaging}), or use a larger {remedies.fmax}"
        )
    return found


def warn_of_noise(noise: ForceNoise, fmax: float) -> None:
    """A PrecisionWarning for each kind of noise above ``fmax`` (eV/Å), with its remedy."""
    for message in noise_messages(noise, fmax):
        warnings.warn(message, PrecisionWarning, stacklevel=users_line())


def _rounding(atoms: Atoms, calculator, forces: np.ndarray) -> float:
    order = np.random.default_rng(0).permutation(len(atoms))
    return _largest(_forces(atoms[order], calculator) - forces[order])


def _anisotropy(atoms: Atoms, calculator, forces: np.ndarray) -> float:
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_rotvec(ROTATION).as_matrix()
    return _largest(_forces(rotated(atoms, rotation), calculator) @ rotation - forces)


def _attempt(measure, *arguments) -> float | None:
    """None where the calculator refuses: a check must not end a relaxation that has succeeded."""
    try:
        return measure(*arguments)
    except (ValueError, RuntimeError, NotImplementedError):
        return None


def _forces(atoms: Atoms, calculator) -> np.ndarray:
    return np.array(calculator.get_property("forces", atoms))


def _largest(change: np.ndarray) -> float:
    return float(np.linalg.norm(change, axis=1).max())
