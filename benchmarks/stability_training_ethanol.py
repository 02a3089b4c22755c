"""Case 1 of the study of StABlE training: potentials for ethanol that fail. All registrations."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from stability_training_parts import DATA, EARLIER, STABILIZE, Store, bare, beside, errors, further, healed
from stability_training_parts import lived as lived_from

POTENTIALS = ("snnp-0", "snnp-1", "snnp-2", "pet-0")
SIZES = (200, 100, 50, 25)
MODELS = {
    "snnp": 'architecture = "snnp"',
    "pet": "cutoff = 4.5\nd_pet = 32\nd_node = 64\nd_head = 32\nd_feedforward = 64\nnum_heads = 4\n"
    "num_attention_layers = 1\nnum_gnn_layers = 2",
}
EPOCHS = {"snnp": "", "pet": "epochs = 150"}
TRAIN = """name = "{name}"
output = "."
seed = {seed}
threads = 1
device = "cpu"
[data]
train = "{data}/train_{n}.xyz"
validation = "{data}/validation.xyz"
[model]
{model}
[optimizer]
{optimizer}
"""
ETHANOL = {
    "temperature": 500.0,
    "simulation": "time = 1.0\ntimestep = 0.5\nreplicas = 16",
    "criteria": "bond_deviation = 0.5",
    "evaluation": "time = 10.0\nreplicas = 32\nevery = 5",
}
DISTANCES = 'kind = "distances"\nreference = "{data}/reference.xyz"\nrmax = 6.0\nwidth = 0.1'
MOST = 800  # training frames at most: the last hundred of train_01's 1000 are for validation
TEST_SETS = {
    "test": (slice(500, 532), slice(0, 200)),
    "test_2": (slice(600, 632), slice(200, 400)),
    "test_3": (slice(700, 732), slice(400, 600)),
}


@dataclass(frozen=True)
class Registration:
    """What a registration of case 1 says beyond ``ETHANOL``.

    Attributes
    ----------
    prefix: of the names of its stored steps
    test: name of its test starts and test frames in ``TEST_SETS``
    observables: tables
    learning: lines of ``[learning]`` by architecture
    changed: parts of ``ETHANOL`` that are otherwise
    """

    prefix: str
    test: str
    observables: tuple[str, ...]
    learning: dict[str, str]
    changed: dict[str, str] = field(default_factory=dict)


PAIRS = ("C-C", "C-H", "C-O", "H-H", "H-O")
SECOND = f"error_weight = 10.0\nsteps = 20\nepochs = 30\npatience = 15\n{EARLIER}\n"
COMMON = f"error_weight = 1.0\nsteps = 5\nepochs = 60\n{EARLIER}\n"
THIRD = (
    'optimizer = "trust_region"\nlearning_rate = 0.15\nerror_weight = 0.0\nsteps = 1\n'
    "min_sample_fraction = 0.5\nepochs = 10\npatience = 10\nstable_epochs = 3\n"
    "max_force_error_increase = 0.15\nmax_energy_error_increase = 0.5\nepoch_share = 0.25"
)
REGISTRATIONS = {
    1: Registration(
        "",
        "test",
        (DISTANCES,),
        {
            "snnp": f"{COMMON}learning_rate = 1e-3\nbacktracking = false",
            "pet": f"{COMMON}learning_rate = 3e-4\nbacktracking = false",
        },
    ),
    2: Registration(
        "second ",
        "test_2",
        tuple(f'{DISTANCES}\npairs = "{pair}"' for pair in PAIRS),
        {
            "snnp": f"{SECOND}learning_rate = 5e-5\nbatch_size = 100",
            "pet": f"{SECOND}learning_rate = 1e-4\nbatch_size = 25",
        },
        {
            "simulation": "time = 0.25\ntimestep = 0.5\nreplicas = 16\nrecord_interval = 4",
            "evaluation": "time = 10.0\nreplicas = 32\nevery = 10\nrecord_interval = 10",
        },
    ),
    3: Registration(
        "third ",
        "test_3",
        (DISTANCES.replace('"distances"', '"unseen_distances"'),),
        {"snnp": THIRD, "pet": THIRD},
        {
            "simulation": "time = 0.5\ntimestep = 0.5\nreplicas = 16\nrecord_interval = 2",
            "evaluation": "time = 10.0\nreplicas = 32\nevery = 5\nrecord_interval = 10",
        },
    ),
}


def ethanol_files(folder: Path) -> Path:
    """Frames of rMD17 as the files that the TOML files name."""
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / f"{list(TEST_SETS)[-1]}.xyz"  # written at the end; a folder may be of fewer registrations
    if last.exists():
        return folder
    train, test = (
        _rmd17(DATA / "rmd17_ethanol" / f"rmd17_ethanol_{part}_01.npz") for part in ("train", "test")
    )
    for n in {*SIZES, *(min(10 * size, MOST) for size in SIZES)}:
        write(folder / f"train_{n}.xyz", train[:n])
        write(folder / f"starts_{n}.xyz", [bare(train[k % n]) for k in range(32)])
    write(folder / "reference.xyz", [bare(atoms) for atoms in train[:800]])
    write(folder / "validation.xyz", train[900:920])
    write(folder / "starts_validation.xyz", [bare(atoms) for atoms in train[900:932]])
    for name, (starts, frames) in TEST_SETS.items():
        write(folder / f"starts_{name}.xyz", [bare(atoms) for atoms in test[starts]])
        write(folder / f"{name}.xyz", test[frames])
    return folder


def _rmd17(path: Path) -> list[Atoms]:
    stored, unit = np.load(path), units.kcal / units.mol
    frames = []
    for positions, energy, forces in zip(stored["coords"], stored["energies"], stored["forces"], strict=True):
        atoms = Atoms(stored["nuclear_charges"], positions)
        atoms.calc = SinglePointCalculator(atoms, energy=float(energy) * unit, forces=forces * unit)
        frames.append(atoms)
    return frames


def ethanol(store: Store, name: str, registration: Registration) -> None:
    """All steps of one potential."""
    data = ethanol_files(store.work / "data")
    kind, seed = name.split("-")[0], int(name.split("-")[1])
    n = training_size(store, kind, data)
    model = trained(store, name, store.work / name / "first", kind, seed, n, data)
    case = registration.prefix + name
    folder = store.work / case.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    run, test = folder / "run.toml", registration.test
    files = {"data": beside(data, folder), "model": beside(model, folder)}
    tables = "\n".join(f"[[observables]]\n{table.format(**files)}" for table in registration.observables)
    run.write_text(
        STABILIZE.format(
            seed=seed, n=n, **files, observables=tables, test=test,
            learning=registration.learning[kind], **{**ETHANOL, **registration.changed},
        )
    )  # fmt: skip
    document = healed(store, case, run)
    starts, frames = data / f"starts_{test}.xyz", data / f"{test}.xyz"
    for factor in (1, 2, 4):
        store.step(case, f"timestep/{factor}", lambda f=factor: lived(model, starts, timestep=0.5 / f))
    times = min(10 * n, MOST) // n
    more = trained(store, f"{case} {times} times the data", folder / "more", kind, seed, times * n, data)
    store.step(case, f"{times} times the data lived", lambda: lived(more, starts))
    store.step(case, f"{times} times the data errors", lambda: errors(more, frames))
    if document["chosen"] is None:
        return
    after = folder / "stable" / "stable.pt"
    for label, path in (("before", model), ("after", after)):
        store.step(case, f"nose-hoover {label}", lambda p=path: lived(p, starts, ensemble="nose-hoover"))
        store.step(case, f"700 K {label}", lambda p=path: lived(p, starts, temperature=700.0))
        store.step(case, f"errors {label}", lambda p=path: errors(p, frames))
    epochs = as_long(store, name, model, store.document[case]["stabilize"]["cpu_seconds"])
    longer = store.file(case, "plain training", lambda: further(folder, model, data, n, epochs))
    store.step(case, "plain training lived", lambda: lived(longer, starts))
    store.step(case, "plain training errors", lambda: errors(longer, frames))


def training_size(store: Store, kind: str, data: Path) -> int:
    """The largest set at which half of 32 replicas fail within 4 ps, with seed 0."""
    starts = data / "starts_test.xyz"
    for n in SIZES:
        label = f"{kind} size {n}"
        if "lived" not in store.document.get(label, {}):
            model = trained(store, label, store.work / f"{kind}-size-{n}", kind, 0, n, data)
            store.step(label, "lived", lambda m=model: lived(m, starts, time=4.0))
        if sum(store.document[label]["lived"]["result"]["failed"]) >= 16:
            return n
    return SIZES[-1]


def trained(store: Store, label: str, folder: Path, kind: str, seed: int, n: int, data: Path) -> Path:
    """A potential trained on the first n frames."""
    from ase_mlip.progress.bars import bar
    from ase_mlip.training.train import train

    def compute() -> str:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "train.toml"
        path.write_text(
            TRAIN.format(
                name="first",
                seed=seed,
                data=beside(data, folder),
                n=n,
                model=MODELS[kind],
                optimizer=EPOCHS[kind],
            )
        )
        with bar("epoch") as progress:
            return str(train(path, progress=progress, dynamics=0.0))

    return store.file(label, "train", compute)


def as_long(store: Store, name: str, model: Path, seconds: float) -> int:
    """Epochs of plain training that take about so much processor time, by what those of the first took."""
    epochs = len((model.parent / "metrics.csv").read_text().splitlines()) - 1
    return max(1, round(seconds * epochs / store.document[name]["train"]["cpu_seconds"]))


def lived(model: Path, starts: Path, temperature: float = 500.0, time: float = 10.0, **more: Any) -> dict:
    """Lifetimes of 32 replicas."""
    return lived_from(model, starts, temperature, time, **more)
