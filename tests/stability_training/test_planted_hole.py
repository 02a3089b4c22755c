"""The example heals what it planted: a pair spline that was made attractive gets its barrier back."""

import importlib.util
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from ase_mlip.model_file.model import load_model
from ase_mlip.pictures.filters import read_filters
from ase_mlip.stability_training.workflow import stabilize

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "stabilize"


def pair_energy(path: Path, distances: list[float]) -> np.ndarray:
    """φ of `ase-mlip plot-filters`, eV."""
    (curve,) = read_filters(load_model(path)).phi
    return np.interp(distances, curve.x, curve.y)


@pytest.mark.slow
def test_a_planted_hole_gets_its_barrier_back(tmp_path):
    spec = importlib.util.spec_from_file_location("make_data", EXAMPLE / "make_data.py")
    make_data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_data)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # coefficients that the data do not determine: the hole
        make_data.main(tmp_path)
    shutil.copy(EXAMPLE / "quick.toml", tmp_path)
    result = stabilize(tmp_path / "quick.toml")
    assert result.exported is not None, result.verdict
    inside, top = 1.84, 2.06  # Å, knots of φ below and above the beginning of the hole
    planted = pair_energy(tmp_path / "hole.pt", [inside, top])
    healed = pair_energy(result.exported, [inside, top])
    assert planted[0] < planted[1]  # downhill into the hole
    assert healed[0] - healed[1] > planted[0] - planted[1] + 0.2
    first, chosen = result.document["points"][0], result.document["chosen"]
    assert chosen["mean_survival"] > first["mean_survival"]
    assert result.document["chosen"]["force_error"] <= result.document["force_error_limit"]
