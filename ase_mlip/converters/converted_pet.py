"""Our PET with the factors of a converted checkpoint, which stay in float64 whatever the weights are in."""

import torch
from torch import Tensor

from ..networks.pet.pet import PET


class ConvertedPET(torch.nn.Module):
    """A PET whose outputs are multiplied by factors; a module of the contract.

    Parameters
    ----------
    network: the PET
    energy: factor of the energies
    forces: float64 [119], factor of the direct forces by atomic number
    virial: factor of the direct virials
    """

    energy: float
    virial: float
    forces: Tensor

    def __init__(self, network: PET, energy: float, forces: Tensor, virial: float):
        super().__init__()
        self.network = network
        self.hypers = network.hypers
        self.energy = energy
        self.virial = virial
        self.forces = forces  # an attribute rather than a buffer: it stays float64 when the network is cast

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        outputs: list[str],
    ) -> dict[str, Tensor]:
        """What is wanted of the PET, energies and direct heads times their factors."""
        found = self.network(species, edge_index, edge_vectors, reverse_edges, inputs, outputs)
        return self._scaled(found, species)

    def energies_and_gradients(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        node_weights: Tensor,
        outputs: list[str],
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The same, and d(Σ_i w_i E_i)/d edge_vectors [E, 3], as of :class:`PET`, times their factor."""
        found, gradients = self.network.energies_and_gradients(
            species, edge_index, edge_vectors, reverse_edges, inputs, node_weights, outputs
        )
        return self._scaled(found, species), gradients * self.energy

    def _scaled(self, found: dict[str, Tensor], species: Tensor) -> dict[str, Tensor]:
        found["energies"] = found["energies"] * self.energy
        if "direct_forces" in found:
            forces = found["direct_forces"]
            factors = self.forces.to(forces.device)[species].to(forces.dtype)
            found["direct_forces"] = forces * factors[:, None]
        if "direct_virials" in found:
            found["direct_virials"] = found["direct_virials"] * self.virial
        return found
