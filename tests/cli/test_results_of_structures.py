"""Commands that take several structures print and write them in one shape: that of docs/commands.md."""

import json
import re
import warnings
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner

import ase_mlip.lattice_dynamics.phonons
import ase_mlip.relaxation.relax
from ase_mlip.cli.program import main
from ase_mlip.errors import DataError, StructureError
from ase_mlip.landscapes.comparison.files import read_targets
from ase_mlip.report import validate as validation
from ase_mlip.report.validate_steps import NotApplicable
from tests.validate_cases import run_here

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
OPTIONS = {
    "relax": ("--fmax", "0.05", "--dtype", "float64"),
    "phonons": ("--supercell", "1", "1", "1", "--mesh", "2", "2", "2", "--path", "GX"),
    "symmetry": ("--orientations", "2", "--symmetrize", "none"),
    "validate": ("--quick", "--processes", "1"),
}
WRITTEN = {"relax": "relax.json", "symmetry": "symmetry.json", "validate": "results.json"}
FUNCTIONS = {
    "relax": (ase_mlip.relaxation.relax, "relax"),
    "phonons": (ase_mlip.lattice_dynamics.phonons, "phonons"),
}


def invoke(command, *arguments):
    words = [command, *map(str, arguments), *OPTIONS[command], "--json"]
    return CliRunner().invoke(main, words)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with two crystals that are not at their minimum, in a file each and in one, and gold."""
    monkeypatch.chdir(tmp_path)
    frames = [bulk("Si", a=a, cubic=True) for a in (5.40, 5.45)]
    for name, frame in zip(("one", "two"), frames, strict=True):
        write(f"{name}.extxyz", frame)
    write("both.extxyz", frames)
    write("gold.extxyz", bulk("Au", cubic=True))
    return tmp_path


@pytest.fixture
def no_steps(monkeypatch):
    """Validation without its steps, which are tested elsewhere."""

    def step(job):
        job.relaxed = job.atoms
        raise NotApplicable("left out")

    monkeypatch.setattr(validation, "run_in_processes", run_here)
    monkeypatch.setattr(validation, "STEPS", {"relaxation": step})


def watch(command, monkeypatch):
    """What the function in Python returns while the command calls it."""
    module, name = FUNCTIONS[command]
    function, found = getattr(module, name), []

    def watched(*arguments, **options):
        found.append(function(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(module, name, watched)
    return found


@pytest.mark.parametrize("command", OPTIONS)
def test_two_structures_have_one_shape(command, here, sw_path, no_steps):
    result = invoke(command, sw_path, "one.extxyz", "two.extxyz", "-o", "out")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    more = {"schema_version", "model", "seconds", "versions", "hardware"} if command == "validate" else set()
    assert document.keys() == {"settings", "structures"} | more
    assert document["settings"] and list(document["structures"]) == ["one", "two"]
    for name, found in document["structures"].items():
        assert (found["file"], found["frame"]) == (f"{name}.extxyz", 0)
        assert "error" not in found
        assert command == "validate" or "warnings" in found  # of which every step has its own
    if command in WRITTEN:
        assert json.loads((here / "out" / WRITTEN[command]).read_text()) == document
        return
    for name, found in document["structures"].items():  # each in a folder of its own, with the spectra
        stored = json.loads((here / "out" / name / "phonons.json").read_text())
        assert found.items() <= stored.items() and stored["settings"]["distance"] == 0.01


@pytest.mark.parametrize("command", FUNCTIONS)
def test_a_document_holds_what_to_dict_of_the_result_gives(command, here, sw_path, monkeypatch):
    """With equal values; frames of one file have their index."""
    results = watch(command, monkeypatch)
    result = invoke(command, sw_path, "both.extxyz", "-o", "out")
    assert result.exit_code == 0, result.output
    documents = json.loads(result.stdout)["structures"]
    assert list(documents) == ["both-0", "both-1"] and len(results) == 2
    for index, (document, of_python) in enumerate(zip(documents.values(), results, strict=True)):
        expected = of_python.to_dict()
        assert {name: document[name] for name in expected} == json.loads(json.dumps(expected))
        assert (document["file"], document["frame"]) == ("both.extxyz", index)


@pytest.mark.parametrize("command", FUNCTIONS)
def test_a_structure_that_failed_has_its_error_in_the_same_place(command, here, sw_path):
    result = invoke(command, sw_path, "gold.extxyz", "one.extxyz", "-o", "out")
    assert result.exit_code == 1
    gold, silicon = json.loads(result.stdout)["structures"].values()
    assert "Au" in gold["error"] and (gold["file"], gold["frame"]) == ("gold.extxyz", 0)
    assert "warnings" in gold and "error" not in silicon


def test_symmetry_names_files_as_other_commands_do(here, sw_path):
    (here / "other").mkdir()
    write("other/one.extxyz", bulk("Si", cubic=True))
    result = invoke("symmetry", sw_path, "one.extxyz", "other/one.extxyz")
    found = json.loads(result.stdout)["structures"]
    assert {name: document["file"] for name, document in found.items()} == {
        "one": "one.extxyz",
        "one_2": "other/one.extxyz",
    }


def test_a_structure_that_was_done_before_has_the_same_document(here, sw_path, monkeypatch):
    """To all digits, though relaxed.extxyz has eight decimals; also where only another is asked for."""
    first = json.loads(invoke("relax", sw_path, "one.extxyz", "two.extxyz", "-o", "out").stdout)["structures"]
    results = watch("relax", monkeypatch)
    for files in (["one.extxyz", "two.extxyz"], ["two.extxyz"]):
        again = json.loads(invoke("relax", sw_path, *files, "-o", "out").stdout)["structures"]
        assert not results
        for name, document in first.items():
            assert again[name] == document | {"status": "done before"}


def test_a_folder_of_a_former_version_is_refused_and_can_be_replaced(here, sw_path):
    """It had a list, of fewer numbers, and none of the documents that results are taken from."""
    assert invoke("relax", sw_path, "one.extxyz", "two.extxyz", "-o", "out").exit_code == 0
    stored = here / "out" / "relax.json"
    document = json.loads(stored.read_text())
    rows = [{"name": name, "status": "converged"} for name in document["structures"]]
    stored.write_text(json.dumps(document | {"structures": rows}))
    for file in (here / "out" / "trajectories").glob("*.json"):
        file.unlink()
    before = {path: path.read_bytes() for path in (here / "out").rglob("*") if path.is_file()}
    refused = invoke("relax", sw_path, "two.extxyz", "-o", "out")
    assert (refused.exit_code, refused.stdout) == (1, "")
    said = " ".join(refused.stderr.split())
    assert re.search(
        r"got 'one' without its document `out/trajectories/one-x\w+\.json`, as a former version left it; "
        "choose another folder, or replace them with --overwrite",
        said,
    )
    assert {path: path.read_bytes() for path in (here / "out").rglob("*") if path.is_file()} == before
    replaced = invoke("relax", sw_path, "one.extxyz", "two.extxyz", "-o", "out", "--overwrite")
    found = json.loads(replaced.stdout)["structures"]
    assert [document["status"] for document in found.values()] == ["converged"] * 2
    assert json.loads(stored.read_text())["structures"] == found


def test_a_comparison_of_landscapes_refuses_such_a_file_by_name(here, sw_path):
    invoke("relax", sw_path, "one.extxyz", "-o", "out")
    with pytest.raises(DataError, match="out/relax.json`: expected what `ase-mlip evaluate --json` or"):
        read_targets("out/relax.json")


@pytest.mark.parametrize("command", FUNCTIONS)
def test_warnings_before_a_failure_are_said_and_kept(command, here, sw_path, monkeypatch):
    def fail(*arguments, **options):
        warnings.warn("the cell is small", UserWarning, stacklevel=1)
        raise StructureError("failed")

    monkeypatch.setattr(*FUNCTIONS[command], fail)
    result = invoke(command, sw_path, "one.extxyz", "-o", "out")
    found = json.loads(result.stdout)["structures"]["one"]
    assert (found["warnings"], found["error"]) == (["the cell is small"], "failed")
    assert "warning: the cell is small\n" in result.stderr


def test_the_page_has_an_example():
    """Two lines, which a reader may copy."""
    (example,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    document = json.loads(example)
    assert document.keys() == {"settings", "structures"} and len(example.splitlines()) == 2
    silicon, gold = document["structures"].values()
    assert silicon.keys() >= {"file", "frame", "warnings"} and gold.keys() >= {"file", "frame", "error"}
