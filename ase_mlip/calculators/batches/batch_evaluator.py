"""Energies and forces of many copies of one small system in few calls, for replicas in step."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms

from ... import _torchscript
from ...building.device import is_lack_of_memory
from ...errors import StructureError
from ...graph.near_edges import near_edges
from ...graph.neighbors import MIN_DISTANCE, Graph, NeighborList, check_structure
from ...graph.stored_list import StoredList
from ...model_file.model import Model
from ...rotations.averaging import Averaging
from ..diagnostics.visited import ExtrapolationWatch
from ..native_snnp import native_snnp
from ..rotation_sums import averaged
from .batch_limit import BatchLimit

COMPLETE = 64  # atoms of a molecule up to which its list has all pairs, and is never made again
TORCH_NODES = 512  # atoms of one call to torch on a CPU: PET gains up to here (benchmarks/replicas.py)
NATIVE_NODES = 1024  # atoms that the s-NNP's own kernel takes in one call; more gain nothing


class BatchEvaluator:
    """A function from positions [R, N, 3] (Å) to energies [R] (eV) and forces [R, N, 3] (eV/Å).

    Replicas are evaluated together as far as that is faster: on a GPU in batches that fill its memory; on a
    CPU up to 512 atoms at once by torch, beyond which nothing is gained, and up to 1024 by the s-NNP's own
    kernel. The neighbour list is one for a batch.

    What a replica gets does not depend on the others with the s-NNP's kernel; with torch it does by rounding,
    because matrix products of other sizes sum in another order.

    Parameters
    ----------
    model : Model
        a loaded model
    atoms : ase.Atoms
        one copy; gives species, cell and boundaries
    averaging : Averaging, optional
        over rotations; None takes that of the file
    forces : str
        "conservative" or "direct", the latter less their mean
    skin : float
        how far lists reach beyond the cutoff, Å
    largest : int, optional
        copies in one call; None is what is fastest
    check_lattice : bool
        whether a model averaged over a crystal's group refuses cells that break it

    Raises
    ------
    StructureError
        for species that the model does not know, a cell that the averaging breaks, and, when called, for
        coinciding atoms
    """

    def __init__(
        self,
        model: Model,
        atoms: Atoms,
        averaging: Averaging | None = None,
        forces: str = "conservative",
        skin: float = 0.5,
        largest: int | None = None,
        check_lattice: bool = True,
    ):
        check_structure(atoms, model.info.species)
        self._model, self._atoms, self._skin = model, atoms.copy(), skin
        self._averaging = model.exported if averaging is None else averaging
        if check_lattice:
            self._averaging.check_lattice(atoms)
        self._watch = ExtrapolationWatch(model.info)
        self._direct = forces == "direct"
        self._native = native_snnp(model, self._averaging, forces)
        self._limit = BatchLimit(model.device)
        self._largest = largest
        self._lists: dict[tuple[int, int], _List] = {}  # by first and last replica
        self._evaluations = 0
        self._edges_of_one: int | None = None

    @_torchscript.calling()
    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See the class."""
        energies, forces = np.empty(len(positions)), np.empty(positions.shape)
        start = 0
        while start < len(positions):
            end = min(len(positions), start + self._at_once())
            try:
                energies[start:end], forces[start:end] = self._evaluate(start, positions[start:end])
            except RuntimeError as error:
                if end == start + 1 or not is_lack_of_memory(error):
                    raise
                self._limit.after_running_out()
                continue
            start = end
        self._evaluations += 1
        return energies, forces

    def _at_once(self) -> int:
        """How many copies the next call takes."""
        n_atoms = len(self._atoms)
        if self._largest is not None:
            return self._largest
        if self._model.device.type != "cuda":
            return max(1, (TORCH_NODES if self._native is None else NATIVE_NODES) // n_atoms)
        if self._edges_of_one is None:
            self._edges_of_one = _List(
                self._model, self._atoms, self._atoms.positions[None], self._skin
            ).n_edges
        return max(1, self._limit.edges // max(1, self._edges_of_one))

    def _evaluate(self, start: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = start, start + len(positions)
        kept = self._lists.get(key)
        if kept is None or not kept.covers(positions):
            kept = self._lists[key] = _List(self._model, self._atoms, positions, self._skin)
        flat = np.ascontiguousarray(positions.reshape(-1, 3))
        if self._native is not None:
            outputs, counts, shortest = self._native(kept.stored, flat, False)
            _refuse_coincidence(shortest)
            self._watch.of_counts(counts, shortest)
        else:
            outputs = self._by_torch(kept, flat)
        energies = outputs["energies"].reshape(positions.shape[:2]).sum(axis=1)
        if not self._direct:
            return energies, outputs["forces"].reshape(positions.shape)
        forces = outputs["direct_forces"].reshape(positions.shape)
        return energies, forces - forces.mean(axis=1, keepdims=True)

    def _by_torch(self, kept: _List, flat: np.ndarray) -> dict[str, np.ndarray]:
        graph, shortest = kept.graph(torch.from_numpy(flat))
        _refuse_coincidence(shortest)
        if not self._watch.warned:
            self._watch.of_graph(graph.to("cpu"))
        wanted = ["direct_forces"] if self._direct else ["forces"]
        averaging = self._averaging.at(self._evaluations)
        self._limit.before()
        if len(averaging.rotations) > 1:
            outputs = averaged(
                self._model, graph, wanted, averaging, self._direct, BatchLimit(self._model.device)
            )
        else:
            outputs = self._model(graph, wanted, averaging)
        self._limit.after(kept.n_edges)
        names = ("energies", *wanted)
        return {name: outputs[name].detach().cpu().numpy() for name in names}


class _List:
    """One neighbour list of R copies, none of whose pairs are between copies."""

    def __init__(self, model: Model, atoms: Atoms, positions: np.ndarray, skin: float):
        self._skin = skin
        self._reference = positions.copy()
        self._complete = not atoms.pbc.any() and len(atoms) <= COMPLETE
        if self._complete:
            whole = float(np.ptp(atoms.positions, axis=0).sum()) + 1.0
            parts = [_stored(model, atoms, atoms.positions, whole)] * len(positions)
        else:
            parts = [_stored(model, atoms, places, skin) for places in positions]
        self.stored = _join(parts, model.device)
        self.n_edges = self.stored.edge_index.shape[1]
        self._n_copies = len(positions)
        cutoff = torch.full((1,), model.info.cutoff**2, dtype=torch.float64, device=model.device)
        self._limits = cutoff if self.stored.squared_cutoffs is None else self.stored.squared_cutoffs

    def covers(self, positions: np.ndarray) -> bool:
        """Whether all pairs now within the cutoff are in the list."""
        if self._complete:
            return True
        moved = positions - self._reference
        return bool(np.einsum("rna,rna->rn", moved, moved).max() <= (0.5 * self._skin) ** 2)

    def graph(self, positions: torch.Tensor) -> tuple[Graph, float]:
        """The edges within the cutoff, and the shortest distance (Å)."""
        stored = self.stored
        edge_index, vectors, reverse, shifts, shortest = near_edges(
            positions.to(stored.offsets.device), stored.edge_index, stored.offsets, stored.reverse,
            stored.shifts, self._limits,
        )  # fmt: skip
        nodes = (stored.structure, self._n_copies, stored.node_weights)
        return Graph(stored.species, edge_index, vectors, reverse, shifts, *nodes), shortest


def _stored(model: Model, atoms: Atoms, positions: np.ndarray, skin: float) -> StoredList:
    moved = atoms.copy()
    moved.positions = positions
    return NeighborList(model.info.cutoff, skin, model.info.pair_cutoffs).stored(moved)


def _join(parts: list[StoredList], device: torch.device) -> StoredList:
    """The lists of several copies as one of all their atoms, on ``device``."""
    n_atoms = len(parts[0].numbers)
    edges_before = np.cumsum([0, *(part.edge_index.shape[1] for part in parts)])

    def joined(tensors: list[torch.Tensor], dim: int = 0) -> torch.Tensor:
        return torch.cat(tensors, dim=dim).to(device)

    limits = [part.squared_cutoffs for part in parts]
    return StoredList(
        positions=np.concatenate([part.positions for part in parts]),
        numbers=np.concatenate([part.numbers for part in parts]),
        pbc=parts[0].pbc,
        given_cell=parts[0].given_cell,
        cell=parts[0].cell,
        edge_index=joined([part.edge_index + n * n_atoms for n, part in enumerate(parts)], 1),
        shifts=joined([part.shifts for part in parts]),
        reverse=joined(
            [
                torch.where(part.reverse < 0, -1, part.reverse + int(before))
                for part, before in zip(parts, edges_before, strict=False)
            ]
        ),
        offsets=joined([part.offsets for part in parts]),
        squared_cutoffs=None if limits[0] is None else joined(limits),
        species=joined([part.species for part in parts]),
        structure=joined([part.structure + n for n, part in enumerate(parts)]),
        node_weights=joined([part.node_weights for part in parts]),
    )


def _refuse_coincidence(shortest: float) -> None:
    if shortest < MIN_DISTANCE:
        raise StructureError(
            f"`positions`: expected distances of at least {MIN_DISTANCE} Å, got {float(shortest):.2g} Å; the "
            "dynamics has put two atoms onto each other"
        )
