"""``ase-mlip relax``: what it writes and prints, that it goes on past failures and where it was ended.

It also tests `relaxation.store`.
"""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import stillinger_weber
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from ase.units import GPa
from click.testing import CliRunner

from ase_mlip.cli import program as cli
from ase_mlip.cli.simulations.relax import OPTIMIZERS
from ase_mlip.relaxation import store as relax_store
from ase_mlip.relaxation.relax import OPTIMIZERS as KNOWN


def invoke(*arguments):
    return CliRunner().invoke(cli.main, ["relax", *(str(argument) for argument in arguments)])


def statuses(result):
    return {name: found["status"] for name, found in json.loads(result.stdout)["structures"].items()}


FULL = ("--cell", "full", "--fmax", "1e-3", "--dtype", "float64", "--optimizer", "BFGS")


@pytest.fixture(scope="module")
def finished(sw_path, tmp_path_factory):
    """Three distorted crystals in two files, relaxed; and what the command answered."""
    folder = tmp_path_factory.mktemp("finished")
    frames = []
    for seed in range(3):
        atoms = bulk("Si", cubic=True)
        atoms.set_cell(atoms.cell.array * (0.99 + 0.01 * seed), scale_atoms=True)
        atoms.rattle(0.03, seed=seed)
        frames.append(atoms)
    write(folder / "pair.extxyz", frames[:2])
    write(folder / "one.extxyz", frames[2])
    files = [folder / "pair.extxyz", folder / "one.extxyz"]
    return folder, invoke(sw_path, *files, *FULL, "-o", folder / "out", "--plot")


@pytest.fixture
def done(finished, tmp_path):
    """A copy of the relaxed crystals and their results, to go on with."""
    return Path(shutil.copytree(finished[0], tmp_path / "done"))


@pytest.fixture
def crystals(finished):
    return [finished[0] / "pair.extxyz", finished[0] / "one.extxyz"]


def test_structures_relax_to_the_published_crystal(finished):
    folder, result = finished
    assert result.exit_code == 0, result.output
    frames = read(folder / "out" / "relaxed.extxyz", ":")
    assert [frame.info["name"] for frame in frames] == ["pair-0", "pair-1", "one"]
    for frame in frames:
        assert np.cbrt(frame.get_volume()) == pytest.approx(stillinger_weber.LATTICE_CONSTANT, abs=2e-3)
        assert frame.get_potential_energy() / 8 == pytest.approx(stillinger_weber.COHESIVE_ENERGY, abs=1e-4)
        assert np.abs(frame.get_forces()).max() < 1e-3
        assert frame.info["converged"]
        assert frame.info["spacegroup_before"]["0.01"] == "P1 (1)"
        assert frame.info["spacegroup_after"]["0.01"] == "Fd-3m (227)"
        assert len(read(frame.info["trajectory"], ":")) == frame.info["steps"] + 1
    assert {path.name for path in (folder / "out").glob("*.png")} == {"pair-0.png", "pair-1.png", "one.png"}
    assert len(re.findall(r"P1 \(1\) → Fd-3m \(227\) +converged", result.stdout)) == 3
    assert "3 of 3 converged" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 120


def test_the_same_command_skips_what_is_done(sw_path, done):
    before = (done / "out" / "relaxed.extxyz").read_bytes()
    again = invoke(sw_path, done / "pair.extxyz", done / "one.extxyz", *FULL, "-o", done / "out", "--json")
    assert again.exit_code == 0
    assert statuses(again) == dict.fromkeys(["pair-0", "pair-1", "one"], "done before")
    assert (done / "out" / "relaxed.extxyz").read_bytes() == before


def test_another_structure_of_the_same_name_is_refused_before_anything_is_lost(sw_path, done):
    """As by every command: the folder would hold results of both. With --overwrite it replaces that one."""
    names, before = ["pair-0", "pair-1", "one"], (done / "out" / "relaxed.extxyz").read_bytes()
    atoms = read(done / "one.extxyz")
    atoms.positions[0, 0] += 0.01
    write(done / "one.extxyz", atoms)
    command = (sw_path, done / "pair.extxyz", done / "one.extxyz", *FULL, "-o", done / "out", "--json")
    refused = invoke(*command)
    assert (refused.exit_code, refused.stdout) == (1, "")
    said = "got those of another structure of the name 'one'; choose another folder, or replace them with "
    assert f"{said}--overwrite" in refused.stderr
    assert (done / "out" / "relaxed.extxyz").read_bytes() == before
    replaced = statuses(invoke(*command, "--overwrite"))
    assert list(replaced.values()) == ["done before", "done before", "converged"]
    assert [frame.info["name"] for frame in read(done / "out" / "relaxed.extxyz", ":")] == names
    assert list(statuses(invoke(*command)).values()) == ["done before"] * 3


