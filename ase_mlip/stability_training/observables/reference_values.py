"""The reference of an observable with its statistical error, and the loss that compares with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms

from ...data.frames import read_structures
from ...errors import DataError
from ..settings import NUMBERS
from .kinds import BondLengths, Observable


@dataclass(frozen=True)
class Reference:
    """What the average of an observable should be.

    Attributes
    ----------
    mean, error : float64 [d]
        in the observable's unit; the error is a standard error, zero where it is not known
    source : str
        where it comes from, in words
    frames : int
        how many it is of; 0 for numbers
    """

    mean: np.ndarray = field(repr=False)
    error: np.ndarray = field(repr=False)
    source: str
    frames: int = 0


@dataclass(frozen=True)
class Target:
    """An observable with its reference: a loss of the average.

    L = weight · mean over components of ((⟨g⟩ - g₀)/scale)². Where ⟨g⟩ cannot be below g₀ = 0, as of unseen
    distances, it is weight · mean of ⟨g⟩/scale: without the square there is no bias to take out, and a run in
    which one replica alone has seen something has a gradient.

    Attributes
    ----------
    scale : float
        a deviation that counts as 1, in the observable's unit
    weight : float
        of this observable among others
    observable : Distances, UnseenDistances, BondLengths, NonbondedDistance or Pressure
        with d components
    reference : Reference
        what its average should be
    """

    observable: Observable
    reference: Reference
    scale: float
    weight: float = 1.0

    def loss(self, mean: np.ndarray) -> float:
        """Of an average [d]; no unit."""
        if self.observable.never_negative:
            return float(self.weight * mean.mean() / self.scale)
        return self.weight * self.deviation(mean) ** 2

    def deviation(self, mean: np.ndarray) -> float:
        """Root mean square of (⟨g⟩ - g₀)/scale over the components."""
        return float(np.sqrt((((mean - self.reference.mean) / self.scale) ** 2).mean()))

    def derivative(self, mean: np.ndarray) -> np.ndarray:
        """∂L/∂⟨g⟩, [d], inverse unit of the observable."""
        if self.observable.never_negative:
            return np.full(len(mean), self.weight / (self.scale * len(mean)))
        return 2.0 * self.weight * (mean - self.reference.mean) / (self.scale**2 * len(mean))

    def noise(self) -> float:
        """Root mean square of the reference's own error/scale over the components."""
        return float(np.sqrt(((self.reference.error / self.scale) ** 2).mean()))


def reference_from_frames(
    observable: Observable, frames: Sequence[Atoms], like: Atoms, source: str
) -> Reference:
    """Mean and standard error over frames, taken to be independent.

    Raises
    ------
    DataError
        fewer than two frames, or frames of another system than ``like``
    """
    if len(frames) < 2:
        raise DataError(f"`reference`: expected at least two frames in `{source}`, got {len(frames)}")
    for atoms in frames:
        check_same_system(atoms, like, source)
    if isinstance(observable, BondLengths):
        frames = [observable.in_one_piece(atoms) for atoms in frames]
    values = observable.values(frames)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return Reference(values.mean(axis=0), error, source, len(frames))


def reference_from_numbers(
    observable: Observable, mean: Sequence[float], error: Sequence[float] | None, source: str
) -> Reference:
    """A reference of given numbers.

    Raises
    ------
    DataError
        not one number for each component, numbers that are not finite, or negative errors
    """
    labels = observable.labels()
    values = np.atleast_1d(np.asarray(mean, dtype=float))
    errors = np.zeros(len(values)) if error is None else np.atleast_1d(np.asarray(error, dtype=float))
    if values.shape != (len(labels),) or errors.shape != values.shape:
        shown = ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")
        raise DataError(
            f"`reference`: expected {len(labels)} numbers for {observable.name} ({shown}), and as many "
            f"errors, got {values.size} and {errors.size}"
        )
    if not (np.isfinite(values).all() and np.isfinite(errors).all() and (errors >= 0.0).all()):
        raise DataError(f"`reference`: expected finite numbers and errors that are not negative ({source})")
    return Reference(values, errors, source)


def read_reference(
    observable: Observable,
    reference: str | Sequence[float],
    error: Sequence[float] | None,
    like: Atoms,
    folder: Path,
) -> Reference:
    """A reference of numbers, of a file of numbers, or of a file of frames.

    A file of numbers (.csv, .txt, .dat) has columns: component (r in Å for distributions), mean, and perhaps
    the standard error.

    Parameters
    ----------
    observable : Distances, UnseenDistances, BondLengths, NonbondedDistance or Pressure
        with d components
    reference : str or sequence of float
        a file, or d numbers in the observable's unit
    error : sequence of float or None
        standard errors of numbers, which are zero without; of files not looked at
    like : ase.Atoms
        frames must be of the same substance
    folder : Path
        from which relative names of files count

    Returns
    -------
    Reference
        mean and standard error of each component

    Raises
    ------
    DataError
        a file that is missing, or does not fit the observable or the system
    """
    if not isinstance(reference, str):
        return reference_from_numbers(observable, reference, error, "numbers")
    if Path(reference).suffix.lower() not in NUMBERS:
        return reference_from_frames(observable, read_structures(reference, folder), like, reference)
    path = folder / reference
    try:
        columns = np.loadtxt(path, delimiter="," if path.suffix.lower() == ".csv" else None, ndmin=2)
    except FileNotFoundError:
        raise DataError(f"`reference`: `{path}` does not exist; expected a file of numbers") from None
    except ValueError as problem:
        raise DataError(f"`reference`: `{path}` is not a table of numbers: {problem}") from None
    if columns.shape[1] not in (2, 3):
        raise DataError(
            f"`reference`: expected two or three columns (component, mean, error) in `{path}`, got "
            f"{columns.shape[1]}"
        )
    errors = columns[:, 2] if columns.shape[1] == 3 else None
    found = reference_from_numbers(observable, columns[:, 1], errors, reference)
    labels = observable.labels()
    is_distribution = observable.name == "distances"
    if is_distribution and not np.allclose(columns[:, 0], np.array(labels, dtype=float), atol=1e-3):
        raise DataError(
            f"`reference`: expected the centres {labels[0]}, {labels[1]}, ... Å in the first column of "
            f"`{path}`, got {columns[0, 0]:g}, ...; use the same `rmax` and `width`"
        )
    return found


def check_same_system(atoms: Atoms, like: Atoms, source: str) -> None:
    """Refuse a frame of another substance than the starts.

    Molecules must have the same atoms, systems that are periodic in three directions their ratio.

    Parameters
    ----------
    atoms : ase.Atoms
        the frame
    like : ase.Atoms
        a start
    source : str
        where the frame is from, for the message

    Raises
    ------
    DataError
        other elements or another ratio of them, or only one of both is periodic in three directions
    """
    if bool(atoms.pbc.all()) != bool(like.pbc.all()):
        kinds = ["a molecule", "periodic in three directions"]
        raise DataError(
            f"`reference`: expected frames that are {kinds[bool(like.pbc.all())]} as the starts, got "
            f"others in `{source}`; use a reference of the same system"
        )
    ours, theirs = np.bincount(like.numbers, minlength=119), np.bincount(atoms.numbers, minlength=119)
    if like.pbc.all():
        ours, theirs = ours / ours.sum(), theirs / theirs.sum()
    if not np.allclose(ours, theirs, atol=1e-9):
        raise DataError(
            f"`reference`: expected frames of {like.symbols.get_chemical_formula()}, got "
            f"{atoms.symbols.get_chemical_formula()} in `{source}`; use a reference of the same system"
        )
