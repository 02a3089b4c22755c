"""The row "energies are linear in the features": what says yes, what says no, and who has none."""

import pytest
import torch
from broken_networks import Broken, make_model
from random_pet import random_network

from ase_mlip.checks.check import check, format_checks
from ase_mlip.checks.features import linear_features
from ase_mlip.checks.probe import Probe
from ase_mlip.checks.structures import default_structures
from ase_mlip.model_file.model import load_model

NAME = "energies are linear in the features"


class Featured(Broken):
    """Two sums over neighbours and what reads them."""

    def features(self, species, edge_index, edge_vectors):
        distances = torch.linalg.vector_norm(edge_vectors, dim=1)
        window = self.window(distances)
        found = torch.zeros(species.size(0), 2, dtype=edge_vectors.dtype)
        return found.index_add(0, edge_index[0], torch.stack([window, window * torch.sin(distances)], dim=1))

    def forward(self, species, edge_index, edge_vectors, reverse_edges, inputs, outputs):
        features = self.features(species, edge_index, edge_vectors)
        heavy = (species > 10).to(features.dtype)  # another map for each element
        found = {"energies": self.read(features) * (1.0 + heavy) - 0.3 * heavy}
        return {**found, "features": features} if "features" in outputs else found

    def read(self, features):
        return 0.3 * features[:, 0] - 2.0 * features[:, 1] + 0.1


class Curved(Featured):
    def read(self, features):
        return super().read(features) + 1e-4 * features[:, 0] ** 2


def row(module, **claims):
    model = make_model(module, outputs=["energies", "features"], **claims)
    (found,) = linear_features(Probe(model, default_structures(model.info.species)))
    assert found.name == NAME and found.passed is None
    return found


def test_an_affine_map_for_each_element_is_linear():
    found = row(Featured())
    assert found.value < 1e-12 and found.detail.startswith("yes, ")


def test_a_small_square_is_not():
    found = row(Curved())
    assert found.value > 1e-6 and found.detail.startswith("no, ")


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("featurizer", ["feedforward", "residual"])
def test_energies_of_pet_are_linear_in_its_features(featurizer, layers):
    """Also with biases of the edges' read-out, which the sum of the cutoff weights multiplies."""
    network = random_network(num_gnn_layers=layers, num_attention_layers=1, featurizer_type=featurizer)
    torch.nn.init.normal_(network.readout_energy.edge_last.bias)
    for readout in network.readout_energy_before:
        torch.nn.init.normal_(readout.edge_last.bias)
    found = row(network.eval(), species=[14], interaction_range=8.0, message_passing_layers=2)
    assert found.value < 1e-9 and found.detail.startswith("yes, ")


def test_the_row_is_printed_only_for_models_with_features(pair_model_path):
    results = check(make_model(Featured(), outputs=["energies", "features"]))
    assert f"{NAME}  " in format_checks(results)
    assert NAME not in [result.name for result in check(pair_model_path)]


def test_too_many_features_for_what_is_worth_evaluating_are_said_so(monkeypatch):
    monkeypatch.setattr("ase_mlip.checks.features.MOST", 1)
    monkeypatch.setattr("ase_mlip.checks.features.SIZE", 4)
    assert row(Featured()).detail == "not known: 4 atoms are too few for 2 features"


@pytest.mark.parametrize("name", ["pet-si", "pet-ge", "pet-mo"])
def test_shipped_pets_say_yes(name):
    (found,) = linear_features(Probe(load_model(name, device="cpu", dtype="float64"), []))
    assert found.detail.startswith("yes, ")
