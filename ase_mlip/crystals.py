"""What relaxation, equation of state, phonons and dynamics share: checks of their input, space groups."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import spglib
from ase import Atoms

from .errors import ArgumentError, PrecisionWarning, ResidualWarning, StructureError, users_line

SYMPREC = 1e-2  # Å, of structures as files and relaxations leave them
SYMPRECS = (SYMPREC, 1e-4, 1e-6)  # Å
SMALLEST_VOLUME = 1e-6  # Å³; a cell with less has none
MAX_COORDINATE = 1e6  # Å; beyond it an atom has left: float64 loses digits, and cell lists overflow from 1e8
RESIDUAL = 0.05  # eV/Å; a crystal with larger forces was not relaxed
ROUNDING = 1e-6  # of numbers that are integers
FULL = 1e-3  # how far from 1 an occupancy may be that stands for a full site
ORDERED = "choose which atoms are there, for example in a supercell, and write an ordered structure"


def with_calculator(atoms: Atoms, what: str) -> Atoms:
    """A copy of ``atoms`` that shares its calculator. Raises StructureError without atoms or calculator."""
    if len(atoms) == 0:
        raise StructureError(f"`{what}` needs at least one atom, got a structure with none")
    if atoms.calc is None:
        raise StructureError(f"`{what}` needs a calculator on the structure; set `atoms.calc` first")
    _require_finite(atoms, what)
    try:
        refuse_partial_occupancy(atoms)
    except StructureError as error:
        raise StructureError(f"`{what}`: {error}") from None
    copy = atoms.copy()
    copy.calc = atoms.calc
    return copy


def refuse_partial_occupancy(atoms: Atoms) -> None:
    """Raise StructureError where ``atoms.info["occupancy"]``, which ASE fills from CIFs, is not full.

    Every calculator takes the atom that is there for a whole one.
    """
    sites = atoms.info.get("occupancy")
    if not isinstance(sites, dict):
        return
    for number, site in sites.items():
        if not isinstance(site, dict):
            continue
        known = {kind: share for kind, share in site.items() if isinstance(share, (int, float))}
        if len(known) > 1 or any(abs(share - 1.0) > FULL for share in known.values()):
            kinds = ", ".join(f"{symbol} {share:g}" for symbol, share in known.items())
            raise StructureError(
                f"expected sites that are fully occupied, got site {number} with {kinds}, which would be "
                f"computed as full; {ORDERED} (`atoms.info['occupancy']` says so; delete it if it is wrong)"
            )


def _require_finite(atoms: Atoms, what: str) -> None:
    for name, values in (("positions", atoms.positions), ("cell", atoms.cell.array)):
        if not np.isfinite(values).all():  # spglib ends the process on these
            raise StructureError(f"`{what}` needs finite numbers, got NaN or infinity in the {name}")


def is_number(value: object) -> bool:
    """Whether it is a real number of Python or NumPy that is not NaN; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and bool(value == value)


