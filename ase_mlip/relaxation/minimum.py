"""The crystal that statics are computed of: checked, averaged over rotations, and brought to its minimum.

Functions and commands both relax it here, so that the same options give the same numbers. Phonons relax
within a space group that is made exact before (:mod:`ase_mlip.lattice_dynamics.input`).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ase import Atoms

from ..calculators.averaged import average_model, is_crystal
from ..calculators.inputs import structure_with_calculator
from ..crystals import (
    SYMPREC,
    refuse_constraints,
    refuse_random,
    require_crystal,
    require_flags,
    require_positive,
    warn_of_single_precision,
)
from ..errors import ResidualWarning, users_line
from .relax import relax

if TYPE_CHECKING:
    from ..calculators.averaged import Scheme
    from ..calculators.inputs import Potential, Structure
    from ..progress.form import Progress
    from ..provenance import Parts
    from .force_noise import ForceNoise

RELAXED = 1e-4  # eV/Å, what `relax_first=True` asks for


@dataclass(frozen=True)
class RelaxFirst:
    """How a crystal is brought to its minimum before something is computed of it.

    Attributes
    ----------
    relax_first : bool
        whether it is; otherwise it is taken as it is
    keep_space_group : bool
        whether within the space group that it has
    relax_fmax : float
        the largest force and stress that are left, eV/Å, see :func:`ase_mlip.relaxation.relax.relax`
    over_crystal : bool
        whether the model is averaged over the crystal's own point group
    symprec : float
        tolerance of its symmetry, Å

    Raises
    ------
    ArgumentError
        for a ``relax_fmax`` or a ``symprec`` that is not positive, and flags that are neither True nor False
    """

    relax_first: bool = True
    keep_space_group: bool = True
    relax_fmax: float = RELAXED
    over_crystal: bool = False
    symprec: float = SYMPREC

    def __post_init__(self) -> None:
        require_flags(relax_first=self.relax_first, keep_space_group=self.keep_space_group)
        require_positive("eV/Å", relax_fmax=self.relax_fmax)
        require_positive("Å", symprec=self.symprec)


@dataclass
class FirstRelaxation:
    """A crystal at its minimum, and how it came there.

    Attributes
    ----------
    atoms : ase.Atoms
        the relaxed crystal, without calculator
    converged : bool
        whether ``relax_fmax`` was reached
    steps : int
        of the optimiser
    fmax : float
        what was compared with ``relax_fmax``, at the end, eV/Å
    largest_force : float
        at the end, eV/Å; where the space group is kept, of the part of the forces that keeps it
    noise : ForceNoise or None
        of the forces, where it was measured
    """

    atoms: Atoms
    converged: bool
    steps: int
    fmax: float
    largest_force: float
    noise: ForceNoise | None = None

    def to_dict(self) -> dict:
        """How it came there, as JSON values."""
        reached = {"fmax": float(self.fmax), "largest_force": float(self.largest_force)}
        return {"converged": bool(self.converged), "steps": int(self.steps), **reached}

    def to_part(self) -> dict:
        """All but the noise as JSON values, for :class:`ase_mlip.provenance.Parts`."""
        where = {"cell": self.atoms.cell.array.tolist(), "positions": self.atoms.positions.tolist()}
        return where | {"relaxation": self.to_dict()}

    @classmethod
    def from_part(cls, atoms: Atoms, part: dict) -> FirstRelaxation:
        """What :meth:`to_part` gave, ``atoms`` being the crystal before."""
        there = atoms.copy()
        there.set_cell(part["cell"])
        there.positions = part["positions"]
        return cls(there, **part["relaxation"])


def document_of(relaxation: FirstRelaxation | None) -> dict:
    """Of results, ``relaxation`` as JSON has it: empty where the crystal was taken as it is."""
    return {} if relaxation is None else relaxation.to_dict()


def crystal_with_calculator(
    atoms: Structure, calculator: Potential | None, what: str, symmetrize: Scheme | None, symprec: float
) -> Atoms:
    """A copy of a crystal with its calculator, if ``what`` can be computed of it.

    The calculator is averaged as ``symmetrize`` says, unless that is ``"crystal"``, the group of the crystal
    at its minimum: see :func:`at_minimum`.

    Parameters
    ----------
    atoms : ase.Atoms, str or Path
        the crystal, or a file with it
    calculator : ASE calculator, Model, str or Path, optional
        what computes it, a file in float64; None takes the calculator of ``atoms``
    what : str
        the function, for errors and warnings
    symmetrize : str, ase.Atoms or Averaging, optional
        as of :func:`ase_mlip.rotations.schemes.find_averaging`, or "crystal"
    symprec : float
        tolerance of its symmetry, Å

    Returns
    -------
    ase.Atoms
        the copy

    Raises
    ------
    StructureError
        for molecules and slabs, without calculator, and with constraints
    ArgumentError
        for an unknown ``symmetrize`` or "random:SEED"

    Warns
    -----
    PrecisionWarning
        for a model in float32
    """
    work = structure_with_calculator(atoms, calculator, what, dtype="float64")
    require_crystal(work, what)
    if not is_crystal(symmetrize):
        average_model(work, symmetrize, what, symprec)
    refuse_random(work.calc, what)
    refuse_constraints(work, what)
    warn_of_single_precision(work.calc, what)
    return work


def at_minimum(
    atoms: Atoms, what: str, first: RelaxFirst, parts: Parts, strained: bool = False
) -> tuple[Atoms, FirstRelaxation | None]:
    """The crystal that ``what`` is computed of, relaxed if asked, with its averaged calculator.

    Parameters
    ----------
    atoms : ase.Atoms
        what :func:`crystal_with_calculator` gave
    what : str
        the function, for errors
    first : RelaxFirst
        what is asked for
    parts : Parts
        of the run, among which the relaxed crystal is kept
    strained : bool
        whether the function strains the cell

    Returns
    -------
    tuple of ase.Atoms and FirstRelaxation or None
        the crystal, which may be ``atoms``, and how it was relaxed; None where it was not

    Raises
    ------
    StructureError
        see :func:`ase_mlip.relaxation.relax.relax`

    Warns
    -----
    ResidualWarning
        where the relaxation does not converge
    """
    relaxation = None
    if first.relax_first:
        part = parts.once("relaxed", lambda: relax_crystal(atoms, first).to_part())
        relaxation = FirstRelaxation.from_part(atoms, part)
        calculator, atoms = atoms.calc, relaxation.atoms.copy()
        atoms.calc = calculator
    scheme = "crystal" if first.over_crystal else None
    average_model(atoms, scheme, what, first.symprec, strained)
    return atoms, relaxation


def relax_crystal(
    atoms: Atoms, first: RelaxFirst, check_noise: bool = False, progress: Progress | None = None
) -> FirstRelaxation:
    """Relax a crystal, its cell where there is a stress; ``atoms``, with their calculator, stay as they are.

    Raises StructureError as :func:`ase_mlip.relaxation.relax.relax`; warns where it does not converge, and
    with ``check_noise`` as that does.
    """
    result = relax(
        atoms,
        fmax=first.relax_fmax,
        optimizer="LBFGS",
        cell="stress" in getattr(atoms.calc, "implemented_properties", ()),
        keep_space_group=first.keep_space_group,
        symmetrize="crystal" if first.over_crystal else None,
        symprec=first.symprec,
        check_noise=check_noise,
        progress=progress,
    )
    if not result.converged:
        warnings.warn(
            f"the relaxation stopped at {result.fmaxes[-1]:.1e} eV/Å after {result.steps} steps, above "
            f'`relax_fmax={first.relax_fmax:g}`; `dtype="float64"` helps where rounding is the cause',
            ResidualWarning,
            stacklevel=users_line(),
        )
    return FirstRelaxation(
        result.atoms, result.converged, result.steps, result.fmaxes[-1], result.fmax, result.noise
    )
