"""The phases of an epoch with a real potential: simulation, learning, judgement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from torch import Tensor

from ..progress.form import Progress, told
from ..stability.survival import survival
from . import gradients
from .inputs import Inputs
from .learning.learner import Learned, Learner
from .learning.metric import ErrorMetric
from .loop import Point, refuse_still, within
from .observables.kinds import mean_square_displacement
from .observables.reference_values import Target
from .samplers import Sampler, Track
from .settings import StabilizeConfig

TRAINING, VALIDATION, TEST = 1, 2, 3  # what seeds are for
MEASURED = 200  # frames of a run, at most, in which observables are measured for reports


class RealWork:
    """:class:`ase_mlip.stability_training.loop.Work` of a run.

    Attributes
    ----------
    kept: weights of the judged epochs
    """

    def __init__(
        self,
        config: StabilizeConfig,
        inputs: Inputs,
        sampler: Sampler,
        progress: Progress | None = None,
        judging: Sampler | None = None,
    ):
        self.config, self.inputs, self.sampler = config, inputs, sampler
        self._judging = judging or sampler  # of the [evaluation] table's runs
        self._progress = told(progress)
        trainable, data = inputs.trainable, inputs.data
        self.learner = Learner(
            trainable,
            inputs.targets,
            trainable.dataset(data.train),
            config.learning,
            config.loss,
            inputs.scales,
            config.simulation.temperature_K,
            config.seed,
            self._metric,
        )
        self._validation = trainable.dataset(data.validation)
        self.kept: dict[int, dict[str, Tensor]] = {}

    def first_walkers(self) -> list[Atoms]:
        """The replicas of the first epoch: training starts, repeated if there are fewer."""
        return repeated(self.inputs.starts["train"], self.config.simulation.replicas)

    def simulate(self, walkers: Sequence[Atoms], epoch: int) -> list[Track]:
        """Runs of one epoch, ended when enough replicas have failed."""
        simulation = self.config.simulation
        return self.sampler(
            self.inputs.trainable,
            walkers,
            seeds(self.config.seed, TRAINING, epoch, len(walkers)),
            simulation.time,
            simulation.unstable_fraction,
            lambda done, total, _stage: self._progress(done, total, "simulation"),
        )

    def learn(self, tracks: Sequence[Track], learning_rate: float, limits: dict[str, float]) -> Learned:
        """Gradient steps from the tracks' samples, within the epoch's share of what is left of the budgets.

        Every step is taken where backtracking is not asked for.
        """
        learning = self.config.learning
        if not learning.backtracking:
            return self.learner.learn(tracks, learning_rate)
        share = {
            name: error + learning.epoch_share * max(limits[name] - error, 0.0)
            for name, error in self.errors().items()
        }
        return self.learner.learn(tracks, learning_rate, lambda: within(self.errors(), share))

    def _metric(self) -> ErrorMetric:
        """Of the weights as they came, which a run that goes on has, too."""
        trainable = self.inputs.trainable
        present = trainable.weights()
        trainable.set_weights(self.kept[0])
        try:
            data = trainable.dataset(self.inputs.data.train)
            return ErrorMetric(trainable, data, self.errors(), self.config.seed)
        finally:
            trainable.set_weights(present)

    def errors(self) -> dict[str, float]:
        """Mean absolute errors on validation frames, ``forces`` eV/Å and ``energy`` eV/atom.

        The energy's is 0 where no frame has one.
        """
        return {"energy": 0.0} | gradients.force_error(self.inputs.trainable, self._validation)

    def judge(self, epoch: int) -> Point:
        """Errors on validation frames, and lifetimes from validation starts with the same random numbers.

        Raises MLIPError where the potential as it came fails at every start, before anything is written.
        """
        errors = self.errors()
        tracks = self.runs("validation")
        if epoch == 0:
            refuse_still(tracks)
        lived, failed = outcome(tracks)
        self.kept[epoch] = self.inputs.trainable.weights()
        return Point(
            epoch=epoch,
            force_error=errors["forces"],
            energy_error=errors["energy"],
            lived=lived,
            failed=failed,
            mean_survival=survival(lived, failed).restricted_mean,
            observables=averages(self.inputs.targets, tracks, self),
        )

    def runs(self, name: str) -> list[Track]:
        """Runs of the ``[evaluation]`` table from the validation or test starts."""
        evaluation = self.config.evaluation
        starts = self.inputs.starts.get(name) or self.inputs.starts["validation"]
        purpose = VALIDATION if name == "validation" else TEST
        return self._judging(
            self.inputs.trainable,
            repeated(starts, evaluation.replicas),
            seeds(self.config.seed, purpose, 0, evaluation.replicas),
            evaluation.time,
            1.0,
            lambda done, total, _stage: self._progress(done, total, f"{name} runs"),
        )


def labels(targets: Sequence[Target]) -> list[str]:
    """Names of targets in reports, each once: "distances H-O", "bond lengths", "bond lengths (2)"."""
    found: list[str] = []
    for target in targets:
        pairs = getattr(target.observable, "pairs", None)
        name = target.observable.name if pairs is None else f"{target.observable.name} {pairs}"
        same = sum(other == name or other.startswith(f"{name} (") for other in found)
        found.append(f"{name} ({same + 1})" if same else name)
    return found


def averages(targets: Sequence[Target], tracks: Sequence[Track], work: RealWork) -> dict[str, dict[str, Any]]:
    """Mean and standard error (between replicas) of each component; empty without samples.

    Of a long run frames at equal distances are taken: neighbouring ones hardly tell more.
    """
    given = [track.frames[:: -(-len(track.frames) // MEASURED)] for track in tracks if track.frames]
    found = {}
    for name, target in zip(labels(targets), targets, strict=True) if given else ():
        values = [target.observable.values(frames, work.inputs.trainable) for frames in given]
        means = np.array([one.mean(axis=0) for one in values])
        error = means.std(axis=0, ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.zeros(len(means[0]))
        mean = np.concatenate(values).mean(axis=0)
        found[name] = {"mean": mean.tolist(), "error": error.tolist()}
    return found


def displacements(tracks: Sequence[Track], interval_ps: float) -> dict[str, list[float]]:
    """Mean-square displacement of the atoms from the first sample on: times (ps) and Å²."""
    given = [np.array([atoms.positions for atoms in track.frames]) for track in tracks if track.frames]
    if not given:
        return {"time": [], "msd": []}
    msd = mean_square_displacement(given)
    return {"time": (np.arange(len(msd)) * interval_ps).tolist(), "msd": msd.tolist()}


def outcome(tracks: Sequence[Track]) -> tuple[list[float], list[bool]]:
    """How long each replica lived, ps, and whether it failed."""
    return [float(track.lived) for track in tracks], [track.failure is not None for track in tracks]


def repeated(starts: Sequence[Atoms], n: int) -> list[Atoms]:
    """``n`` starts, taken in turn."""
    return [starts[k % len(starts)] for k in range(n)]


def seeds(seed: int, purpose: int, epoch: int, n: int) -> list[int]:
    """One for each replica, positive and below 2³¹ as LAMMPS wants them."""
    sequence = np.random.SeedSequence([seed, purpose, epoch])
    return [int(word) % (2**31 - 2) + 1 for word in sequence.generate_state(n)]
