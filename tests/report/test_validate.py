"""All workflows on structures: what is found of each, and that a run goes on after a kill or an interrupt."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.io import write
from click.testing import CliRunner

from ase_mlip.cli.program import main
from ase_mlip.errors import ArgumentError, DataError, StructureError
from ase_mlip.provenance import versions as module_versions
from ase_mlip.report import validate as module
from ase_mlip.report.validate import validate
from ase_mlip.report.validate_report import overview
from ase_mlip.report.validate_steps import STEPS, NotApplicable
from tests.validate_cases import QUICK, run_here
from tests.worker_cases import children, hear_interrupts


def test_every_step_is_there_or_says_why_not(report):
    _, document = report
    crystal, dimer, ge = (document.structures[name]["steps"] for name in ("silicon", "dimer", "ge"))
    assert list(crystal) == list(STEPS)
    assert not [step for step, found in crystal.items() if "numbers" not in found]
    assert {step for step, found in dimer.items() if "skipped" in found} == {"phonons", "elasticity"}
    assert "numbers" in dimer["dynamics"]
    assert "faces are 5.4" in crystal["phonons"]["warnings"][0]  # QUICK's supercell is too small
    assert "does not know" in ge["relaxation"]["error"]
    assert all(ge[step] == {"skipped": "not relaxed"} for step in STEPS if step != "relaxation")


def test_numbers_are_those_of_the_workflows(report):
    """Silicon's, from what the potential was trained on."""
    _, document = report
    steps = document.structures["silicon"]["steps"]
    assert steps["relaxation"]["numbers"]["volume_per_atom"] == pytest.approx(5.4695**3 / 8, rel=0.01)
    assert steps["phonons"]["numbers"]["gamma"][-1] == pytest.approx(15.1, abs=1.0)
    assert steps["elasticity"]["numbers"]["moduli"]["bulk"] == pytest.approx(88.5, abs=8.0)
    plain, octahedral, icosahedral = (row["forces"] for row in steps["symmetry"]["numbers"]["rows"])
    assert plain > 3 * octahedral > 3 * icosahedral
    assert steps["dynamics"]["numbers"]["stable"]
    assert steps["dynamics"]["numbers"]["drift"] is None  # 0.01 ps have none


def test_what_is_done_is_not_repeated(report, structures, monkeypatch, tmp_path):
    folder = shutil.copytree(report[0], tmp_path / "report")
    called = []

    def counted(name):
        def step(job):
            called.append((job.name, name))
            return {"spacegroup_after": {}}, {}

        return step

    monkeypatch.setattr(module, "run_in_processes", run_here)
    for name in STEPS:
        monkeypatch.setitem(module.STEPS, name, counted(name))
    validate("pet-si", {"silicon": structures["silicon"]}, output=folder, settings=QUICK, overwrite=True)
    assert called == []
    # a step that is missing, as after a kill, is all that runs
    path = folder / "silicon" / "results.json"
    record = json.loads(path.read_text())
    dynamics = record["steps"].pop("dynamics")
    path.write_text(json.dumps(record))
    module.run_structure(
        module.find_model("pet-si"), "silicon", structures["silicon"], folder / "silicon", QUICK, "cpu", 1
    )
    assert called == [("silicon", "dynamics")]
    record["steps"]["dynamics"] = dynamics
    path.write_text(json.dumps(record))