def is_whole(value: object) -> bool:
    """Whether it is an integer of Python or NumPy; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def require_positive(unit: str = "", /, **values: object) -> None:
    """Raise ArgumentError for an argument that is not a positive, finite number; ``unit`` is for messages."""
    for name, value in values.items():
        if not (is_number(value) and 0.0 < value < np.inf):
            raise ArgumentError(f"`{name}`: expected a positive number{_of(unit)}, got {_shown(value)}")


def require_not_negative(unit: str = "", /, **values: object) -> None:
    """Raise ArgumentError for an argument that is neither zero nor a positive, finite number."""
    for name, value in values.items():
        if not (is_number(value) and 0.0 <= value < np.inf):
            raise ArgumentError(
                f"`{name}`: expected zero or a positive number{_of(unit)}, got {_shown(value)}"
            )


def require_limit(unit: str = "", /, **values: object) -> None:
    """Raise ArgumentError for an argument that is no positive number; infinity, which is no limit, is one."""
    for name, value in values.items():
        if not (is_number(value) and value > 0.0):
            raise ArgumentError(f"`{name}`: expected a positive number{_of(unit)}, got {_shown(value)}")


def require_between(low: float, high: float, /, **values: object) -> None:
    """Raise ArgumentError for an argument that is not a number between two others, which are excluded."""
    for name, value in values.items():
        if not (is_number(value) and low < value < high):
            raise ArgumentError(
                f"`{name}`: expected a number between {low:g} and {high:g}, got {_shown(value)}"
            )


def require_whole(least: int, /, **values: object) -> None:
    """Raise ArgumentError for an argument that is not an integer of Python or NumPy from ``least`` on."""
    for name, value in values.items():
        if not (is_whole(value) and value >= least):
            raise ArgumentError(f"`{name}`: expected a whole number of at least {least}, got {_shown(value)}")


def require_flags(**values: object) -> None:
    """Raise ArgumentError for an argument that is neither True nor False: any text would count as True."""
    for name, value in values.items():
        if not isinstance(value, bool | np.bool_):
            raise ArgumentError(f"`{name}`: expected True or False, got {_shown(value)}")


def positive_numbers(name: str, given: object, unit: str) -> tuple[float, ...]:
    """The positive numbers of an argument that has one or several. Raises ArgumentError for anything else."""
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping)
    found = tuple(given) if several else (given,)
    if not found or not all(is_number(value) and 0.0 < value < np.inf for value in found):
        raise ArgumentError(f"`{name}`: expected a positive number of {unit} or several, got {_shown(given)}")
    return tuple(float(value) for value in found)


def require_none_or(kinds: type | tuple[type, ...], what: str, /, **values: object) -> None:
    """Raise ArgumentError for an argument that is neither None nor of some types, which are ``what``."""
    for name, value in values.items():
        if value is not None and not isinstance(value, kinds):
            raise ArgumentError(f"`{name}`: expected {what} or None, got {_shown(value)}")


def _of(unit: str) -> str:
    return f" of {unit}" if unit else ""


def _shown(value: object) -> str:
    """For a message: numbers of NumPy as those of Python, text in quotes, long values cut."""
    shown = f"{value}" if isinstance(value, Real) else " ".join(repr(value).split())
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def refuse_random(calculator, what: str) -> None:
    """Raise ArgumentError for ``symmetrize="random:SEED"``: its energy is another in every evaluation."""
    averaging = getattr(calculator, "averaging", None)
    if averaging is not None and averaging.seed is not None:
        raise ArgumentError(
            f"`{what}` needs an energy that depends on the structure only, got "
            f"`symmetrize={averaging.name!r}`, which rotates the structure anew in every evaluation; "
            "use a group such as 'octahedral'"
        )


def warn_of_single_precision(calculator, what: str) -> None:
    """A PrecisionWarning for a model that computes in float32, of which small differences are wanted."""
    if (getattr(calculator, "parameters", None) or {}).get("dtype") == "float32":
        warnings.warn(
            f"`{what}` takes small differences of what this model computes in float32, which are rounding in "
            'part; use `dtype="float64"`',
            PrecisionWarning,
            stacklevel=users_line(),
        )


def warn_of_residual(what: str, force: float, stress: float | None = None) -> None:
    """A ResidualWarning for a crystal that is away from its minimum.

    Parameters
    ----------
    what : str
        the function
    force : float
        largest force, eV/Å
    stress : float, optional
        largest component, GPa, where it is too large for the function
    """
    limit = f"at most {RESIDUAL:g} in a relaxed one"
    found = [] if force <= RESIDUAL else [f"forces up to {force:.3g} eV/Å ({limit})"]
    found += [] if stress is None else [f"a stress up to {stress:.3g} GPa"]
    if found:
        warnings.warn(
            f"`{what}` is meant for a crystal at its minimum, got {' and '.join(found)}: the numbers are "
            "those of the structure as it is; relax it first (`ase_mlip.relax`)",
            ResidualWarning,
            stacklevel=users_line(),
        )


def refuse_constraints(atoms: Atoms, what: str) -> None:
    """Raise StructureError for constraints, which would act on the forces and stresses that are meant."""
    if atoms.constraints:
        names = ", ".join(dict.fromkeys(type(constraint).__name__ for constraint in atoms.constraints))
        raise StructureError(
            f"`{what}` needs a structure without constraints, got {names} (of a POSCAR, selective dynamics), "
            "which would act on forces and stresses; remove them: `atoms.set_constraint()`, or write the "
            "file without them"
        )


def require_crystal(atoms: Atoms, what: str) -> None:
    """Raise StructureError unless ``atoms`` is periodic in all three directions and has a volume."""
    _require_finite(atoms, what)
    if not atoms.pbc.all():
        raise StructureError(
            f"`{what}` needs a crystal, periodic in three directions, got `pbc` {atoms.pbc.tolist()}; "
            "molecules and slabs have no such property (`ase.vibrations` does molecules)"
        )
    if not volume_of(atoms):
        raise StructureError(f"`{what}` needs a cell with a volume, got `cell` {atoms.cell.array.tolist()} Å")


def volume_of(atoms: Atoms) -> float:
    """Volume in Å³; zero if a cell vector is missing, as ASE has it whatever the boundary conditions."""
    volume = atoms.cell.volume if atoms.cell.rank == 3 else 0.0
    return volume if volume > SMALLEST_VOLUME else 0.0


def heights(cell: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of a cell [3, 3], in its unit, [3]."""
    return 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)


