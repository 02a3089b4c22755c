"""SevenNet checkpoints with random weights, built by sevenn itself."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

SPECIES = ["Si", "O", "Ti"]
SMALL = {
    "cutoff": 4.0,
    "channel": 4,
    "num_convolution_layer": 2,
    "weight_nn_hidden_neurons": [8],
    "conv_denominator": 5.0,
    "shift": -3.25,
    "scale": 0.5,
}
MODALITIES = {
    "use_modality": True,
    "_modal_map": {"PBE": 0, "r2SCAN": 1},
    "_number_of_modalities": 2,
    "use_modal_wise_shift": True,
    "use_modal_wise_scale": True,
    "use_modal_node_embedding": True,
    "use_modal_self_inter_intro": True,
    "use_modal_self_inter_outro": True,
    "use_modal_output_block": True,
    "shift": {"PBE": [-1.0] * 119, "r2SCAN": [-2.0] * 119},
    "scale": [0.5, 0.7],
}


def write(path: Path, seed: int = 0, train_on: list | None = None, **changes) -> Path:
    """A checkpoint as sevenn writes one, with random weights; after a few steps of training on structures."""
    import sevenn
    from sevenn import _const as const
    from sevenn import model_build, util

    config = {**const.DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG, **util.chemical_species_preprocess(SPECIES)}
    config |= {"version": sevenn.__version__, **SMALL, **changes}
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = model_build.build_E3_equivariant_model(config)
        for atoms in train_on or []:
            train(model, atoms, config["cutoff"])
    torch.save(
        {
            "config": config,
            "model_state_dict": model.state_dict(),
            "epoch": 7,
            "time": "2026-11-21",
            "hash": "0123",
        },
        path,
    )
    return path


def train(model: torch.nn.Module, atoms, cutoff: float, steps: int = 3) -> None:
    """Towards an energy and forces of zero."""
    from sevenn import _keys as keys
    from sevenn.atom_graph_data import AtomGraphData
    from sevenn.train.dataload import unlabeled_atoms_to_graph

    model.set_is_batch_data(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        found = model(AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, cutoff)))
        energy, forces = found[keys.PRED_TOTAL_ENERGY], found[keys.PRED_FORCE]
        (energy.square().sum() + forces.square().sum()).backward()
        optimizer.step()
    model.set_is_batch_data(True)
