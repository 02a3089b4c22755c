"""`device auto` in LAMMPS: all ranks take the same kind of device, and every error ends all of them."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from failures import fails, silicon
from harness import Case
from structures import diamond

from ase_mlip.building import _build
from ase_mlip.lammps import _build_lammps, _lammps

ROOT = Path(__file__).resolve().parents[2]
TORCH = Path(torch.__file__).resolve().parent
no_gpu = pytest.mark.skipif(torch.version.cuda is not None, reason="torch with CUDA looks for GPUs itself")


@pytest.fixture(scope="session")
def agreement(parallel, tmp_path_factory) -> Path:
    """tests/cpp/test_agreement.cpp, which needs neither torch nor LAMMPS."""
    program = tmp_path_factory.mktemp("agreement") / "test_agreement"
    found = _lammps.find_lammps()
    headers, library = _build_lammps.find_mpi_headers(found.mpi), _lammps.find_mpi_library(found.mpi)
    command = [_build.require_compiler(), "-std=c++20", "-Wall", "-Wextra", f"-I{ROOT / 'lammps_plugin'}"]
    command += ["-isystem", headers, ROOT / "tests/cpp/test_agreement.cpp", library, "-o", program]
    subprocess.run(command, check=True)
    return program


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_agree_whatever_each_of_them_found(parallel, agreement, ranks):
    command = [parallel.mpirun, "-np", str(ranks), str(agreement)]
    result = subprocess.run(
        command, env=parallel.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("0 failures") == ranks


def test_a_file_that_one_rank_only_can_read_ends_all(parallel, models, tmp_path):
    """Each rank opens the file with its own number in its name, and the second one has none."""
    shutil.copy(models.path("one"), tmp_path / "model_0.pt")
    pair = "variable rank getenv PMI_RANK\npair_style mlip device cpu\npair_coeff * * model_${rank}.pt Si"
    text = fails(parallel, silicon(models, pair), tmp_path, "model_1.pt", ranks=2)
    assert "model_0.pt" not in text


def test_a_device_that_one_rank_only_lacks_ends_all(parallel, models, tmp_path):
    pair = "variable rank getenv PMI_RANK\npair_style mlip device cuda:7${rank}\n"
    pair += f"pair_coeff * * {models.path('one')} Si"
    text = fails(parallel, silicon(models, pair), tmp_path, "`device` cuda:70 is not there", ranks=2)
    assert "cuda:71" not in text


@pytest.fixture(scope="session")
def fake_gpu(tmp_path_factory) -> Path:
    """A library that makes libtorch see a GPU which does not work."""
    library = tmp_path_factory.mktemp("fake_gpu") / "fake_gpu.so"
    command = [_build.require_compiler(), "-std=c++20", "-shared", "-fPIC", "-D_GLIBCXX_USE_CXX11_ABI=1"]
    command += ["-isystem", TORCH / "include", ROOT / "tests/cpp/fake_gpu.cpp", "-o", library]
    command += [f"-L{TORCH / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{TORCH / 'lib'}"]
    subprocess.run(command, check=True)
    return library


def start(parallel, folder: Path, models, preloads: list[str]) -> str:
    """The output of a run whose ranks have other libraries preloaded."""
    case = Case(diamond(1, 0.05), pair=f"pair_style mlip\npair_coeff * * {models.path('one')} Si")
    case.write(folder)
    (folder / "in.lammps").write_text(case.script())
    command = [parallel.mpirun]
    for k, preload in enumerate(preloads):
        command += [":"] if k else []
        command += ["-np", "1", "-env", "LD_PRELOAD", preload] if preload else ["-np", "1"]
        command += [parallel.program, "-in", "in.lammps"]
    result = subprocess.run(
        command,
        env=parallel.environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@no_gpu
def test_ranks_that_see_different_devices_take_the_cpu_and_say_why(parallel, models, fake_gpu, tmp_path):
    found = start(parallel, tmp_path, models, ["", str(fake_gpu)])
    (line,) = (
        line for line in found.splitlines() if line.startswith("pair mlip: ") and "rank 0: cpu" in line
    )
    assert "(device auto: torch sees no GPU) on 2 ranks" in line


@no_gpu
def test_a_gpu_that_does_not_work_is_named(parallel, models, fake_gpu, tmp_path):
    found = start(parallel, tmp_path, models, [str(fake_gpu), str(fake_gpu)])
    (line,) = (
        line for line in found.splitlines() if line.startswith("pair mlip: ") and "rank 0: cpu" in line
    )
    assert "(device auto: rank 0: `" in line and "cannot load it" in line
