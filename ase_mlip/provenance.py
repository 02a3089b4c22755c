"""With what a result was made; results as JSON; files that are written as a whole or not at all."""

from __future__ import annotations

import glob
import importlib.metadata
import json
import math
import os
import platform
from contextlib import suppress
from pathlib import Path

import numpy as np

from . import __version__

LIBRARIES = ("torch", "ase", "phonopy", "spglib", "symfc", "vesin", "numpy", "scipy")


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
