"""Gradients by the weights of a network: of weighted energies, of errors, of pressures.

All of them add to ``.grad`` of the weights, some frames at a time, so that memory does not grow with their
number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms

from .. import _torchscript
from ..configuration.run import LossConfig
from ..data.batches import Batch, GraphDataset
from ..data.references import Sample
from ..graph.neighbors import Graph
from ..training.loss import Scales, loss, predict, residuals
from .trainable import Trainable, parts


@_torchscript.calling()
def add_weighted_energies(
    trainable: Trainable,
    frames: Sequence[Atoms],
    coefficients: np.ndarray | Sequence[np.ndarray],
    graphs: Sequence[Graph] | None = None,
) -> float:
    """Add ∂/∂θ Σ_n c_n U(x_n), or ∂/∂θ Σ_n Σ_i c_ni E_i(x_n), to the gradients of the weights.

    Parameters
    ----------
    frames: the samples, [n]
    coefficients: c [n], or for each sample c [N] of its atoms
    graphs: those of :meth:`Trainable.graphs`, where they have been made before

    Returns
    -------
    the weighted sum itself, eV times the unit of c
    """
    if len(frames) != len(coefficients):
        raise ValueError(
            f"`coefficients`: expected {len(frames)}, one for each frame, got {len(coefficients)}"
        )
    total = 0.0
    made = trainable.graphs(frames) if graphs is None else graphs
    for part, graph in zip(parts(frames), made, strict=True):
        pairs = zip(frames[part], coefficients[part], strict=True)
        weights = torch.from_numpy(np.concatenate([np.broadcast_to(c, len(atoms)) for atoms, c in pairs]))
        energies = trainable.energies(graph)
        value = (weights.to(energies.device) * energies).sum()
        value.backward()
        total += float(value.detach())
    return total


@_torchscript.calling()
def add_errors(
    trainable: Trainable,
    data: GraphDataset,
    indices: Sequence[int],
    weights: LossConfig,
    scales: Scales,
    factor: float = 1.0,
) -> float:
    """Add ``factor`` times the gradient of training's own loss of some samples; returns that loss."""
    batch = data.collate(indices, None, trainable.dtype, trainable.device)
    found = residuals(predict(trainable.network, batch, trainable.table, True), batch)
    value = loss(found, weights, scales, done=1.0)
    if weights.curvature > 0.0 and hasattr(trainable.inner, "roughness"):
        value = value + weights.curvature * trainable.inner.roughness()
    (factor * value).backward()
    return float(value.detach())


@_torchscript.calling()
def add_pressures(trainable: Trainable, frames: Sequence[Atoms], factors: np.ndarray) -> None:
    """Add ∂/∂θ Σ_n f_n P(x_n): P is the configurational pressure -tr(σ)/3 in eV/Å³, f_n [n] its weight."""
    for atoms, factor in zip(frames, factors, strict=True):
        found = predict(trainable.network, _batch(trainable, atoms), trainable.table, True)
        stress = found["stresses"][0].double()
        (-float(factor) / 3.0 * torch.trace(stress)).backward()


@_torchscript.calling()
def pressures(trainable: Trainable, frames: Sequence[Atoms]) -> np.ndarray:
    """Configurational pressures -tr(σ)/3 of frames that are periodic in three directions, eV/Å³, [n]."""
    found = []
    with trainable.evaluating():
        for atoms in frames:
            predicted = predict(trainable.network, _batch(trainable, atoms), trainable.table, True)
            found.append(-float(torch.trace(predicted["stresses"][0].detach().double())) / 3.0)
    return np.array(found)


@_torchscript.calling()
def force_error(trainable: Trainable, data: GraphDataset) -> dict[str, float]:
    """Mean absolute errors on all samples that have references: ``energy`` eV/atom, ``forces`` eV/Å."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    with trainable.evaluating():
        for k in range(len(data)):
            batch = data.collate([k], None, trainable.dtype, trainable.device)
            found = predict(trainable.network, batch, trainable.table, True)
            for name, error in residuals(found, batch).items():
                if name in ("energy", "forces"):
                    sums[name] = sums.get(name, 0.0) + float(error.detach().double().abs().sum())
                    counts[name] = counts.get(name, 0) + error.numel()
    return {name: sums[name] / count for name, count in counts.items() if count}


def _batch(trainable: Trainable, atoms: Atoms) -> Batch:
    plain = atoms.copy()
    plain.calc = None
    return trainable.dataset([Sample(plain)]).collate([0], None, trainable.dtype, trainable.device)
