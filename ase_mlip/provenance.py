"""With what a result was made, whether another was; digests; JSON; files written as a whole or not at all.

Long work keeps its finished :class:`Parts`, from which a run that was interrupted or killed goes on.
"""

from __future__ import annotations

import glob
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from .errors import DataError

_CONTENT = ("_document_sha256", "_sha256", "_hashes")  # ends of names whose values stand for contents
_SHA256 = re.compile("[0-9a-f]{64}")
LIBRARIES = ("torch", "ase", "phonopy", "spglib", "symfc", "vesin", "numpy", "scipy")
PARTS_SECONDS = 1.0  # at least, between two writes of finished parts
PARTS_SHARE = 0.05  # of the time that may go into writing them


def versions() -> dict[str, str]:
    """Of this package, Python and the libraries that numbers depend on."""
    found = {"ase_mlip": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def hardware(device: str, threads: int) -> dict:
    """The machine, for people who compare times."""
    return {"machine": platform.machine(), "cores": os.cpu_count(), "threads": threads, "device": device}


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits. Raises OSError."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def structure_content(atoms) -> bytes:
    """What makes an ``ase.Atoms`` another structure: its numbers, positions, cell and periodicity.

    Digests of these bytes are in users' files: whatever else counts for one of them comes before or after.
    """
    parts = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    return b"".join(part.tobytes() for part in parts)


def structures_sha256(structures: Iterable) -> str:
    """SHA-256 of :func:`structure_content` of several ``ase.Atoms`` in their order, 64 hexadecimal digits."""
    return hashlib.sha256(b"".join(map(structure_content, structures))).hexdigest()


def plain(value):
    """``value`` with numpy's numbers and arrays as Python's; what JSON lacks (NaN, infinity) as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_settings(path: Path, key: str = "settings") -> dict | None:
    """What a JSON file says of the settings of its results; None where it says nothing, or is no JSON."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # not JSON, or not text
        return None
    known = found.get(key) if isinstance(found, dict) else None
    return known if isinstance(known, dict) else None


def other_results(path: Path, got: str, remark: str = "") -> DataError:
    """The error where results would be written over something else, which ``got`` says."""
    return DataError(
        f"`{path}` exists; expected results of the same settings, got {got}; choose another folder, or "
        f"replace them with `overwrite=True`{remark}"
    )


def refuse_other_settings(path: Path, stored: Mapping | None, asked: Mapping, remark: str = "") -> None:
    """Refuse to go on with, or to write over, results of other settings.

    Parameters
    ----------
    path : Path
        where the results are
    stored : mapping or None
        their settings, as JSON has them; None for a file of something else
    asked : mapping
        those of the present run
    remark : str, optional
        what else there is to say

    Raises
    ------
    DataError
        names the first setting that differs, its stored and its asked value, and the remedy
    """
    if stored is not None and not (why := difference(stored, asked)):
        return
    got = "something else" if stored is None else f"those of other settings: {why}"
    raise other_results(path, got, remark)


def difference(stored: Mapping, asked: Mapping) -> str:
    """In words, the first setting that is not the same; "" where all are."""
    stored, asked = plain(stored), plain(asked)
    for name, value in asked.items():
        known = stored.get(name)
        if known == value and name in stored:
            continue
        if isinstance(known, dict) and isinstance(value, dict):
            return difference(known, value)
        label = next((name.removesuffix(end) for end in _CONTENT if name.endswith(end)), name)
        if label != name or name not in stored or _is_content(known) or _is_content(value):
            return f"another `{label}`"
        return f"`{name}={known!r}`, now `{name}={value!r}`"
    gone = next((name for name in stored if name not in asked), None)
    return "" if gone is None else f"`{gone}={stored[gone]!r}`, now without it"


def _is_content(value) -> bool:
    """Whether a value says nothing when it is printed: a digest, or a part of a document."""
    if isinstance(value, list):
        return any(map(_is_content, value))
    return isinstance(value, dict) or (isinstance(value, str) and _SHA256.fullmatch(value) is not None)


class Parts:
    """Finished parts of a result by their names, kept in a file until the whole is there.

    A part is what JSON can hold: numbers come back bit by bit, and NaN and infinity as Python writes them.
    The file is written now and then, so that a killed run loses a second, or a twentieth of its time where
    writing takes long; used as a context, ``with``, it is also written at the end, whatever ends it.

    Parameters
    ----------
    path : Path, optional
        the file; None keeps the parts in memory only
    depends_on : mapping, optional
        all that parts depend on, as JSON has it: those of a file with something else are not taken over
    overwrite : bool, optional
        whether a file of something else counts as none, and is replaced

    Attributes
    ----------
    found : dict
        the parts
    before : int
        how many of them the file had
    replaced : str
        why those of the file were not taken over, "" where they were, or where there is none

    Raises
    ------
    DataError
        for a file of something else, or one that was damaged, without ``overwrite``
    """

    def __init__(self, path: Path | None = None, depends_on: Mapping | None = None, overwrite: bool = False):
        self.path, self.found = path, {}
        self._depends_on = json.loads(json.dumps({} if depends_on is None else depends_on))
        self._pending, self._duration, self._written = False, 0.0, time.monotonic()
        self.replaced = ""
        if path is not None and path.exists():
            known, parts = _read_parts(path)
            if not overwrite:
                refuse_other_settings(path, known, self._depends_on)
            self.replaced = "something else" if known is None else difference(known, self._depends_on)
            self.found = {} if self.replaced else parts
        self.before = len(self.found)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """The part of this name, which is computed and kept unless it is there."""
        if name not in self.found:
            self.keep(name, compute())
        return self.found[name]

    def keep(self, name: str, part: Any) -> None:
        """Keep a part, and write the file if that is due. Raises OSError."""
        self.found[name], self._pending = part, True
        if time.monotonic() - self._written > max(PARTS_SECONDS, self._duration / PARTS_SHARE):
            self.write()

    def write(self) -> None:
        """Write all parts, all or nothing, if some have come since. Raises OSError."""
        if self.path is None or not self._pending:
            return
        started = time.monotonic()
        parts = json.dumps(self.found)
        known = {"depends_on": self._depends_on, "sha256": hashlib.sha256(parts.encode()).hexdigest()}
        write_atomically(self.path, f'{json.dumps(known)[:-1]}, "parts": {parts}}}\n'.encode())
        self._pending, self._written = False, time.monotonic()
        self._duration = self._written - started

    def remove(self) -> None:
        """Remove the file: the result has everything. Raises OSError."""
        self._pending = False
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_) -> None:
        self.write()


