"""What a StABlE training needs to continue exactly where it stopped, in one safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from torch import Tensor

from ..training.checkpoint import moments, read_tensors, restore_moments, write_tensors
from .learning.learner import Learner
from .loop import LoopState, Point

KIND = "ase_mlip_stability_training"


def save_checkpoint(
    path: Path, state: LoopState, learner: Learner, kept: dict[int, dict[str, Tensor]], configuration: dict
) -> None:
    """Store weights, optimizer, replicas, rows and the weights of all judged points.

    ``kept`` has the weights of each judged epoch, ``configuration`` what must not change in between.
    """
    tensors: dict[str, Tensor] = {}
    for name, parameter in learner.trainable.parameters():
        tensors[f"parameter/{name}"] = parameter.detach()
        tensors |= moments(name, parameter, [learner.optimizer])
    for epoch, weights in kept.items():
        tensors |= {f"point/{epoch}/{name}": value for name, value in weights.items()}
    for n, atoms in enumerate(state.walkers):
        tensors[f"walker/{n}"] = torch.from_numpy(atoms.positions)
    header = {"configuration": configuration, "state": _finite(state.numbers()), "steps": learner.steps}
    write_tensors(path, KIND, tensors, header)


def load_checkpoint(
    path: Path, state: LoopState, learner: Learner, configuration: dict
) -> dict[int, dict[str, Tensor]]:
    """Restore state and learner in place, and return the weights of the judged points.

    ``state.walkers`` are the starting frames: they give everything but positions.

    Raises
    ------
    DataError
        see :func:`ase_mlip.training.checkpoint.read_tensors`
    """
    tensors, header = read_tensors(path, KIND, configuration)
    with torch.no_grad():
        for name, parameter in learner.trainable.parameters():
            parameter.copy_(tensors[f"parameter/{name}"])
            restore_moments(name, parameter, [learner.optimizer], tensors)
    learner.steps = header["steps"]
    numbers = dict(header["state"])
    points = [Point(**point) for point in numbers.pop("points")]
    for name, value in numbers.items():
        setattr(state, name, value)
    state.points = points
    if state.best_fraction is None:
        state.best_fraction = float("inf")
    state.walkers = [_moved(atoms, tensors[f"walker/{n}"]) for n, atoms in enumerate(state.walkers)]
    kept: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("point/"):
            _, epoch, weight = name.split("/", 2)
            kept.setdefault(int(epoch), {})[weight] = value
    return kept


def _finite(numbers: dict[str, Any]) -> dict[str, Any]:
    """The same with null for the infinite fraction before the first epoch."""
    infinite = numbers["best_fraction"] == float("inf")
    return numbers | ({"best_fraction": None} if infinite else {})


def _moved(atoms: Atoms, positions: Tensor) -> Atoms:
    moved = atoms.copy()
    moved.positions = positions.numpy()
    return moved
