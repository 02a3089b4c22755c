"""Compile the C++ parts against the user's own torch, and find them again.

Standard library only (torch is asked for its version and folders when a target is described), so that
``setup.py`` can load this file by its path before the package is installed.

A build is a folder holding the operator library, the build-information module and ``build.json``, which says
what it was built against. It lies in the package when it was made at install time, else in the user's cache.

Kernels for CUDA are compiled along where nvcc is found. A build without them is a complete one, because each
operator also has a form composed of torch's own (``composed.cpp`` in ``csrc/``): what is found later,
or goes, makes no build unfit. ``ase-mlip build --force`` tries again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ._build_files import CompilationError, lock, replacing
from ._run_compilers import run_all

PACKAGE = Path(__file__).resolve().parent.parent  # ase_mlip/
LIBRARY = "libase_mlip_ops.so"
INFO_MODULE = "_build_info.so"
RECORD = "build.json"
SOURCES = "sources.txt"  # in csrc/: what the operators are compiled from; CMake reads it, too
INFO_SOURCE = "common/build_info.cpp"
OLDEST_ARCHITECTURE = 60  # the first with atomicAdd(double)


class Described:
    """What a build has to fit, as the fields of a dataclass; equal ones may share one build."""

    def fits(self, record: dict) -> bool:
        return all(record.get(key) == value for key, value in asdict(self).items())

    def values(self) -> list[str]:
        return list(asdict(self).values())


@dataclass(frozen=True)
class Target(Described):
    """What a build of the operators has to fit."""

    torch: str
    cuda: str  # version torch was built for, or ""
    python: str
    machine: str
    sources: str  # hash of csrc/


# ---- what is there -------------------------------------------------------------------------------


def source_folder(name: str = "csrc") -> Path:
    """``csrc`` or ``lammps_plugin``: inside an installed package, beside it in a checkout."""
    for folder in (PACKAGE / name, PACKAGE.parent / name):
        if any(folder.rglob("*.cpp")):
            return folder
    raise CompilationError(
        f"`{name}`: expected the C++ sources in {PACKAGE / name} or {PACKAGE.parent / name}, found "
        "neither; reinstall ase-mlip"
    )


def source_hash() -> str:
    return hash_files([*operator_files(), Path(__file__)])  # this file holds the flags


def operator_files() -> list[Path]:
    """All files in ``csrc/``."""
    return sorted(path for path in source_folder().rglob("*.*") if path.is_file())


def operator_sources(*, cuda: bool) -> list[str]:
    """What the operators are linked from with kernels for CUDA, or without: paths in ``csrc/``."""
    lines = (source_folder() / SOURCES).read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    return [name for name in names if not (name.endswith("cuda_stub.cpp") if cuda else name.endswith(".cu"))]


def hash_files(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def find_compiler() -> str | None:
    """Path of a C++ compiler: $CXX as every build tool reads it, else the usual names."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    return None


def find_nvcc() -> str | None:
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def compiler_version(compiler: str) -> str:
    """First line of ``compiler --version``; nvcc says its release further down."""
    output = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    release = re.search(r"release [\d.]+", output)
    return release.group() if release else output.partition("\n")[0].strip()


def usable_nvcc(cuda: str | None) -> tuple[str | None, str]:
    """nvcc, if it has the major version of the CUDA torch was built for; else None and the reason."""
    nvcc = find_nvcc()
    if not cuda:
        return None, "this torch is for the CPU"
    major = cuda.partition(".")[0]
    if nvcc is None:
        return None, f"nvcc of CUDA {major} was not found"
    version = compiler_version(nvcc)
    release = re.search(r"release (\d+)", version)
    if release and release.group(1) == major:
        return nvcc, ""
    return None, f"`{nvcc}` has {version}, expected nvcc of CUDA {major}, for which torch was built"


def list_architectures(nvcc: str) -> list[int]:
    """Compute capabilities (90 is 9.0) nvcc compiles for and which add float64 atomically: from 6.0 on."""
    result = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=False)
    listed = {int(number) for number in re.findall(r"^compute_(\d+)\s*$", result.stdout, re.M)}
    return sorted(number for number in listed if number >= OLDEST_ARCHITECTURE)


