"""Finding, making and keeping builds of the compiled parts."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from fake_lammps import FAKE_COMPILER, write_program

from ase_mlip.building import _build, _ops
from ase_mlip.cli.program import main

ROOT = Path(__file__).resolve().parents[2]
TORCH = Path(torch.__file__).resolve().parent


@pytest.fixture
def compiler(tmp_path, monkeypatch) -> Path:
    """A fake compiler, alone with an empty cache and without an installed build."""
    path = write_program(tmp_path / "fake-c++", FAKE_COMPILER)
    monkeypatch.setenv("CXX", str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_build, "installed_folder", lambda: tmp_path / "installed")
    monkeypatch.setattr(_build, "find_nvcc", lambda: None)
    return path


def calls(compiler: Path) -> int:
    record = compiler.parent / "calls"
    return len(record.read_text().splitlines()) if record.exists() else 0


def test_a_build_is_made_once_and_found_again(compiler, capsys):
    folder = _build.find_or_build()
    record = _build.read_record(folder)
    assert (folder / _build.LIBRARY).is_file()
    assert record["torch"] == torch.__version__
    assert record["compiler"] == "fake 1.0"
    assert "compiling" in capsys.readouterr().err
    made = calls(compiler)
    assert _build.find_or_build() == folder
    assert calls(compiler) == made
    assert capsys.readouterr().err == ""


def test_a_build_leaves_nothing_else_behind(compiler):
    folder = _build.find_or_build()
    assert not list(folder.glob("*.o"))
    assert sorted(path.suffix for path in folder.parent.iterdir() if path != folder) == [".lock"]


def test_processes_that_start_together_build_once(compiler):
    threads = [threading.Thread(target=_build.find_or_build) for _ in range(4)]
    single_build = 2 + len(list(_build.source_folder().rglob("*.cpp")))  # compile, link two
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < calls(compiler) <= single_build


@pytest.mark.parametrize("key", ["torch", "python", "sources", "cuda", "machine"])
def test_a_build_for_something_else_is_not_used(compiler, key):
    folder = _build.find_or_build()
    record = _build.read_record(folder)
    (folder / _build.RECORD).write_text(json.dumps({**record, key: "other"}))
    assert _build.find_build(_build.describe_target()) is None


def test_another_compiler_version_builds_anew(compiler):
    first = _build.find_or_build()
    write_program(compiler, FAKE_COMPILER.replace("fake 1.0", "fake 1.1"))
    assert _build.find_or_build() != first


def test_a_build_is_found_when_the_compiler_has_gone(compiler, monkeypatch):
    folder = _build.find_or_build()
    monkeypatch.setattr(_build, "find_compiler", lambda: None)
    assert _build.find_or_build() == folder


def test_the_build_made_at_install_time_comes_first(compiler, tmp_path):
    _build.build(_build.describe_target(), tmp_path / "installed")
    assert _build.find_or_build() == tmp_path / "installed"
    assert not (tmp_path / "cache").exists()


def test_a_damaged_build_is_replaced(compiler):
    folder = _build.find_or_build()
    (folder / _build.RECORD).write_text("{")
    assert _build.find_or_build() == folder
    assert _build.read_record(folder)


# ---- CUDA kernels: what was built, and what is there --------------------------------------------------

# Stands in for nvcc of CUDA 13 as the fake compiler does for a compiler.
FAKE_NVCC = FAKE_COMPILER.replace(
    'echo "fake 1.0"; exit 0; fi',
    """echo "release 13.0"; exit 0; fi
