"""One process at a time writes an output: a lock that the operating system takes back from whoever dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from .errors import OutputInUseError, users_line

NAME = ".ase_mlip.lock"
# what file systems answer that have no locks, such as NFS without its lock service
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold the lock of an output folder until the block ends; reading needs none.

    The folder is made, and removed again if nothing came into it. The lock is its file ``.ase_mlip.lock``,
    which holds the number of the process and is removed at the end. A killed process leaves the file, but not
    the lock: it is the kernel's (``flock``), on NFS the server's.

    Raises
    ------
    OutputInUseError
        another process, or another call in this one, holds it
    OSError
        the folder or the lock file cannot be made
    """
    folder = Path(folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _held(folder / NAME, folder):
            yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def _held(lock: Path, output: Path) -> Iterator[None]:
    descriptor = _acquire(lock, output)
    try:
        yield
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                lock.unlink()  # while it is held: whoever comes next makes a file of its own
            os.close(descriptor)


def _acquire(path: Path, output: Path) -> int | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 40, 0).decode(errors="replace").strip()
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                warnings.warn(
                    f"`{path.parent}`: its file system has no locks ({error.strerror}); see that no other "
                    "process writes there",
                    RuntimeWarning,
                    stacklevel=users_line(),
                )
                return None
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            who = f"process {holder}" if holder else "another process"
            raise OutputInUseError(
                f"`{output}` is being written by {who}; wait until it ends, or choose another output"
            ) from None
        if _is_still(path, descriptor):
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} on {os.uname().nodename}\n".encode(), 0)
            return descriptor
        os.close(descriptor)  # its holder has removed it meanwhile: the next one makes a new file


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
