"""Imports point downwards: what a package may know of the others. The layers stand in CONTRIBUTING.md."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

import ase_mlip

PACKAGE = Path(ase_mlip.__file__).parent
MOST_MODULES = 12  # of a package, its subpackages apart
MOST_BESIDE = 6  # modules beside the packages
MOST_LINES = 400  # of a file in Python, C++ or CUDA, tests and benchmarks among them
SUFFIXES = {".cpp", ".cu", ".cuh", ".h"}


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def walk(node: ast.AST, late: bool, types: bool):
    """All nodes; those in functions if ``late``, and those that only give names of types if ``types``."""
    for child in ast.iter_child_nodes(node):
        if (types or not is_type_checking(child)) and (late or not isinstance(child, ast.FunctionDef)):
            yield child
            yield from walk(child, late, types)


def read_imports(path: Path, late: bool = True, types: bool = False) -> tuple[set[str], set[str]]:
    """Modules of the package, and names of other packages, that a file imports; without ``late`` at once."""
    own, foreign = set(), set()
    here = ["ase_mlip", *path.relative_to(PACKAGE).parts[:-1]]
    for node in walk(ast.parse(path.read_text()), late, types):
        if isinstance(node, ast.Import):
            foreign |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            if target.partition(".")[0] != "ase_mlip":
                foreign.add(target.partition(".")[0])
            else:
                target = target.removeprefix("ase_mlip").removeprefix(".")
                names = {f"{target}.{alias.name}".removeprefix(".") for alias in node.names}
                own |= {name for name in names if name in MODULES} or {target}
    return own, foreign


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


NOT_MODULES = ("__init__.py", "__main__.py")  # the latter is run by `python -m`, and imported by nothing
PATHS = {module_name(path): path for path in PACKAGE.rglob("*.py") if path.name not in NOT_MODULES}
MODULES = set(PATHS)
GRAPH = {name: read_imports(path) for name, path in PATHS.items()}
WITH_TYPES = {name: read_imports(path, types=True) for name, path in PATHS.items()}
AT_IMPORT = {name: read_imports(path, late=False) for name, path in PATHS.items()}


def reachable(start: str, graph: dict[str, tuple[set[str], set[str]]] = GRAPH) -> set[str]:
    """Modules of the package that a module imports, directly or not."""
    found: set[str] = set()
    queue = [start]
    while queue:
        new = (graph[queue.pop()][0] & graph.keys()) - found
        found |= new
        queue += new
    return found


def read_layers() -> dict[str, int]:
    """The layer of each package, and of the modules beside them, from the table in CONTRIBUTING.md."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", text, re.MULTILINE)
    return {name: int(layer) for layer, names in rows for name in re.findall(r"`([^`]+)`", names)}


LAYERS = read_layers()


def package_of(name: str) -> str:
    return name.partition(".")[0]


def links() -> dict[str, set[str]]:
    """The packages that each package imports, also for types only."""
    found: dict[str, set[str]] = {name: set() for name in LAYERS}
    for name, (own, _) in WITH_TYPES.items():
        found[package_of(name)] |= {package_of(other) for other in own if package_of(other) in LAYERS}
    return {name: others - {name} for name, others in found.items()}


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_no_module_imports_itself_through_others(name):
    assert name not in reachable(name)


def test_the_table_names_every_package_and_nothing_else():
    there = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    there |= {name for name in MODULES if "." not in name}
    assert there == LAYERS.keys()


def test_no_package_imports_one_above_it():
    upwards = [
        f"{name} ({LAYERS[package_of(name)]}) imports {other} ({LAYERS[package_of(other)]})"
        for name, (own, _) in WITH_TYPES.items()
        for other in own & MODULES
        if LAYERS[package_of(other)] > LAYERS[package_of(name)]
    ]
    assert upwards == []


def test_packages_never_import_each_other_in_a_circle():
    graph = {name: (others, set()) for name, others in links().items()}
    assert [name for name in graph if name in reachable(name, graph)] == []


def test_packages_are_small_enough_to_be_read():
    folders = [path.parent for path in PACKAGE.rglob("__init__.py")]
    sizes = {folder: sum(path.name not in NOT_MODULES for path in folder.glob("*.py")) for folder in folders}
    assert sizes.pop(PACKAGE) <= MOST_BESIDE
    assert {str(folder): n for folder, n in sizes.items() if n > MOST_MODULES} == {}


def test_no_source_file_is_long():
    sources = list(PACKAGE.rglob("*.py"))
    for folder in ("tests", "benchmarks", "examples"):
        sources += (PACKAGE.parent / folder).rglob("*.py")
    for folder in ("csrc", "lammps_plugin", "tests"):
        sources += [path for path in (PACKAGE.parent / folder).rglob("*") if path.suffix in SUFFIXES]
    lines = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources}
    assert len(lines) > 600
    assert {name: n for name, n in lines.items() if n > MOST_LINES} == {}


