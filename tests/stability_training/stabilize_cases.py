"""A StABlE training of seconds: silicon by a shipped potential, with dynamics that are only made up."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_mlip import MLIPCalculator
from ase_mlip.dynamics.criteria import Failure
from ase_mlip.stability_training.samplers import Track

RUN = """
name = "healed"
output = "out"
model = "snnp-si"
threads = 1
seed = 3
{top}
[starts]
train = "starts.xyz@0:4"
validation = "starts.xyz@4:6"
{starts}
[data]
train = "train.xyz"
validation = "validation.xyz"
{data}
[simulation]
temperature_K = 600.0
replicas = 4
time = 1.0
{simulation}
[[observables]]
kind = "distances"
reference = "reference.xyz"
rmax = 4.0
width = 0.5
{observables}
[criteria]
{criteria}
[learning]
learning_rate = 1e-5
epochs = 4
steps = 2
max_force_error_increase = 10.0
max_energy_error_increase = 10.0
{learning}
[evaluation]
replicas = 6
time = 2.0
every = 2
{evaluation}
"""


def starts(n: int) -> list[Atoms]:
    """Crystals of silicon, each a little disordered in another way."""
    found = []
    for seed in range(n):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.02, seed=seed)
        found.append(atoms)
    return found


def frames(n: int, seed: int, references: bool = True) -> list[Atoms]:
    rng, found = np.random.default_rng(seed), []
    calculator = MLIPCalculator("snnp-si")
    for _ in range(n):
        atoms = bulk("Si", cubic=True)
        atoms.positions += 0.08 * rng.normal(size=atoms.positions.shape)
        if references:
            result = calculator.evaluate([atoms], ["energy", "forces"])[0]
            forces = result["forces"] + 0.05 * rng.normal(size=(8, 3))
            energy = result["energy"] + 0.05 * rng.normal()
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        found.append(atoms)
    return found


def prepare(folder: Path, **parts: str) -> Path:
    """Files of a run in ``folder``; ``parts`` are lines of the tables by their names."""
    write(folder / "train.xyz", frames(6, 0))
    write(folder / "validation.xyz", frames(2, 1))
    write(folder / "test.xyz", frames(2, 4))
    write(folder / "starts.xyz", frames(8, 2, references=False))
    write(folder / "reference.xyz", frames(10, 3, references=False))
    names = ("top", "starts", "data", "simulation", "observables", "criteria", "learning", "evaluation")
    text = RUN.format(**{name: parts.get(name, "") for name in names})
    path = folder / "run.toml"
    path.write_text(text)
    return path


class MadeUp:
    """Samples that scatter around the start, and lifetimes that grow with what the weights have changed.

    ``gain``: how much longer replicas live when the weights have changed by their learning rate, in ps;
    ``first``: lifetimes at the beginning, ps
    """

    def __init__(self, first: float = 0.3, gain: float = 0.5):
        self.first, self.gain, self.calls = first, gain, 0
        self._weights = None

    def __call__(self, trainable, starts, seeds, time, stop_at=1.0, progress=None):
        self.calls += 1
        weights = np.concatenate([p.detach().numpy().ravel() for _, p in trainable.parameters()])
        if self._weights is None:
            self._weights = self.original(trainable)
        change = float(np.abs(weights - self._weights).max()) / 1e-5
        tracks = []
        for start, seed in zip(starts, seeds, strict=True):
            rng = np.random.default_rng(seed)
            lived = self.first * rng.uniform(0.5, 1.5) + self.gain * change
            samples = []
            for _ in range(4):
                atoms = start.copy()
                atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
                samples.append(atoms)
            failure = Failure(lived, 100, "close contact", "made up") if lived < time else None
            tracks.append(Track(start, samples[-1], samples, min(lived, time), failure))
        if progress is not None:
            progress(len(tracks), len(tracks), "")
        return tracks

    @staticmethod
    def original(trainable):
        """Weights of the file itself, whatever they are now: a resumed run starts from changed ones."""
        from ase_mlip.stability_training.trainable import open_trainable

        first = open_trainable(trainable.path)
        return np.concatenate([p.detach().numpy().ravel() for _, p in first.parameters()])
