"""A training run of a few seconds: copper by EMT, a small PET."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="Muon needs torch 2.9")

RUN = """
name = "toy"
output = "out"
threads = 1
functional = "EMT"
{top}
[data]
train = "train.xyz"
test = "test.xyz"
validation_fraction = 0.2
{data}
[model]
cutoff = 3.5
d_pet = 16
d_node = 24
d_head = 16
d_feedforward = 32
num_heads = 2
num_attention_layers = 1
num_gnn_layers = 1
direct_forces = true
direct_stress = true
{model}
[loss]
direct_forces = 0.1
direct_stress = 0.01
{loss}
[optimizer]
batch_size = 2
learning_rate = 5e-3
epochs = {epochs}
{optimizer}
"""


def frames(n: int, seed: int) -> list:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += 0.15 * rng.normal(size=atoms.positions.shape)
        atoms.calc = EMT()
        results = {k: atoms.calc.get_property(k, atoms) for k in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        # the same under other names: a key that is changed finds something
        atoms.info["dft"], atoms.arrays["dft_forces"] = results["energy"] + 1.0, results["forces"]
        found.append(atoms)
    return found


def prepare(folder: Path, epochs: int = 3, **parts: str) -> Path:
    write(folder / "train.xyz", frames(10, 0))
    write(folder / "test.xyz", frames(2, 1))
    filled = {"top": "", "data": "", "model": "", "loss": "", "optimizer": "", **parts}
    if not hasattr(torch.optim, "Muon") and "kind" not in filled["optimizer"]:
        filled["optimizer"] += '\nkind = "adamw"'
    path = folder / "run.toml"
    path.write_text(RUN.format(epochs=epochs, **filled))
    return path


def history(folder: Path) -> list[dict[str, float]]:
    with open(folder / "out" / "metrics.csv") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def leftovers(folder: Path) -> list[Path]:
    """Files that `write_atomically` began and did not finish; the next test holds their name."""
    return list(folder.glob(".*.tmp"))
