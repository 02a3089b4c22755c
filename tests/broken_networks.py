"""Networks and potentials broken in the way that a check is there to find."""

from pathlib import Path

import torch
from toy import PairNetwork, smooth_cutoff

from ase_mlip.building import _ops
from ase_mlip.checks.probe import Probe
from ase_mlip.checks.structures import default_structures
from ase_mlip.model_file.info import ModelInfo
from ase_mlip.model_file.model import Model
from ase_mlip.model_file.potential import Potential

SPECIES = [8, 14]
CUTOFF = 4.0


class MessagePassing(torch.nn.Module):
    """Two layers: E_i depends on the densities of its neighbours, which depend on theirs."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.3))

    def forward(self, species, edge_index, edge_vectors, reverse_edges, inputs, outputs):
        centres, neighbours = edge_index
        distances = torch.linalg.vector_norm(edge_vectors, dim=1)
        window = smooth_cutoff(distances, CUTOFF) * (1 + 0.01 * species[neighbours])
        zeros = torch.zeros(species.size(0), dtype=edge_vectors.dtype)
        density = zeros.index_add(0, centres, window)
        message = zeros.index_add(0, centres, window * torch.tanh(self.weight * density[neighbours]))
        return {"energies": torch.tanh(density * self.weight) + 0.1 * message**2}


class Broken(PairNetwork):
    """A sound pair potential whose parts the tests below override."""

    def __init__(self):
        super().__init__(SPECIES, CUTOFF)

    def pair_energies(self, species, edge_index, edge_vectors):
        distances = torch.linalg.vector_norm(edge_vectors, dim=1)
        decay = torch.exp(self.r0 - distances)
        return 0.15 * (decay * decay - 2.0 * decay) * self.window(distances)

    def window(self, distances):
        return smooth_cutoff(distances, self.cutoff)

    def reduce(self, energies, species, edge_index):
        zeros = torch.zeros(species.size(0), dtype=energies.dtype)
        return zeros.index_add(0, edge_index[0], energies)

    def forward(self, species, edge_index, edge_vectors, reverse_edges, inputs, outputs):
        energies = self.pair_energies(species, edge_index, edge_vectors)
        return {"energies": self.reduce(energies, species, edge_index)}


class StepCutoff(Broken):
    def window(self, distances):
        return torch.ones_like(distances)


class LinearCutoff(Broken):
    """Energy is continuous at the cutoff, forces are not."""

    def window(self, distances):
        return 1.0 - distances / self.cutoff


class JumpInside(Broken):
    """A jump that is not at the cutoff, as a careless table or switch makes it."""

    def window(self, distances):
        return smooth_cutoff(distances, self.cutoff) * (1.0 + 0.01 * (distances > 3.123).to(distances.dtype))


class Detached(Broken):
    """A part of the energy is not differentiated."""

    def pair_energies(self, species, edge_index, edge_vectors):
        energies = super().pair_energies(species, edge_index, edge_vectors)
        return energies + 1e-3 * energies.detach()


class Average(Broken):
    """0/0 for atoms without neighbours."""

    def reduce(self, energies, species, edge_index):
        return super().reduce(energies, species, edge_index) / super().reduce(
            torch.ones_like(energies), species, edge_index
        )


class InfiniteSlope(Broken):
    """Energies are finite everywhere, but the slope of the root is infinite where the sum is zero."""

    def forward(self, species, edge_index, edge_vectors, reverse_edges, inputs, outputs):
        energies = self.reduce(
            self.window(torch.linalg.vector_norm(edge_vectors, dim=1)) ** 2, species, edge_index
        )
        lonely = edge_vectors.new_zeros(species.size(0)).index_add(
            0, edge_index[1], edge_vectors.sum(dim=1) * (reverse_edges >= 0)
        )
        return {"energies": energies + torch.sqrt(lonely**2)}


class WritesInput(Broken):
    def forward(self, species, edge_index, edge_vectors, reverse_edges, inputs, outputs):
        reverse_edges.zero_()
        return super().forward(species, edge_index, edge_vectors, reverse_edges, inputs, outputs)


class Remembers(Broken):
    """Every evaluation changes the next."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def reduce(self, energies, species, edge_index):
        self.calls += 1e-3
        return super().reduce(energies, species, edge_index) * (1 + self.calls)


class NumbersAtoms(Broken):
    def reduce(self, energies, species, edge_index):
        return super().reduce(energies, species, edge_index) + 1e-6 * torch.arange(species.size(0))


class NumbersNeighbours(Broken):
    """The first edge of a centre counts more."""

    def reduce(self, energies, species, edge_index):
        first = torch.searchsorted(edge_index[0], torch.arange(species.size(0)))
        scale = torch.ones_like(energies)
        scale[first[first < len(energies)]] = 1.001
        return super().reduce(energies * scale, species, edge_index)


class CountsNodes(Broken):
    """Normalised by the size of the graph, which batches and ghosts change."""

    def reduce(self, energies, species, edge_index):
        return super().reduce(energies, species, edge_index) / species.size(0)


class NoImagesOfItself(Broken):
    def pair_energies(self, species, edge_index, edge_vectors):
        return super().pair_energies(species, edge_index, edge_vectors) * (edge_index[0] != edge_index[1])


class NeedsEdges(Broken):
    def reduce(self, energies, species, edge_index):
        return super().reduce(energies / energies.abs().max().clamp(min=1.0), species, edge_index)


class ForgetsBeyondBlocks(Broken):
    def reduce(self, energies, species, edge_index):
        return super().reduce(energies * (edge_index[0] < 2048), species, edge_index)


class Undeclared(Broken):
    def forward(self, species, edge_index, edge_vectors, reverse_edges, inputs, outputs):
        found = super().forward(species, edge_index, edge_vectors, reverse_edges, inputs, outputs)
        return {**found, "features": found["energies"][:, None]}


class BrokenPotential(Potential):
    """A potential whose results are changed."""

    def __init__(self, change):
        super().__init__(Broken(), {8: -1.0, 14: -4.0})
        self.change = change

    def forward(self, *arguments):
        return self.change(super().forward(*arguments), *arguments)


def make_model(module, **claims) -> Model:
    """A model around an eager network or potential, in float64, with the claims of the pair toy."""
    _ops.load()
    potential = module if isinstance(module, Potential) else Potential(module, {8: -1.5, 14: -4.25})
    potential.network.to(torch.float64)
    for parameter in potential.parameters():
        parameter.requires_grad_(False)
    document = {
        "name": "toy",
        "species": SPECIES,
        "cutoff": CUTOFF,
        "message_passing_layers": 1,
        "interaction_range": CUTOFF,
    }
    info = ModelInfo(**{**document, **claims})
    return Model(info, potential.eval(), torch.device("cpu"), torch.float64, Path("toy.pt"))


def failures(module, *checks, **claims) -> list[str]:
    """Names of what failed among the given checks."""
    model = make_model(module, **claims)
    probe = Probe(model, default_structures(SPECIES))
    return [result.name for check in checks for result in check(probe) if result.passed is False]
