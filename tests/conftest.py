"""Shared fixtures: exported toy models and the torch side of the plugin, one set per test session."""

import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

# toy.py is imported by name from every test file, also from subprocesses' own working directories
sys.path.insert(0, str(Path(__file__).resolve().parent))


def pytest_addoption(parser):
    parser.addoption("--plugin", help="tests/lammps: folder with another build of the plugin to test")
    parser.addoption("--preload", help="tests/lammps: library LAMMPS starts with, a sanitizer's")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Every test, and every fixture made for it, starts from the same random numbers."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - ASE and scipy draw from it where no generator is given
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def pair_model_path(tmp_path_factory) -> Path:
    """An exported, smooth, invariant pair potential for Si and O."""
    from toy import PairNetwork, export_toy

    path = tmp_path_factory.mktemp("models") / "pair.pt"
    export_toy(path, PairNetwork(species=[8, 14], cutoff=4.0))
    return path


@pytest.fixture(scope="session")
def sw_path(tmp_path_factory) -> Path:
    """The exported Stillinger-Weber potential of silicon, which knows distances and angles only."""
    import stillinger_weber

    path = tmp_path_factory.mktemp("models") / "sw.pt"
    stillinger_weber.export(path)
    return path


@pytest.fixture(scope="session")
def random_path(tmp_path_factory) -> Path:
    """An exported random PET with direct heads."""
    from random_pet import export_random

    path = tmp_path_factory.mktemp("models") / "random.pt"
    export_random(path)
    return path


@pytest.fixture(scope="session")
def anisotropic_model_path(tmp_path_factory) -> Path:
    """An exported unconstrained toy with direct forces and stresses, Si and O."""
    from toy import AnisotropicNetwork, export_toy

    path = tmp_path_factory.mktemp("models") / "anisotropic.pt"
    export_toy(path, AnisotropicNetwork(species=[8, 14], cutoff=4.0, direct=True))
    return path


@pytest.fixture(scope="session")
def pair(pair_model_path):
    """The pair potential, loaded in float64."""
    from ase_mlip.model_file.model import load_model

    return load_model(pair_model_path, device="cpu", dtype="float64")


@pytest.fixture(scope="session")
def anisotropic(anisotropic_model_path):
    """The unconstrained toy, loaded in float64."""
    from ase_mlip.model_file.model import load_model

    return load_model(anisotropic_model_path, device="cpu", dtype="float64")


@pytest.fixture
def fake_installation(tmp_path, monkeypatch) -> Path:
    """A fake LAMMPS with MPICH, a fake compiler, an empty cache and no launcher of MPI programs."""
    from fake_lammps import FAKE_COMPILER, HEADER, write_lammps, write_program

    from ase_mlip.building import _build
    from ase_mlip.lammps import _build_lammps, _lammps

    package = write_lammps(tmp_path / "site")
    (tmp_path / "mpi").mkdir()
    (tmp_path / "mpi" / "mpi.h").write_text(HEADER)
    compiler = write_program(tmp_path / "fake-c++", FAKE_COMPILER)
    monkeypatch.setattr(_lammps, "_header_folders", lambda: [tmp_path / "mpi"])
    monkeypatch.setattr(_lammps.Lammps, "mpi", "libmpi.so.12")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delitem(sys.modules, "lammps", raising=False)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_build, "installed_folder", lambda: tmp_path / "installed")
    monkeypatch.setattr(_build_lammps, "installed_folder", lambda: tmp_path / "installed_lammps")
    monkeypatch.setattr(_build, "find_nvcc", lambda: None)
    for names in _lammps.LAUNCHERS:
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("LAMMPS_PLUGIN_PATH", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def torch_side() -> Path:
    """The library that `pair_style mlip` opens, built now if it is not there."""
    from ase_mlip.lammps import _build_lammps, _lammps

    if shutil.which("c++") is None:
        pytest.skip("c++ not found")
    lammps = _lammps.find_lammps()
    if lammps is None:
        pytest.skip("LAMMPS is not installed: the plugin is built against it")
    return _build_lammps.find_or_build(lammps) / _build_lammps.TORCH_SIDE


@pytest.fixture(scope="session")
def driver(torch_side, tmp_path_factory):
    """The torch side in a process without Python; an evaluator replaces the one before."""
    from plugin_driver import Driver, compile_driver

    folder = tmp_path_factory.mktemp("driver")
    driver = Driver(torch_side, folder, compile_driver(folder))
    yield driver
    assert driver.close() == 0
