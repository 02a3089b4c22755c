"""Builds by CMake, for C++ programs, for CUDA and as packages; which source belongs where."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from ase_mlip.building import _build, _ops
from ase_mlip.lammps import _build_lammps, _lammps, lammps_run

ROOT = Path(__file__).resolve().parents[2]
TORCH = Path(torch.__file__).resolve().parent
LAMMPS_SCRIPT = """units metal
region box block 0 9 0 9 0 9
create_box 1 box
mass 1 28.0855
pair_style mlip device cpu
pair_coeff * * pet-si Si
"""


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
