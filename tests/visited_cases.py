"""Exported s-NNPs whose files say which intervals their data visited."""

import torch
from ase import Atoms
from ase.build import bulk

from ase_mlip.calculators.diagnostics.visited import count_visits
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.model import export_model
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP

CUTOFF = 4.2
INNER = 1.8


def hypers(species=(14,), **changes) -> SNNPHypers:
    small = {"radial_filters": 1, "angular_filters": 2, "hidden": [3], "angular_cutoff": 3.4, "core": False}
    small |= {"radial_intervals": 6, "angular_intervals": 4, "angle_intervals": 5, **changes}
    return SNNPHypers(species=list(species), cutoff=CUTOFF, inner=INNER, **small)


def crystals(symbols="Si8") -> list[Atoms]:
    found = []
    for seed in range(2):
        atoms = bulk("Si", cubic=True, a=5.4)
        atoms.symbols[:] = Atoms(symbols).symbols
        atoms.rattle(0.02, seed=seed)
        found.append(atoms)
    return found


def visits_of(structures, given) -> dict:
    return count_visits([build_graph(atoms, CUTOFF) for atoms in structures], given)


def export(folder, given, structures, change=None):
    torch.manual_seed(0)
    network = SNNP(given).double()
    with torch.no_grad():
        network.phi.coefficients[:, :, 0] = 50.0  # nothing where there is no φ
        network.phi.coefficients[:, :, 1] = 20.0
        if change:
            change(network)
    path = folder / "toy.pt"
    metadata = {"name": "toy", "species": given.species, "cutoff": CUTOFF, "message_passing_layers": 1}
    metadata |= {"interaction_range": CUTOFF, "architecture": {"name": "snnp", **vars(given)}}
    metadata["training"] = {"visits": visits_of(structures, given)} if structures else {}
    export_model(network.eval(), path, metadata)
    return path
