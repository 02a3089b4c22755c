"""What both cases of the study of StABlE training share: stored steps, the TOML file, lifetimes, errors."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing
from ase import Atoms
from ase.io import read

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
STABILIZE = """name = "stable"
output = "stable"
model = "{model}"
seed = {seed}
threads = 1
[starts]
train = "{data}/starts_{n}.xyz"
validation = "{data}/starts_validation.xyz"
test = "{data}/starts_{test}.xyz"
[data]
train = "{data}/train_{n}.xyz"
validation = "{data}/validation.xyz"
test = "{data}/{test}.xyz"
[simulation]
temperature_K = {temperature}
{simulation}
{observables}
[criteria]
{criteria}
[learning]
{learning}
[evaluation]
{evaluation}
"""
# What registrations before there was an energy budget, or a share of an epoch, say of both
EARLIER = "max_energy_error_increase = 1e9\nepoch_share = 1.0"
FURTHER = """name = "further"
output = "."
seed = 1
threads = 1
device = "cpu"
init_from = "{model}"
[data]
train = "{data}/train_{n}.xyz"
validation = "{data}/validation.xyz"
[optimizer]
epochs = {epochs}
{optimizer}
"""


class Store:
    """Numbers by step; a step that is there is not done again.

    Paths are stored relative to ``work`` or to the repository.
    """

    def __init__(self, path: Path, work: Path):
        self.path, self.work = path, work
        self.document: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def step(self, case: str, name: str, compute: Callable[[], Any]) -> Any:
        entries = self.document.setdefault(case, {})
        if name not in entries:
            print(f"{case}: {name}", file=sys.stderr)
            started = time.process_time()
            found = compute()
            entries[name] = {"result": found, "cpu_seconds": time.process_time() - started}
            entries["environment"] = timing.environment()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            written = json.dumps(rounded(self.document), ensure_ascii=False)
            for folder in (self.work, ROOT):
                written = written.replace(f"{folder}/", "")
            timing._write(self.path, written + "\n")
        return entries[name]["result"]

    def file(self, case: str, name: str, compute: Callable[[], str]) -> Path:
        """A step that makes a file; where the numbers are stored but the file is gone, it is made again."""
        path = self.work / self.step(case, name, compute)
        if not path.exists():
            print(f"{case}: {name}, again, as `{path.name}` is not there", file=sys.stderr)
            compute()
        return path


def rounded(value: Any) -> Any:
    """The same with six significant digits, which keeps the stored file small."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    return [rounded(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def healed(store: Store, case: str, run: Path) -> dict[str, Any]:
    """The document of ``ase-mlip stabilize``; goes on from a checkpoint that is there."""
    from ase_mlip import stabilize
    from ase_mlip.progress.bars import bar

    def compute() -> dict[str, Any]:
        with bar("epoch") as progress:
            return stabilize(run, progress=progress).document

    return store.step(case, "stabilize", compute)


def beside(path: Path, folder: Path) -> str:
    """A path as a TOML file in ``folder`` names it: what is exported holds no path of the machine."""
    return os.path.relpath(path.resolve(), folder.resolve())


def bare(atoms: Atoms) -> Atoms:
    """The same without calculator and other arrays."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def lived(
    model: Path,
    starts: Path,
    temperature: float,
    time: float,
    timestep: float = 0.5,
    ensemble: str = "langevin",
) -> dict[str, Any]:
    """Lifetimes of a replica from each of the starts."""
    from ase_mlip.dynamics.criteria import Criteria
    from ase_mlip.stability_training.report import lifetimes
    from ase_mlip.stability_training.samplers import EngineSampler
    from ase_mlip.stability_training.settings import SimulationConfig
    from ase_mlip.stability_training.trainable import open_trainable
    from ase_mlip.stability_training.work import TEST, outcome, seeds

    simulation = SimulationConfig(temperature_K=temperature, timestep=timestep, ensemble=ensemble)
    simulation.record_interval = round(5.0 / timestep)
    sampler = EngineSampler(simulation, Criteria(bond_deviation=0.5))
    frames = read(starts, ":")
    tracks = sampler(open_trainable(model), frames, seeds(0, TEST, 0, len(frames)), time)
    return lifetimes(*outcome(tracks), 0.95)


def errors(model: Path, frames: Path) -> dict[str, float]:
    """Mean absolute errors, eV/atom and eV/Å."""
    from ase_mlip.checks.evaluate import evaluate

    found = evaluate(model, frames)
    return {"energy_mae": found.energy_mae, "forces_mae": found.forces_mae}


def further(folder: Path, model: Path, data: Path, n: int, epochs: int, optimizer: str = "") -> str:
    """Plain training from the weights of ``model``."""
    from ase_mlip.progress.bars import bar
    from ase_mlip.training.train import train

    path = folder / "further" / "train.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    given = {"model": beside(model, path.parent), "data": beside(data, path.parent)}
    path.write_text(FURTHER.format(n=n, epochs=epochs, optimizer=optimizer, **given))
    with bar("epoch") as progress:
        return str(train(path, progress=progress, dynamics=0.0))
