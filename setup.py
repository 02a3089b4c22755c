"""What pyproject.toml cannot say: the C++ sources go into the package, and are compiled if torch is here.

Without torch in the build environment (the usual, isolated `pip install .`), or without a compiler, the
operators, and LAMMPS' pair style if LAMMPS is here, are compiled on first use instead.
"""

import importlib.util
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


sys.path.insert(0, str(ROOT))  # the package imports nothing that is not in the standard library
from ase_mlip.building import _build  # noqa: E402
from ase_mlip.lammps import _build_lammps, _lammps  # noqa: E402


def can_compile() -> bool:
    return importlib.util.find_spec("torch") is not None and _build.find_compiler() is not None


def build_lammps(package: Path | None) -> None:
    """The pair style, into the cache or into a package that will be installed beside this Python's others."""
    lammps = _lammps.find_lammps()
    if lammps is None:
        return
    if package is None:
        _build_lammps.find_or_build(lammps)
        return
    _build_lammps.require_plugins(lammps)
    # Paths are compiled in. If the package goes elsewhere, this build does not fit; the first use makes one.
    home = Path(sysconfig.get_path("platlib")).resolve() / "ase_mlip"
    target = _build_lammps.describe_target(lammps, home)
    operators = home / _build.installed_folder().name / _build.LIBRARY
    folder = package / _build_lammps.installed_folder().name
    operators_now = package / _build.installed_folder().name
    _build_lammps.build(target, lammps, operators, folder, operators_at=operators_now)


def attempt(what: str, build, *arguments) -> None:
    """An installation never fails because something could not be compiled."""
    try:
        build(*arguments)
    except (_build.CompilationError, OSError) as error:
        print(f"ase_mlip: {what} will be compiled on first use, because now\n{error}", file=sys.stderr)


class BuildWithOperators(build_py):
    def run(self):
        super().run()
        if self.editable_mode:
            if can_compile():
                attempt("the operators", _build.find_or_build)
                attempt("pair_style mlip", build_lammps, None)
            return
        package = Path(self.build_lib) / "ase_mlip"
        for name in ("csrc", "lammps_plugin"):
            shutil.copytree(ROOT / name, package / name, dirs_exist_ok=True)
        for folder in (_build.installed_folder(), _build_lammps.installed_folder()):
            shutil.rmtree(package / folder.name, ignore_errors=True)  # of an earlier build
        if can_compile():
            operators = package / _build.installed_folder().name
            attempt("the operators", lambda: _build.build(_build.describe_target(), operators))
            attempt("pair_style mlip", build_lammps, package)


class DistributionWithOperators(Distribution):
    def has_ext_modules(self):
        # A wheel with compiled parts fits one Python and platform, one without fits all.
        return can_compile()


setup(cmdclass={"build_py": BuildWithOperators}, distclass=DistributionWithOperators)
