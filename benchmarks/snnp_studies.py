"""Small trainings of s-NNPs on mlearn for the studies beside this file; what is done is not done again.

Every training is a folder of ``runs/studies`` with its TOML file, its checkpoint and ``errors.json``; what a
study found goes to benchmarks/results with what it depends on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timing
import torch

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "mlearn"
RUNS = ROOT / "runs" / "studies"
RESULTS = ROOT / "benchmarks" / "results"
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT / "benchmarks"]

MODEL = {"cutoff": 5.0, "inner": 1.75, "radial_filters": 6, "angular_filters": 8, "hidden": [24]}
# Of each element, as its shipped potential has them (examples/training): cutoff and first knot, Å.
RADII = {
    "Si": {"cutoff": 5.0, "inner": 1.75},
    "Ge": {"cutoff": 5.5, "inner": 1.95},
    "Mo": {"cutoff": 5.0, "inner": 1.8},
}
LOSS = {"energy": 2.0, "energy_start": 1.0, "forces": 1.0, "stress": 0.1, "curvature": 1e-5}
OPTIMIZER = {"kind": "adamw", "epochs": 12, "batch_size": 2, "learning_rate": 4e-3, "ema_decay": 0.99}


def trained(
    name: str, elements: Sequence[str], optimizer: dict[str, Any], kind: str = "huber", **model: Any
) -> Path:
    """The folder of a training on mlearn's files of ``elements``, done now unless it has been.

    ``kind`` is that of the loss; ``optimizer`` and ``model`` are changes to the tables of this module.
    """
    folder = RUNS / name
    if (folder / "errors.json").exists():
        return folder
    from ase_mlip.progress.bars import bar
    from ase_mlip.training.train import train

    folder.mkdir(parents=True, exist_ok=True)
    files = {part: [str(DATA / f"{e}_{part}.xyz") for e in elements] for part in ("training", "test")}
    tables = {
        "data": {"train": files["training"], "test": files["test"], "split_seed": 1, "group_key": "group"},
        "model": {"architecture": "snnp", **MODEL, **model},
        "loss": {**LOSS, "kind": kind},
        "optimizer": {**OPTIMIZER, "rotate": False, **optimizer},
    }
    lines = [f'name = "{name}"', 'output = "."', "seed = 1", 'device = "cpu"', "threads = 1"]
    for title, table in tables.items():
        lines += [f"[{title}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    path = folder / "run.toml"
    path.write_text("\n".join(lines) + "\n")
    with bar("epoch") as progress:
        train(path, progress=progress, dynamics=0.0)
    return folder


def errors(folder: Path, part: str = "test") -> tuple[float, float]:
    """Root mean square errors of a training: meV/atom and eV/Å."""
    found = json.loads((folder / "errors.json").read_text())[part]
    return 1e3 * found["energy_rmse"], found["forces_rmse"]


def load(element: str, part: str, cutoff: float):
    """A file of mlearn as a ``GraphDataset``; "training" without a validation share."""
    from ase_mlip.data.batches import GraphDataset
    from ase_mlip.data.training_data import DataConfig, load_data

    config = DataConfig(str(DATA / f"{element}_{part}.xyz"), split_seed=1, group_key="group")
    data = load_data(config, ROOT)
    return GraphDataset(data.train if part == "training" else data.train + data.validation, cutoff)


def residual_errors(network: torch.nn.Module, data, energies: dict[int, float]) -> tuple[float, float]:
    """Root mean square errors of a network in float64 with energies per atom: meV/atom and eV/Å."""
    from ase_mlip.training.loss import RunningErrors, predict, residuals

    table = torch.zeros(119, dtype=torch.float64)
    for number, energy in energies.items():
        table[number] = energy
    network.eval().double()
    running = RunningErrors()
    for k in range(len(data)):
        batch = data.collate([k])
        running.add(residuals(predict(network, batch, table, True), batch))
    found = running.rmse()
    return 1e3 * found["energy"], found["forces"]


def constant(network: torch.nn.Module, data, number: int) -> float:
    """The energy per atom that a network of one element lacks on average, eV."""
    from ase_mlip.training.loss import predict

    network.eval().double()
    missing = []
    for k in range(len(data)):
        batch = data.collate([k])
        found = predict(network, batch, torch.zeros(119, dtype=torch.float64), False)["energies"]
        missing.append(float((batch.energies - found.detach())[0] / batch.n_atoms[0]))
    return float(np.mean(missing))


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the numbers")


def publish(name: str, results: Any, folder: Path) -> None:
    """Write what a study found, and where and with what, to ``snnp-NAME.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"environment": timing.environment(), "results": results}
    timing._write(folder / f"snnp-{name}.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")


class Store:
    """Results by name in a JSON file, written after each."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, name: str, make) -> Any:
        """What is stored under a name, or what ``make`` gives, which is then stored."""
        if name not in self.rows:
            self.rows[name] = make()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.rows, indent=1))
            print(name, self.rows[name], flush=True)
        return self.rows[name]