if [ "$1" = --list-gpu-arch ]; then for n in 50 52 60 61 80 86 90; do echo compute_$n; done; exit 0; fi
echo "$@" >> "$(dirname "$0")/nvcc-calls"
""",
)
BROKEN_NVCC = FAKE_NVCC + "echo '\"crt/host_config.h\", error: unsupported GNU version'\nexit 1\n"


@pytest.fixture
def nvcc(compiler, monkeypatch) -> Path:
    """A fake nvcc beside the fake compiler, and a torch that says it is for CUDA 13."""
    path = write_program(compiler.parent / "fake-nvcc", FAKE_NVCC)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(_build, "find_nvcc", lambda: str(path) if path.exists() else None)
    return path


def test_kernels_are_compiled_where_nvcc_is_and_the_record_says_for_what(compiler, nvcc):
    record = _build.read_record(_build.find_or_build())
    assert record["cuda_kernels"] and record["cuda_error"] == ""
    assert record["nvcc"] == "release 13.0"
    assert record["cuda_architectures"] == ["sm_60", "sm_80", "sm_90", "compute_90"]
    for line in (nvcc.parent / "nvcc-calls").read_text().splitlines():
        assert "arch=compute_90,code=compute_90" in line and "arch=compute_60,code=sm_60" in line
        assert "_50" not in line and "_52" not in line  # without atomicAdd(double)
    assert "compiled for sm_60, sm_80" in _build.describe_kernels(record)


def test_a_failing_nvcc_leaves_a_build_with_its_reason_until_force(compiler, nvcc):
    write_program(nvcc, BROKEN_NVCC)
    folder = _build.find_or_build()
    record = _build.read_record(folder)
    assert not record["cuda_kernels"] and record["cuda_architectures"] == []
    assert "unsupported GNU version" in record["cuda_error"]
    assert "torch's own operators take their place: " in _build.describe_kernels(record)
    assert "unsupported GNU version" in _build.describe_kernels(record)
    write_program(nvcc, FAKE_NVCC)
    assert not _build.read_record(_build.find_or_build())["cuda_kernels"]  # not tried again at every start
    assert _build.read_record(_build.find_or_build(force=True))["cuda_kernels"]


def test_the_command_builds_anew_with_force_only(compiler, nvcc, monkeypatch):
    """`ase-mlip build --force`; what the fake compilers make is not loaded."""
    write_program(nvcc, BROKEN_NVCC)
    folder = _build.find_or_build()
    monkeypatch.setattr(_ops, "build_info", lambda: {**_build.read_record(folder), "folder": str(folder)})
    monkeypatch.setattr("ase_mlip.lammps._lammps.find_lammps", lambda: None)
    write_program(nvcc, FAKE_NVCC)
    said = CliRunner().invoke(main, ["build"])
    assert said.exit_code == 0 and "unsupported GNU version" in said.stdout
    said = CliRunner().invoke(main, ["build", "--force"])
    assert said.exit_code == 0 and "CUDA kernels: compiled for sm_60" in said.stdout


def test_nothing_is_built_anew_because_nvcc_has_gone(compiler, nvcc):
    folder = _build.find_or_build()
    made = calls(compiler)
    nvcc.unlink()
    assert _build.find_or_build() == folder
    assert calls(compiler) == made
    with pytest.raises(_build.CompilationError, match="nvcc of CUDA 13 was not found; the earlier build"):
        _build.find_or_build(force=True)
    assert _build.read_record(folder)["cuda_kernels"]


def test_a_build_with_kernels_comes_first_whoever_made_it(compiler, nvcc, tmp_path):
    with_kernels = _build.find_or_build()
    nvcc.unlink()
    _build.build(_build.describe_target(), tmp_path / "installed")
    write_program(compiler, FAKE_COMPILER.replace("fake 1.0", "fake 1.1"))
    assert _build.find_or_build() == with_kernels


def test_nvcc_of_another_cuda_is_named(compiler, nvcc, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    record = _build.read_record(_build.find_or_build())
    assert not record["cuda_kernels"]
    assert "has release 13.0, expected nvcc of CUDA 12" in record["cuda_error"]


@pytest.mark.parametrize(
    ("listed", "devices", "expected"),
    [
        ([75, 80, 86, 87, 89, 90, 100, 103, 120], [], [75, 80, 90, 100, 120]),
        ([75, 80, 86, 90], [90], [90]),
        ([75, 80, 86, 90], [87], [86]),  # machine code of the same major version
        ([75, 80, 86, 90], [80, 120], [80, 90]),  # a newer GPU takes the PTX
        ([75, 80], [61], []),
    ],
)
def test_architectures_to_compile_for(listed, devices, expected):
    assert _build.choose_architectures(listed, devices) == expected


def load_anew(monkeypatch):
    monkeypatch.setattr(_ops, "_folder", None)
    _ops.load()


def test_a_failing_compiler_is_quoted(compiler, monkeypatch):
    write_program(compiler, '#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "no such header"\nexit 3\n')
    with pytest.raises(_ops.BuildError, match=r"(?s)`fake-c\+\+`: .*exit status 3.*no such header"):
        load_anew(monkeypatch)
    left = [path.name for path in _build.cache_folder().iterdir() if path.is_dir()]
    assert not [name for name in left if name.startswith(("ops-", ".build"))]


def test_no_compiler_says_what_to_install(compiler, monkeypatch):
    monkeypatch.setattr(_build, "find_compiler", lambda: None)
    with pytest.raises(_ops.BuildError, match=r"`c\+\+`: expected a C\+\+20 compiler.*found none; install"):
        load_anew(monkeypatch)


def test_an_unusable_cache_is_named(compiler, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(_ops.BuildError, match=r"`.*file/ase_mlip`.*XDG_CACHE_HOME"):
        load_anew(monkeypatch)


def test_a_library_that_does_not_load_is_an_error_of_ours(compiler, monkeypatch):
    with pytest.raises(_ops.BuildError, match="libase_mlip_ops"):  # the fake compiler's output
        load_anew(monkeypatch)


def test_build_info_names_what_was_used():
    info = _ops.build_info()
    assert info["schema_version"] == 4
    assert info["torch"] == torch.__version__
    assert Path(info["folder"]).is_dir()
    if "compiled" in info:  # missing without Python's development files
        assert info["compiled"]["schema_version"] == 4
        assert torch.__version__.startswith(info["compiled"]["torch"])


def test_importing_the_package_loads_nothing():
    code = "import sys, ase_mlip; print('torch' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "False"