@pytest.fixture
def counted(monkeypatch):
    """Validation with one step, which takes the structure as it is; the names of those it was done for."""
    called = []

    def step(job):
        called.append(job.name)
        job.relaxed = job.atoms
        raise NotApplicable("counted only")

    monkeypatch.setattr(module, "run_in_processes", run_here)
    monkeypatch.setattr(module, "STEPS", {"relaxation": step})
    return called


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ({"c": "dimer"}, "`structures=['a', 'b']`, now `structures=['c']`"),
        ({"a": "silicon"}, "`structures=['a', 'b']`, now `structures=['a']`"),
        ({"a": "silicon", "c": "dimer"}, "`structures=['a', 'b']`, now `structures=['a', 'c']`"),
        ({"a": "dimer", "b": "silicon"}, "another `structure`"),
    ],
)
def test_a_page_of_other_structures_is_refused_and_stays(now, why, structures, tmp_path, counted):
    """By the page itself: the new structures have folders of their own."""
    validate("snnp-si", dict.fromkeys("ab", structures["silicon"]), output=tmp_path, settings=QUICK)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    counted.clear()
    asked = {name: structures[kind] for name, kind in now.items()}
    with pytest.raises(DataError, match=re.escape(why) + ".*replace them with `overwrite=True`"):
        validate("snnp-si", asked, output=tmp_path, settings=QUICK)
    assert counted == []
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    found = validate("snnp-si", asked, output=tmp_path, settings=QUICK, overwrite=True)
    assert list(found.structures) == list(json.loads((tmp_path / "results.json").read_text())["structures"])
    assert list(found.structures) == list(asked)


@pytest.mark.parametrize("what", ["settings", "model", "file"])
def test_a_page_of_other_settings_is_refused(what, structures, tmp_path, counted, sw_path):
    """Whatever the structures are called, or a file of something else."""
    if what == "file":
        (tmp_path / "results.json").write_text('{"mine": 1}')
    else:
        validate("snnp-si", {"a": structures["silicon"]}, output=tmp_path, settings=QUICK)
    settings = replace(QUICK, distance=0.02) if what == "settings" else QUICK
    model, asked = sw_path if what == "model" else "snnp-si", {"b": structures["dimer"]}
    why = {"settings": "`distance=0.01`, now `distance=0.02`", "model": "another `model`"}
    with pytest.raises(DataError, match=why.get(what, "got something else")):
        validate(model, asked, output=tmp_path, settings=settings)
    validate(model, asked, output=tmp_path, settings=settings, overwrite=True)


def test_more_structures_are_added_to_those_of_the_page(structures, tmp_path, counted):
    """Nothing is lost: the page has all of them."""
    validate("snnp-si", {"a": structures["silicon"]}, output=tmp_path, settings=QUICK)
    validate(
        "snnp-si", {"a": structures["silicon"], "b": structures["dimer"]}, output=tmp_path, settings=QUICK
    )
    assert counted == ["a", "b"]


@pytest.mark.parametrize("what", ["versions", "settings", "reference", "model", None])
def test_steps_of_another_run_are_computed_anew_with_a_line(what, structures, tmp_path, monkeypatch, sw_path):
    """Another version, model, reference or setting; and nothing else."""
    called = []

    def step(job):
        called.append(job.name)
        job.relaxed = job.atoms
        raise NotApplicable("counted only")

    reference = tmp_path / "reference"
    reference.mkdir()
    (reference / "phonopy.yaml").write_text("one")
    settings = replace(QUICK, reference=str(reference))
    monkeypatch.setattr(module, "run_in_processes", run_here)
    monkeypatch.setattr(module, "STEPS", {"relaxation": step, "dynamics": step})
    one = {"si": structures["silicon"]}
    validate("pet-si", one, output=tmp_path / "out", settings=settings)
    assert len(called) == 2
    if what == "versions":
        monkeypatch.setattr(module, "versions", lambda: {**original(), "torch": "9.9"})
        original = module_versions
    elif what == "settings":
        settings = replace(settings, distance=0.02)
    elif what == "reference":
        (reference / "phonopy.yaml").write_text("another")
    now = sw_path if what == "model" else "pet-si"
    if what is not None:  # unless that is wanted, as the command does
        with pytest.raises(DataError, match="replace them with `overwrite=True`"):
            validate(now, one, output=tmp_path / "out", settings=settings, overwrite=False)
        assert len(called) == 2
    document = validate(now, one, output=tmp_path / "out", settings=settings, overwrite=what is not None)
    record = document.structures["si"]
    assert len(called) == (2 if what is None else 4)
    why = {
        "versions": "`torch='.*'`, now `torch='9.9'`",
        "settings": "`distance=0.01`, now `distance=0.02`",
        "reference": "another `reference`",
        "model": "another `model`",
    }
    if what is None:
        assert "anew" not in record
        return
    assert re.fullmatch(rf"finished steps were of another run \({why[what]}\): .* anew", record["anew"])
    assert record["anew"] in unescape((tmp_path / "out" / "index.html").read_text())
    document = validate(
        sw_path if what == "model" else "pet-si", one, output=tmp_path / "out", settings=settings
    )
    assert "anew" not in document.structures["si"] and len(called) == 4


