"""Folders of compiled libraries: damage is found before anything is opened, killed builds leave nothing.

It also tests `_run_compilers`.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_lammps import found, write_program

from ase_mlip.building import _build, _build_files, _ops, _run_compilers
from ase_mlip.lammps import _build_lammps, lammps_plugin_path

REMEDY = r"cut short or altered since; build it again with `ase-mlip build --force`"

SLOW_COMPILER = """#!/bin/sh
if [ "$1" = --version ]; then echo "fake 1.0"; exit 0; fi
touch "$TMPDIR/ccTemporary.s"
echo $$ >> "$(dirname "$0")/started"
exec sleep 60
"""


@pytest.fixture
def copied_operators(tmp_path, monkeypatch) -> Path:
    """A copy of this process' build of the operators, which is found as the only one."""
    folder = Path(shutil.copytree(_ops.build_info()["folder"], tmp_path / "ops"))
    monkeypatch.setattr(_build, "find_or_build", lambda: folder)
    monkeypatch.setattr(_ops, "_folder", None)
    return folder


@pytest.mark.parametrize("name", [_build.LIBRARY, _build.INFO_MODULE])
@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "no sums"])
def test_a_damaged_library_is_never_opened(copied_operators, damage, name):
    path = copied_operators / name
    if not path.exists():
        pytest.skip("built without Python's development files")
    content = bytearray(path.read_bytes())
    if damage == "one bit":
        content[len(content) // 3] ^= 4
    path.write_bytes({"truncated": content[: len(content) // 2], "empty": b""}.get(damage, content))
    if damage == "no sums":
        (copied_operators / _build_files.SUMS).unlink()
    with pytest.raises(_ops.BuildError, match=rf"^`{copied_operators}/[^\n]*{REMEDY}$"):
        _ops.load()


def test_an_intact_library_is_taken(copied_operators):
    _build_files.verify(copied_operators, _build.LIBRARY)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no coreutils")
def test_the_sums_are_those_of_another_program(copied_operators):
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", _build_files.SUMS],
        cwd=copied_operators,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count("OK") == len(list(copied_operators.glob("*.so")))


def test_a_damaged_plugin_is_not_given_to_lammps(fake_installation, capsys):
    folder = _build_lammps.find_or_build(found())
    assert lammps_plugin_path.folder() == str(folder)
    capsys.readouterr()
    (folder / _build_lammps.PLUGIN).write_text("mad")
    assert lammps_plugin_path.folder() == lammps_plugin_path.nothing()
    assert "build it again with `ase-mlip build --force`" in capsys.readouterr().err


# ---- killed builds -------------------------------------------------------------------------------


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come")


def test_a_killed_build_is_cleaned_up_by_the_next(fake_installation):
    """Also when the next one is of other sources, and takes another folder."""
    compiler = fake_installation / "fake-c++"
    working = compiler.read_text()
    write_program(compiler, SLOW_COMPILER)
    code = "from ase_mlip.building import _build; _build.find_nvcc = lambda: None; _build.find_or_build()"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    wait_for(fake_installation / "started")
    process.kill()
    process.wait()
    for pid in (fake_installation / "started").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    cache = _build.cache_folder()
    assert list(cache.glob(".building-*"))
    write_program(compiler, working.replace("fake 1.0", "fake 2.0"))
    folder = _build.find_or_build()
    assert not list(cache.glob(".building-*"))
    assert not list(folder.glob("cc*")) and not list(folder.glob("*.o"))
    assert {path.suffix for path in cache.iterdir() if path != folder} == {".lock"}


def test_a_running_build_is_left_alone(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    with _build_files.lock(mine), _build_files.replacing(mine) as scratch:
        (scratch / "a.so").write_text("a")
        with _build_files.lock(other), _build_files.replacing(other):
            pass
        assert (scratch / "a.so").exists()
    assert (mine / "a.so").exists() and other.is_dir()
    unknown = tmp_path / ".building-of-an-older-version"
    unknown.mkdir()
    with _build_files.lock(other), _build_files.replacing(other):
        pass
    assert unknown.exists()
    os.utime(unknown, (1, 1))
    with _build_files.lock(other), _build_files.replacing(other):
        pass
    assert not unknown.exists()


# ---- how many compilers --------------------------------------------------------------------------


@pytest.mark.parametrize(("cores", "memory", "expected"), [(8, 2.5e9, 2), (2, 1e12, 2), (4, 1e8, 1)])
def test_compilers_are_bounded_by_cores_and_memory(monkeypatch, tmp_path, cores, memory, expected):
    monkeypatch.setattr(_run_compilers, "usable_cores", lambda: cores)
    monkeypatch.setattr(_run_compilers, "free_memory", lambda: memory)
    running, most, counter = 0, 0, threading.Lock()

    def compile_one(command):
        nonlocal running, most
        with counter:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with counter:
            running -= 1
        return "", 0

    monkeypatch.setattr(_run_compilers, "_run", compile_one)
    _run_compilers.run_all([["c++", str(k)] for k in range(12)])
    assert most == expected


def test_free_memory_is_that_of_the_machine_or_less():
    assert 0 < _run_compilers.free_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