def test_a_call_for_one_structure_keeps_the_others_in_the_document(sw_path, done):
    """As it keeps them in the file of structures; the table is of what was asked for."""
    (done / "out" / "one.png").unlink()
    result = invoke(sw_path, done / "one.extxyz", *FULL, "-o", done / "out", "--plot")
    assert result.exit_code == 0 and "1 of 1 converged" in result.stdout
    found = json.loads((done / "out" / "relax.json").read_text())["structures"]
    assert list(found) == ["one", "pair-0", "pair-1"]
    assert {document["status"] for document in found.values()} == {"done before"}
    assert "one: was done before, without a picture; in another folder it is relaxed again" in result.stderr


def test_an_earlier_structure_that_did_not_converge_is_not_called_done(sw_path, crystals, tmp_path):
    pair, one = crystals
    assert invoke(sw_path, one, *FULL, "--steps", 1, "-o", tmp_path / "out").exit_code == 1
    assert invoke(sw_path, pair, *FULL, "-o", tmp_path / "out").exit_code == 0
    found = json.loads((tmp_path / "out" / "relax.json").read_text())["structures"]
    assert {name: document["status"] for name, document in found.items()} == {
        "pair-0": "converged",
        "pair-1": "converged",
        "one": "not converged",
    }


def test_other_settings_are_refused_before_anything_is_lost(sw_path, done):
    before = (done / "out" / "relaxed.extxyz").read_bytes()
    result = invoke(sw_path, done / "one.extxyz", *FULL, "--keep-space-group", "-o", done / "out")
    assert result.exit_code == 1
    assert "other settings: no --keep-space-group, now --keep-space-group; choose" in result.stderr
    assert "or replace them with --overwrite" in result.stderr
    assert (done / "out" / "relaxed.extxyz").read_bytes() == before
    result = invoke(
        sw_path, done / "one.extxyz", *FULL, "--keep-space-group", "-o", done / "out", "--overwrite"
    )
    assert result.exit_code == 0
    (frame,) = read(done / "out" / "relaxed.extxyz", ":")
    assert frame.info["name"] == "one"
    shutil.copy(done / "pair.extxyz", done / "out" / "relaxed.extxyz")
    assert (
        "got something else; choose" in invoke(sw_path, done / "one.extxyz", *FULL, "-o", done / "out").stderr
    )


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (["--fmax", "0.002"], "--fmax 0.001, now --fmax 0.002;"),
        (["--cell", "shape"], "--cell full, now --cell shape;"),
        (["--symmetrize", "octahedral"], "no --symmetrize, now --symmetrize octahedral;"),
        (["--reference", "one.extxyz"], "another --reference;"),
    ],
)
def test_the_setting_that_differs_is_named(sw_path, done, changed, named, monkeypatch):
    monkeypatch.chdir(done)
    given = [
        word for pair in zip(FULL[::2], FULL[1::2], strict=True) if pair[0] != changed[0] for word in pair
    ]
    result = invoke(sw_path, "one.extxyz", *given, *changed, "-o", "out")
    assert result.exit_code == 1
    assert (
        f"got those of other settings: {named} choose another folder, or replace them with --overwrite"
        in (" ".join(result.stderr.split()))
    )


def test_results_of_another_version_are_refused(sw_path, done, monkeypatch):
    from ase_mlip import provenance

    monkeypatch.setattr(provenance, "__version__", "99.0")
    again = invoke(sw_path, done / "pair.extxyz", done / "one.extxyz", *FULL, "-o", done / "out", "--json")
    assert again.exit_code == 1
    assert "now `ase_mlip='99.0'`; choose another folder, or replace them with --overwrite" in again.stderr


def test_the_document_has_the_options_as_they_are_called(finished):
    settings = json.loads((finished[0] / "out" / "relax.json").read_text())["settings"]
    assert settings["command"] == "relax" and len(settings["model_document_sha256"]) == 64
    assert (settings["cell"], settings["keep_space_group"], settings["fmax"]) == ("full", None, 0.001)
    assert not settings.keys() & {"symmetry", "made_with", "steps"}


def test_an_unconverged_structure_is_status_1_and_continued(sw_path, crystals, tmp_path):
    command = (sw_path, crystals[1], *FULL, "-o", tmp_path / "out", "--json")
    first = invoke(*command, "--steps", "2")
    assert first.exit_code == 1
    row = json.loads(first.stdout)["structures"]["one"]
    assert (row["status"], row["converged"], row["steps"]) == ("not converged", False, 2)
    second = invoke(*command, "--steps", "100")
    assert second.exit_code == 0
    end = json.loads(second.stdout)["structures"]["one"]
    assert end["energies"][0] == pytest.approx(row["energy"], abs=1e-9)
    assert len(read(tmp_path / "out" / "relaxed.extxyz", ":")) == 1
    assert len(read(end["trajectory"], ":")) >= 2 + end["steps"]


