"""Geometry optimisation with ASE's optimisers: atoms, and where wanted the cell.

Takes any ASE calculator; the structure that is passed in stays as it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ase.optimize
import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorError, PropertyNotImplementedError
from ase.io import read
from ase.io.formats import UnknownFileTypeError
from ase.io.ulm import InvalidULMFileError

from ..calculators.averaged import average_model, averaging_of, is_crystal
from ..calculators.inputs import as_structure, structure_with_calculator, withdrawn
from ..crystals import (
    SYMPRECS,
    largest_force,
    positive_numbers,
    refuse_random,
    require_crystal,
    require_flags,
    require_none_or,
    require_not_negative,
    require_positive,
    require_whole,
    space_groups,
)
from ..errors import ArgumentError, StructureError
from ..progress.form import Progress, told
from . import symmetry as relax_symmetry
from .force_noise import force_noise, warn_of_noise
from .matching import displacement_rms, require_same_substance, rmsd_to_reference
from .result import RelaxResult
from .symmetry import Refinement

if TYPE_CHECKING:
    from ..calculators.averaged import Scheme
    from ..calculators.inputs import Potential, Structure

_NAMES = ("FIRE", "FIRE2", "MDMin", "LBFGS", "BFGS", "LBFGSLineSearch", "BFGSLineSearch")
# FIRE2 came with ASE 3.24
OPTIMIZERS = {name: getattr(ase.optimize, name) for name in _NAMES if hasattr(ase.optimize, name)}
CELLS = (True, False, "shape", "volume")


@withdrawn(symmetry='"fix" is `keep_space_group=True`, "average" is `symmetrize="crystal"`')
def relax(
    atoms: Structure,
    calculator: Potential | None = None,
    *,
    fmax: float = 0.01,
    steps: int = 500,
    optimizer: str = "FIRE",
    cell: bool | str = False,
    keep_space_group: bool = False,
    symmetrize: Scheme | None = None,
    crystal: Atoms | None = None,
    reference: Atoms | None = None,
    smax: float | None = None,
    symprec: float = 1e-2,
    symprecs: float | Sequence[float] = SYMPRECS,
    trajectory: str | Path | None = None,
    resume: bool = False,
    check_noise: bool = True,
    progress: Progress | None = None,
) -> RelaxResult:
    """Minimise the energy of ``atoms`` over positions and, if asked, the cell.

    Parameters
    ----------
    atoms : ase.Atoms, str or Path
        the structure, or a file with it; not modified
    calculator : ASE calculator, Model, str or Path, optional
        an ASE calculator, a loaded model, a model file, or the name of a shipped potential; None takes the
        calculator that ``atoms`` has
    fmax : float
        stop when no force is larger, eV/Å. With a cell the same number bounds the energy's derivative per
        atom with respect to the logarithmic strain, eV/atom (volume × stress / number of atoms)
    steps : int
        stop after so many steps, converged or not
    optimizer : str
        one of ASE's, a key of ``OPTIMIZERS``
    cell : bool or str
        False keeps it, True relaxes it, ``"shape"`` at constant volume, ``"volume"`` at constant shape;
        directions that are not periodic are kept
    keep_space_group : bool
        keep the space group that ``atoms`` has within ``symprec``, by projecting forces and steps (ASE's
        FixSymmetry)
    symmetrize : str, ase.Atoms or Averaging, optional
        average the model over rotations, see :func:`ase_mlip.rotations.schemes.find_averaging`; None takes
        the calculator as it is. ``"crystal"`` is the point group of ``crystal``, or without one of ``atoms``,
        within ``symprec``; positions are free. ``atoms`` is rotated to the orientation of that crystal, of
        which its cell has to be a strained cell or supercell, and stays in it. ``"auto"`` chooses by
        ``atoms``
    crystal : ase.Atoms, optional
        the undisplaced crystal for ``symmetrize="crystal"``
    reference : ase.Atoms, optional
        a structure to compare with, for ``rmsd_to_reference``
    smax : float, optional
        relax also until no component of the stress is larger, eV/Å^3
    symprec : float
        tolerance for the symmetry that is kept or averaged over, Å
    symprecs : float or sequence of float
        tolerances at which space groups are looked for in the result, Å
    trajectory : str or Path, optional
        write each step to this ASE trajectory
    resume : bool
        continue from the last frame of ``trajectory``, if it exists, and append to it
    check_noise : bool
        measure the noise of the forces at the end, two more evaluations
    progress : callable, optional
        called as ``progress(done, total, stage)`` at the start and after each step, of
        which nobody knows how many there will be (0); stage says energy and gradient, see
        :mod:`ase_mlip.progress`

    Returns
    -------
    RelaxResult
        the relaxed structure and how it came about

    Raises
    ------
    StructureError
        without calculator or atoms, for a cell that cannot be relaxed, a ``reference`` of other atoms, and
        naming the step when an evaluation fails or is not finite
    ArgumentError
        for an unknown ``optimizer`` or ``cell``, for ``smax`` without a cell, for ``crystal`` without
        ``symmetrize="crystal"``, for an unknown ``symmetrize`` or "random:SEED", and for an option of another
        type or a number that makes no sense

    Warns
    -----
    PrecisionWarning
        when the forces' rounding or anisotropy is above ``fmax``
    UserWarning
        where ``keep_space_group`` makes another space group of the start's, and where the distance to
        ``reference`` would need pymatgen, and it is not installed

    Notes
    -----
    The cell is deformed without being rotated (:class:`ase_mlip.relaxation.symmetry.RotationFreeCellFilter`).

    References
    ----------
    E. Bitzek, P. Koskinen, F. Gähler, M. Moseler and P. Gumbsch, Phys. Rev. Lett. 97, 170201 (2006): FIRE.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_mlip import relax
    >>> found = relax(bulk("Si", a=5.6), "snnp-si", cell=True, fmax=1e-3)
    >>> found.converged
    True
    >>> print(f"{found.atoms.cell.cellpar()[0] * 2**0.5:.3f} Å")  # the cubic cell's edge
    5.470 Å
    """
    progress = told(progress)
    require_not_negative("eV/Å", fmax=fmax)  # zero: never converged, all steps are taken
    require_whole(0, steps=steps)
    require_positive("Å", symprec=symprec)
    require_flags(keep_space_group=keep_space_group, resume=resume, check_noise=check_noise)
    require_none_or(Atoms, "an `ase.Atoms`", crystal=crystal, reference=reference)
    require_none_or((str, os.PathLike), "a path", trajectory=trajectory)
    symprecs = positive_numbers("symprecs", symprecs, "Å")
    _check_choices(optimizer, cell, smax)
    cell = cell if isinstance(cell, str) else bool(cell)  # NumPy has a True of its own
    atoms = as_structure(atoms)
    work = structure_with_calculator(atoms, calculator, "relax")
    undisplaced = _undisplaced(atoms, symmetrize, crystal)
    if undisplaced is None:
        average_model(work, symmetrize, "relax", symprec)
    refuse_random(work.calc, "relax")
    for other in (undisplaced, reference):
        if other is not None:
            require_same_substance(work, other)
    path = None if trajectory is None else Path(trajectory)
    resumed = resume and path is not None and _take_last_frame(work, path)
    constraints = list(work.constraints)
    origin, refinement = _prepare_symmetry(work, undisplaced, keep_space_group, symprec)
    target = _target(work, cell, origin)
    record = _Record([], [], [])
    started = time.perf_counter()
    options = {"logfile": None, "trajectory": path if path is None else str(path)}
    if resumed:
        options["append_trajectory"] = True
    if keep_space_group and cell is not False:
        # FixSymmetry linearises a change of the cell: 0.1 at most, which only cells of one atom reach
        options["maxstep"] = min(0.2, 0.1 * len(work))
    with OPTIMIZERS[optimizer](target, **options) as minimizer:
        converged = False
        for step in _steps(minimizer, steps, lambda: record.add(work, target, cell is not False)):
            progress(step, 0, f"{record.energies[-1]:.4f} eV, gradient {record.fmaxes[-1]:.1e}")
            converged = record.fmaxes[-1] < fmax and (smax is None or np.abs(target.stress).max() < smax)
            if converged:
                break
    forces = work.get_forces()
    stress = _stress(work, cell)
    noise = force_noise(work) if check_noise else None
    if noise is not None:
        warn_of_noise(noise, fmax)
    work.set_constraint(constraints)
    return RelaxResult(
        atoms=_bare(work),
        converged=bool(converged),
        steps=minimizer.nsteps,
        optimizer=optimizer,
        cell=cell,
        keep_space_group=keep_space_group,
        averaging=averaging_of(work.calc),
        energies=record.energies,
        fmaxes=record.fmaxes,
        volumes=record.volumes,
        forces=forces,
        fmax=largest_force(forces),
        stress=stress,
        volume=float(work.get_volume()) if work.cell.rank == 3 else None,
        spacegroup_before=space_groups(atoms, symprecs),
        spacegroup_after=space_groups(work, symprecs),
        rmsd=displacement_rms(atoms, work),
        rmsd_to_reference=None if reference is None else rmsd_to_reference(work, reference),
        noise=noise,
        trajectory=path,
        refinement=refinement,
        wall_time=time.perf_counter() - started,
    )


@dataclass
class _Record:
    """What is kept of each step."""

    energies: list[float]
    fmaxes: list[float]
    volumes: list[float]

    def add(self, atoms: Atoms, target, with_volume: bool) -> None:
        energy = float(atoms.get_potential_energy())
        if not np.isfinite(energy):
            raise StructureError(f"`energy` must be finite, got {energy} eV")
        self.energies.append(energy)
        self.fmaxes.append(largest_force(target.get_forces()))
        if with_volume:
            self.volumes.append(float(atoms.get_volume()))


def _steps(minimizer, steps: int, observe: Callable[[], None]) -> Iterator[int]:
    """The number of each step, from the start at 0, once it is done and observed.

    An evaluation that fails becomes a StructureError that names its step. The optimiser's own criterion is
    switched off by ``fmax=0``: it knows nothing of stresses.
    """
    iterator = minimizer.irun(fmax=0.0, steps=steps)
    while True:
        try:
            next(iterator)
            observe()
        except StopIteration:
            return
        except (StructureError, CalculatorError) as error:
            raise _failed(minimizer, error) from error
        except RuntimeError as error:
            if type(error) is not RuntimeError:
                raise
            raise _failed(minimizer, error) from error  # ASE's line searches and FixSymmetry raise it
        yield minimizer.nsteps


def _failed(minimizer, error: Exception) -> StructureError:
    return StructureError(f"`relax` failed at step {minimizer.nsteps} of {type(minimizer).__name__}: {error}")


def require_optimizer(optimizer: object) -> None:
    """Raise ArgumentError for anything but the name of an optimizer, a key of ``OPTIMIZERS``."""
    if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
        raise ArgumentError(f"`optimizer` must be one of {', '.join(OPTIMIZERS)}, got `{optimizer}`")


def _check_choices(optimizer: str, cell: bool | str, smax: float | None) -> None:
    require_optimizer(optimizer)
    if not isinstance(cell, bool | np.bool_ | str) or cell not in CELLS:
        raise ArgumentError(f"`cell` must be one of {CELLS}, got {cell!r}")
    if smax is not None:
        require_positive("eV/Å^3", smax=smax)
    if smax is not None and cell is False:
        raise ArgumentError(
            f"`smax={smax:g}` needs a cell that is relaxed, got `cell=False`; leave `smax` out"
        )


def _take_last_frame(atoms: Atoms, path: Path) -> bool:
    """Move ``atoms`` to where a trajectory ends. False, and the file removed, if it holds no whole frame."""
    if not path.exists():
        return False
    try:
        last = read(path, index=-1, format="traj")
    except (
        InvalidULMFileError,
        UnknownFileTypeError,
        IndexError,
        ValueError,
        EOFError,
        StopIteration,  # no frame at all
    ):  # cut short by a kill
        path.unlink()
        return False
    if not np.array_equal(last.numbers, atoms.numbers):
        raise StructureError(
            f"`trajectory={str(path)!r}` expected frames of {atoms.get_chemical_formula()} to resume, got "
            f"{last.get_chemical_formula()}; give another file, or `resume=False` to overwrite it"
        )
    atoms.set_cell(last.cell, apply_constraint=False)
    atoms.positions = last.positions
    return True


def _prepare_symmetry(
    work: Atoms, crystal: Atoms | None, keep_space_group: bool, symprec: float
) -> tuple[np.ndarray | None, Refinement | None]:
    """Average the calculator of ``work`` over the group of ``crystal``, and constrain it.

    Returns the cell from which to measure deformations, and what making the symmetry exact did.
    """
    origin = None
    if crystal is not None:
        require_crystal(work, 'relax(symmetrize="crystal")')
        crystal = relax_symmetry.refined(crystal, symprec)
        work.calc = relax_symmetry.averaged(work.calc, crystal, symprec)
        origin = relax_symmetry.align(work, crystal)
    return origin, relax_symmetry.fix_symmetry(work, symprec) if keep_space_group else None


def _undisplaced(atoms: Atoms, symmetrize: Scheme | None, crystal: Atoms | None) -> Atoms | None:
    """The crystal whose point group is meant, or None where ``symmetrize`` is another scheme."""
    if is_crystal(symmetrize):
        return atoms if crystal is None else crystal
    if crystal is not None:
        raise ArgumentError(
            f'`crystal` is for `symmetrize="crystal"`, got `symmetrize={symmetrize!r}`; leave one of them out'
        )
    return symmetrize if isinstance(symmetrize, Atoms) else None


def _target(atoms: Atoms, cell: bool | str, origin: np.ndarray | None):
    """What the optimiser moves: the atoms, or a filter that adds the cell."""
    if cell is False:
        return atoms
    if not atoms.pbc.any():
        raise StructureError(f"`cell={cell!r}` needs a periodic structure, got a molecule; use `cell=False`")
    if cell is not True:
        require_crystal(atoms, f'relax(cell="{cell}")')
    return relax_symmetry.rotation_free_filter(
        atoms,
        origin,
        mask=np.outer(atoms.pbc, atoms.pbc),
        hydrostatic_strain=cell == "volume",
        constant_volume=cell == "shape",
    )


def _stress(atoms: Atoms, cell: bool | str) -> np.ndarray | None:
    """Of a cell that was relaxed in any case; of one that was kept if there is one."""
    if cell is False and not (atoms.pbc.all() and atoms.cell.rank == 3):
        return None
    try:
        return atoms.get_stress()
    except (PropertyNotImplementedError, NotImplementedError):
        if cell is not False:
            raise
        return None


def _bare(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.calc = None
    return copy
