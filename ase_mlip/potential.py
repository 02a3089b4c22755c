"""The module inside every ``model.pt``: per-atom energies of a network, and their derivatives.

With ``g = ∂E/∂r`` for each edge vector ``r = r_j - r_i + S·h`` of the energy ``E = Σ_i w_i E_i``:

- the force on the centre ``i`` gets ``+g`` and that on the neighbour ``j`` gets ``-g``;
- the virial is ``W = -Σ r ⊗ g`` (LAMMPS sign, eV); the stress ASE wants is ``-sym(W)/V``;
- half of each edge's ``-r ⊗ g`` goes to either end: the per-atom virials.

No position, cell or strain appears: a graph is all that an engine has to supply.
"""

import torch
from torch import Tensor

from .symmetrized_model import SymmetrizedModel

MAX_ATOMIC_NUMBER = 118


class Potential(torch.nn.Module):
    """A network of the contract together with its reference energies and its derivatives.

    Parameters
    ----------
    network:
        module of the contract (``docs/architecture.md``); it is put into a
        :class:`ase_mlip.symmetrized_model.SymmetrizedModel`, if it is not one, so that it can be averaged
    reference_energies:
        energy per atomic number, eV; added to the network's energies in float64.
    """

    def __init__(self, network: torch.nn.Module, reference_energies: dict[int, float]):
        super().__init__()
        self.network = network if isinstance(network, SymmetrizedModel) else SymmetrizedModel(network)
        table = torch.zeros(MAX_ATOMIC_NUMBER + 1, dtype=torch.float64)
        for number, energy in reference_energies.items():
            table[number] = energy
        self.register_buffer("reference_energies", table)

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        node_weights: Tensor,
        structure: Tensor,
        n_structures: int,
        derivatives: bool,
        inputs: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Energies and, if ``derivatives``, forces and virials; everything is returned in float64.

        Parameters
        ----------
        species: int64 [N], atomic numbers
        edge_index: int64 [2, E], centre and neighbour, sorted by centre
        edge_vectors: float64 [E, 3], Å
        reverse_edges: int64 [E], index of the edge (j, i, -S), or -1
        node_weights: float64 [N], 1 for atoms that are summed, 0 for ghosts and padding
        structure: int64 [N], the structure a node belongs to
        n_structures: number of structures
        derivatives: whether forces and virials are wanted
        inputs: extra per-node inputs by name

        Returns
        -------
        ``energies`` [N] and ``energy`` [n_structures] in eV; with derivatives ``forces`` [N, 3] in
        eV/Å, ``virials`` [N, 3, 3] and ``virial`` [n_structures, 3, 3] in eV, LAMMPS sign, not
        symmetrised, and ``gradients`` [E, 3], ∂E/∂edge_vectors in eV/Å, for an engine that divides the
        virial among atoms in another way; and the network's further outputs under their own names.
        """
        outputs, gradients = self._evaluate(
            species, edge_index, edge_vectors, reverse_edges, node_weights, derivatives, inputs
        )
        results: dict[str, Tensor] = {}
        for name, value in outputs.items():
            results[name] = value.detach().to(torch.float64)
        energies = results["energies"] + self.reference_energies[species]
        results["energies"] = energies
        zeros = torch.zeros(n_structures, dtype=torch.float64, device=species.device)
        results["energy"] = zeros.index_add(0, structure, node_weights * energies)
        if derivatives:
            n_nodes = species.size(0)
            vectors = edge_vectors.detach()
            results["gradients"] = gradients
            results["forces"] = torch.ops.ase_mlip.forces_from_gradients(gradients, edge_index, n_nodes)
            results["virials"] = torch.ops.ase_mlip.virials_from_gradients(
                gradients, vectors, edge_index, n_nodes
            )
            results["virial"] = torch.ops.ase_mlip.virial_from_gradients(
                gradients, vectors, structure[edge_index[0]], n_structures
            )
        return results

    def _evaluate(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        node_weights: Tensor,
        derivatives: bool,
        inputs: dict[str, Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The network's outputs, and ∂E/∂edge_vectors [E, 3] in float64 (zeros without derivatives)."""
        dtype = self.network.dtype_probe.dtype
        vectors = edge_vectors.detach().to(dtype)
        if not derivatives:
            with torch.no_grad():
                outputs = self.network(species, edge_index, vectors, reverse_edges, inputs)
            return outputs, torch.zeros_like(edge_vectors)
        outputs, gradients = self.network.energies_and_gradients(
            species, edge_index, vectors, reverse_edges, inputs, node_weights
        )
        return outputs, gradients.to(torch.float64)
