"""The larger of UPET's sizes in full, with random weights: slow, and up to 15 GB of memory."""

import gc
import warnings

import numpy as np
import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a library that only this test imports
    pytest.importorskip("metatrain.pet", reason="needs metatrain (2026.4.1), the oracle")

from calls import call

from ase_mlip.building import _ops
from ase_mlip.converters import adapt, common
from ase_mlip.converters.structures import parity_structures
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.potential import Potential
from ase_mlip.voigt import PAIRS
from tests.adapters.pet_checkpoints import public_model, write

pytestmark = pytest.mark.slow

# d_pet, d_node, layers, attention layers, cutoff, neighbours; and millions of weights in the transformers.
WIDTHS = {
    "M": (400, 1600, 3, 2, 8.5, 32, 110),
    "L": (480, 1920, 4, 2, 9.0, 32, 210),
    "XL": (640, 2560, 5, 3, 10.0, 40, 701),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_the_published_widths(name, tmp_path):
    """Energy and forces of small structures, and a crystal's stress, in float64."""
    d_pet, d_node, layers, attention, cutoff, neighbours, millions = WIDTHS[name]
    sizes = {"d_pet": d_pet, "d_node": d_node, "d_head": d_pet, "d_feedforward": 2 * d_pet, "num_heads": 8}
    layers = {"num_gnn_layers": layers, "num_attention_layers": attention}
    path = tmp_path / "model.ckpt"
    write(path, public_model(**sizes, **layers, cutoff=cutoff, num_neighbors_adaptive=neighbours))
    gc.collect()
    adapted = adapt("pet", path, allow_pickle=True)
    weights = sum(p.numel() for p in adapted.module.network.gnn_layers.parameters())
    assert weights == pytest.approx(1e6 * millions, rel=0.05)
    hypers = adapted.module.hypers
    structures = parity_structures(hypers.species, cutoff)
    structures = [structures[name] for name in ("molecule", "triclinic crystal")]
    expected = [adapted.reference(atoms) for atoms in structures]
    adapted.reference = None  # frees metatrain's weights
    gc.collect()
    _ops.load()
    potential = Potential(adapted.module.to(torch.float64), {})
    composition = adapted.metadata["reference_energies"]
    for atoms, reference in zip(structures, expected, strict=True):
        graph = build_graph(atoms, cutoff)
        found = call(potential, graph)
        energy = float(found["energy"]) + sum(composition[symbol] for symbol in atoms.symbols)
        assert energy == pytest.approx(reference.energy, rel=common.ENERGY)
        np.testing.assert_allclose(found["forces"].numpy(), reference.forces, atol=common.FORCES, rtol=0)
        assert np.abs(reference.forces).max() > 0.1
    stress = -found["virial"][0].numpy() / atoms.get_volume()
    stress = [0.5 * (stress + stress.T)[pair] for pair in PAIRS]
    np.testing.assert_allclose(stress, reference.stress, atol=common.STRESS, rtol=0)
