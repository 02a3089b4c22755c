"""Networks of the contract made to find mistakes of an engine, and PET with random weights.

No ``from __future__ import annotations`` here: TorchScript compiles the annotations.
"""

from pathlib import Path

import torch
from torch import Tensor

SMALL = {
    "d_pet": 16,
    "d_node": 24,
    "d_head": 16,
    "d_feedforward": 32,
    "num_heads": 2,
    "num_attention_layers": 1,
}


class Census(torch.nn.Module):
    """Energies that tell which edges an engine supplied: two layers, and no forces to speak of.

    The first layer sums a polynomial of every edge's vector and both species. The second adds, for every
    edge i→j, the first layer's sum at j and a polynomial of the vector of the reverse edge; a reverse edge
    that is missing although its message reaches the centre adds 1000, and so does one that is no reverse.
    """

    def __init__(self, species: list[int], cutoff: float):
        super().__init__()
        self.species = species
        self.cutoff = cutoff
        self.scale = torch.nn.Parameter(torch.tensor(0.01, dtype=torch.float64))

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
        i, j = edge_index[0], edge_index[1]
        x, y, z = edge_vectors[:, 0], edge_vectors[:, 1], edge_vectors[:, 2]
        weight = self.scale.to(x.dtype) * (1.0 + 0.01 * species[j].to(x.dtype))
        terms = weight * (1.0 + x * x + 0.7 * y * y + 0.3 * z * z + 0.1 * x * y + 0.05 * x * y * z)
        zeros = torch.zeros(species.size(0), dtype=x.dtype, device=x.device)
        first = zeros.index_add(0, i, terms)
        reverse = reverse_edges.clamp(min=0)
        distance = (edge_vectors[reverse] + edge_vectors).abs().sum(dim=1)
        wrong = (reverse_edges < 0) | (distance > 1e-3) | (i[reverse] != j) | (j[reverse] != i)
        back = torch.where(wrong, torch.full_like(x, 1000.0), terms[reverse])
        second = zeros.index_add(0, i, first[j] * 0.01 + back)
        return {"energies": first + second}


class Morse(torch.nn.Module):
    """A smoothly truncated Morse potential between equal atoms, as in docs/artifact.md."""

    def __init__(self, species: list[int], cutoff: float):
        super().__init__()
        self.species = species
        self.cutoff = cutoff
        self.depth = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

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
        r = torch.linalg.vector_norm(edge_vectors, dim=1)
        x = torch.exp(2.5 - r)
        pairs = 0.5 * (x * x - 2 * x) * (1 - (r / self.cutoff).clamp(max=1.0) ** 2) ** 3
        energies = torch.zeros(species.size(0), dtype=r.dtype, device=r.device)
        return {"energies": self.depth.to(r.dtype) * energies.index_add(0, edge_index[0], pairs)}


def export(path: Path, network: torch.nn.Module, layers: int, range_: float, **claims) -> Path:
    """A model file of a network; species and cutoff are its own."""
    from ase.data import chemical_symbols

    from ase_mlip.model_file.model import export_model

    document = {
        "name": path.stem,
        "species": network.species,
        "cutoff": network.cutoff,
        "message_passing_layers": layers,
        "interaction_range": range_,
        "reference_energies": {chemical_symbols[z]: -1.0 - 0.1 * z for z in network.species},
        "license": "BSD-3-Clause",
        **claims,
    }
    export_model(network, path, document)
    return path


def export_pet(path: Path, species=(8, 14), cutoff: float = 3.5, seed: int = 0, **hypers) -> Path:
    """PET in float64 with random weights, whose readouts are enlarged until forces are about 1 eV/Å."""
    from ase_mlip.networks.pet.hypers import PETHypers
    from ase_mlip.networks.pet.pet import PET

    torch.manual_seed(seed)
    settings = PETHypers(species=list(species), cutoff=cutoff, **{**SMALL, **hypers})
    network = PET(settings).double().eval()
    network.species, network.cutoff = list(species), cutoff
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if name.startswith("readout") and "_last.weight" in name:
                weights *= 100.0 if "energy" in name else 10.0
    return export(path, network, settings.message_passing_layers, settings.interaction_range)