def _read_parts(path: Path) -> tuple[dict | None, dict]:
    """What the parts of a file depend on, and the parts; None for something else, or where it was damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known, parts = dict(found["depends_on"]), dict(found["parts"])
        if hashlib.sha256(json.dumps(parts).encode()).hexdigest() != found["sha256"]:
            return None, {}
    except (ValueError, KeyError, TypeError):
        return None, {}
    return known, parts


def write_json(path: Path, document) -> None:
    """Write :func:`plain` of the document, all or nothing. Raises OSError."""
    text = json.dumps(plain(document), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` in one step: a crash or a full disk leaves the old file.

    Raises OSError, always with ``path`` as its file name: an open file that cannot grow has none of its own.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write `{path}`: there is no folder `{path.parent}`; create it first")
    own = f".{path.name}.{os.uname().nodename}-"
    temporary = path.with_name(f"{own}{os.getpid()}.tmp")
    _remove_abandoned(path.parent, own)
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename = str(path)
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove_abandoned(folder: Path, start: str) -> None:
    """Remove what killed processes of this machine were writing when they ended."""
    for path in folder.glob(f"{glob.escape(start)}*.tmp"):
        number = path.name.removeprefix(start).removesuffix(".tmp")
        with suppress(OSError):
            if number.isdigit() and not _is_running(int(number)):
                path.unlink()


def _is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
