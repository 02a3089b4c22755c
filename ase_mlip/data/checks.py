"""Training data that may mean something else than they seem: units, signs, keys that nothing reads.

What cannot be is an error; what is only unlikely is a warning that names the file, the frame and the number.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from ..errors import DataError, users_line
from ..voigt import symmetric
from .references import ReferenceKeys, Sample, species_of
from .units import ENERGY_UNITS, STRESS_UNITS

# Half of the stresses above this (160 GPa) are those of a planet's core, or numbers in another unit.
IMPOSSIBLE_STRESS = 1.0  # eV/Å^3
LARGE_FORCE = 100.0  # eV/Å: two atoms far inside each other, or numbers in another unit
FAR_OFF = 10.0  # eV/atom from what the composition says
SAME_PLACES = 1e-3  # of scaled positions: two frames differ by a strain alone
STRAINS = (1e-4, 0.05)  # smallest and largest that are compared
AGREES = (0.67, 1.5)  # energy differences over the work of stresses or forces
SHIFTS = (1e-4, 0.2)  # Å: smallest and largest displacement of two frames in one cell that are compared
MOST_COMPARED = 200  # frames of one composition
NAMED = 5


def check_magnitudes(samples: Sequence[Sample], keys: ReferenceKeys) -> None:
    """Refuse stresses that cannot be in eV/Å^3, unless ``keys.units`` says that they are.

    Raises
    ------
    DataError
        half of the frames have a component above 160 GPa; the message names the largest
    """
    stressed = [sample for sample in samples if sample.stress is not None]
    if not stressed or "stress" in keys.units:
        return
    largest = np.array([np.abs(sample.stress).max() for sample in stressed])
    if np.median(largest) <= IMPOSSIBLE_STRESS:
        return
    worst = int(np.argmax(largest))
    what, remedy = "stress", 'name the unit of the file, as in `units = { stress = "GPa" }` or "kbar"'
    if keys.virial:
        what, remedy = "virial", "give it in the unit of energy, not divided by the volume"
    raise DataError(
        f"{stressed[worst].source}: expected a {what} below {IMPOSSIBLE_STRESS:g} eV/Å^3 (160 GPa) in most "
        f"frames, got {largest[worst]:.4g} eV/Å^3 (median {np.median(largest):.4g}); {remedy} in `[data]` "
        'or write `units = { stress = "eV/Å^3" }` if that is meant'
    )


def warn_of_doubtful(samples: Sequence[Sample], keys: ReferenceKeys) -> None:
    """One warning for each kind of doubt: unread keys, free energies, energies, forces, stresses."""
    found = [
        _unread(samples),
        _free_energies(samples),
        _energies(samples, keys),
        _forces(samples),
        _displaced(samples),
        _strained(samples, keys),
    ]
    for message in filter(None, found):
        warnings.warn(message, RuntimeWarning, stacklevel=users_line())


def _unread(samples: Sequence[Sample]) -> str:
    names = sorted({f"`{name}`" for sample in samples for name in sample.unread})
    if not names:
        return ""
    frames = [sample.source for sample in samples if sample.unread]
    return (
        f"nothing reads {', '.join(names)} in {len(frames)} frames (first: {frames[0]}), which look like "
        "reference data; name them in `energy_key`, `forces_key`, `stress_key` or `virial_key` of `[data]`"
    )


def _free_energies(samples: Sequence[Sample]) -> str:
    differing = [
        (abs(sample.free_energy - sample.energy) / len(sample.atoms), sample.source)
        for sample in samples
        if sample.free_energy is not None and sample.energy is not None and sample.forces is not None
    ]
    differing = [entry for entry in differing if entry[0] > 1e-6]
    if not differing:
        return ""
    most, source = max(differing)
    return (
        f"{len(differing)} of {len(samples)} frames hold a free energy, to which their forces belong, that "
        f"differs from the energy in use (VASP's E(sigma->0)), by {1e3 * most:.3g} meV/atom in {source}; "
        'write `energy_key = "free_energy"` in `[data]` to train on energies whose derivatives the forces are'
    )


def _energies(samples: Sequence[Sample], keys: ReferenceKeys) -> str:
    """Frames whose energy is another's multiple by a unit, or far from what their composition says."""
    samples = [sample for sample in samples if sample.energy is not None and len(sample.atoms) > 1]
    if len(samples) < 4:
        return ""
    per_atom, expected = _expected_energies(samples)
    off = np.abs(per_atom - expected)
    usual = 10.0 * np.median(off) + 1e-3
    here = keys.scales()[0]
    lines = []
    for unit, size in ENERGY_UNITS.items():
        factor = size / here
        if factor == 1.0:
            continue
        fits = (off > usual) & (np.abs(factor * per_atom - expected) < 0.1 * np.abs(expected))
        if fits.any():
            lines.append(f"{_frames(samples, fits, per_atom, 'eV/atom')} would fit the others if in {unit}")
            off = np.where(fits, 0.0, off)
    far = off > max(FAR_OFF, usual)
    if far.any():
        lines.append(
            f"{_frames(samples, far, per_atom - expected, 'eV/atom')} from what their composition says"
        )
    return f"energies: {'; '.join(lines)}; correct or remove these frames" if lines else ""


