"""Writes checkpoints of NequIP and Allegro with random weights: ``python nequip_models.py FOLDER``.

``python nequip_models.py FOLDER trained NAME...`` writes those of two seeds after some steps of training.

A program of its own, because nequip's builders and tools change the state of the process they run in.
"""

import sys
import warnings
from pathlib import Path

ZBL = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": ["Si", "O"]}
PAIRS = {"Si": 3.5, "O": {"Si": 3.5, "O": 2.5}}
NEQUIP = {
    "_target_": "nequip.model.NequIPGNNModel",
    "seed": 3,
    "model_dtype": "float32",
    "type_names": ["Si", "O"],
    "r_max": 4.0,
    "num_layers": 2,
    "l_max": 1,
    "num_features": 4,
    "radial_mlp_width": 8,
    "avg_num_neighbors": 20.0,
    "per_type_energy_scales": {"Si": 1.3, "O": 0.7},
    "per_type_energy_shifts": {"Si": -5.1, "O": -3.3},
}
ALLEGRO = {
    **{key: value for key, value in NEQUIP.items() if key not in ("num_features", "radial_mlp_width")},
    "_target_": "allegro.model.AllegroModel",
    "num_scalar_features": 8,
    "num_tensor_features": 4,
    "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8},
    "scalar_embed_mlp_hidden_layers_width": 8,
    "allegro_mlp_hidden_layers_width": 8,
    "readout_mlp_hidden_layers_width": 8,
}
SPLINES = {"_target_": "allegro.nn.TwoBodySplineScalarEmbed", "num_splines": 8, "spline_span": 6}
FULL = {
    "_target_": "nequip.model.FullNequIPGNNModel",
    **{key: value for key, value in NEQUIP.items() if key not in ("_target_", "num_layers", "l_max")},
    "radial_mlp_depth": [1, 1],
    "radial_mlp_width": [8, 8],
    "feature_irreps_hidden": ["4x0e+4x1o", "4x0e"],
    "irreps_edge_sh": "0e+1o",
    "type_embed_num_features": 4,
}
FULL.pop("num_features")
GOOD = {
    "nequip": NEQUIP,
    "three-layers": {**NEQUIP, "num_layers": 3, "num_features": [6, 4]},
    "l-2": {**NEQUIP, "l_max": 2, "num_features": [6, 4, 3], "parity": False},
    "l-3": {**NEQUIP, "l_max": 3, "num_layers": 3, "num_features": 2, "radial_mlp_depth": 0},
    "l-0": {**NEQUIP, "l_max": 0, "type_embed_num_features": 5, "per_type_energy_scales": None},
    "one-layer": {**NEQUIP, "num_layers": 1, "per_type_energy_scales": 2.0, "per_type_energy_shifts": None},
    "zbl": {**NEQUIP, "pair_potential": ZBL, "per_edge_type_cutoff": PAIRS},
    "one-sided-cutoffs": {
        **NEQUIP,
        "per_edge_type_cutoff": {"Si": {"O": 3.0}, "O": {"Si": 3.5, "O": 2.5}},
        "radial_mlp_depth": 2,
        "bessel_trainable": True,
        "polynomial_cutoff_p": 5,
    },
    "float64": {
        **NEQUIP,
        "model_dtype": "float64",
        "avg_num_neighbors": {"Si": 20.0, "O": 13.0},
        "readout_mlp_hidden_layers_depth": 1,
        "readout_mlp_hidden_layers_width": 8,
    },
    "resnet": {**FULL, "convnet_resnet": True, "learnable_shift": True},
    "allegro": ALLEGRO,
    "allegro-splines": {
        **ALLEGRO,
        "l_max": 2,
        "num_layers": 3,
        "parity": False,
        "radial_chemical_embed": SPLINES,
        "per_edge_type_cutoff": PAIRS,
        "pair_potential": ZBL,
        "tp_path_channel_coupling": False,
        "avg_num_neighbors": {"Si": 20.0, "O": 12.0},
    },
    "allegro-float64": {
        **ALLEGRO,
        "l_max": 3,
        "num_layers": 1,
        "model_dtype": "float64",
        "allegro_mlp_hidden_layers_depth": 0,
        "readout_mlp_nonlinearity": None,
        "scalar_embed_mlp_nonlinearity": "mish",
        "radial_chemical_embed_dim": 6,
    },
    "allegro-l-0": {**ALLEGRO, "l_max": 0, "weight_individual_irreps": False},
}
LENNARD_JONES = {"_target_": "nequip.nn.pair_potential.LennardJones", "lj_sigma": 2.0, "lj_epsilon": 0.1}
BAD = {
    "no-elements": {
        **NEQUIP,
        "type_names": ["Si", "Core"],
        "per_type_energy_scales": 1.0,
        "per_type_energy_shifts": 0.0,
    },
    "lennard-jones": {**NEQUIP, "pair_potential": LENNARD_JONES},
    "real-units": {**NEQUIP, "pair_potential": {**ZBL, "units": "real"}},
    "norm-activation": {**FULL, "convnet_nonlinearity_type": "norm"},
    "charge": {
        **FULL,
        "categorical_graph_field_embed": [{"field": "charge", "num_features": 2, "min": -2, "max": 2}],
    },
    "softplus": {**ALLEGRO, "readout_mlp_nonlinearity": "softplus"},
    "doubled-harmonics": {**FULL, "irreps_edge_sh": "0e+1o+1o"},
    "old": NEQUIP,
    "older": NEQUIP,
    "new": NEQUIP,
}
WRITTEN_BY = {"old": "0.6.2", "older": "0.14.0", "new": "1.2.0"}


