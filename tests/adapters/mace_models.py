"""MACE models with random weights, built by mace-torch itself."""

from __future__ import annotations

import numpy as np
import torch

from ase_mlip.converters.mace.mace import mace_packages

RESIDUAL = "RealAgnosticResidualInteractionBlock"
DENSITY = "RealAgnosticDensityResidualInteractionBlock"
FOUNDATION = {
    "species": range(1, 90),
    "r_max": 6.0,
    "dtype": torch.float32,
    "avg_num_neighbors": 60.0,
    "features": "8x0e+8x1o",
}
CHEBYSHEV = {"radial_type": "chebyshev", "distance_transform": "Agnesi"}  # of a number below 1
# Settings by name; MACE-MP-0's layout and that of MACE-MP-0b3 and MPA-0, with fewer channels.
GOOD = {
    "two-layers": {},
    "single-precision": {"dtype": torch.float32},
    "one-layer": {"kind": "MACE", "layers": 1, "first": "RealAgnosticInteractionBlock"},
    "three-layers-zbl": {"kind": "MACE", "layers": 3, "zbl": True, "features": "8x0e+8x1o+8x2e"},
    "no-residual": {"first": "RealAgnosticInteractionBlock", "features": "12x0e"},
    "heads": {"heads": ["pbe", "r2scan"]},
    "plain-heads": {"heads": ["pbe", "r2scan"], "kind": "MACE", "zbl": True},
    "mp-0": {**FOUNDATION, "first": RESIDUAL, "num_polynomial_cutoff": 5},
    "mpa-0": {
        **FOUNDATION,
        "first": "RealAgnosticDensityInteractionBlock",
        "later": DENSITY,
        "distance_transform": "Agnesi",
        "zbl": True,
    },
    "density": {"first": DENSITY, "later": DENSITY, "distance_transform": "Soft", "apply_cutoff": False},
    "outer-cutoff": {"apply_cutoff": False, "radial_type": "gaussian"},
    "correlation-1": {"correlation": 1, "max_ell": 2, "layers": 1, **CHEBYSHEV},
    "correlation-2": {"correlation": [3, 2], "max_ell": 2},
    "agnostic": {"use_agnostic_product": True, "use_reduced_cg": False},
    "last-readout": {"use_last_readout_only": True},
    "bias-readout": {"readout_cls": "NonLinearBiasReadoutBlock"},
    "vectors-at-the-end": {"keep_last_layer_irreps": True},
}


def make(
    kind: str = "ScaleShiftMACE",
    species=(8, 14),
    features: str = "8x0e+8x1o",
    layers: int = 2,
    first: str = RESIDUAL,
    later: str = RESIDUAL,
    zbl: bool = False,
    heads: list[str] | None = None,
    dtype: torch.dtype = torch.float64,
    seed: int = 1,
    **options,
) -> torch.nn.Module:
    """A model of mace-torch; forces are some eV/Å where atoms are close."""
    from e3nn import o3
    from mace import modules

    species, count = list(species), len(heads or [None])
    energies = np.random.default_rng(0).uniform(-9, -1, (count, len(species)))
    settings = {
        "r_max": 4.0,
        "num_bessel": 8,
        "num_polynomial_cutoff": 6,
        "max_ell": 3,
        "num_elements": len(species),
        "hidden_irreps": o3.Irreps(features),
        "MLP_irreps": o3.Irreps("16x0e"),
        "avg_num_neighbors": 12.0,
        "atomic_numbers": species,
        "correlation": 3,
        "gate": torch.nn.functional.silu,
        "interaction_cls_first": modules.interaction_classes[first],
        "interaction_cls": modules.interaction_classes[later],
        "num_interactions": layers,
        "atomic_energies": energies if heads else energies[0],
        "pair_repulsion": zbl,
        "heads": heads,
        **options,
    }
    if "readout_cls" in options:
        settings["readout_cls"] = modules.readout_classes[options["readout_cls"]]
    if kind == "ScaleShiftMACE":
        scales = [4.0 + k for k in range(count)]
        shifts = [0.1 - 0.3 * k for k in range(count)]
        settings["atomic_inter_scale"] = scales if heads else scales[0]
        settings["atomic_inter_shift"] = shifts if heads else shifts[0]
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return getattr(modules, kind)(**settings)
    finally:
        torch.set_default_dtype(before)


def write(path, change=None, **settings) -> None:
    """Save a model as MACE does, changed by a function if one is given."""
    with mace_packages():
        model = make(**settings)
        if change is not None:
            model = change(model) or model
        torch.save(model, path)


def write_trained(path, frames, **settings) -> None:
    """A model of its own ``seed`` after a few steps of training towards energies and forces of zero."""
    with mace_packages():
        model = make(**settings)
        train(model, frames, settings.get("dtype", torch.float64))
        torch.save(model, path)


def train(model: torch.nn.Module, frames: list, dtype: torch.dtype, steps: int = 3) -> None:
    from mace import data
    from mace.tools import AtomicNumberTable
    from mace.tools.torch_geometric.dataloader import DataLoader

    table = AtomicNumberTable([int(number) for number in model.atomic_numbers])
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        configurations = [data.config_from_atoms(atoms) for atoms in frames]
        cutoff = float(model.r_max)
        graphs = [data.AtomicData.from_config(c, z_table=table, cutoff=cutoff) for c in configurations]
        batch = next(iter(DataLoader(graphs, batch_size=len(graphs)))).to_dict()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(steps):
            optimizer.zero_grad()
            found = model(dict(batch), training=True)
            (found["energy"].square().sum() + found["forces"].square().sum()).backward()
            optimizer.step()
    finally:
        torch.set_default_dtype(before)
