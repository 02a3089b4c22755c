"""Gradient steps from the samples of a simulation: observables, with errors of energies and forces."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from ase import Atoms, units
from torch import Tensor

from ...configuration.run import LossConfig
from ...data.batches import GraphDataset
from ...errors import DataError, MLIPError
from ...graph.neighbors import Graph
from ...graph.pairs import find_pairs
from ...training.loss import Scales
from ..estimator import (
    boltzmann_weights,
    cross_fitted_coefficients,
    effective_sample_size,
    local_coefficients,
)
from ..gradients import add_errors, add_pressures, add_weighted_energies
from ..observables.reference_values import Target
from ..samplers import Track
from ..settings import LearningConfig
from ..trainable import Trainable
from .metric import ErrorMetric

KEPT_ATOMS = 100_000  # of all samples, whose graphs are kept: some hundred MB of edges


@dataclass
class Samples:
    """Frames of several replicas, and which half each belongs to for the cross-fitted gradient.

    Attributes
    ----------
    frames : list of ase.Atoms
        n samples
    second_half : bool [n]
        whether a frame is of the second half: of other replicas than the first, if there are two with samples
    """

    frames: list[Atoms]
    second_half: np.ndarray
    _measured: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False)
    _graphs: list[Graph] | None = field(default=None, init=False, repr=False)

    def graphs(self, trainable: Trainable) -> list[Graph] | None:
        """Made once, as they cost more than what is computed of them; None if they are too many to keep."""
        if self._graphs is None and sum(map(len, self.frames)) <= KEPT_ATOMS:
            self._graphs = list(trainable.graphs(self.frames))
        return self._graphs

    def values(self, target: Target, trainable: Trainable) -> np.ndarray:
        """Of the target's observable, [n, d]; measured once where the weights do not matter."""
        if target.observable.depends_on_weights:
            return target.observable.values(self.frames, trainable)
        if id(target) not in self._measured:
            self._measured[id(target)] = target.observable.values(self.frames)
        return self._measured[id(target)]

    def contributions(self, target: Target) -> np.ndarray:
        """Of single atoms, [n, N, d]; measured once."""
        if -id(target) not in self._measured:
            found = [target.observable.contributions(atoms) for atoms in self.frames]
            self._measured[-id(target)] = np.array(found)
        return self._measured[-id(target)]

    @classmethod
    def of(cls, tracks: Sequence[Track]) -> Samples:
        given = [track.frames for track in tracks if track.frames]
        frames = [atoms for one in given for atoms in one]
        if len(given) < 2:
            return cls(frames, np.arange(len(frames)) >= len(frames) // 2)
        # by size, the next to the smaller half: replicas that failed early have few samples
        half = np.zeros(len(given), dtype=bool)
        counts = [0, 0]
        for n in sorted(range(len(given)), key=lambda k: (-len(given[k]), k)):
            side = int(counts[1] < counts[0])
            half[n] = bool(side)
            counts[side] += len(given[n])
        return cls(frames, np.repeat(half, [len(one) for one in given]))

    @property
    def enough(self) -> bool:
        """Whether either half can have a covariance."""
        return min(int(self.second_half.sum()), int((~self.second_half).sum())) >= 2


@dataclass
class Learned:
    """What the steps of one simulation came to.

    Attributes
    ----------
    row : dict of float
        for stability.csv: what the first step saw, how many ``steps`` were taken and how many ``taken_back``
    learning_rate : float
        of the next step; halved for each step that was taken back, but with ``trust_region``, which looks
        anew how long a step in another direction can be
    blocked : bool
        whether even a step with the smallest learning rate would have left the budget; never with
        ``trust_region``, for the same reason
    """

    row: dict[str, float]
    learning_rate: float
    blocked: bool = False


class Learner:
    """Weights, optimizer and targets of a run; :meth:`learn` takes the steps of one simulation.

    Parameters
    ----------
    trainable : Trainable
        whose weights change
    targets : sequence of Target
        observables with references
    data : GraphDataset
        training frames with references; may be empty where λ is 0
    config : LearningConfig
        the ``[learning]`` table
    loss, scales : LossConfig, Scales
        of the errors, as in training
    temperature_K : float
        of the simulation
    seed : int
        of the batches
    metric : callable
        makes what measures the steps of ``trust_region``; called when the first is taken
    """

    def __init__(
        self,
        trainable: Trainable,
        targets: Sequence[Target],
        data: GraphDataset,
        config: LearningConfig,
        loss: LossConfig,
        scales: Scales,
        temperature_K: float,
        seed: int,
        metric: Callable[[], ErrorMetric],
    ):
        self.trainable, self.targets, self.data, self.config = trainable, list(targets), data, config
        self.loss, self.scales, self.seed = loss, scales, seed
        self.beta = 1.0 / (units.kB * temperature_K)
        self._make_metric = metric
        self._metric: ErrorMetric | None = None
        parameters = [p for _, p in trainable.parameters()]
        self.optimizer: torch.optim.Optimizer
        if config.optimizer in ("sgd", "trust_region"):  # the latter turns gradients into its own steps
            self.optimizer = torch.optim.SGD(parameters, lr=config.learning_rate)
        else:
            self.optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0)
        self.steps = 0

    def learn(
        self, tracks: Sequence[Track], learning_rate: float, within: Callable[[], bool] | None = None
    ) -> Learned:
        """Take one step, and more while the samples, reweighted, are as good as new ones.

        Parameters
        ----------
        tracks : sequence of Track
            of one simulation with the present weights
        learning_rate : float
            of the first step
        within : callable, optional
            whether the present weights keep the budgets of the errors. A step after which they do not is
            taken back, and taken again with half the learning rate, until it keeps the budgets or the
            learning rate is below its floor. With ``trust_region`` a step that leaves fewer effective samples
            than ``min_sample_fraction`` is taken back, too. None takes every step

        Returns
        -------
        Learned
            its row has what the first step saw (``loss`` of the observables, ``error_loss``), the number of
            ``steps``, ``taken_back`` where there is a budget, and ``effective_samples`` / n at the last, or
            with ``trust_region`` after it

        Raises
        ------
        MLIPError
            too few samples; a loss that is not finite
        """
        samples = Samples.of(tracks)
        if not samples.enough:
            raise MLIPError(
                f"`replicas`: expected at least two samples in either half, got {len(samples.frames)} in "
                "all: replicas fail before the first record after the equilibration; lower `record_interval` "
                "or `equilibration`"
            )
        graphs = samples.graphs(self.trainable)
        before = self.trainable.potential_energies(samples.frames, graphs)
        found = Learned({}, learning_rate)
        weights, fraction, back = np.full(len(before), 1.0 / len(before)), 1.0, 0
        in_region = self.config.optimizer == "trust_region"
        allowed = within
        if within is not None and in_region:
            allowed = partial(self._is_near, samples, before, within)
        for step in range(self.config.steps):
            if step:
                weights = self._reweighted(samples, before)
                fraction = effective_sample_size(weights) / len(weights)
                if fraction < self.config.min_sample_fraction:
                    break
            seen = self._gradient(samples, weights)
            back += self._move(found, allowed)
            found.row = found.row or seen
            found.row["steps"] = step + int(not found.blocked)
            if found.blocked:
                break
        if within is not None:
            found.row["taken_back"] = back
        if in_region:
            fraction = self._left(samples, before)
            found.learning_rate, found.blocked = learning_rate, False
        found.row["effective_samples"] = fraction
        return found

    def _reweighted(self, samples: Samples, before: np.ndarray) -> np.ndarray:
        """Weights [n] of the samples for the present network; ``before`` are energies of the simulation."""
        changes = self.trainable.potential_energies(samples.frames, samples.graphs(self.trainable)) - before
        if not np.isfinite(changes).all():
            raise DataError("`learning_rate`: energies of the samples became infinite; lower it")
        return boltzmann_weights(changes, self.beta)

    def _is_near(self, samples: Samples, before: np.ndarray, within: Callable[[], bool]) -> bool:
        """Whether budgets are kept and samples are left."""
        return within() and self._left(samples, before) >= self.config.min_sample_fraction

    def _left(self, samples: Samples, before: np.ndarray) -> float:
        """The fraction of effective samples; none where energies became infinite."""
        try:
            weights = self._reweighted(samples, before)
        except DataError:
            return 0.0
        return effective_sample_size(weights) / len(weights)

    def _gradient(self, samples: Samples, weights: np.ndarray) -> dict[str, float]:
        """Leave the clipped gradient of everything in the weights' ``.grad``; what to write into the row."""
        self.optimizer.zero_grad(set_to_none=True)
        row = {"loss": self.add_observables(samples, weights)}
        if self.config.error_weight > 0.0:
            row["error_loss"] = self._add_errors()
        parameters = [p for _, p in self.trainable.parameters()]
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        clip = self.config.gradient_clip if self.config.gradient_clip > 0.0 else math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, clip))
        if not math.isfinite(norm):
            raise DataError(
                f"the gradient became {norm} in step {self.steps}; lower `learning.learning_rate`, or see "
                "that the criteria end a replica before its forces overflow"
            )
        if self.config.optimizer == "trust_region":
            self._steepen()
        return row | {"gradient_norm": norm}

    def _steepen(self) -> None:
        """Put the steepest step of length 1, with its sign turned, in the place of the gradient."""
        if self._metric is None:
            self._metric = self._make_metric()
        parameters = [p for _, p in self.trainable.parameters()]
        gradient = torch.cat([p.grad.flatten().cpu() for p in parameters])
        step = self._metric.steepest(gradient)
        length = self._metric.length(step)
        if length > 0.0:
            for p, part in zip(
                parameters, (step / -length).split([p.numel() for p in parameters]), strict=True
            ):
                p.grad.copy_(part.view_as(p))

    def _move(self, found: Learned, within: Callable[[], bool] | None) -> int:
        """A step along the gradient, as long as the budget allows; returns how many were taken back."""
        smallest, back = self.config.smallest_rate, 0
        before = self._memory() if within is not None else None
        self.steps += 1
        while True:
            for group in self.optimizer.param_groups:
                group["lr"] = found.learning_rate
            self.optimizer.step()
            if before is None or within is None or within():
                return back
            self._recall(before)
            back += 1
            found.learning_rate *= 0.5
            if found.learning_rate < smallest:
                found.blocked = True
                return back

    def _memory(self) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """Copies of the weights and of what the optimizer remembers of each."""
        return [
            (p.detach().clone(), {name: value.clone() for name, value in self.optimizer.state[p].items()})
            for _, p in self.trainable.parameters()
        ]

    def _recall(self, memory: list[tuple[Tensor, dict[str, Tensor]]]) -> None:
        """The weights and the optimizer as :meth:`_memory` saw them; gradients stay."""
        with torch.no_grad():
            for (_, p), (value, state) in zip(self.trainable.parameters(), memory, strict=True):
                p.copy_(value)
                self.optimizer.state[p] = {name: kept.clone() for name, kept in state.items()}

    def add_observables(self, samples: Samples, weights: np.ndarray) -> float:
        """Add the gradient of the observables' losses to the weights' ``.grad``; returns the loss."""
        total = 0.0
        coefficients: np.ndarray | list[np.ndarray] = np.zeros(len(samples.frames))
        local = self.config.estimator == "local"
        if local:
            coefficients = [np.zeros(len(atoms)) for atoms in samples.frames]
        for target in self.targets:
            if local:
                mean, found = self._local(target, samples, weights)
                coefficients = [a + b for a, b in zip(coefficients, found, strict=True)]
            else:
                values = samples.values(target, self.trainable)
                mean = weights @ values
                coefficients = coefficients + cross_fitted_coefficients(
                    values, target.derivative, self.beta, samples.second_half, weights
                )
                if target.observable.depends_on_weights:
                    factors = _cross_fitted_factors(values, target, samples.second_half, weights)
                    add_pressures(self.trainable, samples.frames, factors / units.GPa)
            total += target.loss(mean)
        graphs = samples.graphs(self.trainable)
        add_weighted_energies(self.trainable, samples.frames, coefficients, graphs)
        return total

    def _local(
        self, target: Target, samples: Samples, weights: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Mean of the observable, and coefficients of single atoms, cross-fitted as the global ones."""
        parts = samples.contributions(target)
        values, second = parts.sum(axis=1), samples.second_half
        near = [_near(atoms, self.config.radius) for atoms in samples.frames] if self.config.radius else None
        found = np.zeros(parts.shape[:2])
        for half in (second, ~second):
            mean = weights[~half] @ values[~half] / weights[~half].sum()
            chosen = None if near is None else [near[k] for k in np.flatnonzero(half)]
            slope = target.derivative(mean)
            found[half] = 0.5 * local_coefficients(parts[half], slope, self.beta, chosen, weights[half])
        return weights @ values, list(found)

    def _add_errors(self) -> float:
        """λ times training's loss of the next batch; returns the loss without λ."""
        size = min(self.config.batch_size, len(self.data))
        rng = np.random.default_rng([self.seed, self.steps])
        indices = rng.choice(len(self.data), size=size, replace=False)
        weight = self.config.error_weight
        return add_errors(self.trainable, self.data, indices, self.loss, self.scales, weight)


def _cross_fitted_factors(
    values: np.ndarray, target: Target, second_half: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """f [n] with which ∂L/∂⟨g⟩·⟨∂g/∂θ⟩ is Σ_n f_n ∂g(x_n)/∂θ, ∂L/∂⟨g⟩ from the other half of the samples."""
    factors = np.zeros(len(values))
    for half in (second_half, ~second_half):
        slope = float(target.derivative(weights[~half] @ values[~half] / weights[~half].sum())[0])
        factors[half] = 0.5 * slope * weights[half] / weights[half].sum()
    return factors


def _near(atoms: Atoms, radius: float) -> np.ndarray:
    """Ordered pairs of different atoms within ``radius`` Å, each once, int64 [2, M]."""
    i, j, _, _ = find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, radius)
    return np.unique(np.stack([i, j])[:, i != j], axis=1)
