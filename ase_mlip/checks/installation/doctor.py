"""What is installed, what was built against what, and the command that fixes what does not fit.

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

from ...building import _build
from . import doctor_lammps, requirements
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
        ("CUDA kernels", _kernels),
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
    summary = "everything works" if not failed + warned else f"{failed} to fix, {warned} to know about"
    return "\n".join([*lines, summary])


def run() -> int:
    """Print the report; 1 if something has to be fixed, else 0.

    Returns
    -------
    int
        the exit status: 1 if something has to be fixed, else 0
    """
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
        return _usable_gpus()
    if torch.version.cuda is None:
        return Finding("CUDA device", OK, "not used: this torch is for the CPU")
    return Finding("CUDA device", OK, "none visible: the CPU is used")


def _usable_gpus() -> Finding:
    import torch

    from ...building.device import devices_to_try, find_gpus
    from ...errors import MLIPError

    gpus, found, problems = find_gpus(), [], []
    for index in range(len(gpus.capabilities)):
        found.append(torch.cuda.get_device_name(index))
        try:
            devices_to_try(f"cuda:{index}", gpus)
        except MLIPError as error:
            problems.append(str(error))
    if problems:
        return Finding(
            "CUDA device", WARN, "; ".join(problems), "a build of torch for these GPUs, or the CPU"
        )
    return Finding("CUDA device", OK, ", ".join(found))


def _nvcc() -> Finding:
    import torch

    wanted = torch.version.cuda
    if wanted is None:
        return Finding("nvcc", OK, "not needed: this torch is for the CPU")
    nvcc, problem = _build.usable_nvcc(wanted)
    if nvcc is not None:
        return Finding("nvcc", OK, f"{nvcc}: {_build.compiler_version(nvcc)}")
    return Finding("nvcc", OK, f"{problem}; not needed, but the compiled kernels are faster on a GPU")


def _kernels() -> Finding:
    """What was built for CUDA, and whether the GPUs that are here can run it."""
    import torch

    from ...building.device import covers, find_gpus

    name = "CUDA kernels"
    target = _build.describe_target()
    if not target.cuda:
        return Finding(name, OK, "not needed: this torch is for the CPU")
    folder = _build.find_build(target)
    if folder is None:
        return Finding(name, OK, f"not built yet: {BUILD_COMMAND}")
    record, gpus = _build.read_record(folder), find_gpus()
    found = _build.describe_kernels(record)
    if not gpus.capabilities:
        return Finding(name, OK, found)
    built_for = record.get("cuda_architectures", [])
    without = [index for index, each in enumerate(gpus.capabilities) if not covers(built_for, each)]
    names = [f"{torch.cuda.get_device_name(k)} ({'{}.{}'.format(*gpus.capabilities[k])})" for k in without]
    if not names:
        return Finding(name, OK, f"{found}; for every GPU that is here")
    found += f"; none for {', '.join(names)}, where torch's own operators are used"
    nvcc, _ = _build.usable_nvcc(target.cuda)
    remedy = (
        f"{BUILD_COMMAND} --force" if nvcc else "install nvcc of torch's CUDA, then build --force, for speed"
    )
    return Finding(name, WARN, found, remedy)


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
    found = f"{folder} (for torch {record['torch']}, by {record.get('compiler')})"
    library = str(folder / _build.LIBRARY)
    code = "import sys, torch; torch.ops.load_library(sys.argv[1]); torch.ops.ase_mlip.schema_version()"
    trial = subprocess.run([sys.executable, "-c", code, library], capture_output=True, text=True, check=False)
    remedy = f"rm -r {folder} && {BUILD_COMMAND}"
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
    from ...model_file.info import find_model, read_info, shipped_models

    names = shipped_models()
    if not names:
        return Finding("shipped models", WARN, "none in this package", "reinstall ase-mlip from its wheel")
    for name in names:
        try:
            read_info(find_model(name))
        except (OSError, ValueError) as error:
            return Finding("shipped models", FAIL, str(error), "reinstall ase-mlip")
    return Finding("shipped models", OK, ", ".join(names))
