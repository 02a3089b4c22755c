"""Case 2 of the study of StABlE training: `pet-water`, whose errors are small and whose dynamics fails."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read, write
from stability_training_parts import (
    DATA,
    EARLIER,
    ROOT,
    STABILIZE,
    Store,
    bare,
    beside,
    errors,
    further,
    healed,
    lived,
)

MODEL = ROOT / "benchmarks" / "models" / "pet-water.pt"
TRAINING_FRAMES = 272
LONG = 20.0  # ps, of the run that the issue of pet-water asks for


@dataclass(frozen=True)
class Registration:
    """What a registration of case 2 says.

    Attributes
    ----------
    prefix: of the name of its stored steps
    time: of the runs of an epoch, ps
    evaluation: of the runs that judge, ps
    every: epochs between these
    epochs: at most
    """

    prefix: str
    time: float
    evaluation: float
    every: int
    epochs: int

    @property
    def tables(self) -> dict[str, Any]:
        """What the TOML file says of temperature, runs and criteria."""
        replicas = "replicas = 4\nrecord_interval = 20"
        return {
            "temperature": 300.0,
            "simulation": f"time = {self.time}\ntimestep = 0.5\n{replicas}",
            "criteria": "bond_deviation = 0.5",
            "evaluation": f"time = {self.evaluation}\n{replicas}\nevery = {self.every}",
        }

    @property
    def learning(self) -> str:
        """What it says of the gradient and its steps."""
        return (
            'estimator = "local"\nradius = 3.0\nerror_weight = 10.0\nlearning_rate = 1e-4\n'
            f"epochs = {self.epochs}\npatience = 10\nbatch_size = 2\n{EARLIER}"
        )


REGISTRATIONS = {
    1: Registration("", time=0.1, evaluation=1.0, every=10, epochs=20),
    2: Registration("second ", time=1.0, evaluation=2.0, every=4, epochs=4),
}
OBSERVABLES = ('kind = "bond_lengths"', 'kind = "nonbonded_distance"\nof_each_atom = true')


def water_files(folder: Path) -> Path:
    """The frames of DeePMD-kit's water in the order of time, as the files that the TOML file names.

    The split is that of examples/training/prepare_water.py; of each later stretch frames at equal distances.
    """
    if (folder / "complete").exists():
        return folder
    sys.path.insert(0, str(ROOT / "examples" / "training"))
    try:
        from convert import read_deepmd
        from prepare_water import STRETCHES, oxygen_distances, time_order
    finally:
        sys.path.pop(0)
    systems = sorted((DATA / "water" / "data").glob("data_*"))
    frames = [frame for system in systems for frame in read_deepmd(system)]
    order = time_order(oxygen_distances(frames))
    train, validation, test = (
        [frames[index] for index in order[STRETCHES[name]]] for name in ("train", "validation", "test")
    )
    folder.mkdir(parents=True, exist_ok=True)
    n = TRAINING_FRAMES
    write(folder / f"train_{n}.xyz", train)
    write(folder / "reference.xyz", [bare(atoms) for atoms in spread(train, 68)])
    write(folder / f"starts_{n}.xyz", [bare(atoms) for atoms in spread(train, 8)])
    write(folder / "validation.xyz", spread(validation, 8))
    write(folder / "starts_validation.xyz", [bare(atoms) for atoms in spread(validation, 8)])
    write(folder / "test.xyz", spread(test, 20))
    write(folder / "starts_test.xyz", [bare(atoms) for atoms in spread(test, 8)])
    (folder / "complete").touch()
    return folder


def spread(frames: list[Atoms], n: int) -> list[Atoms]:
    """``n`` frames at equal distances, the first among them."""
    return [frames[k * len(frames) // n] for k in range(n)]


def water(store: Store, model: Path, registration: Registration) -> None:
    """Heal pet-water, with controls; the dear steps come last."""
    case, length = f"{registration.prefix}water", registration.evaluation
    folder = store.work / case.replace(" ", "-")
    data, n = water_files(store.work / "water" / "data"), TRAINING_FRAMES
    observables = "\n".join(
        f'[[observables]]\n{kind}\nreference = "{beside(data, folder)}/reference.xyz"' for kind in OBSERVABLES
    )
    folder.mkdir(parents=True, exist_ok=True)
    run = folder / "run.toml"
    files = {"model": beside(model, folder), "data": beside(data, folder), "n": n, "test": "test", "seed": 0}
    run.write_text(
        STABILIZE.format(
            observables=observables, learning=registration.learning, **files, **registration.tables
        )
    )
    document = healed(store, case, run)
    starts, frames = data / "starts_test.xyz", data / "test.xyz"
    few = folder / "starts_few.xyz"
    write(few, read(starts, ":4"))
    if document["chosen"] is None:
        store.step(case, "timestep/1", lambda: lived(model, few, 300.0, length))
    store.step(case, "timestep/2", lambda: lived(model, few, 300.0, length, timestep=0.25))
    store.step(case, "errors before", lambda: errors(model, frames))
    if document["chosen"] is None:
        return
    after = folder / "stable" / "stable.pt"
    store.step(case, "errors after", lambda: errors(after, frames))
    longer = store.file(
        case,
        "plain training",
        lambda: further(folder, model, data, n, 1, "batch_size = 1\nlearning_rate = 1e-4"),
    )
    store.step(case, "plain training lived", lambda: lived(longer, few, 300.0, length))
    store.step(case, "long run", lambda: long_run(after, starts, data / "reference.xyz"))


def long_run(model: Path, starts: Path, reference: Path) -> dict[str, Any]:
    """Lifetimes in runs of 20 ps, and g(r) of what was sound beside the data's."""
    from ase_mlip.dynamics.criteria import Criteria
    from ase_mlip.dynamics.rdf import rdf
    from ase_mlip.stability_training.report import lifetimes
    from ase_mlip.stability_training.samplers import EngineSampler
    from ase_mlip.stability_training.settings import SimulationConfig
    from ase_mlip.stability_training.trainable import open_trainable
    from ase_mlip.stability_training.work import TEST, outcome, seeds

    sampler = EngineSampler(
        SimulationConfig(temperature_K=300.0, record_interval=40), Criteria(bond_deviation=0.5)
    )
    frames = read(starts, ":")
    tracks = sampler(open_trainable(model), frames, seeds(0, TEST, 1, len(frames)), LONG)
    found: dict[str, Any] = lifetimes(*outcome(tracks), 0.95)
    sampled = [atoms for track in tracks for atoms in track.frames]
    curves = {"runs": rdf(sampled, 6.0, 0.1).g, "data": rdf(read(reference, ":"), 6.0, 0.1).g}
    found["rdf"] = {
        name: {pair: np.round(g, 4).tolist() for pair, g in parts.items()} for name, parts in curves.items()
    }
    return found
