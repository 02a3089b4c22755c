"""Exported s-NNPs for LAMMPS."""

import torch

from ase_mlip import export_model
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP


def export(folder, training=None, **changes):
    torch.manual_seed(0)
    values = {"species": [14, 8], "cutoff": 4.5, "inner": 1.2, "angular_cutoff": 4.0, "hidden": [8]}
    hypers = SNNPHypers(**{**values, **changes})
    network = SNNP(hypers).double()
    torch.nn.init.normal_(network.phi.coefficients, std=0.3)
    claims = {"name": "snnp", "species": [14, 8], "cutoff": 4.5, "equivariant": True}
    claims["reference_energies"] = {"Si": -1.5, "O": -2.25}
    claims["architecture"] = {"name": "snnp", **vars(hypers)}
    claims["training"] = training or {}
    path = folder / "snnp.pt"
    export_model(network, path, {**claims, "message_passing_layers": 1, "interaction_range": 4.5})
    return path


def known_model(folder):
    """A model whose data hold silicon and oxygen at most 2.9 Å apart, and no pair of oxygen atoms."""
    hypers = {"radial_intervals": 6, "angular_intervals": 6, "angle_intervals": 6}
    silicon, pair = [0, 9, 9, 0, 0, 0, 0], [0, 9, 9, 9, 0, 0, 0]
    visits = {"Si-Si": silicon, "Si-O": pair, "O-O": [0] * 7}
    angles = {"Si: Si-Si": [0, 5, 0, 5, 0, 5, 0], "O: Si-Si": [0, 5, 5, 5, 5, 5, 5]}
    training = {"visits": {"radial": visits, "angular": visits, "angle": angles}}
    return export(folder, training=training, **hypers)
