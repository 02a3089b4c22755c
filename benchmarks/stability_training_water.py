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


FIRST_TWO = ('kind = "bond_lengths"', 'kind = "nonbonded_distance"\nof_each_atom = true')
UNSEEN = ('kind = "unseen_distances"\nrmax = 3.0\nwidth = 0.1',)
LOCAL = 'estimator = "local"\nradius = 3.0'
BACKTRACKED = f"error_weight = 10.0\nlearning_rate = 1e-4\npatience = 10\nbatch_size = 2\n{EARLIER}"
TRUST_REGION = (
    'optimizer = "trust_region"\nlearning_rate = 0.1\nerror_weight = 0.0\nsteps = 1\n'
    "min_sample_fraction = 0.5\npatience = 10\nmax_force_error_increase = 0.15\n"
    "max_energy_error_increase = 0.5\nepoch_share = 0.25"
)
TEST_STARTS = {"test": slice(0, 4), "test_2": slice(4, 8)}  # of the eight


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
    record_interval: steps between the records of the runs of an epoch
    observables: tables, without the reference
    steps: lines of ``[learning]`` that say how weights move
    test: name of its test starts in ``TEST_STARTS``
    plain_epochs: of the control with plain training; 0 for as many as take as long as the healing
    """

    prefix: str
    time: float
    evaluation: float
    every: int
    epochs: int
    record_interval: int = 20
    observables: tuple[str, ...] = FIRST_TWO
    steps: str = BACKTRACKED
    test: str = "test"
    plain_epochs: int = 1

    @property
    def tables(self) -> dict[str, Any]:
        """What the TOML file says of temperature, runs and criteria."""
        timestep, replicas = "timestep = 0.5", "replicas = 4\nrecord_interval"
        return {
            "temperature": 300.0,
            "simulation": f"time = {self.time}\n{timestep}\n{replicas} = {self.record_interval}",
            "criteria": "bond_deviation = 0.5",
            "evaluation": f"time = {self.evaluation}\n{replicas} = 20\nevery = {self.every}",
        }

    @property
    def learning(self) -> str:
        """What it says of the gradient and its steps."""
        return f"{LOCAL}\nepochs = {self.epochs}\n{self.steps}"


REGISTRATIONS = {
    1: Registration("", time=0.1, evaluation=1.0, every=10, epochs=20),
    2: Registration("second ", time=1.0, evaluation=2.0, every=4, epochs=4),
    3: Registration(
        "third ",
        time=1.0,
        evaluation=2.0,
        every=3,
        epochs=6,
        record_interval=4,
        observables=UNSEEN,
        steps=TRUST_REGION,
        test="test_2",
        plain_epochs=0,
    ),
}


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
    write(folder / "starts_long.xyz", [bare(atoms) for atoms in spread(test, 8)])
    for name, chosen in TEST_STARTS.items():
        write(folder / f"{name}.xyz", spread(test, 20))
        write(folder / f"starts_{name}.xyz", [bare(atoms) for atoms in spread(test, 8)[chosen]])
    (folder / "complete").touch()
    return folder


def spread(frames: list[Atoms], n: int) -> list[Atoms]:
    """``n`` frames at equal distances, the first among them."""
    return [frames[k * len(frames) // n] for k in range(n)]


def water(store: Store, model: Path, registration: Registration) -> None:
    """Heal pet-water, with controls; the dear steps come last."""
    case, length = f"{registration.prefix}water", registration.evaluation
    folder = store.work / case.replace(" ", "-")
    data = water_files(store.work / "water" / "data")
    folder.mkdir(parents=True, exist_ok=True)
    document = healed(store, case, settings_file(folder, model, data, registration))
    starts, frames = (data / f"{part}{registration.test}.xyz" for part in ("starts_", ""))
    if document["chosen"] is None:
        store.step(case, "timestep/1", lambda: lived(model, starts, 300.0, length))
    store.step(case, "timestep/2", lambda: lived(model, starts, 300.0, length, timestep=0.25))
    store.step(case, "errors before", lambda: errors(model, frames))
    if document["chosen"] is None:
        return
    after = folder / "stable" / "stable.pt"
    store.step(case, "errors after", lambda: errors(after, frames))
    epochs = registration.plain_epochs or as_long(store, case, folder, model, data)
    longer = store.file(case, "plain training", lambda: plain(folder, model, data, epochs))
    store.step(case, "plain training lived", lambda: lived(longer, starts, 300.0, length))
    store.step(case, "plain training errors", lambda: errors(longer, frames))
    store.step(case, "long run", lambda: long_run(after, data / "starts_long.xyz", data / "reference.xyz"))


def settings_file(folder: Path, model: Path, data: Path, registration: Registration) -> Path:
    """The TOML file of the healing, in its folder."""
    path, reference = folder / "run.toml", f'reference = "{beside(data, folder)}/reference.xyz"'
    tables = [f"[[observables]]\n{table}\n{reference}" for table in registration.observables]
    files = {"model": beside(model, folder), "data": beside(data, folder), "n": TRAINING_FRAMES, "seed": 0}
    text = STABILIZE.format(
        observables="\n".join(tables),
        learning=registration.learning,
        test=registration.test,
        **files,
        **registration.tables,
    )
    path.write_text(text, encoding="utf-8")
    return path


def plain(folder: Path, model: Path, data: Path, epochs: int) -> str:
    """Plain training from the model's weights."""
    return further(folder, model, data, TRAINING_FRAMES, epochs, "batch_size = 1\nlearning_rate = 1e-4")


def as_long(store: Store, case: str, folder: Path, model: Path, data: Path) -> int:
    """Epochs of plain training that take about as much processor time as the healing, by what one takes."""
    store.step(case, "one plain epoch", lambda: plain(folder / "one", model, data, 1))
    one, healing = (store.document[case][step]["cpu_seconds"] for step in ("one plain epoch", "stabilize"))
    return max(1, round(healing / one))


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
