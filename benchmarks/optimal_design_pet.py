"""H8 of the study of optimal design: a small PET trained on picks of the s-NNP basis, and on random sets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from ase.io import write
from optimal_design_element import mlearn
from scipy import stats

from ase_mlip.progress.bars import bar
from ase_mlip.training.train import train

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "optimal-design"
SHARE = 0.10
SEEDS = (1, 2, 3)
MODEL = {"cutoff": 5.0, "d_pet": 32, "d_node": 64, "d_head": 32, "d_feedforward": 64, "num_heads": 4}
MODEL |= {"num_attention_layers": 1, "num_gnn_layers": 2}
LOSS = {"energy": 1.0, "energy_start": 0.02, "forces": 1.0, "stress": 0.0}
OPTIMIZER = {"kind": "muon", "epochs": 150, "batch_size": 2, "learning_rate": 1.5e-3, "ema_decay": 0.99}


def measure() -> dict:
    """Held-out group-balanced errors of each training, and Welch's interval of the difference in forces."""
    pool, held_out = mlearn("Mo")
    size = round(SHARE * len(pool))
    stored = json.loads((ROOT / "benchmarks" / "results" / "optimal-design.json").read_text())
    picks = stored["elements"]["Mo"]["sizes"][f"{SHARE:.0%}"]["i picks"]
    errors = {}
    for seed in SEEDS:
        errors[f"picks, seed {seed}"] = _trained(f"picks-{seed}", seed, [pool[k] for k in picks], held_out)
        chosen = np.random.default_rng(seed).permutation(len(pool))[:size]
        errors[f"random {seed}, seed {seed}"] = _trained(
            f"random-{seed}", seed, [pool[int(k)] for k in chosen], held_out
        )
    own = [value[1] for name, value in errors.items() if name.startswith("picks")]
    other = [value[1] for name, value in errors.items() if name.startswith("random")]
    test = stats.ttest_ind(other, own, equal_var=False)
    interval = test.confidence_interval(0.95)
    difference = float(np.mean(other) - np.mean(own))
    return {
        "errors": errors,
        "difference": difference,
        "interval": [float(interval.low), float(interval.high)],
    }


def _trained(name: str, seed: int, frames: list, held_out: list) -> tuple[float, float]:
    """Of a training that is done now unless it has been: eV/atom, eV/Å."""
    folder = RUNS / name
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / f"{name}.pt"
    if not model.exists():
        print(f"PET: {name}", file=sys.stderr)
        write(folder / "train.xyz", frames)
        write(folder / "test.xyz", held_out)
        with bar("epoch") as progress:
            train(_recipe(folder, name, seed), progress=progress, dynamics=0.0)
    return _errors(model, held_out)


def _recipe(folder: Path, name: str, seed: int) -> Path:
    data = {"train": "train.xyz", "test": "test.xyz", "validation_fraction": 0.1, "split_seed": seed}
    lines = [f'name = "{name}"', 'output = "."', f"seed = {seed}", 'device = "cpu"', "threads = 1"]
    tables = {"data": data, "model": MODEL, "loss": LOSS, "optimizer": OPTIMIZER}
    for title, table in tables.items():
        lines += [f"[{title}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    path = folder / "run.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _errors(model: Path, held_out: list) -> tuple[float, float]:
    """Group-balanced root mean square errors of energies per atom and of force components."""
    from ase_mlip import MLIPCalculator

    found: dict[str, list] = {}
    results = MLIPCalculator(str(model), device="cpu").evaluate(held_out, properties=("energy", "forces"))
    for atoms, result in zip(held_out, results, strict=True):
        energy = ((result["energy"] - atoms.get_potential_energy()) / len(atoms)) ** 2
        forces = np.square(result["forces"] - atoms.get_forces()).ravel()
        found.setdefault(atoms.info["group"], []).append((energy, forces))
    energies = np.mean([np.mean([energy for energy, _ in group]) for group in found.values()])
    forces = np.mean([np.concatenate([values for _, values in group]).mean() for group in found.values()])
    return float(np.sqrt(energies)), float(np.sqrt(forces))
