"""Many structures in one call: graphs in batches that are evaluated together, results one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from ase import Atoms

from ...building.device import is_lack_of_memory
from ...crystals import volume_of
from ...errors import StructureError
from ...graph.neighbors import Graph, concatenate
from ..diagnostics.leverage import leverage_diagnostics
from ..results import ase_results, rotational_spreads
from .batch_limit import BatchLimit


def in_batches(
    structures: list[Atoms], graph_of: Callable[[Atoms], Graph], limit: BatchLimit
) -> Iterator[tuple[list[Atoms], list[Graph]]]:
    """Structures and their graphs in groups that are evaluated together.

    Raises StructureError, naming the position in the list, for what ``graph_of`` refuses.
    """
    batch: list[Atoms] = []
    graphs: list[Graph] = []
    n_edges = 0
    for index, atoms in enumerate(structures):
        try:
            graph = graph_of(atoms)
        except StructureError as error:
            raise StructureError(f"structure {index} of the list: {error}") from None
        if batch and n_edges + graph.edge_index.shape[1] > limit.edges:
            yield batch, graphs
            batch, graphs, n_edges = [], [], 0
        batch.append(atoms)
        graphs.append(graph)
        n_edges += graph.edge_index.shape[1]
    if batch:
        yield batch, graphs


def results_of_batch(
    batch: list[Atoms],
    graphs: list[Graph],
    evaluate: Callable[[Graph], dict[str, np.ndarray]],
    limit: BatchLimit,
    direct: bool,
    stresses: bool,
) -> list[dict]:
    """Results of each structure, with ``diagnostics``; a batch too large for the GPU's memory is halved.

    ``evaluate`` gives the model's outputs for one graph of all; ``direct`` and ``stresses`` are those of
    :func:`.results.ase_results`.
    """
    limit.before()
    try:
        outputs = evaluate(concatenate(graphs))
    except RuntimeError as error:
        if len(batch) == 1 or not is_lack_of_memory(error):
            raise
        half = len(batch) // 2
        limit.after_running_out()
        rest = (evaluate, limit, direct, stresses)
        first = results_of_batch(batch[:half], graphs[:half], *rest)
        return first + results_of_batch(batch[half:], graphs[half:], *rest)
    limit.after(sum(graph.edge_index.shape[1] for graph in graphs))
    results, start = [], 0
    for index, atoms in enumerate(batch):
        nodes = slice(start, start + len(atoms))
        one = (outputs, nodes, index, volume_of(atoms))
        own = ase_results(*one, direct, stresses)
        known = {**rotational_spreads(*one), **leverage_diagnostics(*one[:3])}
        results.append({**_copies(own), "diagnostics": _copies(known)})
        start += len(atoms)
    return results


def _copies(results: dict) -> dict:
    """Arrays of their own: a slice would keep the whole batch alive."""
    return {name: np.array(v) if isinstance(v, np.ndarray) else v for name, v in results.items()}
