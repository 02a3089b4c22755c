"""Does StABlE training pay? The study registered in docs/stability_training_study.md.

    python benchmarks/stability_training.py           # case 1, all potentials; hours; needs ../shared/data
    python benchmarks/stability_training.py snnp-0    # one of snnp-0, snnp-1, snnp-2, pet-0
    python benchmarks/stability_training.py --water pet-water.pt    # case 2: the withdrawn model's file
    python benchmarks/stability_training.py --stored  # the tables from the stored numbers, without data

Every step is stored when it is done, and a call goes on where the last one stopped. Work lies in ``--work``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timing
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "stability-training.json"
DATA = ROOT.parent / "shared" / "data"
POTENTIALS = ("snnp-0", "snnp-1", "snnp-2", "pet-0")
SIZES = (200, 100, 50, 25)
AUTHORS = ((13.0, 2.0), (20.0, 2.6), (105.0, 11.0))  # force error paid in %, survival gained
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
{top}
[data]
train = "{data}/train_{n}.xyz"
validation = "{data}/validation.xyz"
{model}
[optimizer]
{optimizer}
"""
STABILIZE = """name = "stable"
output = "stable"
model = "{model}"
seed = {seed}
threads = 1
[starts]
train = "{data}/starts_{n}.xyz"
validation = "{data}/starts_validation.xyz"
test = "{data}/starts_test.xyz"
[data]
train = "{data}/train_{n}.xyz"
validation = "{data}/validation.xyz"
test = "{data}/test.xyz"
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
ETHANOL = {
    "temperature": 500.0,
    "simulation": "time = 1.0\ntimestep = 0.5\nreplicas = 16",
    "criteria": "bond_deviation = 0.5",
    "evaluation": "time = 10.0\nreplicas = 32\nevery = 5",
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("potentials", nargs="*", help=f"of {', '.join(POTENTIALS)}; by default all")
    parser.add_argument("--water", type=Path, metavar="FILE", help="case 2: the model file of pet-water")
    parser.add_argument("--stored", action="store_true", help="print what is stored")
    parser.add_argument("--output", type=Path, default=RESULT, help="file of the numbers")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "stability_training", help="folder")
    options = parser.parse_args(arguments)
    store = Store(options.output, options.work.resolve())
    if not options.stored:
        if options.water:
            water(store, options.water.resolve(), store.work / "water")
        else:
            data = ethanol_files(store.work / "data")
            for name in options.potentials or POTENTIALS:
                ethanol(store, name, store.work, data)
    print(text(store.document))
    return 0


class Store:
    """Numbers by step; a step that is there is not done again. Paths are stored relative to ``work``."""

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
            written = json.dumps(self.document, indent=1, ensure_ascii=False).replace(f"{self.work}/", "")
            timing._write(self.path, written + "\n")
        return entries[name]["result"]


# ---- case 1 ------------------------------------------------------------------------------------------------


def ethanol_files(folder: Path) -> Path:
    """Frames of rMD17 as the files that the TOML files name."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "test.xyz").exists():
        return folder
    train, test = (
        _rmd17(DATA / "rmd17_ethanol" / f"rmd17_ethanol_{part}_01.npz") for part in ("train", "test")
    )
    for n in {*SIZES, *(10 * size for size in SIZES if 10 * size <= 800)}:
        write(folder / f"train_{n}.xyz", train[:n])
        write(folder / f"starts_{n}.xyz", [_bare(train[k % n]) for k in range(32)])
    write(folder / "reference.xyz", [_bare(atoms) for atoms in train[:800]])
    write(folder / "validation.xyz", train[900:920])
    write(folder / "starts_validation.xyz", [_bare(atoms) for atoms in train[900:932]])
    write(folder / "starts_test.xyz", [_bare(atoms) for atoms in test[500:532]])
    write(folder / "test.xyz", test[:200])
    return folder


