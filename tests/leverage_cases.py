"""Structures with and without labels, what a calculator says of one; a network that is not linear."""

import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from random_pet import silicon
from torch import Tensor

from ase_mlip import MLIPCalculator

OPTIONS = {"device": "cpu", "dtype": "float64"}


def training_data(count=6) -> list[Atoms]:
    return [silicon(0.05 + 0.02 * k, seed=k) for k in range(count)]


def diagnostics(path, atoms, **options) -> dict:
    calculator = MLIPCalculator(path, leverage=True, **{**OPTIONS, **options})
    calculator.calculate(atoms)
    return calculator.diagnostics


def labelled(structures, energies) -> list[Atoms]:
    for atoms, energy in zip(structures, energies, strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
    return structures


class Squared(torch.nn.Module):
    """Energies that are the square of the one feature."""

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        outputs: list[str],
    ) -> dict[str, Tensor]:
        """Energies [N] and features [N, 1] from edge_vectors [E, 3] in Å."""
        r = torch.linalg.vector_norm(edge_vectors, dim=1)
        pairs = torch.exp(2.0 - r) * (1 - (r / 4.0).clamp(max=1.0) ** 2) ** 3
        sums = torch.zeros(species.size(0), dtype=r.dtype, device=r.device).index_add(0, edge_index[0], pairs)
        return {"energies": sums * sums, "features": sums[:, None]}
