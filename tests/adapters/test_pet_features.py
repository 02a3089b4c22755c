"""Last-layer features of a converted PET: those that metatrain's own model gives."""

import warnings

import numpy as np
import pytest
import torch
from ase import Atoms

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a library that only this test imports
    pytest.importorskip("metatrain.pet", reason="needs metatrain (2026.4.1), the oracle")

from ase_mlip.converters import adapt, export_adapted
from ase_mlip.converters.pet.metatrain import MetatomicReference
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.model import load_model
from tests.adapters.pet_checkpoints import SMALL, public_model, write

RESIDUAL = {"featurizer_type": "residual", "num_gnn_layers": 3, "num_attention_layers": 1}
VARIANTS = {
    "feedforward": {},
    "feedforward, adaptive, 3 layers": {"num_neighbors_adaptive": 8, "num_gnn_layers": 3},
    "residual": RESIDUAL,
    "residual, adaptive": {**RESIDUAL, "num_neighbors_adaptive": 8},
}


def skewed() -> Atoms:
    """Seven atoms of three species, two of them close to their own images, and a lone one."""
    cell = [[5.0, 0.1, -0.2], [0.9, 5.5, 0.3], [-0.7, 1.1, 14.0]]
    places = np.random.default_rng(3).random((7, 3)) * [1.0, 1.0, 0.4]
    places[6] = [0.5, 0.5, 0.75]
    return Atoms("SiOHSiOOH", scaled_positions=places, cell=cell, pbc=True)


def of_metatrain(model: torch.nn.Module, atoms: Atoms, variant: str | None) -> np.ndarray:
    """``mtt::aux::energy…_last_layer_features`` of every atom, in float64."""
    from metatomic.torch import ModelOutput

    energy = "energy" if variant is None else f"energy/{variant}"
    name = f"mtt::aux::{energy}_last_layer_features"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calculator = MetatomicReference(model, variant).calculator
        found = calculator.run_model(atoms, {name: ModelOutput(sample_kind="atom")})
    return found[name].block().values.detach().numpy()


@pytest.mark.parametrize("name", VARIANTS)
def test_features_are_those_of_metatrain(name, tmp_path):
    """Both halves, of the node and of its edges, of each layer that is read out; ours have one more."""
    model = public_model(**VARIANTS[name])
    adapted = adapt("pet", write(tmp_path / "model.ckpt", model), allow_pickle=True)
    atoms = skewed()
    graph = build_graph(atoms, SMALL["cutoff"])
    arguments = (graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges)
    with torch.no_grad():
        found = adapted.module.to(torch.float64)(*arguments, {}, ["features"])["features"].numpy()
    expected = of_metatrain(model, atoms, None)
    layers = 3 if "residual" in name else 1
    assert found.shape == (7, 2 * layers * SMALL["d_head"] + 1) and np.abs(expected).min(axis=1).max() > 0.0
    np.testing.assert_allclose(found[:, :-1], expected, atol=1e-11 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("head", ["pbe", "r2scan"])
def test_features_are_of_the_chosen_energy_and_in_the_file(head, tmp_path):
    """Also beside direct forces."""
    targets = {"energy/pbe": "eV", "energy/r2scan": "eV", "non_conservative_force/pbe": "eV/Angstrom"}
    model = public_model(targets)
    path = write(tmp_path / "model.ckpt", model)
    adapted = adapt("pet", path, allow_pickle=True, head=head)
    export_adapted(adapted, tmp_path / "model.pt")
    loaded = load_model(tmp_path / "model.pt", device="cpu", dtype="float64")
    direct = ["direct_forces"] if head == "pbe" else []
    assert loaded.info.outputs == ["energies", *direct, "features"]
    atoms = skewed()
    graph = build_graph(atoms, SMALL["cutoff"])
    found = loaded(graph, ["features"])["features"].numpy()
    expected = of_metatrain(model, atoms, head)
    np.testing.assert_allclose(found[:, :-1], expected, atol=1e-11 * np.abs(expected).max(), rtol=0)
    assert "features" not in loaded(graph)  # a step of dynamics does not pay for them