def _rmd17(path: Path) -> list[Atoms]:
    stored, unit = np.load(path), units.kcal / units.mol
    frames = []
    for positions, energy, forces in zip(stored["coords"], stored["energies"], stored["forces"], strict=True):
        atoms = Atoms(stored["nuclear_charges"], positions)
        atoms.calc = SinglePointCalculator(atoms, energy=float(energy) * unit, forces=forces * unit)
        frames.append(atoms)
    return frames


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def ethanol(store: Store, name: str, work: Path, data: Path) -> None:
    """All steps of one potential."""
    from ase_mlip import stabilize

    kind, seed = name.split("-")[0], int(name.split("-")[1])
    n = training_size(store, kind, work, data)
    folder = work / name
    model = trained(store, name, folder / "first", kind, seed, n, data)
    run = folder / "run.toml"
    rate = 1e-3 if kind == "snnp" else 3e-4
    observables = (
        f'[[observables]]\nkind = "distances"\nreference = "{data}/reference.xyz"\nrmax = 6.0\nwidth = 0.1'
    )
    run.write_text(
        STABILIZE.format(
            model=model, seed=seed, data=data, n=n, observables=observables,
            learning=f"error_weight = 1.0\nlearning_rate = {rate}\nsteps = 5\nepochs = 60", **ETHANOL,
        )
    )  # fmt: skip

    def healed() -> dict[str, Any]:
        return stabilize(run, resume=(folder / "stable" / "checkpoint.safetensors").exists()).document

    document = store.step(name, "stabilize", healed)
    for factor in (1, 2, 4):
        store.step(name, f"timestep/{factor}", lambda f=factor: lived(model, data, timestep=0.5 / f))
    if document["chosen"] is None:
        return
    after = folder / "stable" / "stable.pt"
    for label, path in (("before", model), ("after", after)):
        store.step(name, f"nose-hoover {label}", lambda p=path: lived(p, data, ensemble="nose-hoover"))
        store.step(name, f"700 K {label}", lambda p=path: lived(p, data, temperature=700.0))
        store.step(name, f"errors {label}", lambda p=path: errors(p, data))
    seconds = store.document[name]["stabilize"]["cpu_seconds"]
    longer = store.step(name, "plain training", lambda: further(folder, model, n, data, seconds))
    store.step(name, "plain training lived", lambda: lived(store.work / longer, data))
    if 10 * n <= 800:
        more = trained(store, f"{name} ten times the data", folder / "ten", kind, seed, 10 * n, data)
        store.step(name, "ten times the data lived", lambda: lived(more, data))


def training_size(store: Store, kind: str, work: Path, data: Path) -> int:
    """The largest set at which half of 32 replicas fail within 4 ps, with seed 0."""
    for n in SIZES:
        label = f"{kind} size {n}"
        model = trained(store, label, work / f"{kind}-size-{n}", kind, 0, n, data)
        found = store.step(label, "lived", lambda m=model: lived(m, data, time=4.0))
        if sum(found["failed"]) >= 16:
            return n
    return SIZES[-1]


def trained(store: Store, label: str, folder: Path, kind: str, seed: int, n: int, data: Path) -> Path:
    """A potential trained on the first n frames."""
    from ase_mlip.training.train import train

    def compute() -> str:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "train.toml"
        model = f"[model]\n{MODELS[kind]}"
        path.write_text(
            TRAIN.format(name="first", seed=seed, top="", data=data, n=n, model=model, optimizer=EPOCHS[kind])
        )
        return str(train(path, resume=(folder / "checkpoint.safetensors").exists()))

    return store.work / store.step(label, "train", compute)


def further(folder: Path, model: Path, n: int, data: Path, seconds: float) -> str:
    """Plain training from the same weights for about as much time."""
    from ase_mlip.training.train import train

    header, *rows = (model.parent / "metrics.csv").read_text().splitlines()
    place = header.split(",").index("seconds")
    per_epoch = float(np.median([float(row.split(",")[place]) for row in rows]))
    path = folder / "further" / "train.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    optimizer = f"epochs = {max(1, round(seconds / per_epoch))}"
    top = f'init_from = "{model}"'
    path.write_text(
        TRAIN.format(name="further", seed=1, top=top, data=data, n=n, model="", optimizer=optimizer)
    )
    return str(train(path, resume=(path.parent / "checkpoint.safetensors").exists()))