def choose_architectures(listed: list[int], devices: list[int]) -> list[int]:
    """What to compile for: the devices' own, or without devices the first of each major version.

    A device that nvcc does not know gets the closest that is older, which serves it as machine code if the
    major version is the same, else as PTX (of the highest that is compiled, translated when it is loaded).
    """
    if devices:
        older = [[number for number in listed if number <= device] for device in devices]
        return sorted({numbers[-1] for numbers in older if numbers})
    return sorted({min(n for n in listed if n // 10 == number // 10) for number in listed})


def describe_target() -> Target:
    import torch

    return Target(
        torch=torch.__version__,
        cuda=torch.version.cuda or "",
        python=sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag,
        machine=f"{sys.platform}-{platform.machine()}",
        sources=source_hash(),
    )


def cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "ase_mlip"


def installed_folder() -> Path:
    return PACKAGE / "_compiled"


def read_record(folder: Path, libraries: tuple[str, ...] = (LIBRARY,)) -> dict:
    """What a build was made of; empty if there is no complete build in the folder."""
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record if all((folder / name).is_file() for name in libraries) else {}


def find_build(target: Target) -> Path | None:
    """The folder of a build that fits, installed or cached; nothing is loaded or compiled.

    One with compiled CUDA kernels comes first, by whatever compiler; then the newest.
    """
    compiler = find_compiler()
    own = _cached_folder(target, compiler_version(compiler)) if compiler else None
    fitting = []
    for folder in (installed_folder(), *sorted(cache_folder().glob("ops-*"))):
        record = read_record(folder)
        # Without a compiler nothing newer can be made, so one that was built by any compiler is as good.
        wanted = folder in (installed_folder(), own) or compiler is None or record.get("cuda_kernels")
        if wanted and target.fits(record):
            fitting.append((bool(record.get("cuda_kernels")), record.get("built", 0.0), folder))
    return max(fitting)[2] if fitting else None


def find_or_build(force: bool = False) -> Path:
    """The folder of a build that fits this process' torch, compiled now if there is none.

    Parameters
    ----------
    force : bool
        compile also where there is one

    Returns
    -------
    Path
        the folder

    Raises
    ------
    CompilationError
        no compiler, a failing compiler (with its output), or a cache that cannot be written; with ``force``
        also an nvcc that fails where an earlier build has the kernels, which then stays
    """
    target = describe_target()
    found = find_build(target)
    if found is not None and not force:
        return found
    folder = _cached_folder(target, compiler_version(require_compiler()))
    with lock(folder):
        if force or not target.fits(read_record(folder)):  # another process may have built it meanwhile
            message = f"ase_mlip: compiling the operators for torch {target.torch}"
            print(f"{message} (once; a minute, more with CUDA)", file=sys.stderr, flush=True)
            build(target, folder)
    return find_build(target) or folder


def describe_kernels(record: dict) -> str:
    """What a build holds for CUDA, in words."""
    if record.get("cuda_kernels"):
        return f"compiled for {', '.join(record['cuda_architectures'])} by nvcc {record['nvcc']}"
    reason = (record.get("cuda_error") or "not asked for").strip().splitlines()
    cause = next((line for line in reason if "error" in line.lower()), reason[0])
    return f"not compiled, torch's own operators take their place: {cause.strip()}"


def operators_key(record: dict) -> str:
    """Identifies what a build of the operators was made for and by; one of equal key may replace it."""
    names = ("torch", "cuda", "python", "machine", "sources", "compiler")
    return short_hash([str(record.get(name)) for name in names])


def require_compiler() -> str:
    compiler = find_compiler()
    if compiler is None:
        raise CompilationError(
            "`c++`: expected a C++20 compiler on PATH (c++, g++ or clang++, or the one $CXX names), found "
            "none; install one, for example with `apt install g++` or `conda install cxx-compiler`"
        )
    return compiler


# ---- building ------------------------------------------------------------------------------------


def build(target: Target, folder: Path) -> None:
    """Compile into a scratch folder beside ``folder``, then move it there in one step."""
    started = time.monotonic()
    with replacing(folder) as scratch:
        commands = Commands(target, require_compiler(), scratch)
        run_all(commands.compile())
        # nvcc refuses many host compilers; that must not keep anyone from working
        cuda_error = commands.why_no_nvcc or _attempt(commands.compile_cuda())
        if cuda_error and read_record(folder).get("cuda_kernels"):
            raise CompilationError(f"{cuda_error}; the earlier build with CUDA kernels stays: {folder}")
        run_all(commands.link(not cuda_error))
        record = {
            **asdict(target),
            "compiler": compiler_version(commands.compiler),
            "cuda_kernels": not cuda_error,
            "nvcc": compiler_version(commands.nvcc) if commands.nvcc else "",
            "cuda_architectures": commands.code_for() if not cuda_error else [],
            "cuda_error": cuda_error,
            "built": time.time(),
            "seconds": round(time.monotonic() - started, 1),
        }
        (scratch / RECORD).write_text(json.dumps(record, indent=1) + "\n")


class Commands:
    """The command lines of one build."""

    def __init__(self, target: Target, compiler: str, folder: Path) -> None:
        import torch

        self.compiler = compiler
        self.folder = folder
        self.sources = source_folder()
        self.torch = Path(torch.__file__).resolve().parent
        self.nvcc, self.why_no_nvcc = usable_nvcc(target.cuda)
        self.architectures = (
            choose_architectures(list_architectures(self.nvcc), _devices()) if self.nvcc else []
        )
        if self.nvcc and not self.architectures:
            self.why_no_nvcc = f"`{self.nvcc} --list-gpu-arch` names none that serves: {_devices() or 'none'}"
        includes = [self.torch / "include", self.torch / "include/torch/csrc/api/include"]
        self.common = [
            "-std=c++20",
            "-O3",
            f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        ]
        self.common += [flag for folder in includes for flag in ("-isystem", str(folder))]

    def compile(self) -> list[list[str]]:
        flags = [self.compiler, *self.common, "-fPIC", "-fvisibility=hidden"]
        if self._has_python_header():
            flags += ["-isystem", sysconfig.get_path("include")]
        names = operator_sources(cuda=False)
        names += [INFO_SOURCE] if self._has_python_header() else []
        return [[*flags, "-c", self._source(name), "-o", self._object(name)] for name in names]

    def compile_cuda(self) -> list[list[str]]:
        options = ["-Xcompiler", "-fPIC", "--expt-relaxed-constexpr", "--expt-extended-lambda", "--threads=0"]
        for name in self.code_for():
            options += [f"-gencode=arch=compute_{name.partition('_')[2]},code={name}"]
        nvcc = [str(self.nvcc), "-ccbin", self.compiler, *self.common, *options]
        names = [name for name in operator_sources(cuda=True) if name.endswith(".cu")]
        return [[*nvcc, "-c", self._source(name), "-o", self._object(name)] for name in names]

    def code_for(self) -> list[str]:
        """Machine code for each architecture, and PTX of the highest: ``["sm_80", "compute_80"]``."""
        return [*(f"sm_{n}" for n in self.architectures), *(f"compute_{n}" for n in self.architectures[-1:])]

    def link(self, with_cuda: bool) -> list[list[str]]:
        # No run path: the process has loaded its own libtorch before, and must never get a second one.
        # The CUDA run time is not named either: it comes with libc10_cuda. Nor is OpenMP, see parallel.h.
        shared = [self.compiler, "-shared"]
        shared += ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
        libraries = [f"-L{self.torch / 'lib'}", "-lc10", "-ltorch_cpu"]
        libraries += ["-lc10_cuda", "-ltorch_cuda"] if with_cuda else []
        objects = [self._object(name) for name in operator_sources(cuda=with_cuda)]
        commands = [[*shared, *objects, *libraries, "-o", str(self.folder / LIBRARY)]]
        if self._has_python_header():
            commands += [[*shared, self._object(INFO_SOURCE), "-o", str(self.folder / INFO_MODULE)]]
        return commands

    def _has_python_header(self) -> bool:
        # Python's development files are often missing; build.json then has to do for the information module.
        return (Path(sysconfig.get_path("include")) / "Python.h").is_file()

    def _source(self, name: str) -> str:
        return str(self.sources / name)

    def _object(self, name: str) -> str:
        return str(self.folder / f"{Path(name).with_suffix('').as_posix().replace('/', '_')}.o")


def _devices() -> list[int]:
    """Compute capabilities of the devices that are here, sorted (90 is 9.0)."""
    import torch

    if not torch.cuda.is_available():
        return []
    capabilities = {torch.cuda.get_device_capability(n) for n in range(torch.cuda.device_count())}
    return sorted(10 * major + minor for major, minor in capabilities)


def _attempt(commands: list[list[str]]) -> str:
    """The error of running the commands, empty if there is none."""
    try:
        run_all(commands)
    except CompilationError as error:
        return str(error)
    return ""


def _cached_folder(target: Target, compiler: str) -> Path:
    kind = f"cuda{target.cuda}" if target.cuda else "cpu"  # of torch
    return cache_folder() / f"ops-torch{target.torch}-{kind}-{short_hash([*target.values(), compiler])}"


def short_hash(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
