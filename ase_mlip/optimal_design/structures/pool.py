"""The structures of a design: read, grouped, and freed of what cannot or need not be labelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii

from ...data.frames import as_list, numbered_frames
from ...dynamics.criteria import Criteria
from ...errors import DataError, StructureError
from ...graph.neighbors import MIN_DISTANCE
from ...graph.pairs import find_pairs
from ...graph.stored_list import spanning_cell
from .same_structure import KnownStructures

DEFAULT_KEY = "group"
TOO_CLOSE = Criteria().min_distance  # of the sum of the covalent radii, as for dynamics that went wrong
NEAR = 0.5  # Å, within which atoms at one place are looked for: lists of less are slower

Structures = str | Path | Atoms | Sequence[str | Path | Atoms]


@dataclass(frozen=True)
class Frame:
    """A structure and where it is from.

    Attributes
    ----------
    atoms : ase.Atoms
        as it was read, with its labels if it had any
    source : str
        the file, as it was named; of structures given in Python, what they are for
    index : int
        of the frame in the file, or in what was given
    group : str
        what it is balanced and reported by
    """

    atoms: Atoms
    source: str
    index: int
    group: str

    @property
    def name(self) -> str:
        """For messages."""
        return f"`{self.source}`, frame {self.index}"


@dataclass(frozen=True)
class Rejected:
    """A frame that was set aside, and why.

    Attributes
    ----------
    frame : Frame
        of the pool
    reason : str
        a sentence without a full stop
    """

    frame: Frame
    reason: str


def read_frames_of(
    what: Structures, role: str, group_key: str | None = None, must_have_key: bool = False
) -> list[Frame]:
    """All frames of files, or structures that are given, in order, with their groups.

    A frame's group is ``info[group_key]``; where no frame of a file has that key, the file's name without
    its ending. ``group_key`` None stands for ``group``.

    Raises
    ------
    DataError
        no frames; a frame that no potential can evaluate, such as one with NaN among its positions; a
        ``group_key`` that is in some frames of a file only or, if it ``must_have_key``, nowhere
    StructureError
        a site that is partially occupied or disordered
    """
    found: list[Frame] = []
    for source, frames in _sources(what, role):
        for index, atoms in frames:
            _require_sound(atoms, f"`{source}`, frame {index}")
        found += _grouped(source, frames, group_key or DEFAULT_KEY)
    if not found:
        other = "" if role == "pool" else f", or leave `{role}` out"
        raise DataError(
            f"`{role}`: expected at least one structure, got none; name files with structures that ASE "
            f"reads{other}"
        )
    if must_have_key and not any(group_key in frame.atoms.info for frame in found):
        keys = ", ".join(sorted({key for frame in found for key in frame.atoms.info})) or "no keys"
        raise DataError(
            f"`group_key`: expected `{group_key}` in the comment lines of at least one file of `{role}`, got "
            f"it nowhere, but {keys}; correct the key, or leave it out to have one group for each file"
        )
    return found


def _sources(what: Structures, role: str) -> list[tuple[str, list[tuple[int, Atoms]]]]:
    items = _items(what, role)
    given = [item for item in items if isinstance(item, Atoms)]
    if given and len(given) < len(items):
        raise DataError(f"`{role}`: expected files or structures, got both; read the files first")
    if given:
        return [(role, list(enumerate(given)))]
    return [(_without_slice(path), numbered_frames(path, Path("."))) for path in as_list(items)]


def _items(what: Structures, role: str) -> list[str | Path | Atoms]:
    """Files or structures in a list. Raises DataError for anything else."""
    items = [what] if isinstance(what, (str, Path, Atoms)) or not isinstance(what, Iterable) else list(what)
    for item in items:
        if not isinstance(item, (str, Path, Atoms)):
            got = f"a {type(item).__name__}" if isinstance(item, Iterable) else repr(item)
            raise DataError(
                f"`{role}`: expected files or structures (ase.Atoms), or a list of these, got {got}; read or "
                "build the structures first"
            )
    return items


def _without_slice(path: str | Path) -> str:
    """The name of the file, as it was given; indices of frames are those in the whole file."""
    return str(path) if Path(path).exists() else str(path).rpartition("@")[0] or str(path)


def _require_sound(atoms: Atoms, name: str) -> None:
    """Raise DataError for what no potential evaluates; atoms that are too close are another matter."""
    remedy = "correct or remove the frame"
    if len(atoms) == 0:
        raise DataError(f"{name}: expected atoms, got none; {remedy}")
    unknown = np.flatnonzero(atoms.numbers < 1)
    if len(unknown):
        raise DataError(
            f"{name}: expected elements, got X (no element) for {len(unknown)} of {len(atoms)} atoms, first "
            f"atom {unknown[0]}; {remedy}"
        )
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(bad):
        raise DataError(
            f"{name}: expected finite positions, got NaN or infinity for {len(bad)} of {len(atoms)} atoms, "
            f"first atom {bad[0]}; {remedy}"
        )
    if not np.isfinite(atoms.cell.array).all():
        raise DataError(f"{name}: expected a finite cell, got {atoms.cell.array.tolist()}; {remedy}")
    try:
        spanning_cell(atoms)
    except StructureError as error:
        raise DataError(f"{name}: {' '.join(str(error).split())}") from None


def _grouped(source: str, frames: list[tuple[int, Atoms]], key: str) -> list[Frame]:
    lacking = [index for index, atoms in frames if not str(atoms.info.get(key, ""))]
    if len(lacking) == len(frames):
        group = Path(source).stem
        return [Frame(atoms, source, index, group) for index, atoms in frames]
    if lacking:
        raise DataError(
            f"`{source}`, frame {lacking[0]}: expected its group under the key `{key}` as in other frames of "
            f"the file, got none ({len(lacking)} of {len(frames)} frames lack it); add it, name another key, "
            "or give the frames without a group in a file of their own"
        )
    return [Frame(atoms, source, index, str(atoms.info[key])) for index, atoms in frames]


def set_aside(pool: Sequence[Frame], have: Sequence[Frame]) -> tuple[list[Frame], list[Rejected]]:
    """The candidates among ``pool``, and the rest: atoms too close, labelled already, duplicates.

    Of frames that are the same (:mod:`.same_structure`) the first is kept.
    """
    labelled = KnownStructures([frame.atoms for frame in have])
    known = KnownStructures([frame.atoms for frame in pool])
    kept: list[Frame] = []
    rejected: list[Rejected] = []
    taken: set[int] = set()
    for place, frame in enumerate(pool):
        reason = too_close(frame.atoms)
        if not reason and (same := labelled.same_as(frame.atoms)):
            reason = f"labelled already: {have[same[0]].name}"
        if not reason:
            earlier = [other for other in known.same_as(frame.atoms) if other in taken]
            if earlier:
                reason = f"the same as {pool[earlier[0]].name}"
        if reason:
            rejected.append(Rejected(frame, reason))
        else:
            taken.add(place)
            kept.append(frame)
    return kept, rejected


def too_close(atoms: Atoms) -> str:
    """What is wrong with the distances, "" if nothing: below half the sum of the covalent radii."""
    reach = TOO_CLOSE * 2.0 * max(covalent_radii[number] for number in np.unique(atoms.numbers))
    i, j, _, distances = find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, reach)
    allowed = TOO_CLOSE * (covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers[j]])
    ratio = distances / allowed
    if len(ratio) == 0 or ratio.min() >= 1.0:
        return ""
    worst = int(np.argmin(ratio))
    symbols = "-".join(chemical_symbols[atoms.numbers[k]] for k in (i[worst], j[worst]))
    return (
        f"atoms too close: {symbols} at {distances[worst]:.2f} Å, below {allowed[worst]:.2f} Å (half the sum "
        "of the covalent radii)"
    )


def require_apart(frames: list[Frame]) -> list[Frame]:
    """The frames; DataError where two atoms are at one place. Of a pool such frames are set aside."""
    for frame in frames:
        atoms = frame.atoms
        i, j, _, distances = find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, NEAR)
        if len(distances) and distances.min() < MIN_DISTANCE:
            worst = int(np.argmin(distances))
            raise DataError(
                f"{frame.name}: expected atoms at different places, got atoms {i[worst]} and {j[worst]} "
                f"{distances[worst]:.1g} Å apart; correct or remove the frame"
            )
    return frames


def places_of(
    wanted: Sequence[Frame], candidates: Sequence[Frame], rejected: Sequence[Rejected]
) -> list[int]:
    """Places among ``candidates`` of the frames that must be picked.

    Raises
    ------
    DataError
        one that is not in the pool, or that was set aside
    """
    known = KnownStructures([frame.atoms for frame in candidates])
    aside = KnownStructures([item.frame.atoms for item in rejected])
    places = []
    for frame in wanted:
        same = known.same_as(frame.atoms)
        if same:
            places.append(same[0])
            continue
        why = [rejected[k].reason for k in aside.same_as(frame.atoms)]
        got = f"one that was set aside ({why[0]})" if why else "one that is not among them"
        raise DataError(
            f"`keep`: expected frames of the pool, got {got}: {frame.name}; add it to the pool, or leave it "
            "out of `keep`"
        )
    return list(dict.fromkeys(places))