def lived(
    model: Path,
    data: Path,
    timestep: float = 0.5,
    ensemble: str = "langevin",
    temperature: float = 500.0,
    time: float = 10.0,
) -> dict[str, Any]:
    """Lifetimes of 32 replicas from the test starts."""
    from ase_mlip.dynamics.criteria import Criteria
    from ase_mlip.stability_training.report import lifetimes
    from ase_mlip.stability_training.samplers import EngineSampler
    from ase_mlip.stability_training.settings import SimulationConfig
    from ase_mlip.stability_training.trainable import open_trainable
    from ase_mlip.stability_training.work import TEST, outcome, seeds

    simulation = SimulationConfig(temperature_K=temperature, timestep=timestep, ensemble=ensemble)
    simulation.record_interval = round(5.0 / timestep)
    sampler = EngineSampler(simulation, Criteria(bond_deviation=0.5))
    starts = read(data / "starts_test.xyz", ":")
    tracks = sampler(open_trainable(model), starts, seeds(0, TEST, 0, len(starts)), time)
    return lifetimes(*outcome(tracks), 0.95)


def errors(model: Path, data: Path) -> dict[str, float]:
    from ase_mlip.checks.evaluate import evaluate

    found = evaluate(model, data / "test.xyz")
    return {"energy_mae": found.energy_mae, "forces_mae": found.forces_mae}


# ---- case 2 ------------------------------------------------------------------------------------------------


def water(store: Store, model: Path, folder: Path) -> None:
    """Heal pet-water; the files of its training are made by examples/training/prepare_water.py."""
    from ase_mlip import stabilize

    data = folder / "data"
    if not (data / "train_320.xyz").exists():
        raise SystemExit(
            f"`{data}`: expected train_320.xyz, validation.xyz, test.xyz and starts_320.xyz, "
            "starts_validation.xyz, starts_test.xyz, of the frames that examples/training/prepare_water.py "
            "writes (320, 40, 40)"
        )
    kinds = ('kind = "bond_lengths"', 'kind = "nonbonded_distance"\nof_each_atom = true')
    observables = "\n".join(f'[[observables]]\n{kind}\nreference = "{data}/train_320.xyz"' for kind in kinds)
    run = folder / "run.toml"
    run.write_text(
        STABILIZE.format(
            model=model, seed=0, data=data, n=320, temperature=300.0, observables=observables,
            simulation="time = 0.5\ntimestep = 0.5\nreplicas = 8", criteria="bond_deviation = 0.5",
            learning='estimator = "local"\nradius = 3.0\nlearning_rate = 3e-4\nepochs = 60',
            evaluation="time = 20.0\nreplicas = 8\nevery = 5",
        )
    )  # fmt: skip

    def healed() -> dict[str, Any]:
        return stabilize(run, resume=(folder / "stable" / "checkpoint.safetensors").exists()).document

    store.step("water", "stabilize", healed)


# ---- tables ------------------------------------------------------------------------------------------------


def text(document: dict[str, Any]) -> str:
    """What is stored, as tables."""
    if not document:
        return "Nothing is stored yet: docs/stability_training_study.md says what will be."
    lines = ["| potential | median before (ps) | after | gain | log-rank p | force error | verdict |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name in (*POTENTIALS, "water"):
        found = document.get(name, {}).get("stabilize")
        if found is not None:
            lines.append(_row(name, found["result"]))
    lines += ["", "| potential | run | failed | median (ps) |", "|---|---|---|---|"]
    for name, steps in document.items():
        for step, entry in steps.items():
            result = entry.get("result") if isinstance(entry, dict) else None
            if isinstance(result, dict) and "median_interval" in result:
                failed = f"{result['failures']} of {result['replicas']}"
                lines.append(f"| {name} | {step} | {failed} | {_number(result['median'])} |")
    return "\n".join(lines)


def _row(name: str, found: dict[str, Any]) -> str:
    chosen = found["chosen"]
    if chosen is None:
        return f"| {name} | – | – | – | – | – | {found['verdict']} |"
    before, after = found["test"]["before"], found["test"]["after"]
    end = found["evaluation_time"]
    gain = (after["median"] or end) / before["median"] if before["median"] else None
    bound = "≥ " if after["median"] is None else ""
    paid = 100.0 * (chosen["force_error"] / found["points"][0]["force_error"] - 1.0)
    p = found["test"]["logrank_p"]
    words = "–" if gain is None else f"{bound}{gain:.2g}×"
    return (
        f"| {name} | {_number(before['median'])} | {_number(after['median'])} | {words} | {p:.2g} | "
        f"{paid:+.1f} % | epoch {chosen['epoch']} |"
    )


def _number(value: float | None) -> str:
    return "censored" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