def repeats(cell: np.ndarray, width: float) -> np.ndarray:
    """How often to repeat each vector of a cell [3, 3] for faces at least ``width`` apart, int [3]."""
    return np.ceil(width / heights(cell) - ROUNDING).astype(int)


def rotated(atoms: Atoms, rotation: np.ndarray) -> Atoms:
    """A copy of ``atoms``, cell and all, rotated by ``rotation`` [3, 3]; no calculator, no constraints."""
    copy = atoms.copy()
    copy.set_constraint()  # they are about the structure as it lies, and would act on its rotation
    copy.set_cell(atoms.cell.array @ rotation.T)
    copy.positions = atoms.positions @ rotation.T
    return copy


def largest_force(forces: np.ndarray) -> float:
    """The longest of ``forces`` [N, 3], in their unit. Raises StructureError for NaN or infinity."""
    if not np.isfinite(forces).all():
        raise StructureError("`forces` must be finite, got NaN or infinity from the calculator")
    return float(np.linalg.norm(forces, axis=1).max())


def space_group(atoms: Atoms, symprec: float = 1e-5) -> str:
    """Space group as "Fd-3m (227)", of atoms within ``symprec`` Å; "" where there is none (spglib)."""
    if not atoms.pbc.all():
        return ""
    dataset = symmetry_dataset(atoms, symprec)
    return "" if dataset is None else f"{dataset.international} ({dataset.number})"


class PointGroup(NamedTuple):
    """Operations of a crystal about a point, in its own orientation."""

    matrices: np.ndarray  # [n, 3, 3], orthogonal, proper and improper
    name: str  # "m-3m"
    space_group: str  # "Fd-3m (227)"


def point_group(atoms: Atoms, symprec: float) -> PointGroup | None:
    """The point group of a crystal within ``symprec`` Å; None where spglib finds no symmetry."""
    dataset = symmetry_dataset(atoms, symprec)
    if dataset is None:
        return None
    lattice = atoms.cell.array.T
    matrices = lattice @ np.unique(dataset.rotations, axis=0) @ np.linalg.inv(lattice)
    # a cell that is symmetric within symprec only gives matrices that are orthogonal within it only
    left, _, right = np.linalg.svd(matrices)
    name = f"{dataset.international} ({dataset.number})"
    return PointGroup(left @ right, dataset.pointgroup.strip(), name)


def symmetry_dataset(atoms: Atoms, symprec: float):
    """spglib's dataset of a crystal, with operations within ``symprec`` Å; None where it finds none."""
    return _quietly(spglib.get_symmetry_dataset, _cell(atoms), symprec=symprec)


def space_groups(atoms: Atoms, symprecs: tuple[float, ...] = SYMPRECS) -> dict[float, str]:
    """Space group by tolerance (Å): how far the structure is from each symmetry."""
    return {symprec: space_group(atoms, symprec) for symprec in symprecs}


def idealized(atoms: Atoms, symprec: float = SYMPREC) -> Atoms:
    """The conventional cell with the symmetry that ``atoms`` has within ``symprec`` Å made exact (spglib).

    The crystal may be rotated and atoms reordered. Raises StructureError where no symmetry is found.
    """
    require_crystal(atoms, "idealized")
    cell = _quietly(
        spglib.standardize_cell, _cell(atoms), to_primitive=False, no_idealize=False, symprec=symprec
    )
    if cell is None:
        raise StructureError(
            f"`atoms` has no space group within `symprec={symprec}` Å; are two atoms at one place?"
        )
    lattice, scaled, numbers = cell
    return Atoms(numbers=numbers, cell=lattice, scaled_positions=scaled, pbc=True)


def _cell(atoms: Atoms) -> tuple:
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers


def _quietly(function, *args, **kwargs):
    """Call spglib; None where it finds nothing, be that its return value (old) or an exception (new)."""
    with warnings.catch_warnings():
        # spglib announces that a failure will become an exception; both are handled here
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return function(*args, **kwargs)
        except getattr(spglib, "SpglibError", ()):
            return None
