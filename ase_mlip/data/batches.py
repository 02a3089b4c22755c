"""Batches of structures for training: cached graphs, rotated copies, a reproducible order.

Rotating a structure is rotating its edge vectors, so one neighbour list serves every augmentation. Whatever
is random follows from seeds and the epoch alone, so that a resumed run sees what an uninterrupted one would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ..graph.neighbors import Graph, build_graph, concatenate
from .references import Sample


@dataclass
class Batch:
    """B structures with N atoms and E edges; missing references are zero and masked.

    Attributes
    ----------
    species : Tensor
        int64 [N]
    edge_index : Tensor
        int64 [2, E]
    edge_vectors : Tensor
        [E, 3], Å, rotated
    reverse_edges : Tensor
        int64 [E]
    node_weights : Tensor
        float64 [N], all 1
    structure : Tensor
        int64 [N], the structure of each atom
    n_structures : int
        B
    n_atoms : Tensor
        int64 [B]
    energies : Tensor
        float64 [B], eV; total energies keep float64, in float32 the water of the examples loses 2 meV
    forces : Tensor
        [N, 3], eV/Å, rotated
    stresses : Tensor
        [B, 3, 3], eV/Å^3, ASE's sign, rotated
    volumes : Tensor
        float64 [B], Å^3; 1 for structures that are not periodic in three directions and have no stress
    energy_mask, forces_mask, stress_mask : Tensor
        bool [B], [N], [B], True where the reference exists
    """

    species: Tensor
    edge_index: Tensor
    edge_vectors: Tensor
    reverse_edges: Tensor
    node_weights: Tensor
    structure: Tensor
    n_structures: int
    n_atoms: Tensor
    energies: Tensor
    forces: Tensor
    stresses: Tensor
    volumes: Tensor
    energy_mask: Tensor
    forces_mask: Tensor
    stress_mask: Tensor


class GraphDataset:
    """Samples and their graphs; each graph is made when first needed and kept.

    Parameters
    ----------
    samples : sequence of Sample
        structures with references
    cutoff : float
        longest edge, Å
    pair_cutoffs : mapping of float, optional
        shorter cutoffs (Å) for pairs of elements, as in ``{"Si-O": 4.0}``
    """

    def __init__(
        self, samples: Sequence[Sample], cutoff: float, pair_cutoffs: Mapping[str, float] | None = None
    ):
        self.samples = list(samples)
        self.cutoff = cutoff
        self.pair_cutoffs = pair_cutoffs
        self._items: list[_Item | None] = [None] * len(self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def graph(self, index: int) -> Graph:
        """The graph of one sample, unrotated; shared, do not modify."""
        return self._item(index).graph

    def collate(
        self,
        indices: Sequence[int],
        rotations: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> Batch:
        """The samples ``indices`` as one batch.

        Parameters
        ----------
        indices : sequence of int
            B positions in ``samples``
        rotations : Tensor, optional
            float64 [B, 3, 3] or None; orthogonal R that rotate vectors as v -> R v, stresses as R S R^T
        dtype : torch.dtype
            of edge vectors, forces and stresses, cast after everything was computed in float64
        device : str or torch.device
            where the batch lives
        """
        items = [self._item(int(index)) for index in indices]
        graph = concatenate([item.graph for item in items])
        vectors = [item.graph.edge_vectors for item in items]
        forces = [item.forces for item in items]
        stresses = torch.stack([item.stress for item in items])
        if rotations is not None:
            rotations = rotations.to("cpu", torch.float64)
            if rotations.shape != (len(items), 3, 3):
                raise ValueError(
                    f"`rotations`: expected shape ({len(items)}, 3, 3) for {len(items)} structures, got "
                    f"{tuple(rotations.shape)}"
                )
            vectors = [v @ rotation.T for v, rotation in zip(vectors, rotations, strict=True)]
            forces = [f @ rotation.T for f, rotation in zip(forces, rotations, strict=True)]
            stresses = rotations @ stresses @ rotations.transpose(1, 2)
        n_atoms = torch.tensor([len(item.forces) for item in items])
        batch = {
            "species": graph.species,
            "edge_index": graph.edge_index,
            "edge_vectors": torch.cat(vectors).to(dtype),
            "reverse_edges": graph.reverse_edges,
            "node_weights": graph.node_weights,
            "structure": graph.structure,
            "n_atoms": n_atoms,
            "energies": torch.tensor([item.energy for item in items], dtype=torch.float64),
            "forces": torch.cat(forces).to(dtype),
            "stresses": stresses.to(dtype),
            "volumes": torch.tensor([item.volume for item in items], dtype=torch.float64),
            "energy_mask": torch.tensor([item.has_energy for item in items]),
            "forces_mask": torch.tensor([item.has_forces for item in items]).repeat_interleave(n_atoms),
            "stress_mask": torch.tensor([item.has_stress for item in items]),
        }
        return Batch(n_structures=len(items), **{name: value.to(device) for name, value in batch.items()})

    def _item(self, index: int) -> _Item:
        item = self._items[index]
        if item is None:
            sample = self.samples[index]
            graph = build_graph(sample.atoms, self.cutoff, self.pair_cutoffs)
            item = self._items[index] = _Item.from_sample(sample, graph)
        return item


@dataclass
class _Item:
    """One sample as float64 tensors, zero where a reference is missing."""

    graph: Graph
    energy: float
    forces: Tensor
    stress: Tensor
    volume: float
    has_energy: bool
    has_forces: bool
    has_stress: bool

    @classmethod
    def from_sample(cls, sample: Sample, graph: Graph) -> _Item:
        atoms = sample.atoms
        forces = np.zeros((len(atoms), 3)) if sample.forces is None else sample.forces
        stress = np.zeros((3, 3)) if sample.stress is None else sample.stress
        return cls(
            graph=graph,
            energy=0.0 if sample.energy is None else sample.energy,
            forces=torch.tensor(forces, dtype=torch.float64),
            stress=torch.tensor(stress, dtype=torch.float64),
            volume=atoms.get_volume() if atoms.pbc.all() else 1.0,
            has_energy=sample.energy is not None,
            has_forces=sample.forces is not None,
            has_stress=sample.stress is not None,
        )


def random_o3(n: int, generator: np.random.Generator | int | Sequence[int]) -> Tensor:
    """``n`` orthogonal matrices, uniform (Haar) on O(3): float64 [n, 3, 3]; half of them improper.

    ``generator`` is a numpy generator, which advances, or a seed such as ``[seed, epoch, step]``.
    """
    generator = np.random.default_rng(generator)
    rotations = Rotation.random(n, generator).as_matrix()
    signs = generator.choice([-1.0, 1.0], size=n)
    return torch.from_numpy(rotations * signs[:, None, None])


def shuffled_batches(n: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """All of ``range(n)`` in batches (the last may be smaller), in an order given by (seed, epoch) alone."""
    if batch_size < 1:
        raise ValueError(f"`batch_size`: expected at least 1, got {batch_size}")
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return [order[start : start + batch_size] for start in range(0, n, batch_size)]


def parts(sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Positions of structures in order, as many in a part as have ``most`` nodes together; at least one."""
    part: list[int] = []
    nodes = 0
    for position, size in enumerate(sizes):
        if part and nodes + size > most:
            yield part
            part, nodes = [], 0
        part.append(position)
        nodes += size
    if part:
        yield part
