"""What all checks share: a result, the model under test with its tolerances, and edits of graphs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from ase import Atoms

from ..crystals import heights
from ..graph.neighbors import Graph, build_graph
from ..model_file.info import KNOWN_OUTPUTS
from ..model_file.model import Model
from ..provenance import plain
from .structures import default_structures

# Two orders of summing the same terms differ by some units in the last place (2e-16 and 1e-7 of the largest
# term), which a deep network amplifies by 10 to 1000; real defects are far above either bound.
ROUNDING = {torch.float64: 1e-10, torch.float32: 2e-4}
DERIVED = ("forces", "virial", "virials")
# Central differences of float64 energies, extrapolated from two steps, are good to 1e-8 eV/Å if it is smooth.
FINITE_DIFFERENCE = 1e-6


@dataclass
class CheckResult:
    """One line of the table.

    Attributes
    ----------
    name : str
        what was checked
    value : float
        what was measured, in ``unit``
    tolerance : float or None
        the largest value that passes; None where nothing is judged
    unit : str
        unit of value and tolerance
    passed : bool or None
        True or False; None where the value is only reported
    detail : str
        a few words about how it was measured or what failed
    """

    name: str
    value: float
    tolerance: float | None
    unit: str
    passed: bool | None
    detail: str = ""

    def to_dict(self) -> dict:
        """The same as JSON has it; None for a value that is not known."""
        return plain(asdict(self))


def judge(
    name: str, value: float, tolerance: float, unit: str, detail: str = "", judged: bool = True
) -> CheckResult:
    """Pass if ``value`` is at most ``tolerance`` (NaN is not); only report it unless ``judged``."""
    value = float(value)
    if not judged:
        return CheckResult(name, value, None, unit, None, detail)
    return CheckResult(name, value, float(tolerance), unit, bool(value <= tolerance), detail)


def report(name: str, value: float, unit: str, detail: str = "") -> CheckResult:
    """A measured value that nothing is judged by."""
    return CheckResult(name, float(value), None, unit, None, detail)


@dataclass
class Probe:
    """The model under test, and the structures it is tested with.

    Attributes
    ----------
    model: the model, in the dtype the checks run in
    structures: the given structure alone, or a crystal, a slab and a molecule of the model's species
    seed: of everything random, so that two runs print the same numbers
    """

    model: Model
    structures: list[Atoms]
    seed: int = 0
    evaluations: int = field(default=0, init=False)
    atoms_evaluated: int = field(default=0, init=False)

    @property
    def info(self):
        return self.model.info

    @property
    def bulk(self) -> Atoms:
        """The first structure: the given one, else the crystal."""
        return self.structures[0]

    @property
    def crystal(self) -> Atoms:
        """A structure periodic in three directions: the first one if it is, else one that is made up."""
        if all(self.bulk.pbc):
            return self.bulk
        return default_structures(self.info.species, self.seed)[0]

    @property
    def exact(self) -> bool:
        """Whether the model runs in float64, without which finite differences judge nothing."""
        return self.model.dtype == torch.float64

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def graph(self, atoms: Atoms) -> Graph:
        """The graph of ``atoms`` as an engine would build it."""
        return build_graph(atoms, self.info.cutoff, self.info.pair_cutoffs)

    def evaluate(self, what: Atoms | Graph, outputs: Sequence[str] = DERIVED) -> dict[str, np.ndarray]:
        """Energies and the ``outputs`` of the model as arrays."""
        graph = self.graph(what) if isinstance(what, Atoms) else what
        self.evaluations += 1
        self.atoms_evaluated += len(graph.species)
        found = self.model(graph, outputs)
        return {name: value.detach().cpu().numpy() for name, value in found.items()}

    def evaluate_all(self, what: Atoms | Graph) -> dict[str, np.ndarray]:
        """All that the model has."""
        return self.evaluate(what, [*DERIVED, "gradients", *self.info.outputs])

    def undeclared(self, graph: Graph) -> list[str]:
        """Outputs that the network gives when it is asked for them, but that the file does not declare."""
        asking = replace(self.model, info=replace(self.info, outputs=list(KNOWN_OUTPUTS)))
        hidden = set(KNOWN_OUTPUTS) - set(self.info.outputs)
        return sorted(hidden & asking(graph, KNOWN_OUTPUTS).keys())

    def energy(self, atoms: Atoms) -> float:
        """Total energy in eV."""
        return float(self.evaluate(atoms, ())["energy"][0])

    def rounding(self, *arrays: np.ndarray) -> float:
        """Tolerance for evaluations that differ by rounding only: relative to the largest entry or 1."""
        return ROUNDING[self.model.dtype] * max([1.0, *(largest(array) for array in arrays)])


def in_dtype(model: Model, dtype: torch.dtype) -> Model:
    """The model itself, or a copy whose network has another dtype (reference energies stay float64)."""
    if model.dtype == dtype:
        return model
    module = copy.deepcopy(model.module)
    module.network.to(dtype)
    return replace(model, module=module, dtype=dtype)


def largest(array: np.ndarray) -> float:
    """Largest magnitude, 0 of nothing; NaN if any entry is."""
    return float(np.abs(array).max()) if np.size(array) else 0.0


def compare(
    probe: Probe,
    name: str,
    got: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    detail: str = "",
) -> list[CheckResult]:
    """One line each for energies and, where both have them, forces and virials."""
    results = []
    for key, unit in (("energies", "eV"), ("forces", "eV/Å"), ("virial", "eV")):
        if key not in got or key not in expected:
            continue
        difference = largest(got[key] - expected[key])
        results.append(judge(f"{name}: {key}", difference, probe.rounding(expected[key]), unit, detail))
    return results


def take_edges(graph: Graph, kept: torch.Tensor) -> Graph:
    """The graph with only the edges ``kept`` (int64), in that order; dropped reverse edges become -1."""
    new_index = torch.full((graph.edge_index.shape[1] + 1,), -1, dtype=torch.int64)
    new_index[kept] = torch.arange(len(kept))
    return replace(
        graph,
        edge_index=graph.edge_index[:, kept].contiguous(),
        edge_vectors=graph.edge_vectors[kept],
        reverse_edges=new_index[graph.reverse_edges[kept]],  # the entry after the last serves -1
        shifts=graph.shifts[kept],
    )


def add_padding(graph: Graph, count: int, species: int) -> Graph:
    """The graph with ``count`` more nodes of weight 0 and without edges."""
    return replace(
        graph,
        species=torch.cat([graph.species, torch.full((count,), species, dtype=torch.int64)]),
        structure=torch.cat([graph.structure, torch.zeros(count, dtype=torch.int64)]),
        node_weights=torch.cat([graph.node_weights, torch.zeros(count, dtype=torch.float64)]),
    )


def with_weights(graph: Graph, owned: np.ndarray) -> Graph:
    """The graph with weight 1 for the nodes ``owned`` and 0 for all others."""
    weights = torch.zeros_like(graph.node_weights)
    weights[torch.as_tensor(owned)] = 1.0
    return replace(graph, node_weights=weights)


def empty_graph() -> Graph:
    """One structure without a single node."""
    integers, vectors = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.float64)
    return Graph(
        species=integers,
        edge_index=torch.zeros(2, 0, dtype=torch.int64),
        edge_vectors=vectors,
        reverse_edges=integers.clone(),
        shifts=torch.zeros(0, 3, dtype=torch.int64),
        structure=integers.clone(),
        n_structures=1,
        node_weights=torch.zeros(0, dtype=torch.float64),
    )


def unfold(atoms: Atoms, owned: np.ndarray, reach: float) -> tuple[Atoms, np.ndarray]:
    """The atoms ``owned``, then a copy of every other atom and image within ``reach`` (Å) of any of them.

    Returns the cluster, without cell, and for each of its atoms the index of the original: what an engine
    holds that owns these atoms and was sent all ghosts out to ``reach``.
    """
    positions, cell = atoms.positions, np.asarray(atoms.cell)
    periodic = np.asarray(atoms.pbc)
    counts = np.zeros(3, dtype=int)
    if periodic.any():
        complete = atoms.cell.complete().array
        spread = np.ptp(np.linalg.solve(complete.T, positions.T), axis=1)
        counts[periodic] = np.ceil(reach / heights(complete) + spread).astype(int)[periodic]
    parts, indices = [positions[owned]], [owned]
    others = np.arange(len(atoms))
    for image in np.ndindex(*(2 * counts + 1)):
        shift = np.array(image) - counts
        moved = positions + shift @ cell
        distances = np.linalg.norm(moved[:, None] - positions[owned][None], axis=2).min(axis=1)
        near = distances <= reach
        if not shift.any():
            near &= ~np.isin(others, owned)
        parts.append(moved[near])
        indices.append(others[near])
    origin = np.concatenate(indices)
    return Atoms(atoms.numbers[origin], positions=np.concatenate(parts)), origin


def fold(values: np.ndarray, origin: np.ndarray, n_atoms: int) -> np.ndarray:
    """Sums of the copies' values [M, ...] on their originals [n_atoms, ...]: reverse communication."""
    folded = np.zeros((n_atoms, *values.shape[1:]))
    np.add.at(folded, origin, values)
    return folded
