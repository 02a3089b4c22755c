"""The epochs of a run: simulate until replicas fail, learn from how, and know when to stop.

What simulates, learns and judges is handed in (:class:`Work`), so that the sequence itself can be tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from ase import Atoms

from ..errors import MLIPError
from .learning.learner import Learned
from .samplers import Track
from .settings import LearningConfig

STABLE = "no replica failed"
SLOWEST = "the learning rate reached its floor"
BUDGET = "the errors reached their budget"
EPOCHS = "all epochs are done"


@dataclass
class Point:
    """Weights that were judged on validation frames and validation starts.

    Attributes
    ----------
    epoch: after which; 0 is the potential as it came
    force_error, energy_error: mean absolute errors on validation frames, eV/Å and eV/atom
    lived, failed: of each replica, ps, and whether it failed
    mean_survival: restricted to the length of the runs, ps
    observables: by name of the target: mean and standard error of each component, from validation runs
    """

    epoch: int
    force_error: float
    energy_error: float
    lived: list[float]
    failed: list[bool]
    mean_survival: float
    observables: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    @property
    def errors(self) -> dict[str, float]:
        """As :meth:`Work.errors` gives them."""
        return {"forces": self.force_error, "energy": self.energy_error}

    @property
    def failures(self) -> int:
        return sum(self.failed)


@dataclass
class LoopState:
    """Everything of a run that changes, but the weights and the optimizer.

    Attributes
    ----------
    walkers: where each replica goes on, without momenta
    learning_rate: of the next steps
    epoch: finished ones
    best_fraction, waited: smallest unstable fraction, and epochs since
    quiet: epochs in a row without an unstable replica
    setbacks: for each replica, epochs in a row in which it failed
    history: a row for each epoch, as in stability.csv
    points: judged weights, the first as the potential came
    ended: why the run is over, or None
    """

    walkers: list[Atoms]
    learning_rate: float
    epoch: int = 0
    best_fraction: float = float("inf")
    waited: int = 0
    quiet: int = 0
    setbacks: list[int] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    ended: str | None = None

    def numbers(self) -> dict[str, Any]:
        """All but the walkers, for JSON."""
        found = {name: value for name, value in vars(self).items() if name not in ("walkers", "points")}
        return found | {"points": [asdict(point) for point in self.points]}


class Work(Protocol):
    """What an epoch consists of."""

    def first_walkers(self) -> list[Atoms]:
        """Where the replicas of the first epoch begin."""

    def simulate(self, walkers: Sequence[Atoms], epoch: int) -> list[Track]:
        """Runs of one epoch from where the replicas are."""

    def learn(self, tracks: Sequence[Track], learning_rate: float, limits: dict[str, float]) -> Learned:
        """Gradient steps from their samples; ``limits`` are the largest errors allowed, as of ``errors``."""

    def errors(self) -> dict[str, float]:
        """``forces`` eV/Å and ``energy`` eV/atom: mean absolute errors on validation frames."""

    def judge(self, epoch: int) -> Point:
        """The weights as they are, on validation frames and validation starts; keeps them."""


def run_epoch(state: LoopState, work: Work, config: LearningConfig, every: int) -> dict[str, Any]:
    """One epoch: simulation phase, learning phase, decision. Changes ``state`` and returns the row.

    Parameters
    ----------
    state: with its first point judged
    config: the ``[learning]`` table
    every: epochs between judgements

    Raises
    ------
    MLIPError
        every replica failed where it started
    """
    epoch = state.epoch + 1
    tracks = work.simulate(state.walkers, epoch)
    refuse_still(tracks)
    failures = [track.failure for track in tracks if track.failure is not None]
    fraction = len(failures) / len(tracks)
    row: dict[str, Any] = {
        "epoch": epoch,
        "unstable_fraction": fraction,
        "mean_lived": sum(track.lived for track in tracks) / len(tracks),
        "learning_rate": state.learning_rate,
    }
    state.quiet = state.quiet + 1 if not failures else 0
    blocked = False
    if failures:
        learned = work.learn(tracks, state.learning_rate, limits(state, config))
        row |= learned.row
        state.learning_rate, blocked = learned.learning_rate, learned.blocked
    errors = work.errors()
    row |= {f"validation_{name}_mae": value for name, value in errors.items()}
    _move(state, tracks, work.first_walkers())
    state.epoch = epoch
    _decide(state, fraction, blocked or not within(errors, limits(state, config)), config)
    if state.ended or epoch % every == 0:
        point = work.judge(epoch)
        state.points.append(point)
        row |= {"validation_survival": point.mean_survival, "validation_failures": point.failures}
    state.history.append(row)
    return row


def refuse_still(tracks: Sequence[Track]) -> None:
    """Raise MLIPError where every replica fails where it started, so that there is nothing to learn from."""
    failures = [track.failure for track in tracks if track.failure is not None]
    if len(failures) == len(tracks) and all(failure.step == 0 for failure in failures):
        raise MLIPError(
            f"`starts`: expected runs that begin, but every replica fails at step 0 ({failures[0].kind}: "
            f"{failures[0].detail}); correct the starting frames or the criteria"
        )


def _move(state: LoopState, tracks: Sequence[Track], first: Sequence[Atoms]) -> None:
    """Who failed begins again where the epoch did, the others go on.

    Who fails twice in a row may have been left where no weights help, as on the way into a hole when the
    simulation phase ended: it begins where the run began.
    """
    setbacks = state.setbacks or [0] * len(tracks)
    state.setbacks = [
        count + 1 if track.failure else 0 for count, track in zip(setbacks, tracks, strict=True)
    ]
    state.walkers = []
    for track, count, origin in zip(tracks, state.setbacks, first, strict=True):
        again = track.start if count == 1 else origin
        state.walkers.append(again if track.failure else track.end)


def _decide(state: LoopState, fraction: float, spent: bool, config: LearningConfig) -> None:
    """Whether the run ends, and how large its next steps are. ``spent``: a budget is."""
    if fraction < state.best_fraction:
        state.best_fraction, state.waited = fraction, 0
    else:
        state.waited += 1
    if state.waited >= config.patience and fraction > 0.0:
        state.learning_rate *= config.factor
        state.waited = 0
    if state.quiet >= config.stable_epochs:
        state.ended = STABLE
    elif spent:
        state.ended = BUDGET
    elif state.learning_rate < config.smallest_rate:
        state.ended = SLOWEST
    elif state.epoch >= config.epochs:
        state.ended = EPOCHS


def limits(state: LoopState, config: LearningConfig) -> dict[str, float]:
    """The largest errors allowed: ``forces`` eV/Å and ``energy`` eV/atom."""
    first = state.points[0]
    return {
        "forces": first.force_error * (1.0 + config.max_force_error_increase),
        "energy": first.energy_error * (1.0 + config.max_energy_error_increase),
    }


def within(errors: Mapping[str, float], allowed: Mapping[str, float]) -> bool:
    """Whether every error keeps its limit."""
    return all(errors[name] <= allowed[name] for name in allowed)


def choose(state: LoopState, config: LearningConfig) -> Point | None:
    """The point that survives longest within the budgets, the one with the smaller force error of equals.

    None where no point is better than the potential as it came.
    """
    first, rest = state.points[0], state.points[1:]
    kept = [point for point in rest if within(point.errors, limits(state, config))]
    better = [point for point in kept if point.mean_survival > first.mean_survival]
    if not better:
        return None
    return max(better, key=lambda point: (point.mean_survival, -point.force_error))
