"""Shared fixtures: exported toy models, one set per test session."""

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
