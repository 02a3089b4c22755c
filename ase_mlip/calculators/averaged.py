"""The option ``symmetrize`` of functions on a structure: the calculator's words, and "crystal"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase import Atoms

from ..crystals import require_crystal
from ..rotations.averaging import Averaging

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

    Scheme = str | Atoms | Averaging

CRYSTAL = "crystal"  # the one scheme that depends on the structure, not on the model alone


def is_crystal(symmetrize: Scheme | None) -> bool:
    """Whether the point group of the structure itself is meant."""
    return isinstance(symmetrize, str) and symmetrize.strip() == CRYSTAL


def average_model(
    atoms: Atoms, symmetrize: Scheme | None, what: str, symprec: float, strained: bool = False
) -> None:
    """Average the calculator of ``atoms`` over rotations, in place; an averaging that it has is replaced.

    Parameters
    ----------
    atoms : ase.Atoms
        with its calculator
    symmetrize : str, ase.Atoms or Averaging, optional
        as of :func:`ase_mlip.rotations.schemes.find_averaging`; ``"crystal"`` for the point group of
        ``atoms``, ``"auto"`` for as many rotations as ``atoms`` needs. None takes the calculator as it is
    what : str
        the function that needs it, for errors
    symprec : float
        tolerance of a crystal's symmetry, Å
    strained : bool
        whether the function strains the cell: a crystal's group then has to keep the cell as it is now, but
        not the strained ones

    Raises
    ------
    MLIPError
        an unknown scheme, or ``"auto"`` for a calculator without model file
    StructureError
        ``"crystal"`` for what is no crystal, or a cell that the group of a crystal does not keep
    """
    if symmetrize is not None:
        atoms.calc = _averaged(atoms, symmetrize, what, symprec)
    if strained:
        atoms.calc = _for_strained_cells(atoms)


def averaging_of(calculator: BaseCalculator) -> str:
    """The name of what a calculator averages over, "none" for nothing."""
    averaging = getattr(calculator, "averaging", None)
    return "none" if averaging is None else averaging.name


def _averaged(atoms: Atoms, symmetrize: Scheme, what: str, symprec: float) -> BaseCalculator:
    from ..rotations.schemes import find_averaging
    from .symmetrized_calculator import symmetrized  # late: it imports torch

    scheme = symmetrize
    if is_crystal(symmetrize):
        require_crystal(atoms, f'{what}(symmetrize="crystal")')
        scheme = find_averaging(atoms, symprec)
    elif isinstance(symmetrize, Atoms):
        scheme = find_averaging(symmetrize, symprec)
    averaged = symmetrized(atoms.calc, scheme, getattr(atoms.calc, "check_lattice", True))
    if averaged.averaging is None:  # "auto", which is chosen by the structure that is given
        averaged.evaluate([atoms], ("energy",))
    return averaged


def _for_strained_cells(atoms: Atoms) -> BaseCalculator:
    """The calculator of ``atoms``, once its averaging keeps their cell, for strained cells, too."""
    averaging = getattr(atoms.calc, "averaging", None)
    if averaging is None or not getattr(atoms.calc, "check_lattice", False) or not averaging.lattice:
        return atoms.calc
    averaging.check_lattice(atoms)
    from .symmetrized_calculator import symmetrized

    return symmetrized(atoms.calc, averaging, check_lattice=False)