def test_a_quick_look_and_a_full_validation_are_told_apart_by_that_word(tmp_path, structures, monkeypatch):
    """Nobody gave the mesh that differs."""

    def step(job):
        job.relaxed = job.atoms
        raise NotApplicable("counted only")

    monkeypatch.setattr(module, "run_in_processes", run_here)
    monkeypatch.setattr(module, "STEPS", {"relaxation": step})
    one, full = {"si": structures["silicon"]}, module.Settings()
    for first, second, said in (
        (full.quick(), full, "the results there are a quick look's (`--quick`)"),
        (full, full.quick(), "this is a quick look (`--quick`)"),
    ):
        validate("pet-si", one, output=tmp_path / said[:3], settings=first)
        with pytest.raises(DataError, match="mesh=.*" + re.escape(said)):
            validate("pet-si", one, output=tmp_path / said[:3], settings=second, overwrite=False)


def test_a_process_that_dies_ends_its_structure_only(tmp_path, structures, monkeypatch):
    monkeypatch.setattr(module, "run_structure", die)
    document = validate(
        "pet-si", {"a": structures["dimer"], "b": structures["dimer"]}, output=tmp_path, settings=QUICK
    )
    for record in document.structures.values():
        assert "exit status 3" in record["steps"]["relaxation"]["error"]
    assert "exit status 3" in (tmp_path / "index.html").read_text()


def die(*arguments):
    raise SystemExit(3)


def test_a_crystal_that_is_not_relaxed_has_no_phonons(sw_path, tmp_path):
    """What is known of the free relaxation stays; all else waits for the symmetric one, and is done then."""
    atoms = bulk("Si", cubic=True)
    arguments = (sw_path, "si", atoms, tmp_path, QUICK, "cpu", 1)
    module.run_structure(*arguments)
    assert (tmp_path / "relaxed.extxyz").is_file()
    (tmp_path / "relaxed.extxyz").unlink()  # what the finished steps are of is lost: they are repeated

    def refuse(atoms):
        raise StructureError("expected the relaxation to reach 0.0001 eV/Å, got 1")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ase_mlip.report.validate_steps.relaxed_within_symmetry", refuse)
        module.run_structure(*arguments)
    record = json.loads((tmp_path / "results.json").read_text())
    relaxation = record["steps"].pop("relaxation")
    assert relaxation["numbers"]["converged"] and not relaxation["numbers"]["relaxed_within_symmetry"]
    assert "expected the relaxation to reach" in relaxation["warnings"][-1]
    assert relaxation["pictures"] == ["relaxation.png"]
    assert record["steps"] == {step: {"skipped": "not relaxed"} for step in list(STEPS)[1:]}
    assert not (tmp_path / "relaxed.extxyz").exists()
    header, (row,) = overview({"structures": {"si": {"steps": {"relaxation": relaxation}}}})
    assert (row[header.index("relaxed")], row[-1]) == ("NO", "relaxation")

    module.run_structure(*arguments)
    record = json.loads((tmp_path / "results.json").read_text())
    assert not [step for step, found in record["steps"].items() if "numbers" not in found]
    assert record["steps"]["relaxation"]["numbers"]["relaxed_within_symmetry"]


def test_two_structures_at_once_in_processes_of_their_own(sw_path, structures, tmp_path):
    at_once = []
    document = validate(
        sw_path,
        dict.fromkeys("ab", structures["dimer"]),
        output=tmp_path,
        settings=QUICK,
        device="cpu",
        processes=2,
        progress=lambda *_: at_once.append(len(children())),
    )
    assert max(at_once) == 2
    for record in document.structures.values():
        assert not [found for found in record["steps"].values() if "error" in found]
        assert record["steps"]["dynamics"]["numbers"]["stable"]


