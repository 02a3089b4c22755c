"""Frequencies of a phonopy calculation, at q-points and along paths through the Brillouin zone.

Frequencies are in THz, imaginary ones negative. Standard paths: Y. Hinuma, G. Pizzi, Y. Kumagai, F. Oba and
I. Tanaka, Comput. Mater. Sci. 128, 140 (2017), by seekpath.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import seekpath
from ase import Atoms, units
from ase.dft.kpoints import parse_path_string
from phonopy import Phonopy

from ..errors import ArgumentError, StructureError

THZ = 1000.0 * units.fs / (2.0 * np.pi)  # of an angular frequency in ASE's units, sqrt(eV/Å²/amu)
IMAGINARY = -0.1  # THz; below it a mode counts as imaginary, above it as noise: see :func:`is_stable`
ACOUSTIC = 1e-2  # THz; nearer to zero a mode is an acoustic one at Γ, as in the benchmark of kappa_srme
DEGENERATE = 1e-4  # THz; closer modes are one, where the space group makes frequencies equal
GREEK = {"G": "Γ", "D": "Δ", "S": "Σ"}


@dataclass
class BandStructure:
    """Frequencies along a path of special points.

    Attributes
    ----------
    q_points : array
        [n, 3]
    distances : array
        length along the path, 1/Å (without 2π), [n]
    frequencies : array
        THz, [n, bands]
    segments : list of tuple of int
        first and last index (exclusive) of each straight piece; between pieces a curve may be broken
    labels : list of tuple of str
        distance and name of the special points; "U|K" where the path jumps
    """

    q_points: np.ndarray
    distances: np.ndarray
    frequencies: np.ndarray
    segments: list[tuple[int, int]]
    labels: list[tuple[float, str]]


def is_stable(lowest_frequency: float) -> bool:
    """Whether a crystal with this lowest frequency (THz) has no imaginary mode.

    Finite supercells, and sum rules that do not hold to the last digit, leave acoustic modes near Γ a little
    below zero; 0.1 THz is 3 cm⁻¹.
    """
    return lowest_frequency >= IMAGINARY


def frequencies_at(calculation: Phonopy, q_points: Sequence) -> np.ndarray:
    """Frequencies (THz, [n, bands]) at ``q_points`` [n, 3]."""
    # phonopy's own functions for this changed from version to version; this object has not
    dynamical = calculation.dynamical_matrix
    squares = []
    for q in np.asarray(q_points, dtype=float):
        dynamical.run(q)
        squares.append(np.linalg.eigvalsh(dynamical.dynamical_matrix))
    squares = np.array(squares)
    return THZ * np.sign(squares) * np.sqrt(np.abs(squares))


def band_structure(
    calculation: Phonopy, primitive: Atoms, path: str | None, points: int
) -> tuple[BandStructure, dict[str, np.ndarray]]:
    """Bands along ``path``, and the frequencies of its special points by name (THz, [bands]).

    Parameters
    ----------
    calculation : Phonopy
        with force constants
    primitive : ase.Atoms
        its primitive cell
    path : str, optional
        as "GXU,KGL"; None takes the standard path
    points : int
        q-points along the path, about

    Raises
    ------
    StructureError
        a special point that the lattice does not have
    """
    special, standard = special_points(primitive)
    runs = _runs(path, special) if path else standard
    reciprocal = primitive.cell.reciprocal()
    pieces = [(start, end) for run in runs for start, end in zip(run[:-1], run[1:], strict=True)]
    lengths = [float(np.linalg.norm((special[end] - special[start]) @ reciprocal)) for start, end in pieces]
    q_points, distances, segments = [], [], []
    labels: list[tuple[float, str]] = []
    done = 0.0
    for (start, end), length in zip(pieces, lengths, strict=True):
        count = max(2, round(points * length / sum(lengths)) + 1)
        fractions = np.linspace(0.0, 1.0, count)
        first = sum(len(q) for q in q_points)
        q_points.append(special[start] + fractions[:, None] * (special[end] - special[start]))
        distances.append(done + fractions * length)
        segments.append((first, first + count))
        if not labels:
            labels.append((done, _pretty(start)))
        elif labels[-1][1] != _pretty(start):
            labels[-1] = (done, f"{labels[-1][1]}|{_pretty(start)}")
        done += length
        labels.append((done, _pretty(end)))
    path_q = np.concatenate(q_points)
    names = sorted({name for run in runs for name in run})
    at_special = frequencies_at(calculation, [special[name] for name in names])
    bands = BandStructure(
        path_q, np.concatenate(distances), frequencies_at(calculation, path_q), segments, labels
    )
    return bands, {_pretty(name): row for name, row in zip(names, at_special, strict=True)}


def check_path(primitive: Atoms, path: str) -> None:
    """Raise StructureError for a path with a point that the lattice does not have."""
    _runs(path, special_points(primitive)[0])


def special_points(primitive: Atoms) -> tuple[dict[str, np.ndarray], list[list[str]]]:
    """Fractional coordinates of the special points by name ("G", "X", "W2"), and the standard path's runs."""
    structure = (primitive.cell.array, primitive.get_scaled_positions(), primitive.numbers)
    with warnings.catch_warnings():
        # of seekpath about spglib's interface, and that the cell is none of its standard ones, which is meant
        warnings.simplefilter("ignore")
        found = seekpath.get_path_orig_cell(structure, with_time_reversal=True)
    special = {_short(name): np.array(q) for name, q in found["point_coords"].items()}
    runs: list[list[str]] = []
    for start, end in found["path"]:
        start, end = _short(start), _short(end)
        if runs and runs[-1][-1] == start:
            runs[-1].append(end)
        else:
            runs.append([start, end])
    return special, runs


def _runs(path: str, special: dict[str, np.ndarray]) -> list[list[str]]:
    runs = [run for run in parse_path_string(path) if len(run) > 1]
    for name in (name for run in runs for name in run):
        if name not in special:
            raise StructureError(
                f"`path`: expected special points of this lattice, {' '.join(sorted(special))}, got `{name}`"
            )
    if not runs:
        raise ArgumentError(f"`path`: expected at least two special points in a row, got `{path}`")
    return runs


def _short(name: str) -> str:
    """seekpath's "GAMMA", "W_2" and "SIGMA_0" as "G", "W2" and "S0"."""
    name = name.replace("_", "")
    for long in ("GAMMA", "DELTA", "SIGMA", "LAMBDA"):
        name = name.replace(long, long[0])
    return name


def _pretty(name: str) -> str:
    return GREEK.get(name, name)
