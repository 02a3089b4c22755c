"""Imports point downwards: what a part may know of the others (docs/architecture.md)."""

import ast
import fnmatch
import re
import sys
from pathlib import Path

import pytest

import ase_mlip

PACKAGE = Path(ase_mlip.__file__).parent
MODEL = {
    "model",
    "model_code",
    "model_document",
    "model_info",
    "export",
    "self_test",
    "archive",
    "first_schema",
    "leverage_file",
}
FOUNDATION = {
    "device",
    "errors",
    "_build",
    "_build_files",
    "_ops",
    "_torchscript",
    "potential",
    "neighbors",
    "averaging",
    "derivatives",
    "first_contract",
    "symmetrized_model",
}
LAMMPS_START = {"_build", "_build_files", "_build_lammps", "_lammps", "lammps_plugin_path"}


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def walk(node: ast.AST, late: bool):
    """All nodes but those under ``if TYPE_CHECKING``, which never run; those in functions if ``late``."""
    for child in ast.iter_child_nodes(node):
        if not is_type_checking(child) and (late or not isinstance(child, ast.FunctionDef)):
            yield child
            yield from walk(child, late)


def read_imports(path: Path, late: bool = True) -> tuple[set[str], set[str]]:
    """Modules of the package, and names of other packages, that a file imports; without ``late`` at once."""
    own, foreign = set(), set()
    here = ["ase_mlip", *path.relative_to(PACKAGE).parts[:-1]]
    for node in walk(ast.parse(path.read_text()), late):
        if isinstance(node, ast.Import):
            foreign |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            if not target.startswith("ase_mlip"):
                foreign.add(target.partition(".")[0])
            elif target == "ase_mlip":
                own |= {alias.name for alias in node.names}
            else:
                own.add(target.removeprefix("ase_mlip."))
    return own, foreign


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


GRAPH = {
    module_name(path): read_imports(path) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
}


AT_IMPORT = {
    module_name(path): read_imports(path, late=False)
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}


def reachable(start: str, graph: dict[str, tuple[set[str], set[str]]] = GRAPH) -> set[str]:
    """Modules of the package that a module imports, directly or not."""
    found: set[str] = set()
    queue = [start]
    while queue:
        new = (graph[queue.pop()][0] & graph.keys()) - found
        found |= new
        queue += new
    return found


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_no_module_imports_itself_through_others(name):
    assert name not in reachable(name)


def read_layers() -> list[tuple[int, str]]:
    """Layer and pattern of module names from the table in CONTRIBUTING.md."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", text, re.MULTILINE)
    patterns = [(int(layer), name) for layer, names in rows for name in re.findall(r"`([^`]+)`", names)]
    return [(layer, name.replace("/", ".*")) for layer, name in patterns]


def test_every_module_has_its_layer_and_imports_none_above():
    layers = read_layers()
    found = {}
    for name in GRAPH:
        # the longest pattern decides: `phonon_*` and `phonons` are of one layer, `plots*` of another
        places = [(len(pattern), layer) for layer, pattern in layers if fnmatch.fnmatch(name, pattern)]
        assert places, f"`{name}` has no layer: add it to the table in CONTRIBUTING.md"
        found[name] = max(places)[1]
    upwards = [
        f"{name} ({found[name]}) imports {other} ({found[other]})"
        for name, (own, _) in GRAPH.items()
        for other in own & GRAPH.keys()
        if found[other] > found[name]
    ]
    assert upwards == []


def test_errors_is_a_leaf():
    assert GRAPH["errors"] == (set(), set())


def test_nothing_imports_the_command_line():
    assert not [name for name, (own, _) in GRAPH.items() if "cli" in own]


def test_build_knows_nothing_else_of_the_package():
    assert GRAPH["_build"][0] & GRAPH.keys() == {"_build_files"}
    assert not GRAPH["_build_files"][0]


def test_what_runs_at_the_start_of_lammps_needs_the_standard_library_only():
    """`torch` is imported by the build itself, which runs in a process of its own."""
    for name in LAMMPS_START:
        own, foreign = GRAPH[name]
        assert own & GRAPH.keys() <= LAMMPS_START, name
        assert foreign - sys.stdlib_module_names <= {"torch"}, name
    for name in ("_lammps", "lammps_plugin_path"):
        assert "torch" not in GRAPH[name][1]


def test_the_artifact_knows_nothing_above_it():
    for name in MODEL:
        assert reachable(name) <= MODEL | FOUNDATION, name


def test_architectures_import_torch_only():
    standard = {"__future__", "collections", "dataclasses", "functools", "math", "typing"}
    for name, (own, foreign) in GRAPH.items():
        if name.startswith("architectures."):
            assert foreign - standard <= {"torch"}, name
            assert all(other.startswith("architectures.") for other in own), name


def test_the_mathematics_of_optimal_design_needs_numpy_and_scipy_only():
    standard = {"__future__", "collections", "dataclasses"}
    names = [name for name in GRAPH if name.startswith("optimal_design.algebra.")]
    assert names
    for name in names:
        own, foreign = GRAPH[name]
        assert foreign - standard <= {"numpy", "scipy"}, name
        assert all(other == "errors" or other.startswith("optimal_design.algebra.") for other in own), name


def test_the_loss_entropy_needs_numpy_only():
    assert GRAPH["landscapes.entropy"] == ({"errors"}, {"__future__", "collections", "numpy"})


def test_a_comparison_of_landscapes_knows_their_documents_only():
    names = {name for name in GRAPH if name.startswith("landscapes.comparison.")}
    assert names
    for name in names:
        own, foreign = GRAPH[name]
        assert own & GRAPH.keys() <= names | {"errors", "landscapes.document", "landscapes.entropy"}, name
        assert "torch" not in foreign, name


@pytest.mark.parametrize("name", ["relax", "phonons", "md", "nvt", "replicas", "eos"])
def test_simulations_take_any_ase_calculator(name):
    """Averaging imports the model's side late, when it is asked for."""
    if name in GRAPH:
        modules = {name} | reachable(name, AT_IMPORT)
        light = {"errors", "archive", "averaging", "model_code"}
        assert not modules & ((MODEL | FOUNDATION | {"calculator"}) - light)
        assert not [module for module in modules if "torch" in AT_IMPORT[module][1]]


# ---- the tests themselves ------------------------------------------------------------------------

TESTS = Path(__file__).parent


def test_tests_share_helper_modules_and_never_each_other():
    """Two folders may hold a ``test_snnp.py``; which one is imported depends on what was collected before."""
    wrong = []
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong += [
                f"{path.name} imports {name}" for name in names if name.split(".")[-1].startswith("test_")
            ]
    assert wrong == []


def test_helper_modules_of_tests_have_names_of_their_own():
    names = [path.stem for path in TESTS.rglob("*.py") if not path.stem.startswith("test_")]
    names = [name for name in names if name != "conftest"]
    assert sorted(names) == sorted(set(names))