def test_an_interrupt_ends_it_and_the_same_command_goes_on(sw_path, tmp_path):
    files = []
    for name in "ab":
        files.append(str(tmp_path / f"{name}.extxyz"))
        write(files[-1], Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]]))
    command = [sys.executable, "-c", "from ase_mlip.cli.program import main; main()"]
    command += ["validate", str(sw_path), *files, "--quick"]
    command += ["--device", "cpu", "--processes", "1", "-o", str(tmp_path / "report")]
    program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts)
    deadline = time.monotonic() + 120
    while not (tmp_path / "report" / "a" / "results.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    said = program.communicate(timeout=60)[1].strip()
    assert said == f"interrupted: the same command goes on with what is finished, in {tmp_path / 'report'}"
    assert program.returncode == 130
    assert not (tmp_path / "report" / "b").exists() and not (tmp_path / "report" / "index.html").exists()
    first = json.loads((tmp_path / "report" / "a" / "results.json").read_text())["steps"]["relaxation"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_in_processes", run_here)
        assert CliRunner().invoke(main, command[3:]).exit_code == 0
    document = json.loads((tmp_path / "report" / "results.json").read_text())
    assert list(document["structures"]) == ["a", "b"]
    assert document["structures"]["a"]["steps"]["relaxation"] == first


def test_structures_come_by_name_alone_or_from_files(tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(module, "run_in_processes", lambda function, calls, *_: names.append(list(calls)))
    atoms = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]])
    write(tmp_path / "one.xyz", atoms)
    write(tmp_path / "two.xyz", [atoms, atoms])
    files = [str(tmp_path / "one.xyz"), tmp_path / "two.xyz"]
    for number, given in enumerate(({"dimer": atoms}, atoms, files[0], files)):
        validate("snnp-si", given, output=tmp_path / str(number))
    assert names == [["dimer"], ["Si2"], ["one"], ["one", "two-0", "two-1"]]


def test_bad_input(tmp_path):
    with pytest.raises(StructureError, match="at least one structure"):
        validate("pet-si", {}, output=tmp_path)
    with pytest.raises(FileNotFoundError):
        validate("no-such-model", {"a": molecule("H2")}, output=tmp_path)


def test_options_by_name_are_those_of_the_settings(structures, tmp_path, monkeypatch):
    """Also by their former places, with a warning each, but not beside settings."""
    found = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_validate", lambda *given: found.append(given[3:5]))
    atoms, reference = structures["silicon"], str(tmp_path / "phonopy")
    monkeypatch.setattr(module, "require_reference", lambda *_: None)
    options = {"dtype": "float32", "symmetrize": "octahedral", "phonon_length": 9.0, "temperature_K": 10.0}
    validate("snnp-si", atoms, output="a", reference=reference, time=2000.0 * units.fs, **options)
    validate("snnp-si", atoms, quick=True, output="b")
    validate("snnp-si", atoms, quick=True, time=1000.0 * units.fs)
    with pytest.warns(DeprecationWarning) as warned:
        validate("snnp-si", atoms, "c", QUICK)
    assert [str(warning.message).split(" is ")[0] for warning in warned] == [
        "`output` of `validate`",
        "`settings` of `validate`",
    ]
    (_, all_of_them), quick, longer, former = found
    assert all_of_them == module.Settings(**options, reference=reference, time=pytest.approx(2.0))
    assert quick == (Path("b"), module.Settings().quick())
    assert longer == (Path("report"), replace(quick[1], time=pytest.approx(1.0)))
    assert former == (Path("c"), QUICK)
    for beside in ({"dtype": "float32"}, {"quick": True}, {"time": 1.0}):
        with pytest.raises(ArgumentError, match=f"beside them, got `{next(iter(beside))}`"):
            validate("snnp-si", atoms, settings=QUICK, **beside)
    with pytest.raises(TypeError, match="got `output` by its place and by its name"):
        validate("snnp-si", atoms, "c", output="e", settings=QUICK)
