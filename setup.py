"""What pyproject.toml cannot say: the C++ sources go into the package, and are compiled if torch is here.

Without torch in the build environment (the usual, isolated `pip install .`), or without a compiler, the
operators are compiled on first use instead.
"""

import importlib.util
import shutil
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


def load_builder():
    """ase_mlip/_build.py by its path: the package itself need not be importable yet."""
    spec = importlib.util.spec_from_file_location("_ase_mlip_build", ROOT / "ase_mlip" / "_build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


BUILDER = load_builder()


def can_compile() -> bool:
    return importlib.util.find_spec("torch") is not None and BUILDER.find_compiler() is not None


class BuildWithOperators(build_py):
    def run(self):
        super().run()
        try:
            if self.editable_mode:
                if can_compile():
                    BUILDER.find_or_build()
                return
            package = Path(self.build_lib) / "ase_mlip"
            shutil.copytree(ROOT / "csrc", package / "csrc", dirs_exist_ok=True)
            shutil.rmtree(
                package / BUILDER.installed_folder().name, ignore_errors=True
            )  # of an earlier build
            if can_compile():
                BUILDER.build(BUILDER.describe_target(), package / BUILDER.installed_folder().name)
        except BUILDER.CompilationError as error:
            print(
                f"ase_mlip: the operators will be compiled on first use, because now\n{error}",
                file=sys.stderr,
            )


class DistributionWithOperators(Distribution):
    def has_ext_modules(self):
        # A wheel with compiled parts fits one Python and platform, one without fits all.
        return can_compile()


setup(cmdclass={"build_py": BuildWithOperators}, distclass=DistributionWithOperators)
