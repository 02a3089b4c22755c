"""LAMMPS' pair style: what it is built against, and when a build is made or found."""

import dataclasses
import shutil
import sys
import threading
from pathlib import Path

import pytest
import torch
from fake_lammps import calls, found, write_lammps

from ase_mlip.building import _build
from ase_mlip.lammps import _build_lammps, _lammps

# ---- what is installed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "name"), [("20250722", "22 Jul 2025"), ("20230802", "2 Aug 2023"), ("20211214", "14 Dec 2021")]
)
def test_versions_are_written_as_lammps_writes_them(fake_installation, number, name):
    shutil.rmtree(fake_installation / "site")
    write_lammps(fake_installation / "site", version=number)
    assert found().version == name


def test_a_package_without_headers_is_no_lammps_to_build_against(fake_installation):
    shutil.rmtree(fake_installation / "site" / "lammps" / "include")
    assert _lammps.find_lammps() is None


def test_sizes_of_integers_follow_the_installed_lammps(fake_installation):
    _build_lammps.find_or_build(found())
    lines = [line for line in calls(fake_installation) if "pair_mlip.cpp" in line]
    assert lines
    assert all("-DLAMMPS_BIGBIG" in line for line in lines)


def test_needed_libraries_are_those_the_linker_wrote():
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    if not library.exists() or sys.platform != "linux":
        pytest.skip("not a Linux build of torch")
    assert "libc10.so" in _lammps.needed_libraries(library)
    assert "libc10.so" not in _lammps.needed_libraries(library.with_name("libc10.so"))


def test_torch_on_disk_is_the_torch_that_is_imported():
    folder, version, cuda = _lammps.find_torch()
    assert (folder, version) == (Path(torch.__file__).resolve().parent, torch.__version__)
    assert cuda == (torch.version.cuda or "")


@pytest.mark.parametrize(
    ("library", "family"),
    [
        ("libmpi.so.12", "MPICH"),
        ("libmpich.so.12", "MPICH"),
        ("libmpi.so.40", "Open MPI"),
        ("libmpi_abi.so.1", "the MPI standard's ABI"),
        ("", "no MPI"),
    ],
)
def test_families_of_mpi_libraries(library, family):
    assert _lammps.library_family(library) == family


def test_headers_of_another_mpi_are_not_taken(fake_installation, monkeypatch):
    (fake_installation / "mpi" / "mpi.h").write_text(
        "#define OMPI_MAJOR_VERSION 5\n#define MPI_ABI_VERSION 1\n"
    )
    with pytest.raises(_build.CompilationError, match=r"`mpi.h`: expected the one of MPICH.*pip install"):
        _build_lammps.find_or_build(found())


@pytest.mark.parametrize(
    ("environment", "parallel", "first"),
    [
        ({}, False, True),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, False, True),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, True, False),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}, True, True),
        ({"PMIX_RANK": "3"}, True, False),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, False, True),
        ({"SLURM_PROCID": "5", "SLURM_NTASKS": "8"}, True, False),
        ({"SLURM_NTASKS": "8"}, False, True),
    ],
)
def test_launchers_of_mpi_programs_are_recognised(
    fake_installation, monkeypatch, environment, parallel, first
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (_lammps.is_parallel(), _lammps.is_first_rank()) == (parallel, first)


# ---- building and finding ------------------------------------------------------------------------


def test_a_build_is_made_once_and_found_again(fake_installation, capsys):
    folder = _build_lammps.find_or_build(found())
    record = _build_lammps.read_record(folder)
    assert all((folder / name).is_file() for name in _build_lammps.LIBRARIES)
    assert not list(folder.glob("*.o"))
    assert (record["lammps"], record["torch"]) == ("29 Aug 2024", torch.__version__)
    assert "compiling pair_style mlip" in capsys.readouterr().err
    made = len(calls(fake_installation))
    assert _build_lammps.find_or_build(found()) == folder
    assert len(calls(fake_installation)) == made
    assert capsys.readouterr().err == ""


def test_only_the_torch_side_links_libtorch(fake_installation):
    _build_lammps.find_or_build(found())
    (plugin,) = (line for line in calls(fake_installation) if line.endswith("mlipplugin.so"))
    (torch_side,) = (line for line in calls(fake_installation) if line.endswith("libmlip_torch.so"))
    assert "-ltorch" not in plugin and "-lc10" not in plugin and "-rpath" not in plugin
    assert "-ltorch_cpu" in torch_side
    assert f"-rpath,{Path(torch.__file__).resolve().parent / 'lib'}" in torch_side
    assert ("-ltorch_cuda" in torch_side) == (torch.version.cuda is not None)


def test_a_torch_for_cuda_is_linked_with_its_cuda_libraries(fake_installation, monkeypatch):
    folder, version, _ = _lammps.find_torch()
    monkeypatch.setattr(_lammps, "find_torch", lambda: (folder, version, "12.8"))
    _build_lammps.find_or_build(found())
    (torch_side,) = (line for line in calls(fake_installation) if line.endswith("libmlip_torch.so"))
    assert "-ltorch_cuda" in torch_side
    assert "--no-as-needed" in torch_side


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(_build_lammps.PluginTarget)])
def test_a_build_for_something_else_is_not_used(fake_installation, key):
    folder = _build_lammps.find_or_build(found())
    target = _build_lammps.describe_target(found())
    assert _build_lammps.find_build(target) == folder
    assert _build_lammps.find_build(dataclasses.replace(target, **{key: "other"})) is None


def test_a_build_without_its_operators_or_libraries_is_not_used(fake_installation):
    folder = _build_lammps.find_or_build(found())
    operators = Path(_build_lammps.read_record(folder)["operators"])
    operators.rename(operators.with_suffix(".gone"))
    assert _build_lammps.read_record(folder) == {}
    operators.with_suffix(".gone").rename(operators)
    (folder / _build_lammps.TORCH_SIDE).unlink()
    assert _build_lammps.read_record(folder) == {}


def test_processes_that_start_together_build_once(fake_installation):
    threads = [threading.Thread(target=_build_lammps.find_or_build, args=(found(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([line for line in calls(fake_installation) if line.endswith("mlipplugin.so")]) == 1


def test_a_lammps_that_cannot_load_plugins_is_refused_before_compiling(fake_installation):
    shutil.rmtree(fake_installation / "site")
    write_lammps(fake_installation / "site", content=b"")
    with pytest.raises(_build.CompilationError, match="PLUGIN.*-DPKG_PLUGIN=on"):
        _build_lammps.find_or_build(found())
    assert not calls(fake_installation)


def test_a_torch_with_the_old_abi_is_refused(fake_installation, monkeypatch):
    _build.find_or_build()
    monkeypatch.setattr(torch, "compiled_with_cxx11_abi", lambda: False)
    with pytest.raises(_build.CompilationError, match=r"C\+\+11 ABI.*pip install --upgrade"):
        _build_lammps.find_or_build(found())
