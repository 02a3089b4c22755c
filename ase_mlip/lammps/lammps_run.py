"""``ase-mlip lammps``: run LAMMPS with the plugin and the MPI library where it looks for them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..building import _build
from ..errors import BuildError, StructureError
from . import _build_lammps, _lammps, lammps_plugin_path

CMAKE_HINT = "build one against that LAMMPS with this project's CMakeLists.txt and -DLAMMPS_DIR=..."


def run(arguments: list[str], program: str | None = None, plugin: Path | None = None) -> None:
    """Become ``lmp``: signals, terminal and exit status are its own. Does not return.

    ``program``: another LAMMPS than the installed one, a path or a name on PATH; its plugin lies in the
    folder ``plugin`` or in one of LAMMPS_PLUGIN_PATH.

    Parameters
    ----------
    arguments : list of str
        of ``lmp``
    program : str, optional
        another LAMMPS than the installed one, a path or a name on PATH
    plugin : Path, optional
        folder of its plugin; by default one of LAMMPS_PLUGIN_PATH

    Raises
    ------
    BuildError
        no LAMMPS, or no plugin for it; the message says what to run
    """
    path, environment = prepare(program, plugin)
    os.execve(path, [str(path), *arguments], environment)


def nve_lines(atoms) -> str:
    """Lines of a LAMMPS input that integrate ``atoms`` (:class:`ase.Atoms`), but those that they hold fixed.

    Raises StructureError for constraints other than fixed atoms.
    """
    lines, group = free_group(atoms)
    return f"{lines}fix 1 {group} nve"


def free_group(atoms) -> tuple[str, str]:
    """Lines that make a group of the atoms which are not held fixed, and its name; without lines, "all".

    Raises StructureError for constraints other than fixed atoms.
    """
    from ase.constraints import FixAtoms  # late: `ase-mlip lammps` needs nothing of ASE

    others = [type(held).__name__ for held in atoms.constraints if not isinstance(held, FixAtoms)]
    if others:
        raise StructureError(
            f"`atoms`: expected fixed atoms (FixAtoms) as the only constraints for LAMMPS, got "
            f"{', '.join(others)}; use the engine of ASE, or remove them: `atoms.set_constraint()`"
        )
    fixed = sorted({int(index) + 1 for held in atoms.constraints for index in held.index})
    if not fixed:
        return "", "all"
    return f"group fixed id {' '.join(map(str, fixed))}\ngroup free subtract all fixed\n", "free"


def prepare(program: str | None = None, plugin: Path | None = None) -> tuple[Path, dict[str, str]]:
    """The program and the environment that :func:`run` uses.

    Parameters
    ----------
    program : str, optional
        as of :func:`run`
    plugin : Path, optional
        as of :func:`run`

    Returns
    -------
    tuple of Path and dict
        the program, and the environment to start it in
    """
    lammps = _lammps.find_lammps()
    if program is not None:
        path = shutil.which(program)
        if path is None:
            raise BuildError(f"`{program}`: expected a LAMMPS program, found none; give its path")
        return Path(path), with_folders(os.environ, plugin=_foreign_plugin(path, plugin))
    if lammps is None or lammps.program is None:
        raise BuildError(
            f"`lammps`: expected the Python package with its program, found none; "
            f"{_build_lammps.INSTALL_LAMMPS}, or name a program with --lmp"
        )
    try:
        folder = plugin or lammps_plugin_path.find_or_build(lammps)
    except _build.CompilationError as error:
        raise BuildError(str(error)) from error
    return lammps.program, with_folders(os.environ, _holding(folder), mpi=_mpi_folder(lammps))


def with_folders(
    environment: Mapping[str, str], plugin: Path | None = None, mpi: Path | None = None
) -> dict[str, str]:
    """The environment with these folders on LAMMPS_PLUGIN_PATH (first) and LD_LIBRARY_PATH (last)."""
    result = dict(environment)
    if plugin is not None:
        others = [text for text in result.get("LAMMPS_PLUGIN_PATH", "").split(":") if text]
        result["LAMMPS_PLUGIN_PATH"] = ":".join(dict.fromkeys([str(plugin), *others]))
    if mpi is not None:
        others = [text for text in result.get("LD_LIBRARY_PATH", "").split(":") if text]
        result["LD_LIBRARY_PATH"] = ":".join(dict.fromkeys([*others, str(mpi)]))
    return result


def _mpi_folder(lammps: _lammps.Lammps) -> Path | None:
    library = _lammps.find_mpi_library(lammps.mpi) if lammps.mpi else None
    return library.parent if library else None


def _holding(folder: Path | None) -> Path:
    if folder is None or not (folder / _build_lammps.PLUGIN).is_file():
        where = f" in {folder}" if folder else ""
        raise BuildError(
            f"`{_build_lammps.PLUGIN}`: expected one that fits the installed LAMMPS and torch, found none"
            f"{where}; run `{lammps_plugin_path.BUILD_COMMAND}`"
        )
    return folder


def _foreign_plugin(program: str, folder: Path | None) -> Path:
    """The folder of the plugin for a LAMMPS that we did not find, after asking it if it loads plugins."""
    search = os.environ.get("LAMMPS_PLUGIN_PATH", "").split(":")
    folders = [folder] if folder else [Path(text) for text in search if text]
    found = next((path for path in folders if (path / _build_lammps.PLUGIN).is_file()), None)
    if found is None:
        looked = ", ".join(map(str, folders)) or "LAMMPS_PLUGIN_PATH"
        raise BuildError(
            f"`{_build_lammps.PLUGIN}`: expected one for `{program}` in {looked}, found none; {CMAKE_HINT} "
            "and name its folder with --plugin"
        )
    text = help_text(program)
    if text and "PLUGIN" not in text.split():
        raise BuildError(
            f"`{program}`: expected a LAMMPS with the package PLUGIN, got one without; compile it with "
            "-DPKG_PLUGIN=on"
        )
    return found


def help_text(program: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """What ``lmp -h`` prints: version, MPI, packages; empty if it does not start."""
    try:
        result = subprocess.run(
            [str(program), "-h"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env=dict(environment) if environment is not None else None,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout if result.returncode == 0 else ""
