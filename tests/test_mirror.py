"""Where a module's tests stand: in the file of its name, or in one that names it, as CONTRIBUTING.md says."""

import ast
import re
from pathlib import Path

import ase_mlip

TESTS = Path(__file__).parent
PACKAGE = Path(ase_mlip.__file__).parent
NO_PACKAGES = {"adapters", "cpp", "files"}  # environments of other programs; C++; files that tests read
MODULES = {  # those with names of their own
    path.relative_to(PACKAGE).with_suffix("")
    for path in PACKAGE.rglob("*.py")
    if not path.name.startswith("__")
}
FILES = {path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}


def module_of(file: Path) -> Path | None:
    """The module whose name a file has, which may go on: ``test_ops_composed.py`` is of ``_ops``."""
    name = file.stem.removeprefix("test_")
    known = [module for module in MODULES if module.parent == file.parent]
    known = [m for m in known if f"{name}_".startswith(f"{m.name.removeprefix('_')}_")]
    return max(known, key=lambda module: len(module.name), default=None)


def also_tested(file: Path) -> set[Path]:
    """What a file's docstring says that it also tests: modules of its package, or others with theirs."""
    text = ast.get_docstring(ast.parse((TESTS / file).read_text(encoding="utf-8"))) or ""
    names = re.findall(r"`([\w.]+)`", text.partition("It also tests")[2])
    paths = [Path(*name.split(".")) for name in names]
    return {file.parent / path if file.parent / path in MODULES else path for path in paths}


def test_every_folder_with_tests_is_a_package():
    folders = {file.parent for file in FILES if file.parts[0] not in NO_PACKAGES}
    assert {str(folder) for folder in folders if not (PACKAGE / folder / "__init__.py").exists()} == set()


def test_every_module_has_a_file_of_its_name_or_one_that_names_it():
    found = {module_of(file) for file in FILES}.union(*map(also_tested, FILES))
    assert {str(module) for module in MODULES - found} == set()


def test_files_name_modules_that_are_there():
    """And none that has a file of its own."""
    own = {module_of(file) for file in FILES}
    named = {(str(file), str(module)) for file in FILES for module in also_tested(file)}
    known = {str(module) for module in MODULES - own}
    assert {(file, module) for file, module in named if module not in known} == set()
