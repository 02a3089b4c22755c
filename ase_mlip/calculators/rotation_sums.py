"""Averages over rotations with what they scatter by, in memory that does not grow with their number.

A model file averages by itself, and can also return the values of every rotation. Here it is given as many
rotations as it evaluates together; of their values, sums and sums of squares are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..building.device import is_lack_of_memory
from ..graph.neighbors import Graph
from ..model_file.model import Model
from ..rotations.averaging import Averaging
from ..voigt import COLUMNS, ROWS, symmetric
from .batches.batch_limit import BatchLimit


class Moments:
    """Standard deviation of weighted values [G, ...] that come in parts; weights have the sum 1.

    Deviations from the first value are added up, so that nothing cancels which is not of their size.
    """

    def __init__(self) -> None:
        self._origin: Tensor | None = None

    def add(self, values: Tensor, weights: Tensor) -> None:
        if self._origin is None:
            self._origin = values[0].clone()
            self._sum, self._squares = torch.zeros_like(self._origin), torch.zeros_like(self._origin)
        away = values - self._origin
        self._sum += torch.tensordot(weights, away, 1)
        self._squares += torch.tensordot(weights, away**2, 1)

    def deviation(self) -> Tensor:
        return (self._squares - self._sum**2).clamp(min=0.0).sqrt()


class Spread:
    """What energies, forces and stresses of a graph's structures scatter by over rotations.

    Parameters
    ----------
    graph: on the model's device
    direct: whether forces and stresses are those of the direct heads; forces then have no net force
    """

    def __init__(self, graph: Graph, direct: bool):
        self._structure, self._count = graph.structure, graph.n_structures
        self._direct = direct
        self._moments: dict[str, Moments] = {}

    def add(self, outputs: dict[str, Tensor], weights: Tensor) -> None:
        """Outputs ``..._by_rotation`` [N, G, ...] and the rotations' weights, float64 [G]."""
        self._add("energy", self._total(outputs["energies_by_rotation"]), weights)
        head = "direct_" if self._direct else ""
        forces = outputs.get(f"{head}forces_by_rotation")
        if forces is not None:
            net = self._mean(forces)[self._structure] if self._direct else 0.0
            self._add("forces", forces - net, weights)
        if "direct_stresses_by_rotation" in outputs and self._direct:
            self._add("stress", _voigt(self._mean(outputs["direct_stresses_by_rotation"])), weights)
        elif "direct_virials_by_rotation" in outputs and self._direct:
            self._add("virial", _voigt(self._total(outputs["direct_virials_by_rotation"])), weights)
        elif "virial_by_rotation" in outputs:
            self._add("virial", _voigt(outputs["virial_by_rotation"]), weights)

    def result(self) -> dict[str, Tensor]:
        """``energy_spread`` [B] in eV, ``forces_spread`` [N] in eV/Å, and either ``virial_spread`` [B, 6] in
        eV or ``stress_spread`` [B, 6] in eV/Å³, Voigt order; what the outputs had no values for is left out.
        """
        found = {f"{name}_spread": moments.deviation() for name, moments in self._moments.items()}
        if "forces_spread" in found:
            found["forces_spread"] = found["forces_spread"].norm(dim=-1)
        return found

    def _add(self, name: str, values: Tensor, weights: Tensor) -> None:
        """Values [B or N, G, ...]"""
        self._moments.setdefault(name, Moments()).add(values.transpose(0, 1), weights)

    def _total(self, values: Tensor) -> Tensor:
        zeros = values.new_zeros(self._count, *values.shape[1:])
        return zeros.index_add(0, self._structure, values)

    def _mean(self, values: Tensor) -> Tensor:
        counts = torch.bincount(self._structure, minlength=self._count).clamp(min=1)
        return self._total(values) / counts.reshape(-1, *[1] * (values.dim() - 1))


def averaged(
    model: Model,
    graph: Graph,
    outputs: Sequence[str],
    averaging: Averaging,
    direct: bool,
    limit: BatchLimit,
) -> dict[str, Tensor]:
    """What is wanted of the model averaged over rotations, and :meth:`Spread.result` of it.

    Parameters
    ----------
    model, graph, outputs: as for calling the model
    averaging: two rotations or more
    direct: see :class:`Spread`
    limit: how many edges a GPU takes at once; it learns from every call
    """
    graph = graph.to(model.device)
    n_nodes, n_edges = len(graph.species), max(1, graph.edge_index.shape[1])
    totals: dict[str, Tensor] = {}
    spread = Spread(graph, direct)
    start, count = 0, len(averaging.rotations)
    while start < count:
        size = model.batch or limit.edges // n_edges or model.rotations_on_cpu(n_nodes)
        weights = averaging.weights[start : start + size]
        share = float(weights.sum())  # of a part, so that reference energies are counted once
        part = Averaging(averaging.name, averaging.rotations[start : start + size], weights / share)
        limit.before()
        try:
            found = model(graph, (*outputs, "spread"), part, at_once=len(weights))
        except RuntimeError as error:
            if len(weights) == 1 or model.batch or not is_lack_of_memory(error):
                raise
            limit.edges = len(weights) * n_edges
            limit.after_running_out()
            continue
        limit.after(len(weights) * n_edges)
        spread.add(found, torch.from_numpy(weights).to(model.device))
        for name, value in found.items():
            if not name.endswith("_by_rotation"):
                totals.setdefault(name, torch.zeros_like(value)).add_(value, alpha=share)
        start += len(weights)
    return totals | spread.result()


def _voigt(tensors: Tensor) -> Tensor:
    """The symmetric part of [..., 3, 3] as [..., 6]."""
    return symmetric(tensors)[..., ROWS, COLUMNS]