def test_a_failed_structure_does_not_stop_the_others(sw_path, done):
    write(done / "gold.extxyz", bulk("Au"))
    atoms = read(done / "one.extxyz")
    atoms.positions[0, 0] += 0.01
    write(done / "two.extxyz", atoms)
    command = (sw_path, done / "gold.extxyz", done / "two.extxyz", *FULL, "-o", done / "out")
    result = invoke(*command)
    assert result.exit_code == 1
    assert re.search(r"^failed: gold: .*Au", result.stderr, re.M)
    assert "1 of 2 converged, 1 failed" in result.stdout
    assert [frame.info["name"] for frame in read(done / "out" / "relaxed.extxyz", ":")] == [
        "pair-0",
        "pair-1",
        "one",
        "two",
    ]
    again = invoke(*command, "--json")
    assert again.exit_code == 1
    assert list(statuses(again).values()) == ["failed", *4 * ["done before"]]


def test_a_full_disk_leaves_the_file_of_before(sw_path, done, monkeypatch):
    atoms = read(done / "one.extxyz")
    atoms.positions[0, 0] += 0.01
    write(done / "two.extxyz", atoms)
    before = (done / "out" / "relaxed.extxyz").read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("ase_mlip.provenance.os.fsync", full)
        result = invoke(sw_path, done / "two.extxyz", *FULL, "-o", done / "out")
        result = invoke(sw_path, done / "two.extxyz", *FULL, "-o", done / "out")
    assert result.exit_code == 1
    assert "no space left on device" in result.stderr.lower()
    assert (done / "out" / "relaxed.extxyz").read_bytes() == before
    assert not list((done / "out").glob(".*"))
    assert invoke(sw_path, done / "two.extxyz", *FULL, "-o", done / "out").exit_code == 0
    assert len(read(done / "out" / "relaxed.extxyz", ":")) == 4


def test_a_killed_command_continues(sw_path, tmp_path):
    """SIGKILL in the middle: the output is readable, and the second run only does the rest."""
    frames = []
    for seed in range(12):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.05, seed=seed)
        frames.append(atoms)
    write(tmp_path / "many.extxyz", frames)
    arguments = [str(sw_path), str(tmp_path / "many.extxyz"), "--fmax", "0.01", "-o"]
    arguments += [str(tmp_path / "out"), "--dtype", "float64"]
    program = "from ase_mlip.cli.program import main; main()"
    process = subprocess.Popen([sys.executable, "-c", program, "relax", *arguments])
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "relaxed.extxyz").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = len(read(tmp_path / "out" / "relaxed.extxyz", ":"))
    assert 1 <= done < 12
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    assert list(statuses(result).values()) == ["done before"] * done + ["converged"] * (12 - done)
    assert len(read(tmp_path / "out" / "relaxed.extxyz", ":")) == 12


