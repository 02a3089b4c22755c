"""Graphs of the contract from ASE structures, and the checks a structure must pass before.

An edge points from its centre ``i`` to the neighbour ``j`` in the image ``S`` of the cell ``h``, with the
vector ``r = r_j - r_i + S·h``. Lists are full and sorted by centre; vesin makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import vesin
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from .. import _torchscript
from ..building import _ops
from ..crystals import MAX_COORDINATE, heights
from ..errors import StructureError
from .near_edges import near_edges
from .stored_list import StoredList, lattice_vectors, spanning_cell

MIN_DISTANCE = 1e-3  # Å; closer atoms are taken to be at one place
MAX_BINS = 9e4  # of vesin's grid, with some room below its own limit
LIST_MARGIN = 1e-9  # relative; lists are made this much wider, so that rounding decides no edge


@dataclass
class Graph:
    """One or more structures as a network of the contract sees them.

    Edges are sorted by centre; those of one centre come in no order that can be relied on. Tensors may be
    shared with a stored list and with other graphs: do not modify them.

    Attributes
    ----------
    species : torch.Tensor
        int64 [N], atomic numbers
    edge_index : torch.Tensor
        int64 [2, E], centre and neighbour, sorted by centre
    edge_vectors : torch.Tensor
        float64 [E, 3], Å
    reverse_edges : torch.Tensor
        int64 [E], index of the edge (j, i, -S), -1 where there is none
    shifts : torch.Tensor
        int64 [E, 3], S in units of the cell vectors
    structure : torch.Tensor
        int64 [N], the structure each node belongs to
    n_structures : int
        number of structures
    node_weights : torch.Tensor
        float64 [N], 1 for atoms that are summed, 0 for ghosts and padding
    """

    species: torch.Tensor
    edge_index: torch.Tensor
    edge_vectors: torch.Tensor
    reverse_edges: torch.Tensor
    shifts: torch.Tensor
    structure: torch.Tensor
    n_structures: int
    node_weights: torch.Tensor

    def to(self, device: str | torch.device) -> Graph:
        """The same graph with its tensors on ``device``."""
        if self.species.device == torch.device(device):
            return self
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return replace(self, **{name: value.to(device) for name, value in tensors.items()})


@_torchscript.calling()
def build_graph(atoms: Atoms, cutoff: float, pair_cutoffs: Mapping[str, float] | None = None) -> Graph:
    """The graph of one structure with all edges up to ``cutoff`` (Å), on the CPU.

    Parameters
    ----------
    atoms : ase.Atoms
        the structure
    cutoff : float
        longest edge, Å
    pair_cutoffs : mapping of float, optional
        shorter cutoffs for pairs of elements, as in ``{"Si-O": 4.0}``, Å

    Returns
    -------
    Graph
        on the CPU, with edge vectors in float64

    Raises
    ------
    StructureError
        see :func:`check_structure`
    """
    return NeighborList(cutoff, skin=0.0, pair_cutoffs=pair_cutoffs).update(atoms)


def concatenate(graphs: Sequence[Graph]) -> Graph:
    """One graph of all structures, in order; the nodes and edges of each stay contiguous."""
    if len(graphs) == 1:
        return graphs[0]
    if not graphs:
        raise ValueError("`graphs`: expected at least one graph, got none")
    edges, reverse, structure = [], [], []
    nodes_before = edges_before = structures_before = 0
    for graph in graphs:
        edges.append(graph.edge_index + nodes_before)
        reverse.append(torch.where(graph.reverse_edges < 0, -1, graph.reverse_edges + edges_before))
        structure.append(graph.structure + structures_before)
        nodes_before += graph.species.shape[0]
        edges_before += graph.edge_index.shape[1]
        structures_before += graph.n_structures
    return Graph(
        species=torch.cat([graph.species for graph in graphs]),
        edge_index=torch.cat(edges, dim=1),
        edge_vectors=torch.cat([graph.edge_vectors for graph in graphs]),
        reverse_edges=torch.cat(reverse),
        shifts=torch.cat([graph.shifts for graph in graphs]),
        structure=torch.cat(structure),
        n_structures=structures_before,
        node_weights=torch.cat([graph.node_weights for graph in graphs]),
    )


class NeighborList:
    """Graphs of a structure that moves, from a list that is kept while it is certain to be complete.

    The list reaches to ``cutoff + skin``. With the cell deformed by F since it was made and no atom further
    than u from where F alone would have put it, a pair within the cutoff was then no further apart than
    (cutoff + 2u)·‖F⁻¹‖; while that is at most cutoff + skin, the list is kept. With a fixed cell: u ≤ skin/2.

    Parameters
    ----------
    cutoff : float
        longest edge, Å
    skin : float
        extra reach of the stored list, Å; 0 makes a new list whenever an atom moves
    pair_cutoffs : mapping of float, optional
        shorter cutoffs (Å) for pairs of elements, as in ``{"Si-O": 4.0}``
    device : str or torch.device
        where the stored list and the graphs live; only positions are sent there at each update
    """

    def __init__(
        self,
        cutoff: float,
        skin: float = 0.5,
        pair_cutoffs: Mapping[str, float] | None = None,
        device: str | torch.device = "cpu",
    ):
        if not (np.isfinite(cutoff) and cutoff > 0):
            raise ValueError(f"`cutoff`: expected a positive length in Å, got {cutoff}")
        if not (np.isfinite(skin) and skin >= 0):
            raise ValueError(f"`skin`: expected a length in Å of at least 0, got {skin}")
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        self.device = torch.device(device)
        self.rebuilds = 0
        self._pair_table = pair_table(pair_cutoffs, self.cutoff) if pair_cutoffs else None
        self._stored: StoredList | None = None

    def update(self, atoms: Atoms) -> Graph:
        """The graph of ``atoms`` as they are now; earlier ones stay valid.

        Raises
        ------
        StructureError
            see :func:`check_structure` (species are not checked here)
        """
        graph, shortest = self._graph(self.stored(atoms), atoms)
        if shortest < MIN_DISTANCE:
            raise _coincidence_error(graph)
        return graph

    def stored(self, atoms: Atoms) -> StoredList:
        """The list with all pairs now within the cutoff, and some beyond.

        Raises
        ------
        StructureError
            see :func:`check_structure` (neither species nor distances are checked here)
        """
        _check_values(atoms)
        stored = self._stored
        if stored is None or not stored.covers(atoms, self.cutoff, self.skin):
            stored = self._stored = self._build(atoms)
            self.rebuilds += 1
        return stored

    def _build(self, atoms: Atoms) -> StoredList:
        cell, pbc = spanning_cell(atoms), np.array(atoms.pbc)
        positions, numbers = atoms.get_positions(), atoms.get_atomic_numbers()
        edge_index, shifts = _list_edges(positions, cell, pbc, self.cutoff + self.skin)
        _ops.load()
        reverse = torch.ops.ase_mlip.reverse_edges(edge_index, shifts)
        squared_cutoffs = None
        if self._pair_table is not None:
            centres, neighbours = torch.from_numpy(numbers)[edge_index]
            squared_cutoffs = (self._pair_table[centres, neighbours] ** 2).to(self.device)
        n_nodes = len(numbers)
        return StoredList(
            positions=positions,
            numbers=numbers,
            pbc=pbc,
            given_cell=np.array(atoms.cell),
            cell=cell,
            edge_index=edge_index.to(self.device),
            shifts=shifts.to(self.device),
            reverse=reverse.to(self.device),
            offsets=lattice_vectors(shifts, cell).to(self.device),
            squared_cutoffs=squared_cutoffs,
            species=torch.from_numpy(numbers.astype(np.int64)).to(self.device),
            structure=torch.zeros(n_nodes, dtype=torch.int64, device=self.device),
            node_weights=torch.ones(n_nodes, dtype=torch.float64, device=self.device),
        )

    def _graph(self, stored: StoredList, atoms: Atoms) -> tuple[Graph, float]:
        """The edges within the cutoff at the present positions, and the shortest distance (Å)."""
        positions = torch.from_numpy(atoms.get_positions()).to(stored.offsets.device)
        limits = stored.squared_cutoffs
        if limits is None:
            limits = torch.full((1,), self.cutoff * self.cutoff, dtype=torch.float64, device=positions.device)
        edge_index, vectors, reverse, shifts, shortest = near_edges(
            positions, stored.edge_index, stored.offsets, stored.reverse, stored.shifts, limits
        )
        graph = Graph(
            species=stored.species,
            edge_index=edge_index,
            edge_vectors=vectors,
            reverse_edges=reverse,
            shifts=shifts,
            structure=stored.structure,
            n_structures=1,
            node_weights=stored.node_weights,
        )
        return graph, shortest


def check_structure(atoms: Atoms, species: Iterable[int] | None = None) -> None:
    """Refuse what no potential can evaluate, and species (atomic numbers) that are not among ``species``.

    Raises
    ------
    StructureError
        zero atoms; positions or cell with NaN or infinite entries, or beyond 1e6 Å; a cell without volume
        along its periodic directions; two atoms closer than 0.001 Å; atomic numbers not in ``species``
    """
    _check_values(atoms)
    if species is not None:
        check_species(atoms.numbers, species)
    build_graph(atoms, cutoff=0.5)  # finds coincident atoms


def check_species(numbers: np.ndarray, species: Iterable[int]) -> None:
    """Raise StructureError if ``numbers`` (atomic numbers) holds one that is not among ``species``."""
    known = {int(number) for number in species}
    unknown = sorted(set(np.unique(numbers).tolist()) - known)
    if unknown:
        got, expected = (", ".join(chemical_symbols[z] for z in group) for group in (unknown, sorted(known)))
        raise StructureError(
            f"`atoms` holds {got}, which the model does not know: expected only {expected}; use a model "
            "trained for these elements"
        )


def _check_values(atoms: Atoms) -> None:
    """The checks that need no neighbours and are cheap enough for every step."""
    if len(atoms) == 0:
        raise StructureError("`atoms`: expected at least one atom, got none; read or build a structure first")
    for name, values in (("positions", atoms.positions), ("cell", np.asarray(atoms.cell))):
        largest = np.abs(values).max()
        if largest <= MAX_COORDINATE:  # False for NaN
            continue
        if np.isfinite(largest):
            raise StructureError(
                f"`atoms.{name}`: expected magnitudes of at most {MAX_COORDINATE:g} Å, got {largest:g}; "
                "check for a dynamics that blew up, or wrap the atoms into the cell"
            )
        rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
        raise StructureError(
            f"`atoms.{name}`: expected finite numbers, got {values[rows[0]]} in row {rows[0]} ({len(rows)} "
            "such rows); check the input file, or reduce the timestep that led here"
        )


def _list_edges(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres and neighbours int64 [2, E], shifts int64 [E, 3] of all pairs up to ``reach`` (Å), or more."""
    positions, cell, images = _compact(positions, cell, pbc)
    positions = _close_gaps(positions, cell[~pbc], 2 * reach)
    reach = _workable_reach(positions, cell, pbc, reach * (1 + LIST_MARGIN))
    engine = vesin.NeighborList(cutoff=reach, full_list=True, sorted=True, n_threads=torch.get_num_threads())
    # Views into the engine's memory, so both are copied before it goes.
    pairs, shifts = engine.compute(positions, cell, pbc, "PS", copy=False)
    edge_index = torch.from_numpy(pairs.T.astype(np.int64, order="C"))
    shifts = torch.from_numpy(shifts.astype(np.int64))
    if images.any():
        moved = torch.from_numpy(images)
        shifts = shifts + moved[edge_index[0]] - moved[edge_index[1]]
    return edge_index, shifts