def _expected_energies(samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """Energies per atom (eV), and those of a fit by elements in the mean absolute deviation."""
    species = species_of(samples)
    shares = np.array([[np.mean(s.atoms.numbers == number) for number in species] for s in samples])
    per_atom = np.array([sample.energy / len(sample.atoms) for sample in samples])
    weights = np.ones(len(samples))
    for _ in range(30):  # least squares with these weights approaches least absolute deviations
        root = np.sqrt(weights)
        solution, *_ = np.linalg.lstsq(shares * root[:, None], per_atom * root, rcond=None)
        weights = 1.0 / np.maximum(np.abs(shares @ solution - per_atom), 1e-4)
        weights /= weights.max()
    return per_atom, shares @ solution


def _forces(samples: Sequence[Sample]) -> str:
    forced = [sample for sample in samples if sample.forces is not None and len(sample.forces)]
    largest = np.array([np.linalg.norm(sample.forces, axis=1).max() for sample in forced])
    absurd = largest > LARGE_FORCE
    if not absurd.any():
        return ""
    return (
        f"forces: {_frames(forced, absurd, largest, 'eV/Å')}, above {LARGE_FORCE:g}; name the units in "
        "`data.units`, or remove frames in which atoms lie inside each other"
    )


def _frames(samples: Sequence[Sample], chosen: np.ndarray, values: np.ndarray, unit: str) -> str:
    """The first of the chosen frames, each with its number."""
    places = np.flatnonzero(chosen)
    first = ", ".join(f"{samples[k].source} ({values[k]:.4g} {unit})" for k in places[:NAMED])
    return first if len(places) <= NAMED else f"{first} and {len(places) - NAMED} more frames"


def _strained(samples: Sequence[Sample], keys: ReferenceKeys) -> str:
    """Whether energies of frames that differ by a strain alone follow from their stresses."""
    ratio, message = _contradiction(*strained_pairs(samples), "stresses", "a strain")
    return f"{message}; {_likely_stress(ratio, keys)}" if message else ""


def _displaced(samples: Sequence[Sample]) -> str:
    """Whether energies of frames in one cell that differ by small displacements follow from their forces."""
    ratio, message = _contradiction(*displaced_pairs(samples), "forces", "small displacements")
    if not message:
        return ""
    sign = "; their sign is that of gradients" if -AGREES[1] < ratio < -AGREES[0] else ""
    return f"{message}{sign}; check `units`, `energy_key` and `forces_key` in `[data]`"


def _contradiction(
    differences: np.ndarray, works: np.ndarray, sources: list[tuple[str, str]], what: str, how: str
) -> tuple[float, str]:
    """Differences of energy over work, in the mean, and what there is to say if they disagree."""
    if len(works) == 0 or np.abs(differences).max() < 1e-3:
        return 1.0, ""
    ratio = float((differences * works).sum() / max((works * works).sum(), 1e-300))
    if AGREES[0] < ratio < AGREES[1]:
        return ratio, ""
    worst = int(np.argmax(np.abs(differences - works)))
    return ratio, (
        f"{what} contradict energies: {len(works)} pairs of frames differ by {how} alone, and their energies "
        f"differ by {ratio:.3g} times what the {what} say; {' and '.join(sources[worst])}: "
        f"{differences[worst]:.4g} instead of {works[worst]:.4g} eV"
    )


def _likely_stress(ratio: float, keys: ReferenceKeys) -> str:
    """What to write where another unit or sign would bring the ratio to one."""
    sign = "ase" if (ratio > 0) == (keys.stress_sign == "ase") else "vasp"
    if AGREES[0] < abs(ratio) < AGREES[1]:
        return f'write `stress_sign = "{sign}"`'
    for unit, size in {} if keys.virial else STRESS_UNITS.items():
        if AGREES[0] < abs(ratio) * keys.stress_scale() / size < AGREES[1]:
            return f'write `units = {{ stress = "{unit}" }}` and `stress_sign = "{sign}"`'
    return "check `units`, `stress_sign` and `stress_order` in `[data]`"


def strained_pairs(samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]:
    """Pairs of frames that differ by a small strain alone.

    Returns
    -------
    tuple of list of tuple of str
        differences of energy [n], eV; volume times mean stress times strain [n], eV, which they are up to the
        third order in the strain; the sources of both frames
    """
    found: list[tuple[float, float, tuple[str, str]]] = []
    for group in _by_composition(samples, "stress"):
        scaled = np.array([sample.atoms.cell.scaled_positions(sample.atoms.positions) for sample in group])
        scaled -= scaled[:, :1]
        for j, second in enumerate(group):
            shift = scaled[:j] - scaled[j]
            same = np.abs(shift - np.round(shift)).max(axis=(1, 2), initial=0.0) < SAME_PLACES
            for first in (group[i] for i in np.flatnonzero(same)):
                strain = _strain(first, second)
                if STRAINS[0] < np.abs(strain).max() < STRAINS[1]:
                    volume = np.sqrt(first.atoms.get_volume() * second.atoms.get_volume())
                    work = 0.5 * volume * ((first.stress + second.stress) * strain).sum()
                    found.append((second.energy - first.energy, work, (first.source, second.source)))
    return _columns(found)


def displaced_pairs(samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]:
    """Pairs of frames in one cell whose atoms differ by at most 0.2 Å.

    Returns
    -------
    tuple of list of tuple of str
        differences of energy [n], eV; minus mean forces times displacements [n], eV, which they are up to the
        third order in the displacements; the sources of both frames
    """
    found: list[tuple[float, float, tuple[str, str]]] = []
    for group in _by_composition(samples, "forces"):
        positions = np.array([sample.atoms.positions for sample in group])
        cells = np.array([sample.atoms.cell.array for sample in group])
        for j, second in enumerate(group):
            shift = np.abs(positions[:j] - positions[j]).max(axis=(1, 2), initial=0.0)
            same = np.abs(cells[:j] - cells[j]).max(axis=(1, 2), initial=0.0) < 1e-5
            near = same & (SHIFTS[0] < shift) & (shift < SHIFTS[1])
            for first in (group[i] for i in np.flatnonzero(near)):
                moved = second.atoms.positions - first.atoms.positions
                work = -0.5 * ((first.forces + second.forces) * moved).sum()
                found.append((second.energy - first.energy, work, (first.source, second.source)))
    return _columns(found)


def _by_composition(samples: Sequence[Sample], quantity: str) -> list[list[Sample]]:
    """Frames with an energy and a quantity, in lists of the same elements in the same order."""
    groups: dict[bytes, list[Sample]] = {}
    for sample in samples:
        if getattr(sample, quantity) is not None and sample.energy is not None:
            groups.setdefault(sample.atoms.numbers.tobytes(), []).append(sample)
    return [group[:MOST_COMPARED] for group in groups.values()]


def _columns(found: list[tuple[float, float, tuple[str, str]]]):
    differences, works, sources = zip(*found, strict=True) if found else ((), (), ())
    return np.array(differences, dtype=float), np.array(works, dtype=float), list(sources)


def _strain(first: Sample, second: Sample) -> np.ndarray:
    """[3, 3] symmetric, from one cell to the other, referred to the mean of both."""
    deformation = np.linalg.solve(first.atoms.cell.array, second.atoms.cell.array)
    strain = 2.0 * (deformation - np.eye(3)) @ np.linalg.inv(deformation + np.eye(3))
    return symmetric(strain)
