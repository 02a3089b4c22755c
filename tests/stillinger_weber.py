"""The Stillinger-Weber potential of silicon as a network of the contract: a toy whose crystal is known.

F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985). No ``from __future__ import annotations``
here: TorchScript compiles the annotations.
"""

import torch
from torch import Tensor

LATTICE_CONSTANT = 5.431  # Å
BULK_MODULUS = 101.4  # GPa; H. Balamane, T. Halicioglu and W. A. Tiller, Phys. Rev. B 46, 2250 (1992)
COHESIVE_ENERGY = -4.3366  # eV/atom: -2 epsilon of the rescaled energy unit


class StillingerWeber(torch.nn.Module):
    """Two-body and angular terms; conservative, invariant, one layer."""

    def __init__(self):
        super().__init__()
        self.species = [14]
        self.cutoff = 3.77118
        self.sigma = 2.0951
        self.epsilon = torch.nn.Parameter(torch.tensor(2.1683))

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
        centres = edge_index[0]
        distances = torch.linalg.vector_norm(edge_vectors, dim=1)
        r = distances / self.sigma
        # 1/(r - a) at the cutoff itself would be infinite; its exponential is zero long before
        decay = 1.0 / torch.clamp(r - 1.8, max=-1e-2)
        pair = 7.049556277 * (0.6022245584 * r**-4 - 1.0) * torch.exp(decay)
        same = (centres.unsqueeze(1) == centres.unsqueeze(0)).triu(1).nonzero()
        first, second = same[:, 0], same[:, 1]
        cosine = (edge_vectors[first] * edge_vectors[second]).sum(dim=1) / (
            distances[first] * distances[second]
        )
        angular = 21.0 * (cosine + 1.0 / 3.0) ** 2 * torch.exp(1.2 * (decay[first] + decay[second]))
        energies = torch.zeros(species.size(0), dtype=edge_vectors.dtype, device=edge_vectors.device)
        energies = energies.index_add(0, centres, 0.5 * pair).index_add(0, centres[first], angular)
        return {"energies": self.epsilon.to(edge_vectors.dtype) * energies}


def export(path):
    """Write it as a model file."""
    from ase_mlip.model_file.model import export_model

    network = StillingerWeber()
    document = {
        "name": "sw-si",
        "description": "Stillinger-Weber silicon, for tests",
        "species": network.species,
        "cutoff": network.cutoff,
        "message_passing_layers": 1,
        "interaction_range": network.cutoff,
        "equivariant": True,
        "reference_energies": {"Si": 0.0},
        "license": "BSD-3-Clause",
    }
    return export_model(network, path, document)