def _compact(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions wrapped along periodic vectors, the cell, both in axes of their own, and the image of each.

    vesin's grid spans the box along x, y and z that holds all atoms: an atom many vectors away, or a wire
    along a diagonal, makes it grow with the third power of the length.

    Returns
    -------
    positions [N, 3] and cell [3, 3] in Å, and int64 [N, 3], the cell vectors that were taken off each atom
    """
    images = np.floor(positions @ np.linalg.inv(cell)).astype(np.int64) * pbc
    if images.any():
        positions = positions - images @ cell
    if pbc.any() and not pbc.all():
        axes, _ = np.linalg.qr(np.concatenate([cell[pbc], cell[~pbc]]).T)  # the others are orthonormal
        positions, cell = positions @ axes, cell @ axes
    return positions, cell, images


def _close_gaps(positions: np.ndarray, axes: np.ndarray, width: float) -> np.ndarray:
    """Positions whose empty layers across the orthonormal ``axes`` are at most ``width`` (Å) thick.

    That changes no pair closer than ``width``, but the space that vesin's grid has to span: one atom that
    left a surface would make it slow.
    """
    for axis in axes:
        along = positions @ axis
        order = np.argsort(along)
        gaps = np.diff(along[order])
        excess = np.maximum(gaps - width, 0.0)
        if excess.any():
            moved = np.zeros(len(along))
            moved[order[1:]] = np.cumsum(excess)
            positions = positions - moved[:, None] * axis
    return positions


def _workable_reach(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float) -> float:
    """The least reach (Å) from ``reach`` up with which vesin's grid is certain to be sound.

    vesin 0.6 scales a grid of more than 1e5 bins down alike along all directions; in a thin system that
    leaves none along the short one, and the process ends with a division by zero.
    """
    faces = heights(cell)
    extents = np.where(pbc, faces, np.ptp(positions @ np.linalg.inv(cell), axis=0))
    while True:
        bins = np.maximum(np.trunc(extents / reach), 1.0)
        scale = np.cbrt(MAX_BINS / bins.prod())
        if scale >= 1 or (scale * bins).min() >= 2:
            return reach
        reach *= 1.25


def pair_table(pair_cutoffs: Mapping[str, float], cutoff: float) -> torch.Tensor:
    """Cutoffs in Å, float64 [119, 119], indexed by two atomic numbers."""
    size = len(chemical_symbols)
    table = torch.full((size, size), cutoff, dtype=torch.float64)
    for pair, value in pair_cutoffs.items():
        symbols = pair.split("-")
        if len(symbols) != 2 or not all(symbol in atomic_numbers for symbol in symbols):
            raise ValueError(f'`pair_cutoffs`: expected keys such as "Si-O", got {pair!r}')
        if not 0 < value <= cutoff:
            raise ValueError(f"`pair_cutoffs[{pair!r}]`: expected at most the cutoff {cutoff} Å, got {value}")
        first, second = (atomic_numbers[symbol] for symbol in symbols)
        table[first, second] = table[second, first] = value
    return table


def _coincidence_error(graph: Graph) -> StructureError:
    distances = graph.edge_vectors.norm(dim=1)
    edge = int(distances.argmin())
    i, j = graph.edge_index[:, edge].tolist()
    return StructureError(
        f"`atoms`: expected distances of at least {MIN_DISTANCE} Å, got {float(distances[edge]):.2g} Å "
        f"between atoms {i} and {j} in image {graph.shifts[edge].tolist()}; "
        "remove duplicates or check the cell"
    )