def test_an_interrupt_saves_what_is_done(sw_path, crystals, tmp_path, monkeypatch):
    """Long files are not written after every structure, but at the end, whatever it is."""
    monkeypatch.setattr(relax_store, "SHARE", 1e-12)
    from ase_mlip.cli.simulations import relax as command

    original = command._Run.do
    calls = []

    def interrupt(self, *arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        original(self, *arguments)

    monkeypatch.setattr(command._Run, "do", interrupt)
    assert invoke(sw_path, *crystals, *FULL, "-o", tmp_path / "out").exit_code != 0
    assert len(read(tmp_path / "out" / "relaxed.extxyz", ":")) == 2


def test_symmetry_and_a_reference(sw_path, crystals, tmp_path):
    write(tmp_path / "diamond.extxyz", bulk("Si", cubic=True))
    diamond = tmp_path / "diamond.extxyz"
    options = ("--symmetrize", "crystal", "--crystal", diamond, "--reference", diamond, "--smax", "1e-5")
    result = invoke(sw_path, crystals[0], *FULL, *options, "--json")
    assert result.exit_code == 0, result.output
    for row in json.loads(result.stdout)["structures"].values():
        assert row["spacegroup_after"]["0.01"] == "Fd-3m (227)"
        assert row["rmsd_to_reference"] < 0.01
        assert np.shape(row["stress"]) == (6,) and np.abs(row["stress"]).max() < 1e-5


def test_a_kept_cell_has_a_stress_and_the_table_its_distance(sw_path, crystals, tmp_path):
    """Of a crystal strained by 1 %: about three times the bulk modulus times the strain."""
    perfect = bulk("Si", a=stillinger_weber.LATTICE_CONSTANT, cubic=True)
    write(tmp_path / "perfect.extxyz", perfect)
    perfect.set_cell(perfect.cell.array * 1.01, scale_atoms=True)
    perfect.rattle(0.02, seed=1)
    write(tmp_path / "strained.extxyz", perfect)
    arguments = (sw_path, tmp_path / "strained.extxyz", "--dtype", "float64", "--fmax", "1e-4")
    arguments += ("--reference", tmp_path / "perfect.extxyz")
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    header, row, _ = result.stdout.splitlines()
    assert "to ref., Å" in header
    cells = dict(zip(("atoms", "steps", "energy", "force", "stress", "volume", "moved", "distance"),
                     map(float, row.split()[1:9]), strict=True))  # fmt: skip
    assert cells["stress"] == pytest.approx(0.03 * stillinger_weber.BULK_MODULUS, rel=0.1)
    assert cells["distance"] < 1e-3 < cells["moved"]
    (numbers,) = json.loads(invoke(*arguments, "--json").stdout)["structures"].values()
    assert np.mean(numbers["stress"][:3]) / GPa == pytest.approx(cells["stress"], rel=1e-2)


def test_a_reference_of_other_atoms_is_refused(sw_path, crystals, tmp_path):
    write(tmp_path / "germanium.extxyz", bulk("Ge", cubic=True))
    result = invoke(sw_path, crystals[1], "--reference", tmp_path / "germanium.extxyz")
    assert result.exit_code == 1
    assert "failed: one: --reference expected the atoms of the structure, Si, got Ge" in result.stderr


def test_without_pymatgen_the_extra_is_a_line_on_stderr(sw_path, crystals, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymatgen.analysis.structure_matcher", None)
    write(tmp_path / "primitive.extxyz", bulk("Si"))
    result = invoke(sw_path, crystals[1], *FULL, "--reference", tmp_path / "primitive.extxyz")
    assert result.exit_code == 0
    assert re.search(r"^warning: no distance to the ref.*pip install 'pymatgen>=", result.stderr, re.M)


def test_noise_is_a_line_on_stderr(sw_path, crystals):
    result = invoke(sw_path, crystals[1], "--fmax", "1e-9", "--steps", "1", "--dtype", "float32")
    assert result.exit_code == 1
    assert re.search(r"^warning: one: reordering the atoms .*float64", result.stderr, re.M)
    assert "0 of 1 converged, 1 did not" in result.stdout


def test_molecules_have_no_volume_per_atom(sw_path, tmp_path):
    write(tmp_path / "dimer.xyz", Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2.5]]))
    result = invoke(sw_path, tmp_path / "dimer.xyz", "--dtype", "float64", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert re.search(r"^dimer +2 +\d+ +-\S+ +\S+ +- ", result.stdout, re.M)
    distance = np.linalg.norm(np.diff(read(tmp_path / "out" / "relaxed.extxyz").positions, axis=0))
    assert distance == pytest.approx(2 ** (1 / 6) * 2.0951, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-o", "out.extxyz"], r"`out.extxyz`: expected a folder, got the name of a .extxyz file"),
        (["--plot"], r"needs a folder for the picture: -o FOLDER"),
        (["--crystal", "pair.extxyz"], r"is for --symmetrize crystal"),
        (["--symmetry", "fix"], r"No such option: --symmetry; `fix` is --keep-space-group"),
        (["--smax", "1e-3"], r"needs a cell that is relaxed"),
        (["--optimizer", "Newton"], r"Newton"),
    ],
)
def test_bad_options_are_usage_errors(sw_path, crystals, arguments, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(sw_path, *crystals, *arguments)
    assert result.exit_code == 2
    assert re.search(text, result.stderr)


def test_the_optimisers_of_the_help_are_those_of_the_library():
    assert set(KNOWN) <= set(OPTIMIZERS)


def test_keys_tell_structures_and_settings_apart():
    atoms = bulk("Si")
    keys = {relax_store.key_of(name, atoms, settings) for name in "ab" for settings in "cd"}
    moved = atoms.copy()
    moved.positions[0, 0] += 1e-9
    keys.add(relax_store.key_of("a", moved, "c"))
    keys.add(relax_store.key_of("a", bulk("Ge", a=5.43), "c"))
    assert len(keys) == 6
    assert relax_store.digest({"a": 1, "b": 2}) == relax_store.digest({"b": 2, "a": 1})
