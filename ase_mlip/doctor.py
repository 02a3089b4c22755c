"""What is installed, what was built against what, and the command that mends what does not fit.

Nothing compiled is loaded into this process: a library that fits is tried in a process of its own, last.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from packaging.requirements import Requirement

from . import _build, doctor_lammps, requirements
from .finding import BUILD_COMMAND, FAIL, OK, WARN, Finding, guarded


def diagnose(*names: str) -> list[Finding]:
    """The findings of these names, or all, in the order in which problems are best solved. Raises nothing."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", _python),
        ("torch", _torch),
        ("compiler", _compiler),
        ("CUDA device", _cuda),
        ("nvcc", _nvcc),
        ("operators", _operators),
        ("allocator", _allocator),
        *_package_checks(),
        ("shipped models", _models),
    ]
    findings = [guarded(name, check) for name, check in checks if not names or name in names]
    return findings if names and "LAMMPS" not in names else findings + doctor_lammps.diagnose()


def format_findings(findings: list[Finding]) -> str:
    """A table for people, the remedy under each line that needs one, and a closing line."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:>4}  {finding.name:<{width}}  {finding.found}")
        if finding.remedy:
            lines.append(f"{'':>4}  {'':<{width}}  -> {finding.remedy}")
    failed = sum(finding.status == FAIL for finding in findings)
    warned = sum(finding.status == WARN for finding in findings)
    summary = "everything works" if not failed + warned else f"{failed} to mend, {warned} to know about"
    return "\n".join([*lines, summary])


def run() -> int:
    """Print the report; 1 if something has to be mended, else 0."""
    findings = diagnose()
    print(format_findings(findings))
    return int(any(finding.status == FAIL for finding in findings))


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable})"
    if not requirements.python_fits():
        bound = requirements.python_bound()
        return Finding("python", FAIL, f"{found}, expected {bound}", f"install Python {bound}")
    return Finding("python", OK, found)


def _torch() -> Finding:
    try:
        bound = next(item for item in requirements.needed() if item.name == "torch")
    except importlib.metadata.PackageNotFoundError:  # said in a row of its own
        bound = Requirement("torch")
    try:
        import torch
    except ImportError as error:
        return Finding("torch", FAIL, f"cannot be imported: {error}", requirements.pip_command([bound]))
    built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    found = f"{torch.__version__} ({built_for}, {torch.get_num_threads()} threads)"
    return _compared(bound, torch.__version__, found, FAIL)


def _compiler() -> Finding:
    compiler = _build.find_compiler()
    if compiler is None:
        remedy = (
            "install one (`apt install g++`, `conda install cxx-compiler`) unless the operators are built"
        )
        return Finding("compiler", WARN, "no C++ compiler on PATH", remedy)
    return Finding("compiler", OK, f"{compiler}: {_build.compiler_version(compiler)}")


def _cuda() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
        return Finding("CUDA device", OK, ", ".join(names))
    if torch.version.cuda is None:
        return Finding("CUDA device", OK, "not used: this torch is for the CPU")
    return Finding("CUDA device", OK, "none visible: the CPU is used")


def _nvcc() -> Finding:
    import torch

    nvcc = _build.find_nvcc()
    wanted = torch.version.cuda
    if wanted is None:
        return Finding("nvcc", OK, "not needed: this torch is for the CPU")
    found = f"{nvcc}: {_build.compiler_version(nvcc)}" if nvcc else "not found"
    if _build.usable_nvcc(wanted):
        return Finding("nvcc", OK, found)
    major = wanted.partition(".")[0]
    remedy = (
        f"install nvcc of CUDA {major} to compile the operators for the GPU; without it they run on the CPU"
    )
    return Finding("nvcc", WARN if torch.cuda.is_available() else OK, found, remedy)


def _operators() -> Finding:
    target = _build.describe_target()
    folder = _build.find_build(target)
    if folder is not None:
        return _try_to_load(folder)
    compiler = _build.find_compiler()
    remedy = BUILD_COMMAND if compiler else f"install a C++20 compiler, then {BUILD_COMMAND}"
    stale = _build.read_record(_build.installed_folder())
    if stale:
        built_for = f"torch {stale.get('torch')}, {stale.get('python')}"
        found = f"{_build.installed_folder()} is for {built_for}, not torch {target.torch}, {target.python}"
    else:
        found = f"not built for torch {target.torch} ({_build.cache_folder()} is searched)"
    return Finding("operators", WARN if compiler else FAIL, found + "; built on first use", remedy)


def _try_to_load(folder: Path) -> Finding:
    record = _build.read_record(folder)
    kind = f"CPU and CUDA {record['cuda']}" if record.get("cuda_kernels") else "CPU"
    found = f"{folder} ({kind}, for torch {record['torch']}, by {record.get('compiler')})"
    library = str(folder / _build.LIBRARY)
    code = "import sys, torch; torch.ops.load_library(sys.argv[1]); torch.ops.ase_mlip.schema_version()"
    trial = subprocess.run([sys.executable, "-c", code, library], capture_output=True, text=True, check=False)
    remedy = f"rm -r {folder} && {BUILD_COMMAND}"
    if trial.returncode == 0 and record.get("cuda_error"):
        return Finding("operators", WARN, f"{found}; nvcc failed, see {folder / _build.RECORD}", remedy)
    if trial.returncode == 0:
        return Finding("operators", OK, found)
    last_line = (trial.stderr.strip().splitlines() or [f"exit status {trial.returncode}"])[-1]
    return Finding("operators", FAIL, f"{found} does not load: {last_line}", remedy)


def _allocator() -> Finding:
    if hasattr(ctypes.CDLL(None), "mallopt") and "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {}):
        return Finding("allocator", OK, f"{os.confstr('CS_GNU_LIBC_VERSION')}, tuned at the first model load")
    remedy = "large systems may run at half the speed; a Linux with glibc has the setting"
    return Finding("allocator", WARN, "cannot be tuned: this is not glibc", remedy)


def _package_checks() -> list[tuple[str, Callable[[], Finding]]]:
    """A row for each package that is required, and for those of extras that are there."""
    try:
        required = [item for item in requirements.needed() if item.name != "torch"]
        optional = [item for extra in requirements.extras() for item in requirements.needed(extra)]
    except importlib.metadata.PackageNotFoundError as error:
        return [(str(error.name), _not_installed)]
    known = {item.name for item in required}
    optional = [item for item in optional if item.name not in known and _version(item.name) is not None]
    rows = [(item, FAIL) for item in required] + [(item, WARN) for item in optional]
    return [(item.name, lambda item=item, status=status: _package(item, status)) for item, status in rows]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package(item: Requirement, status: str) -> Finding:
    version = _version(item.name)
    if version is None:
        return Finding(item.name, status, "not installed", requirements.pip_command([item]))
    return _compared(item, version, version, status)


def _compared(item: Requirement, version: str, found: str, status: str) -> Finding:
    """``status`` where the version lies outside the bounds of the requirement."""
    if item.specifier.contains(version, prereleases=True):
        return Finding(item.name, OK, found)
    remedy = requirements.pip_command([item]).replace("pip install", "pip install --upgrade", 1)
    return Finding(item.name, status, f"{found}, expected {item.specifier}", remedy)


def _not_installed() -> Finding:
    remedy = "pip install --no-build-isolation --no-deps -e . in the clone"
    return Finding(requirements.PACKAGE, WARN, "imported from its sources: versions are not compared", remedy)


def _models() -> Finding:
    from .model_info import find_model, read_info, shipped_models

    names = shipped_models()
    if not names:
        return Finding("shipped models", WARN, "none in this package", "reinstall ase-mlip from its wheel")
    for name in names:
        try:
            read_info(find_model(name))
        except (OSError, ValueError) as error:
            return Finding("shipped models", FAIL, str(error), "reinstall ase-mlip")
    return Finding("shipped models", OK, ", ".join(names))
