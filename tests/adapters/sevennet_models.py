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


def write(path: Path, **changes) -> Path:
    """A checkpoint as sevenn writes one, with random weights."""
    import sevenn
    from sevenn import _const as const
    from sevenn import model_build, util

    config = {**const.DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG, **util.chemical_species_preprocess(SPECIES)}
    config |= {"version": sevenn.__version__, **SMALL, **changes}
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = model_build.build_E3_equivariant_model(config)
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
