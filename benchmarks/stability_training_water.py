"""Case 2 of the study of StABlE training: `pet-water`, whose errors are small and whose dynamics fails."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read, write
from stability_training_parts import (
    DATA,
    ROOT,
    STABILIZE,
    Store,
    bare,
    errors,
    further,
    healed,
    lived,
)

MODEL = ROOT / "benchmarks" / "models" / "pet-water.pt"
TRAINING_FRAMES = 272
EVALUATION = 1.0  # ps
LONG = 20.0  # ps, of the run that the issue of pet-water asks for
WATER: dict[str, Any] = {
    "temperature": 300.0,
    "simulation": "time = 0.1\ntimestep = 0.5\nreplicas = 4\nrecord_interval = 20",
    "criteria": "bond_deviation = 0.5",
    "evaluation": f"time = {EVALUATION}\nreplicas = 4\nevery = 10\nrecord_interval = 20",
}
LEARNING = (
    'estimator = "local"\nradius = 3.0\nerror_weight = 10.0\nlearning_rate = 1e-4\n'
    "epochs = 20\npatience = 10\nbatch_size = 2"
)
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


def water(store: Store, model: Path) -> None:
    """Heal pet-water, with controls; the dear steps come last."""
    folder = store.work / "water"
    data, n = water_files(folder / "data"), TRAINING_FRAMES
    tables = "\n".join(f'[[observables]]\n{kind}\nreference = "{data}/reference.xyz"' for kind in OBSERVABLES)
    run = folder / "run.toml"
    run.write_text(
        STABILIZE.format(
            model=model, seed=0, data=data, n=n, test="test", observables=tables, learning=LEARNING, **WATER
        )
    )
    document = healed(store, "water", run)
    starts, frames = data / "starts_test.xyz", data / "test.xyz"
    few = folder / "starts_few.xyz"
    write(few, read(starts, ":4"))
    store.step("water", "timestep/2", lambda: lived(model, few, 300.0, EVALUATION, timestep=0.25))
    store.step("water", "errors before", lambda: errors(model, frames))
    if document["chosen"] is None:
        return
    after = folder / "stable" / "stable.pt"
    store.step("water", "errors after", lambda: errors(after, frames))
    longer = store.file(
        "water",
        "plain training",
        lambda: further(folder, model, data, n, 1, "batch_size = 1\nlearning_rate = 1e-4"),
    )
    store.step("water", "plain training lived", lambda: lived(longer, few, 300.0, EVALUATION))
    store.step("water", "long run", lambda: long_run(after, starts, data / "reference.xyz"))


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
