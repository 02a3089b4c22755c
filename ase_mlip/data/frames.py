"""Frames of files: all of them, the first, or those of a slice with their index."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms
from ase.io.formats import string2index

from ..errors import DataError
from ..provenance import file_sha256
from .structure_files import read_frames


def as_list(paths: str | Path | Sequence[str | Path] | None) -> list[str | Path]:
    if paths is None:
        return []
    return [paths] if isinstance(paths, (str, Path)) else list(paths)


def locate(path: str | Path, base_dir: Path) -> tuple[Path, str]:
    """The file and the slice after its last "@", ":" without one. Raises DataError where there is none."""
    file, index = base_dir / Path(path).expanduser(), ":"
    if not file.exists() and "@" in str(path):
        name, _, index = str(path).rpartition("@")
        file = base_dir / Path(name).expanduser()
    if not file.is_file():
        found = "a folder" if file.is_dir() else f"nothing at {file}"
        relative = "" if base_dir == Path(".") else " (paths in a training TOML are relative to its folder)"
        raise DataError(
            f"`{path}`: expected a file, got {found}; give the file with the structures{relative}"
        )
    return file, index


def described(path: str | Path, base_dir: Path = Path(".")) -> dict[str, str]:
    """Name, SHA-256 and, where it is one, slice of a file with structures, as documents have them.

    Raises DataError where there is no file.
    """
    file, index = locate(path, base_dir)
    known = {"file": file.name, "sha256": file_sha256(file)}
    return known if index == ":" else known | {"slice": index}


def numbered_frames(path: str | Path, base_dir: Path, stress_order: str = "ase") -> list[tuple[int, Atoms]]:
    """Frames with their index in the file; ``stress_order`` is that of six numbers in extended XYZ.

    Raises
    ------
    DataError
        a file that is missing, unreadable or without a frame
    StructureError
        a site that is partially occupied or disordered
    """
    file, index = locate(path, base_dir)
    try:
        wanted = string2index(index)
        if not isinstance(wanted, (slice, int)):
            raise ValueError
    except ValueError:
        raise DataError(
            f"`{path}`: expected a slice of the form start:stop:step after the `@`, got {index!r}"
        ) from None
    frames = read_frames(file, str(path), stress_order)
    numbered = list(enumerate(frames))
    if isinstance(wanted, int):  # one frame, from the end if negative
        wanted = slice(wanted, wanted + 1 or None)
    numbered = numbered[wanted]
    if not numbered:
        raise DataError(
            f"`{path}`: expected at least one structure, got none of {len(frames)}; check file and slice"
        )
    return numbered


def read_structures(paths: str | Path | Sequence[str | Path], base_dir: str | Path = ".") -> list[Atoms]:
    """All frames of the files, in order, as ASE reads them.

    Parameters
    ----------
    paths : str, Path or sequence of these
        files that ASE reads
    base_dir : str or Path
        folder that relative paths start from

    Returns
    -------
    list of ase.Atoms
        all frames

    Raises
    ------
    DataError
        a file that is missing, unreadable or without a frame
    StructureError
        a site that is partially occupied or disordered
    """
    return [atoms for path in as_list(paths) for _, atoms in numbered_frames(path, Path(base_dir))]


def read_first_structure(path: str | Path, tell: Callable[[str], None]) -> Atoms:
    """The first frame of a file, and a word about the others.

    Parameters
    ----------
    path : str or Path
        file that ASE reads
    tell : callable
        is given a sentence where there are more frames

    Returns
    -------
    ase.Atoms
        the first frame

    Raises
    ------
    DataError, StructureError
        see :func:`read_structures`
    """
    frames = read_structures(path)
    if len(frames) > 1:
        tell(f"{path}: the first of {len(frames)} structures is taken")
    return frames[0]


@dataclass(frozen=True)
class FileFrame:
    """A structure, and where it is from.

    Attributes
    ----------
    atoms : ase.Atoms
        the structure
    file : Path or None
        of which it is a frame; None for a structure that is from no file
    index : int
        of the frame in the file, from 0
    """

    atoms: Atoms
    file: Path | None = None
    index: int = 0

    def where(self) -> dict:
        """``file`` and ``frame``, as documents have them; empty for what is from no file."""
        return {} if self.file is None else {"file": str(self.file), "frame": self.index}


def free_name(base: str, taken: Container[str]) -> str:
    """``base``, or the first of ``base_2``, ``base_3``, … that is not taken."""
    name, copies = base, 1
    while name in taken:
        copies += 1
        name = f"{base}_{copies}"
    return name


def named_frames(files: Sequence[Path]) -> dict[str, FileFrame]:
    """Every frame of the files under a unique name.

    Parameters
    ----------
    files : sequence of Path
        files that ASE reads

    Returns
    -------
    dict of FileFrame
        by names such as ``stem`` or, of a file with several frames, ``stem-3``

    Raises
    ------
    DataError, StructureError
        see :func:`read_structures`
    """
    found: dict[str, FileFrame] = {}
    for file in files:
        frames = numbered_frames(file, Path("."))
        for count, (index, atoms) in enumerate(frames):
            name = file.stem if len(frames) == 1 else f"{file.stem}-{count}"
            found[free_name(name, found)] = FileFrame(atoms, file, index)
    return found


def named_structures(files: Sequence[Path]) -> dict[str, Atoms]:
    """The structures of :func:`named_frames`, by their names."""
    return {name: frame.atoms for name, frame in named_frames(files).items()}


def frames_by_name(
    structures: Mapping[str, Atoms] | Atoms | str | Path | Sequence[str | Path],
) -> dict[str, FileFrame]:
    """Structures by name: as they are given, one by its formula, of files as :func:`named_frames`."""
    if isinstance(structures, Atoms):
        structures = {structures.get_chemical_formula(): structures}
    if isinstance(structures, Mapping):
        return {name: FileFrame(atoms) for name, atoms in structures.items()}
    return named_frames([Path(path) for path in as_list(structures)])
