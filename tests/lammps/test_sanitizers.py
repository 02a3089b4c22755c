"""The quick tests of the pair style again, on a plugin that was built with sanitizers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(command, **options) -> str:
    """Standard output and error of a command that has to succeed."""
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert result.returncode == 0, f"{result.stdout[-5000:]}\n{result.stderr[-5000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def sanitized(lammps, tmp_path_factory) -> Path:
    """The folder of the plugin."""
    import torch

    from ase_mlip.lammps import _lammps

    if shutil.which("cmake") is None or (torch.version.cuda and not shutil.which("nvcc")):
        pytest.skip("cmake not found, or torch's CMake needs nvcc")
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("prefix")
    options = {
        "ASE_MLIP_SANITIZE": "ON",
        "CMAKE_CXX_FLAGS_RELEASE": "-O1",  # compiles in a fraction of the time
        "BUILD_TESTING": "OFF",
        "LAMMPS_DIR": _lammps.find_lammps().folder,
        "CMAKE_PREFIX_PATH": torch.utils.cmake_prefix_path,
        "CMAKE_INSTALL_PREFIX": prefix,
    }
    if lammps.mpirun:
        options["MPI_CXX_COMPILER"] = Path(lammps.mpirun).with_name("mpicxx")
    run(["cmake", "-S", ROOT, "-B", build, *(f"-D{key}={value}" for key, value in options.items())])
    run(["cmake", "--build", build, "--parallel", "2"])
    run(["cmake", "--install", build])
    return prefix / "lib" / "ase_mlip"


@pytest.mark.slow
def test_sanitizers_find_nothing(sanitized):
    """They end a process at the first finding, and so fail the test that ran it.

    Leaks are not looked for: libtorch and MPI keep their registries to the end (tests of memory do that).
    """
    library = run(["c++", "-print-file-name=libasan.so"]).strip()
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    arguments = ["--plugin", sanitized, "--preload", library, "-m", "not slow", "-q"]
    output = run(
        [sys.executable, "-m", "pytest", Path(__file__).parent, *arguments], env=environment, cwd=ROOT
    )
    assert " passed" in output
