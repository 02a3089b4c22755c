"""The weights of converted NequIP and Allegro models: what training makes different, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nequip", reason="nequip is not installed")
pytest.importorskip("allegro", reason="nequip-allegro is not installed")

from differing import assert_weights, differing, listed
from landscape_cases import assert_landscape
from toy import silica

from ase_mlip import load_model
from ase_mlip.converters import adapt, export_adapted

HERE = Path(__file__).parent
NAMES = ("nequip", "one-sided-cutoffs", "allegro", "allegro-splines")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Checkpoints ``NAME-SEED.ckpt`` after a few steps of training."""
    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, str(HERE / "nequip_models.py"), str(folder), "trained", *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_differs_between_two_trainings_exactly_if_it_is_listed(name, folder):
    models = []
    for seed in (1, 2):
        path = folder / f"{name}-{seed}.pt"
        export_adapted(adapt("nequip", path.with_suffix(".ckpt"), allow_pickle=True), path)
        models.append(load_model(path, device="cpu", dtype="float64"))
    assert differing(*models) == listed(models[0])
    assert_weights(models[0], "Allegro" if "allegro" in name else "NequIP", silica())
    assert_landscape(models[0], silica())
