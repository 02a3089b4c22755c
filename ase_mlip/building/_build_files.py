"""Folders of compiled libraries: made in one step under a lock, and known again by their SHA-256.

Standard library only. A library that was cut short or altered would end the process that opens it with a bus
error, so whoever opens one asks :func:`verify` first; the LAMMPS plugin does the same in C++
(``lammps_plugin/both_sides/library_sums.h``).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

SUMS = "SHA256SUMS"  # in the format of coreutils: `sha256sum -c SHA256SUMS` checks a build, too
SCRATCH = ".building-"
ABANDONED = 3600.0  # s after which a scratch folder without a lock file belongs to nobody
REBUILD = "ase-mlip build --force"


class CompilationError(RuntimeError):
    """The compiled parts can neither be found nor be built."""


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the lock file beside ``folder``; the operating system lets go of it if the process dies."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(_lock_file(folder), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise CompilationError(
            f"`{folder.parent}`: expected a cache folder that can be written, got {error.strerror}; "
            "free or grant it, or set XDG_CACHE_HOME to one that can be"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A scratch folder that takes the place of ``folder``, without object files, if the block succeeds.

    What killed builds have left beside it is removed first.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder.parent)
    scratch = folder.parent / f"{SCRATCH}{folder.name}"  # the caller holds the lock of `folder`
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
        for leftover in [*scratch.glob("*.o"), *scratch.glob("cc*")]:
            leftover.unlink()
        write_sums(scratch)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_sums(folder: Path) -> None:
    """Store the SHA-256 of every library in the folder."""
    lines = [f"{_sum(path)}  {path.name}\n" for path in sorted(folder.glob("*.so"))]
    (folder / SUMS).write_text("".join(lines))


def verify(folder: Path, *libraries: str) -> None:
    """Raise CompilationError unless the libraries are those that were built."""
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in libraries:
        if sums.get(name) != _sum(folder / name):
            raise CompilationError(
                f"`{folder / name}`: expected the library that was built (its SHA-256 is in `{SUMS}`), got "
                f"one that was cut short or altered since; build it again with `{REBUILD}`"
            )


def _sum(path: Path) -> str:  # not `provenance.file_sha256`: LAMMPS asks at its start, before numpy is there
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "unreadable"


def _lock_file(folder: Path) -> Path:
    return folder.parent / f"{folder.name}.lock"


def _remove_abandoned(cache: Path) -> None:
    """Remove the scratch folders of builds that were killed: nobody holds their locks any more."""
    for scratch in cache.glob(f"{SCRATCH}*"):
        try:
            descriptor = os.open(_lock_file(cache / scratch.name.removeprefix(SCRATCH)), os.O_RDWR)
        except OSError:
            descriptor = None
        try:
            if descriptor is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            elif time.time() - scratch.stat().st_mtime < ABANDONED:
                continue
            shutil.rmtree(scratch, ignore_errors=True)
        except OSError:  # the build is running, or another process has removed it
            continue
        finally:
            if descriptor is not None:
                os.close(descriptor)
