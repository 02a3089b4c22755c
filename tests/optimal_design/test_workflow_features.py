"""A network's last-layer features as the basis of a design."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from leverage_cases import Squared
from random_pet import METADATA, random_network, silicon

sys.path.insert(0, str(Path(__file__).resolve().parent))
from designs import labelled

from ase_mlip import MLIPCalculator, design
from ase_mlip.errors import DataError
from ase_mlip.model_file.model import export_model
from ase_mlip.optimal_design.rows import sketch
from ase_mlip.optimal_design.verify import verify


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "pet.pt"
    export_model(random_network(num_gnn_layers=1, num_attention_layers=1), path, METADATA)
    return path


def frames():
    found = []
    for k, rattle in enumerate(np.repeat([0.05, 0.2], 6)):
        atoms = silicon(rattle, seed=k)
        atoms.info["group"] = "cold" if rattle < 0.1 else "hot"
        found.append(atoms)
    return found


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("design")
    design(frames(), 8, basis=model, rows="sketch:3", output=folder)
    return folder


def test_picks_come_with_forecast_and_certificate(model):
    result = design(frames(), 4, basis=model, rows="sketch:3")
    assert f"features of {model}" in result.rows.name
    assert len(result.picks) == 4
    assert 0.0 < result.efficiency <= 1.0 + 1e-9
    assert np.sqrt(result.path.values[-1]) > result.floor
    assert [group.name for group in result.groups] == ["cold", "hot"]


def test_labels_of_the_model_itself_are_predicted_without_error(folder, model):
    picks = read(folder / "picks.xyz", ":")
    write(folder / "same.xyz", labelled(picks, MLIPCalculator(model, dtype="float64")))
    found = verify(folder / "same.xyz", folder)
    assert [one.kind for one in found.comparisons] == ["energy", "forces"]
    for one in found.comparisons:
        assert one.factor < 1e-5  # of rounding: the file has eight decimals


def test_noise_of_forces_is_found_through_the_sketch(folder, model):
    """Labels of the model plus noise: what is left out is predicted by the model, and errs by the noise."""
    noise, generator, found = 0.2, np.random.default_rng(4), []
    for atoms in labelled(read(folder / "picks.xyz", ":"), MLIPCalculator(model, dtype="float64")):
        results = dict(atoms.calc.results)
        results["forces"] = results["forces"] + noise * generator.standard_normal((len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    write(folder / "noisy.xyz", found)
    forces = verify(folder / "noisy.xyz", folder).comparisons[1]
    assert np.sqrt(np.mean(forces.error**2)) == pytest.approx(noise, rel=1.0)
    assert np.sqrt(np.mean(forces.error**2)) > 0.7 * noise


def test_a_model_that_is_not_linear_in_its_features_is_said_to_be(model, tmp_path):
    assert not any("not linear" in note for note in design(frames(), 3, basis=model, rows="sketch:3").notes)
    claims = {**METADATA, "message_passing_layers": 1, "equivariant": True}
    export_model(Squared(), tmp_path / "squared.pt", claims)
    result = design(frames(), 3, basis=tmp_path / "squared.pt")
    (note,) = (note for note in result.notes if "not linear" in note)
    assert note.startswith(f"the energies of `{tmp_path / 'squared.pt'}` are not linear in its features")


def test_rows_that_are_there_serve_another_selection(model, tmp_path, monkeypatch):
    design(frames(), 3, basis=model, rows="sketch:3", output=tmp_path / "out")
    with pytest.raises(DataError, match=r"`overwrite=True`: rows that fit serve again"):
        design(frames(), 5, basis=model, rows="sketch:3", output=tmp_path / "out")
    expected = design(frames(), 5, basis=model, rows="sketch:3")
    made, original = [], sketch._rows

    def counted(*arguments):
        made.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(sketch, "_rows", counted)
    found = design(frames(), 5, basis=model, rows="sketch:3", output=tmp_path / "out", overwrite=True)
    assert len(made) == 1, "the smallest structure, to count the features"
    assert [pick.place for pick in found.picks] == [pick.place for pick in expected.picks]
    assert np.array_equal(found.path.values, expected.path.values)