def write(name: str, model: dict, folder: Path, train_on=None) -> None:
    """One checkpoint, as Lightning writes it at the end of a training of no or some steps on a structure."""
    import lightning
    from nequip.train.lightning import NequIPLightningModule
    from nequip.utils.versions import get_current_code_versions

    versions = get_current_code_versions(verbose=False)
    versions["nequip"] = WRITTEN_BY.get(name, versions["nequip"])
    info = {
        "versions": versions,
        "data": data(model, folder / "train.xyz"),
        "training_module": {"_target_": "nequip.train.NequIPLightningModule", "model": model},
        "trainer": {},
        "run": ["train"],
        "global_options": {},
    }
    numbers = {"train": 1, "val": 1, "test": 0, "predict": 0}
    module = NequIPLightningModule(model=model, num_datasets=numbers, info_dict=info)
    if train_on is not None:
        train(next(iter(module.model.values())), model, train_on)
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.strategy.connect(module)
    trainer.save_checkpoint(folder / f"{name}.ckpt")


def data(model: dict, file: Path) -> dict:
    """Configuration of data, of which `nequip-package` wants an example."""
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 1}
    transforms = "nequip.data.transforms."
    return {
        "_target_": "nequip.data.datamodule.ASEDataModule",
        "seed": 1,
        "train_file_path": str(file),
        "val_file_path": str(file),
        "transforms": [
            {
                "_target_": transforms + "ChemicalSpeciesToAtomTypeMapper",
                "model_type_names": model["type_names"],
            },
            {"_target_": transforms + "NeighborListTransform", "r_max": model["r_max"]},
        ],
        "train_dataloader": loader,
        "val_dataloader": loader,
    }


def train(network, model: dict, atoms, steps: int = 3) -> None:
    """Towards an energy and forces of zero."""
    import torch
    from nequip.data import from_ase
    from nequip.integrations.utils import basic_transforms

    names = model["type_names"]
    transforms = basic_transforms(
        dict(network.metadata), model["r_max"], names, {name: name for name in names}
    )
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(steps):
        data = from_ase(atoms)
        for transform in transforms:
            data = transform(data)
        optimizer.zero_grad()
        found = network(data)
        (found["total_energy"].square().sum() + found["forces"].square().sum()).backward()
        optimizer.step()


def write_trained(folder: Path, names: list[str]) -> None:
    """``NAME-SEED.ckpt`` for two seeds each, after some steps of training on quartz."""
    from nequip.utils.global_state import set_global_state

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from toy import silica

    set_global_state()
    for name in names:
        for seed in (1, 2):
            write(f"{name}-{seed}", {**GOOD[name], "seed": seed}, folder, train_on=silica())


def main(folder: Path) -> None:
    import numpy as np
    from ase.build import bulk
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write as write_xyz
    from nequip.scripts.package import main as package
    from nequip.utils.global_state import set_global_state

    set_global_state()
    atoms = bulk("Si", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-40.0, forces=np.zeros((8, 3)), stress=np.zeros(6))
    write_xyz(folder / "train.xyz", [atoms] * 2)
    for name, model in {**GOOD, **BAD}.items():
        write(name, model, folder)
    for name in ("nequip", "allegro-splines"):
        package(["build", str(folder / f"{name}.ckpt"), str(folder / f"{name}.nequip.zip")])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[2:3] == ["trained"]:
        write_trained(Path(sys.argv[1]), sys.argv[3:])
    else:
        main(Path(sys.argv[1]))
