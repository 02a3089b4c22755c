"""Shared fixtures: exported toy models and the torch side of the plugin, one set per test session."""

import shutil
import sys
from pathlib import Path

import pytest

# toy.py is imported by name from every test file, also from subprocesses' own working directories
sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="session")
def pair_model_path(tmp_path_factory) -> Path:
    """An exported, smooth, invariant pair potential for Si and O."""
    from toy import PairNetwork, export_toy

    path = tmp_path_factory.mktemp("models") / "pair.pt"
    export_toy(path, PairNetwork(species=[8, 14], cutoff=4.0))
    return path


@pytest.fixture(scope="session")
def anisotropic_model_path(tmp_path_factory) -> Path:
    """An exported unconstrained toy with direct forces and stresses, Si and O."""
    from toy import AnisotropicNetwork, export_toy

    path = tmp_path_factory.mktemp("models") / "anisotropic.pt"
    export_toy(path, AnisotropicNetwork(species=[8, 14], cutoff=4.0, direct=True))
    return path


@pytest.fixture(scope="session")
def torch_side() -> Path:
    """The library that `pair_style mlip` opens, built now if it is not there."""
    from ase_mlip import _build_lammps, _lammps

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
