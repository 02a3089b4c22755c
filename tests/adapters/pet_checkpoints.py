"""Checkpoints of metatrain's PET with random weights, written by metatrain itself."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write as write_structures

SMALL = {"d_pet": 16, "d_node": 24, "d_head": 12, "d_feedforward": 20, "num_heads": 2, "cutoff": 4.0}
SPECIES = [1, 8, 14]
UNITS = {"energy": "eV", "non_conservative_force": "eV/Angstrom", "non_conservative_stress": "eV/Angstrom^3"}

TRAINING = """
seed: {seed}
architecture:
  name: pet
  model: {hypers}
  training:
    num_epochs: 3
    batch_size: 4
    learning_rate: 0.003
    atomic_baseline: {baseline}
training_set:
  systems: {{read_from: train.xyz, length_unit: angstrom}}
  targets:
    energy: {{key: energy, unit: eV, forces: true, stress: true}}
    non_conservative_force:
      {{key: forces, unit: eV/Angstrom, type: {{cartesian: {{rank: 1}}}}, sample_kind: atom}}
validation_set: 0.2
test_set: 0.2
"""


def target_info(name: str, unit: str):
    """metatrain's description of an energy, a direct force or a direct stress; else a scalar per atom."""
    from metatrain.utils.data.target_info import get_energy_target_info, get_generic_target_info

    kind = name.split("/")[0]
    if kind == "energy":
        return get_energy_target_info(name, {"quantity": "energy", "unit": unit})
    rank = {"non_conservative_force": 1, "non_conservative_forces": 1, "non_conservative_stress": 2}.get(kind)
    per_structure = kind == "non_conservative_stress"
    settings = {
        "quantity": "",
        "unit": unit,
        "type": {"cartesian": {"rank": rank}} if rank else "scalar",
        "num_subtargets": 1,
        "sample_kind": "system" if per_structure else "atom",
        "per_atom": not per_structure,
    }
    return get_generic_target_info(name, settings)


def public_model(targets: dict[str, str] | None = None, species=SPECIES, seed: int = 7, **changes):
    """metatrain's PET whose weights, scales and composition are all random and of use.

    Parameters
    ----------
    targets: units by name; by default an energy in eV
    changes: hyper-parameters other than those of ``SMALL``
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from metatrain.pet import PET
        from metatrain.utils.architectures import get_default_hypers
        from metatrain.utils.data import DatasetInfo

        infos = {name: target_info(name, unit) for name, unit in (targets or {"energy": "eV"}).items()}
        hypers = {**get_default_hypers("pet")["model"], **SMALL, **changes}
        info = DatasetInfo(length_unit="Angstrom", atomic_types=list(species), targets=infos)
        model = PET(hypers, info)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.backend.named_parameters():
            weight.normal_(generator=generator)
            if "embedder" not in name:
                weight *= weight.shape[-1] ** -0.5 if weight.ndim == 2 else 0.3
            if "norm" in name and name.endswith("weight"):
                weight += 1.0
    for maps, module, suffix, size in (
        (model.scaler.model.scales, model.scaler, "_scaler_buffer", 0.5),
        (model.additive_models[0].model.weights, model.additive_models[0], "_composition_buffer", 7.0),
    ):
        for name, values in maps.items():
            fill(values, module, name + suffix, size, generator)
    return model.eval()


def fill(values, module: torch.nn.Module, buffer: str, size: float, generator: torch.Generator) -> None:
    """Random numbers with more digits than float32 has, into a map and the buffer that it is saved by."""
    import metatensor.torch as mts

    for block in values.blocks():
        random = torch.rand(block.values.shape, generator=generator, dtype=torch.float64)
        block.values[:] = size * (0.5 + random)
    module.register_buffer(buffer, mts.save_buffer(mts.make_contiguous(values)))


def write(path: Path, model) -> Path:
    torch.save(model.get_checkpoint(), path)
    return path


def train(folder: Path, baseline: dict, seed: int = 0) -> Path:
    """A checkpoint of `mtt train`: three epochs on copper and gold as EMT has them.

    Parameters
    ----------
    baseline: metatrain's `atomic_baseline`; empty: fitted
    seed: of the weights and batches
    """
    frames = []
    for k in range(10):
        atoms = bulk("Cu", cubic=True)
        atoms.symbols[k % 4] = "Au"
        atoms.rattle(0.1, seed=k)
        atoms.calc = EMT()
        results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    write_structures(folder / "train.xyz", frames)
    hypers = {**SMALL, "num_neighbors_adaptive": 8}
    text = TRAINING.format(seed=seed, hypers=json.dumps(hypers), baseline=str(baseline).replace("'", ""))
    (folder / "options.yaml").write_text(text)
    command = [str(Path(sys.executable).with_name("mtt")), "train", "options.yaml", "-o", "model.pt"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return folder / "model.ckpt"
