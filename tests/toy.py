"""Small scriptable networks of the contract, and a cell, for all that takes a network or a model file.

No ``from __future__ import annotations`` here: TorchScript compiles the annotations.
"""

from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from torch import Tensor


def smooth_cutoff(distances: Tensor, cutoff: float) -> Tensor:
    """(1 - (r/rc)^2)^3 inside the cutoff, zero outside: two continuous derivatives."""
    return torch.clamp(1.0 - (distances / cutoff) ** 2, min=0.0) ** 3


class PairNetwork(torch.nn.Module):
    """E_i = 1/2 sum_j s_i s_j (exp(-2 (r - r0)) - 2 exp(-(r - r0))) f(r): conservative and invariant.

    ``strength`` [119] differs between species, so that permuting species changes the energy.
    """

    def __init__(self, species: list[int], cutoff: float, r0: float = 2.3):
        super().__init__()
        self.species = species
        self.cutoff = cutoff
        self.r0 = r0
        strength = 0.3 + 0.01 * torch.arange(119, dtype=torch.float32)
        self.strength = torch.nn.Parameter(strength)

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        outputs: list[str],
    ) -> dict[str, Tensor]:
        """Energies [N] in eV from edge_vectors [E, 3] in Å."""
        distances = torch.linalg.vector_norm(edge_vectors, dim=1)
        decay = torch.exp(self.r0 - distances)
        phi = (decay * decay - 2.0 * decay) * smooth_cutoff(distances, self.cutoff)
        pair = self.strength[species[edge_index[0]]] * self.strength[species[edge_index[1]]]
        energies = torch.zeros(species.size(0), dtype=edge_vectors.dtype, device=edge_vectors.device)
        return {"energies": energies.index_add(0, edge_index[0], 0.5 * pair * phi)}


class AnisotropicNetwork(torch.nn.Module):
    """An unconstrained toy: a many-body energy of x, y, z and r; one layer; optional direct heads.

    a_i = sum_j f(r) tanh(W [x, y, z, r] + emb(s_j)), then E_i = v·tanh(U a_i + emb(s_i)). ``direct_forces``
    have a net force that is not zero, as real heads do; ``direct_stresses`` are symmetric.
    """

    def __init__(
        self, species: list[int], cutoff: float, direct: bool = False, width: int = 8, seed: int = 0
    ):
        super().__init__()
        self.species = species
        self.cutoff = cutoff
        self.direct = direct
        generator = torch.Generator().manual_seed(seed)
        self.edge = torch.nn.Parameter(0.4 * torch.randn(4, width, generator=generator))
        self.embedding = torch.nn.Parameter(torch.randn(119, width, generator=generator))
        self.mix = torch.nn.Parameter(0.3 * torch.randn(width, width, generator=generator))
        self.readout = torch.nn.Parameter(0.5 * torch.randn(width, generator=generator))
        self.force_readout = torch.nn.Parameter(0.5 * torch.randn(width, 3, generator=generator))
        self.stress_readout = torch.nn.Parameter(0.01 * torch.randn(width, 9, generator=generator))

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        outputs: list[str],
    ) -> dict[str, Tensor]:
        """Energies [N] in eV, and with ``direct`` forces [N, 3] in eV/Å and stresses [N, 3, 3] in eV/Å^3."""
        centres, neighbours = edge_index[0], edge_index[1]
        distances = torch.linalg.vector_norm(edge_vectors, dim=1)
        geometry = torch.cat([edge_vectors, distances.unsqueeze(1)], dim=1)
        tokens = torch.tanh(geometry @ self.edge + self.embedding[species[neighbours]])
        tokens = tokens * smooth_cutoff(distances, self.cutoff).unsqueeze(1)
        n = species.size(0)
        zeros = torch.zeros(n, tokens.size(1), dtype=tokens.dtype, device=tokens.device)
        sums = zeros.index_add(0, centres, tokens)
        hidden = torch.tanh(sums @ self.mix + self.embedding[species])
        found = {"energies": hidden @ self.readout}
        if self.direct and "direct_forces" in outputs:
            found["direct_forces"] = hidden @ self.force_readout
        if self.direct and "direct_stresses" in outputs:
            stresses = (hidden @ self.stress_readout).reshape(n, 3, 3)
            found["direct_stresses"] = 0.5 * (stresses + stresses.transpose(1, 2))
        return found


def export_toy(path: str | Path, network: torch.nn.Module | None = None, **metadata):
    """Export a toy network (by default a pair potential for Si and O, 4 Å) and return its ModelInfo."""
    from ase_mlip.model_file.model import export_model

    if network is None:
        network = PairNetwork(species=[8, 14], cutoff=4.0)
    direct = bool(getattr(network, "direct", False))
    document = {
        "name": f"toy-{type(network).__name__}",
        "species": network.species,
        "cutoff": network.cutoff,
        "message_passing_layers": 1,
        "interaction_range": network.cutoff,
        "outputs": ["energies", "direct_forces", "direct_stresses"] if direct else ["energies"],
        "equivariant": isinstance(network, PairNetwork),
        "reference_energies": {"O": -1.5, "Si": -4.25},
        "license": "BSD-3-Clause",
    }
    return export_model(network, path, {**document, **metadata})


def silica(seed: int = 0) -> Atoms:
    """Eight atoms in a sheared cell."""
    atoms = bulk("Si", cubic=True)
    atoms.numbers[1::3] = 8
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * np.eye(3, k=1)), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return atoms
