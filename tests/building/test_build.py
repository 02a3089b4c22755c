"""Finding, making and keeping builds of the compiled parts; builds for C++ programs, CUDA and packages."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
import torch

from ase_mlip.building import _build, _ops
from ase_mlip.lammps import _build_lammps, _lammps, lammps_run

ROOT = Path(__file__).resolve().parents[2]
TORCH = Path(torch.__file__).resolve().parent

# Stands in for a compiler: records that it was called and writes something where -o points.
FAKE_COMPILER = """#!/bin/sh
if [ "$1" = --version ]; then echo "fake 1.0"; exit 0; fi
echo called >> "$(dirname "$0")/calls"
while [ $# -gt 0 ]; do
  if [ "$1" = -o ]; then echo made > "$2"; fi
  shift
done
"""


LAMMPS_SCRIPT = """units metal
region box block 0 9 0 9 0 9
create_box 1 box
mass 1 28.0855
pair_style mlip device cpu
pair_coeff * * pet-si Si
"""


def write_program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


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
    return len(record.read_text().split()) if record.exists() else 0


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


# ---- other ways to build -----------------------------------------------------------------------------


def run(command: list, **options) -> str:
    """Output of a command; its failure shows the output."""
    result = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout[-6000:]}"
    return result.stdout


def needs(*programs: str):
    missing = [name for name in programs if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not found")


@needs("c++")
def test_a_program_without_python_uses_the_operators(tmp_path):
    library = Path(_ops.build_info()["folder"]) / _build.LIBRARY
    program = tmp_path / "test_operators"
    includes = [TORCH / "include", TORCH / "include/torch/csrc/api/include"]
    command = ["c++", "-std=c++20", f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]
    command += [flag for folder in includes for flag in ("-isystem", folder)]
    command += [ROOT / "tests/cpp/test_operators.cpp", "-o", program, f"-L{TORCH / 'lib'}", "-lc10"]
    # what was built with kernels for GPUs needs torch's libraries for them
    cuda = ["-Wl,--no-as-needed", "-lc10_cuda", "-ltorch_cuda"] if torch.version.cuda else []
    run([*command, "-ltorch_cpu", *cuda, "-ldl", f"-Wl,-rpath,{TORCH / 'lib'}"])
    assert "FAIL" not in run([program, library])


@pytest.mark.slow
@needs("cmake", "ctest", "c++")
@pytest.mark.skipif(bool(torch.version.cuda) and not shutil.which("nvcc"), reason="torch's CMake needs CUDA")
@pytest.mark.parametrize("sanitize", ["OFF", "ON"])
def test_cmake_builds_and_sanitizers_find_nothing(tmp_path, sanitize):
    prefix = f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}"
    run(["cmake", "-S", ROOT, "-B", tmp_path, prefix, f"-DASE_MLIP_SANITIZE={sanitize}"])
    run(["cmake", "--build", tmp_path, "--parallel", "2"])
    output = run(["ctest", "--test-dir", tmp_path, "--verbose"])
    assert "100% tests passed" in output
    assert "runtime error" not in output


@pytest.mark.slow
@needs("cmake", "c++")
@pytest.mark.skipif(_lammps.find_lammps() is None, reason="LAMMPS is not installed")
@pytest.mark.skipif(bool(torch.version.cuda) and not shutil.which("nvcc"), reason="torch's CMake needs CUDA")
def test_cmake_builds_the_pair_style_against_another_lammps(tmp_path):
    """The installed LAMMPS plays the one that somebody compiled and installed somewhere."""
    lammps = _lammps.find_lammps()
    library = _lammps.find_mpi_library(lammps.mpi)
    wrapper = library and library.parent.parent / "bin" / "mpicxx"
    prefix = tmp_path / "prefix"
    options = [f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}", f"-DCMAKE_INSTALL_PREFIX={prefix}"]
    options += [f"-DLAMMPS_DIR={lammps.folder}", "-DBUILD_TESTING=OFF"]
    options += [f"-DMPI_CXX_COMPILER={wrapper}"] if wrapper and wrapper.is_file() else []
    output = run(["cmake", "-S", ROOT, "-B", tmp_path / "build", *options])
    assert f"LAMMPS {lammps.version}" in output
    assert "warning:" not in run(["cmake", "--build", tmp_path / "build", "--parallel", "2"])
    run(["cmake", "--install", tmp_path / "build"])
    (tmp_path / "in.trial").write_text(LAMMPS_SCRIPT)
    environment = lammps_run.with_folders(os.environ, mpi=library.parent if library else None)
    arguments = ["--lmp", lammps.program, "--plugin", prefix / "lib" / "ase_mlip", "-in", "in.trial"]
    code = "from ase_mlip.cli.program import main; main()"
    command = [sys.executable, "-c", code, "lammps", *arguments, "-log", "none"]
    output = run(command, env=environment, cwd=tmp_path)
    assert str(prefix / "share" / "ase_mlip" / "models" / "pet-si.pt") in output


@needs("nvcc")
@pytest.mark.parametrize(
    "number", [pytest.param(75, marks=pytest.mark.slow), pytest.param(80, marks=pytest.mark.slow), 90]
)
@pytest.mark.parametrize("name", ["common/cuda_build.cu", "graph/cuda.cu", "snnp/cuda.cu"])
def test_the_cuda_kernels_compile(tmp_path, name, number):
    """Compile only: neither a GPU nor a CUDA build of torch is needed."""
    listed = _build.list_architectures(shutil.which("nvcc"))
    if number not in listed:
        pytest.skip(f"this nvcc compiles for {listed}")
    header = tmp_path / "c10" / "cuda" / "impl" / "cuda_cmake_macros.h"
    header.parent.mkdir(parents=True)
    header.write_text("#define C10_CUDA_BUILD_SHARED_LIBS\n")  # all that torch's CPU wheel lacks
    commands = _build.Commands(_build.describe_target(), _build.require_compiler(), tmp_path)
    commands.nvcc, commands.architectures = shutil.which("nvcc"), [number]
    (command,) = (line for line in commands.compile_cuda() if str(_build.source_folder() / name) in line)
    run([*command[:1], "-isystem", tmp_path, *command[1:]])
    assert Path(command[-1]).stat().st_size > 0


def test_every_source_is_listed_once():
    folder = _build.source_folder()
    with_cuda, without = (_build.operator_sources(cuda=cuda) for cuda in (True, False))
    listed = sorted({*with_cuda, *without})
    assert len(set(with_cuda)) == len(with_cuda) and len(set(without)) == len(without)
    there = [path for path in _build.operator_files() if path.suffix in (".cpp", ".cu")]
    assert sorted([*listed, _build.INFO_SOURCE]) == sorted(str(path.relative_to(folder)) for path in there)
    assert not any(name.endswith(".cu") for name in without)
    assert not any("stub" in name for name in with_cuda)


MAY_INCLUDE = {  # folders of csrc/, beside their own
    "simd": set(),
    "common": set(),
    "graph": {"common"},
    "transformer": {"common", "simd"},
    "snnp": {"common", "simd", "graph"},
}


def test_families_of_operators_include_what_they_may():
    for path in _build.operator_files():
        included = re.findall(r'^#include "\.\./(\w+)/', path.read_text(encoding="utf-8"), re.M)
        folder = path.parent.name
        assert folder == "csrc" or set(included) <= MAY_INCLUDE[folder], path
    folders = {path.name for path in _build.source_folder().iterdir() if path.is_dir()}
    assert folders == set(MAY_INCLUDE)


def test_objects_of_one_build_have_different_names(tmp_path):
    commands = _build.Commands(_build.describe_target(), _build.require_compiler(), tmp_path)
    objects = [line[-1] for line in commands.compile()]
    assert len(set(objects)) == len(objects)


def copy_of_the_sources(folder: Path) -> Path:
    for name in ("ase_mlip", "csrc", "lammps_plugin", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "_compiled*")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder / path.name)
    return folder


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_packages_hold_all_sources(tmp_path, compiled):
    pytest.importorskip("build", reason="the `build` package makes the packages")
    (tmp_path / "source").mkdir()
    source = copy_of_the_sources(tmp_path / "source")
    environment = dict(os.environ)
    if not compiled:
        environment.pop("CXX", None)
        environment["PATH"] = str(tmp_path)  # no compiler: the operators are left to the first use
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, source], env=environment)
    (archive,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    with tarfile.open(archive) as file:
        in_archive = {name.partition("/")[2] for name in file.getnames()}
    with zipfile.ZipFile(wheel) as file:
        in_wheel = set(file.namelist())
    sources = {
        path.relative_to(ROOT).as_posix()
        for name in ("csrc", "lammps_plugin")
        for path in (ROOT / name).rglob("*")
        if path.is_file()
    }
    models = {
        f"ase_mlip/model_file/models/{path.name}"
        for path in (ROOT / "ase_mlip" / "model_file" / "models").glob("*.pt")
    }
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ase_mlip").rglob("*.py")}
    assert sources | models | modules <= in_archive
    assert {f"ase_mlip/{name}" for name in sources} | models | modules <= in_wheel
    assert (f"ase_mlip/_compiled/{_build.LIBRARY}" in in_wheel) == compiled
    with_lammps = compiled and _lammps.find_lammps() is not None
    assert (f"ase_mlip/_compiled_lammps/{_build_lammps.PLUGIN}" in in_wheel) == with_lammps
    assert wheel.name.endswith("py3-none-any.whl") != compiled
