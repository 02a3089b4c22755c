"""The module inside every ``model.pt``: per-atom energies of a network, and their derivatives.

With ``g = ∂E/∂r`` for each edge vector ``r = r_j - r_i + S·h`` of the energy ``E = Σ_i w_i E_i``:

- the force on the centre ``i`` gets ``+g`` and that on the neighbour ``j`` gets ``-g``;
- the virial is ``W = -Σ r ⊗ g`` (LAMMPS sign, eV); the stress ASE wants is ``-sym(W)/V``;
- half of each edge's ``-r ⊗ g`` goes to either end: the per-atom virials.

No position, cell or strain appears: a graph is all that an engine has to supply. Everything else a call needs
is an argument, too, and nothing is written on the module: one loaded model serves many threads.
"""

import torch
from torch import Tensor

from .derivatives import Graph, derived, needs_gradients
from .symmetrized_model import SymmetrizedModel

MAX_ATOMIC_NUMBER = 118  # as in networks/species.py: a network knows torch only, and a model file no network


class Potential(torch.nn.Module):
    """A network of the contract together with its reference energies and its derivatives.

    Parameters
    ----------
    network:
        module of the contract (``docs/architecture.md``); it is put into a
        :class:`ase_mlip.model_file.symmetrized_model.SymmetrizedModel`, if it is not one, so that it can be
        averaged
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
        inputs: dict[str, Tensor],
        rotations: Tensor,
        weights: Tensor,
        at_once: int,
        outputs: list[str],
    ) -> dict[str, Tensor]:
        """Energies and what else is asked for by name; everything is returned in float64.

        Parameters
        ----------
        species: int64 [N], atomic numbers
        edge_index: int64 [2, E], centre and neighbour, sorted by centre
        edge_vectors: float64 [E, 3], Å
        reverse_edges: int64 [E], index of the edge (j, i, -S), or -1
        node_weights: float64 [N], 1 for atoms that are summed, 0 for ghosts and padding
        structure: int64 [N], the structure a node belongs to
        n_structures: number of structures
        inputs: extra per-node inputs by name
        rotations: float64 [G, 3, 3] on the CPU, to average over; G = 0 is the plain network
        weights: float64 [G] on the CPU, sum 1
        at_once: rotations evaluated together; 0: as many as suit the device
        outputs: names of what is wanted; nothing else is computed

        Returns
        -------
        always ``energies`` [N] and ``energy`` [n_structures] in eV. By derivatives: ``forces`` [N, 3] in
        eV/Å, ``virial`` [n_structures, 3, 3] and ``virials`` [N, 3, 3] in eV, LAMMPS sign, not symmetrised,
        and ``gradients`` [E, 3], ∂E/∂edge_vectors in eV/Å, for an engine that divides the virial among atoms
        in another way. Any other name is an output of the network, left out if it has none of that name. With
        ``spread`` also those of each rotation, ``energies_by_rotation`` [N, G], ``forces_by_rotation``
        [N, G, 3], ``virial_by_rotation`` [n_structures, G, 3, 3] and so on, of what is wanted.
        """
        vectors = edge_vectors.detach()
        in_dtype = vectors.to(self.network.dtype_probe.dtype)
        graph = Graph(
            species, edge_index, in_dtype, reverse_edges, inputs, node_weights, structure, n_structures
        )
        results: dict[str, Tensor] = {}
        if needs_gradients(outputs):
            found, gradients = self.network.average(graph, rotations, weights, at_once, outputs, True)
            results = derived(gradients.to(torch.float64), vectors, graph, outputs)
        else:
            with torch.no_grad():
                found, _ = self.network.average(graph, rotations, weights, at_once, outputs, False)
        for name, value in found.items():
            results[name] = value.detach().to(torch.float64)
        energies = results["energies"] + self.reference_energies[species]
        results["energies"] = energies
        zeros = torch.zeros(n_structures, dtype=torch.float64, device=species.device)
        results["energy"] = zeros.index_add(0, structure, node_weights * energies)
        return results
