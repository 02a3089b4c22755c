"""Export a network of your own that takes positions, a cell and species, and gives one energy.

Such a network finds its neighbours, and then works with the vectors to them only. The exported module starts
at these vectors, which the neighbour lists of ASE and LAMMPS supply. ``export_adapted`` compares both on ten
structures, and writes the file if they agree.

Run it with ``python examples/05_export_your_own.py``; it ends with the deviations and ``your-own.pt``.
"""

import torch
from ase import Atoms
from ase.neighborlist import primitive_neighbor_list
from torch import Tensor

from ase_mlip.converters import Adapted, Reference, export_adapted

CUTOFF = 4.0  # Å


class YourNetwork(torch.nn.Module):
    """Gaussians of the distances, weighted by the neighbours' species and summed, through a small network."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.cutoff = CUTOFF
        self.register_buffer("centres", torch.linspace(1.5, CUTOFF, width))
        self.strength = torch.nn.Embedding(119, width)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(width, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1, bias=False)
        )

    @torch.jit.ignore  # added: this part stays behind
    def forward(self, positions: Tensor, cell: Tensor, species: Tensor, pbc: list[bool]) -> Tensor:
        """Energy in eV; positions [N, 3] and cell [3, 3] in Å, atomic numbers [N]."""
        arrays = cell.detach().numpy(), positions.detach().numpy()
        i, j, shifts = map(torch.tensor, primitive_neighbor_list("ijS", pbc, *arrays, self.cutoff))
        vectors = positions[j] - positions[i] + shifts.to(cell.dtype) @ cell
        return self.energies(species, i, j, vectors).sum()

    def energies(self, species: Tensor, i: Tensor, j: Tensor, vectors: Tensor) -> Tensor:
        """Energies [N] in eV from the vectors [E, 3] of atoms i [E] to their neighbours j [E]."""
        r = torch.linalg.vector_norm(vectors, dim=1)[:, None]
        window = (1 - (r / self.cutoff).clamp(max=1.0) ** 2) ** 3
        terms = self.strength(species[j]) * torch.exp(-2 * (r - self.centres) ** 2) * window
        densities = torch.zeros(species.size(0), terms.size(1), dtype=r.dtype, device=r.device)
        return self.layers(densities.index_add(0, i, terms)).squeeze(1)


class AsGraph(torch.nn.Module):
    """The same network as a module of the contract (docs/architecture.md)."""

    def __init__(self, network: YourNetwork):
        super().__init__()
        self.network = network

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        outputs: list[str],
    ) -> dict[str, Tensor]:
        return {"energies": self.network.energies(species, edge_index[0], edge_index[1], edge_vectors)}


torch.manual_seed(0)
network = YourNetwork().double()


def by_your_network(atoms: Atoms) -> Reference:
    """What the original says: forces and stress by its derivatives with respect to positions and strain."""
    positions = torch.tensor(atoms.positions, requires_grad=True)
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    stretched = torch.eye(3, dtype=torch.float64) + 0.5 * (strain + strain.T)
    cell = torch.tensor(atoms.cell.array) @ stretched
    energy = network(positions @ stretched, cell, torch.tensor(atoms.numbers), atoms.pbc.tolist())
    by_positions, by_strain = torch.autograd.grad(energy, [positions, strain])
    stress = None
    if atoms.pbc.all():
        stress = by_strain.numpy()[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / atoms.get_volume()
    return Reference(energy.item(), -by_positions.numpy(), stress)


metadata = {
    "name": "your-own",
    "species": [14, 32],
    "cutoff": CUTOFF,
    "message_passing_layers": 1,
    "interaction_range": CUTOFF,
    "equivariant": True,
}
adapted = Adapted(AsGraph(network), metadata, by_your_network, "the original")
for parity in export_adapted(adapted, "your-own.pt", dtype="float32"):
    print(f"{parity.dtype}: energy {parity.energy:.0e} (relative), forces {parity.forces:.0e} eV/Å")
print("wrote your-own.pt")
