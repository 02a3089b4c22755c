"""The models of the study of loss entropy: 24 s-NNPs as a grid, eight PETs, their frames and trainings.

Only :func:`test_frames` reads a frame of the test file; it is called after a model has been trained.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import importlib.util
import io
import itertools
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "3bpa"
RUNS = ROOT / "runs" / "loss-entropy"
TEMPERATURES = ("300K", "600K", "1200K")
QUARTER = 112  # of the 450 training frames; every model trains on these, whatever else it trains on
LANDSCAPE_FRAMES = 100  # of these 112, so that all landscapes are of training frames, and of the same

# The grid of the s-NNPs: every combination is a model.
HIDDEN: dict[str, list[int]] = {"linear": [], "small": [16], "deep": [32, 32]}
FILTERS = {"few": (2, 3), "many": (4, 6)}  # radial, angular
FRAMES = ("all", "quarter")
CURVATURE = {"rough": 1e-6, "smooth": 1e-2}  # weight of the splines' square curvature in the loss
SNNP = {
    "model": {"architecture": "snnp", "cutoff": 5.0, "angular_cutoff": 4.0, "inner": "auto"}
    | {"filters": "pair"},
    "loss": {"energy": 1.0, "energy_start": 0.1, "forces": 1.0, "stress": 0.0},
    "optimizer": {"kind": "adamw", "batch_size": 4, "learning_rate": 3e-3, "ema_decay": 0.998}
    | {"rotate": False, "linear_start": 1e-6, "epochs": 100},
}

# The PETs: each differs in one thing from a recipe that is not a model of its own; the long run is that
# recipe, trained for twice as long.
PET = {
    "model": {"cutoff": 5.0, "d_pet": 64, "d_node": 128, "d_head": 64, "d_feedforward": 128, "num_heads": 4}
    | {"num_attention_layers": 1, "num_gnn_layers": 2},
    "loss": {"energy": 0.3, "energy_start": 0.003, "forces": 1.0, "stress": 0.0},
    "optimizer": {"kind": "muon", "epochs": 130, "batch_size": 4, "learning_rate": 1.5e-3}
    | {"ema_decay": 0.998},
}
PETS: dict[str, dict] = {
    "adamw": {"optimizer": {"kind": "adamw", "learning_rate": 1e-3}},
    "raw": {"optimizer": {"ema_decay": 0.0}},
    "one-layer": {"model": {"num_gnn_layers": 1}},
    "energy": {"loss": {"energy": 3.0, "energy_start": 0.03}},
    "unrotated": {"optimizer": {"rotate": False}},
    "decay": {"optimizer": {"weight_decay": 0.1}},
    "quarter": {},
    "long": {"optimizer": {"epochs": 260}},
}


@dataclass(frozen=True)
class Recipe:
    """One model: its family, the frames it trains on ("all" or "quarter"), the tables of its TOML file."""

    name: str
    family: str
    frames: str
    tables: dict[str, dict]
    seed: int

    @property
    def folder(self) -> Path:
        """Where it is trained."""
        return RUNS / "models" / self.name

    @property
    def file(self) -> Path:
        """The exported model."""
        return self.folder / f"{self.name}.pt"


def recipes(family: str | None = None) -> list[Recipe]:
    """All models of the study, or those of a family, in the order in which they are made."""
    return [recipe for recipe in (*_snnps(), *_pets()) if family in (None, recipe.family)]


def committee(recipe: Recipe) -> list[Recipe]:
    """The model and two others of its recipe, which differ in their seed; of an s-NNP only."""
    others = [
        dataclasses.replace(recipe, name=f"{recipe.name}-seed{k}", seed=recipe.seed + 100 * k) for k in (1, 2)
    ]
    return [recipe, *others]


def _snnps() -> list[Recipe]:
    found = []
    grid = itertools.product(HIDDEN, FILTERS, FRAMES, CURVATURE)
    for number, (hidden, filters, frames, curvature) in enumerate(grid):
        radial, angular = FILTERS[filters]
        sizes = {"hidden": HIDDEN[hidden], "radial_filters": radial, "angular_filters": angular}
        steps = 4 if frames == "quarter" else 1  # as many steps with a quarter of the frames
        tables = _merged(
            SNNP,
            {
                "model": sizes,
                "loss": {"curvature": CURVATURE[curvature]},
                "optimizer": {"epochs": steps * SNNP["optimizer"]["epochs"]},
            },
        )
        name = "-".join(("snnp", hidden, filters, frames, curvature))
        found.append(Recipe(name, "snnp", frames, tables, seed=number))
    return found


def _pets() -> list[Recipe]:
    found = []
    for number, (name, change) in enumerate(PETS.items()):
        frames = "quarter" if name == "quarter" else "all"
        tables = _merged(PET, change)
        if frames == "quarter":
            tables["optimizer"]["epochs"] *= 4
        found.append(Recipe(f"pet-{name}", "pet", frames, tables, seed=number))
    return found


def _merged(tables: dict[str, dict], changes: dict[str, dict]) -> dict[str, dict]:
    return {section: table | changes.get(section, {}) for section, table in tables.items()}


# ---- frames ------------------------------------------------------------------------------------------------


def training_files() -> dict[str, Path]:
    """The files "all", "quarter", "validation" and "landscape", written once.

    The split is that of examples/training/pet-3bpa.toml: a tenth of ``train_300K.xyz`` by seed 1 validates.
    The quarter is spread over the energies of the others, the landscape's frames over those of the quarter.
    """
    names = ("all", "quarter", "validation", "landscape")
    files = {name: RUNS / "data" / f"{name}.xyz" for name in names}
    if all(path.exists() for path in files.values()):
        return files
    from ase_mlip.data.training_data import split_off

    frames = read(DATA / "train_300K.xyz", ":")
    kept, validation = split_off(frames, 0.1, 1)
    quarter = spread_by_energy(kept, QUARTER)
    sets = {"all": kept, "quarter": quarter, "validation": validation}
    sets["landscape"] = spread_by_energy(quarter, LANDSCAPE_FRAMES)
    for name, chosen in sets.items():
        files[name].parent.mkdir(parents=True, exist_ok=True)
        write(files[name], chosen, format="extxyz")
    return files


def spread_by_energy(frames: list[Atoms], count: int) -> list[Atoms]:
    """The middle frame, by energy, of each of ``count`` equal shares; in their order in the file."""
    order = np.argsort([atoms.get_potential_energy() for atoms in frames], kind="stable")
    ranks = ((np.arange(count) + 0.5) * len(frames) / count).astype(int)
    return [frames[k] for k in sorted(order[ranks])]


def test_frames() -> list[Atoms]:
    """Of mixed temperatures, named in ``info["group"]``, without those of the 300 K file."""
    path = RUNS / "data" / "test.xyz"
    if not path.exists():
        source = ROOT / "examples" / "training" / "split_3bpa.py"
        spec = importlib.util.spec_from_file_location("split_3bpa", source)
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        path.parent.mkdir(parents=True, exist_ok=True)
        arguments, sys.argv = sys.argv, [str(source), str(DATA), str(path)]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                script.main()
        finally:
            sys.argv = arguments
    return read(path, ":")


# ---- training ----------------------------------------------------------------------------------------------


def trained(recipe: Recipe) -> dict:
    """Train the model unless its file is there, going on where a killed run stopped; what it cost."""
    record = recipe.folder / "training.json"
    if recipe.file.exists() and record.exists():
        return json.loads(record.read_text())
    from timing import _write

    from ase_mlip.progress.bars import bar
    from ase_mlip.training.train import train

    recipe.folder.mkdir(parents=True, exist_ok=True)
    settings = recipe.folder / "run.toml"
    settings.write_text(_toml(recipe, training_files()), encoding="utf-8")
    earlier = sum(float(row["seconds"]) for row in _epochs(recipe))  # of a killed call, in real time
    before = time.process_time()
    with bar("epoch") as progress:
        train(settings, progress=progress, dynamics=0.0)
    last = _epochs(recipe)[-1]
    found = {
        "cpu_seconds": round(earlier + time.process_time() - before, 1),
        "epochs": int(last["epoch"]),
        "validation": {
            "energy_rmse": float(last["validation_energy_rmse"]),
            "forces_rmse": float(last["validation_forces_rmse"]),
        },
    }
    _write(record, json.dumps(found, indent=1) + "\n")
    return found


def _epochs(recipe: Recipe) -> list[dict[str, str]]:
    """The rows of metrics.csv, one for each epoch that is done."""
    path = recipe.folder / "metrics.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def _toml(recipe: Recipe, files: dict[str, Path]) -> str:
    lines = [
        f'name = "{recipe.name}"',
        'output = "."',
        f"seed = {recipe.seed}",
        'device = "cpu"',
        "threads = 1",
    ]
    lines += ['functional = "wB97X/6-31G(d)"', 'license = "MIT"', "[data]"]
    lines += [f'train = "{files[recipe.frames]}"', f'validation = "{files["validation"]}"']
    for section, table in recipe.tables.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