def test_every_package_says_what_is_public_and_that_is_there():
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent == PACKAGE:
            continue
        package = importlib.import_module(".".join(path.parent.relative_to(PACKAGE.parent).parts))
        text = package.__doc__ or ""
        assert "import" in text, f"{path} does not say what the package may import"
        names = re.findall(r"``([\w.]+)``", text.partition("Public:")[2])
        # modules alone leave open which of their names others may rely on
        assert names or getattr(package, "__all__", None), f"{path} lists no public name"
        for name in re.findall(r":mod:`\.(\w+)`", text):
            assert importlib.import_module(f"{package.__name__}.{name}"), name
        for name in names:
            module, _, attribute = name.rpartition(".")
            if module:
                assert hasattr(importlib.import_module(f"{package.__name__}.{module}"), attribute), name


def test_no_public_function_has_the_name_of_a_package():
    """One would hide the other where both are imported. Commands are named as users type them."""
    packages = {path.parent.name for path in PACKAGE.rglob("__init__.py")} - {PACKAGE.name}
    public = set(ase_mlip.__all__)
    for path in PACKAGE.rglob("__init__.py"):
        parts = path.parent.relative_to(PACKAGE.parent).parts
        if parts[1:2] == ("cli",):
            continue
        module = importlib.import_module(".".join(parts))
        names = re.findall(r"``([\w.]+)``", (module.__doc__ or "").partition("Public:")[2])
        public |= {name.rpartition(".")[2] for name in names if "." in name}
        public |= set(getattr(module, "__all__", ()))
    assert len(public) > 150
    assert sorted(public & packages) == []


def test_errors_is_a_leaf():
    assert GRAPH["errors"] == (set(), {"sys", "types"})


def test_nothing_imports_the_command_line():
    assert not [name for name, others in links().items() if "cli" in others]


def test_building_knows_nothing_else_of_the_package_but_errors():
    assert links()["building"] <= {"errors"}
    assert not GRAPH["building._build_files"][0]


def test_what_runs_at_the_start_of_lammps_needs_the_standard_library_only():
    """`torch` is imported by the build itself, which runs in a process of its own."""
    start = {"building._build", "building._build_files", "building._run_compilers"}
    start |= {"lammps._build_lammps", "lammps._lammps", "lammps.lammps_plugin_path"}
    for name in start:
        own, foreign = GRAPH[name]
        assert own & MODULES <= start, name
        assert foreign - sys.stdlib_module_names <= {"torch"}, name
    for name in ("lammps._lammps", "lammps.lammps_plugin_path"):
        assert "torch" not in GRAPH[name][1]


def test_the_model_file_knows_nothing_of_networks_and_calculators():
    known = {
        "model_file",
        "graph",
        "rotations",
        "building",
        "errors",
        "provenance",
        "_torchscript",
        "crystals",
        "voigt",
    }
    for name in MODULES:
        if package_of(name) == "model_file":
            assert {package_of(other) for other in reachable(name)} <= known, name


def test_networks_import_torch_only():
    standard = {"__future__", "collections", "dataclasses", "functools", "math", "typing"}
    for name, (own, foreign) in GRAPH.items():
        if package_of(name) == "networks":
            assert foreign - standard <= {"torch"}, name
            assert all(package_of(other) == "networks" for other in own), name


def test_the_mathematics_of_optimal_design_needs_numpy_and_scipy_only():
    standard = {"__future__", "collections", "dataclasses"}
    names = [name for name in GRAPH if name.startswith("optimal_design.algebra.")]
    assert names
    for name in names:
        own, foreign = GRAPH[name]
        assert foreign - standard <= {"numpy", "scipy"}, name
        assert all(other == "errors" or other.startswith("optimal_design.algebra") for other in own), name


def test_the_loss_entropy_needs_numpy_only():
    assert GRAPH["landscapes.entropy"] == ({"errors"}, {"__future__", "collections", "numpy"})


def test_a_comparison_of_landscapes_knows_their_documents_only():
    names = {name for name in GRAPH if name.startswith("landscapes.comparison.")}
    assert names
    for name in names:
        own, foreign = GRAPH[name]
        assert own & GRAPH.keys() <= names | {"errors", "landscapes.document", "landscapes.entropy"}, name
        assert "torch" not in foreign, name


SIMULATIONS = ["relaxation.relax", "lattice_dynamics.phonons", "dynamics.md", "dynamics.nvt"]


@pytest.mark.parametrize("name", [*SIMULATIONS, "dynamics.replicas", "mechanics.eos"])
def test_simulations_take_any_ase_calculator(name):
    """Averaging imports the model's side late, when it is asked for."""
    modules = {name} | reachable(name, AT_IMPORT)
    assert {package_of(other) for other in modules} & {"model_file", "networks", "data"} == set()
    assert "calculators.calculator" not in modules
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


def test_benchmarks_never_import_each_other_in_a_circle():
    paths = {path.stem: path for path in (TESTS.parent / "benchmarks").glob("*.py")}
    graph = {}
    for name, path in paths.items():
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        found |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        graph[name] = (found & paths.keys(), set())
    assert [name for name in graph if name in reachable(name, graph)] == []


def test_helper_modules_of_tests_have_names_of_their_own():
    names = [path.stem for path in TESTS.rglob("*.py") if not path.stem.startswith("test_")]
    names = [name for name in names if name != "conftest"]
    assert sorted(names) == sorted(set(names))
