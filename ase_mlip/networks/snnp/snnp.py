"""s-NNP: spline filters as in spline MEAM and a small network (J. A. Vita, D. R. Trinkle, arXiv 2310.02904).

With r_ij the distance of a neighbour, θ_jik the angle between two of them, and splines ρ, f, g, φ, U,

    G2_a = Σ_j ρ_a(r_ij)                G3_b = Σ_{j<k} f_b(r_ij) f_b(r_ik) g_b(cos θ_jik)
    E_i = scale · (½ Σ_j φ(r_ij) + w·G + U(ΣG) - U(0) + NN(G) - NN(0)),        G = (G2, G3).

Each term is optional; with φ and U alone and one filter of either kind it is spline MEAM (T. J. Lenosky et
al., Modelling Simul. Mater. Sci. Eng. 8, 825, 2000). An atom without neighbours has no energy. The energy is
invariant and local: one cutoff.
"""

import math
from typing import Final

import torch
from torch import Tensor

from ..repulsion import core_coefficients
from ..species import types_of
from .hypers import SNNPHypers
from .parts import ElementNetworks, Triplets, case_tables, find_triplets
from .splines import SplineBank
from .training import Constants, Features

CORE = 0.5  # Å, about where the knots of the repulsion begin


class SNNP(torch.nn.Module):
    """Spline-based neural network potential; a module of the contract with ``energies`` [N] in eV.

    Parameters
    ----------
    hypers : SNNPHypers
        species, cutoffs and sizes

    Raises
    ------
    ValueError
        where :meth:`SNNPHypers.check` does
    """

    has_pair: Final[bool]
    has_radial: Final[bool]
    has_angular: Final[bool]
    has_skip: Final[bool]
    has_embedding: Final[bool]
    has_network: Final[bool]

    def __init__(self, hypers: SNNPHypers):
        super().__init__()
        hypers.check()
        self.hypers = hypers
        self.cutoff = float(hypers.cutoff)
        self.angular_cutoff = float(hypers.angular_cutoff or hypers.cutoff)
        self.n_features = hypers.radial_filters + hypers.angular_filters
        self.has_pair = hypers.pair
        self.has_radial = hypers.radial_filters > 0
        self.has_angular = hypers.angular_filters > 0
        self.has_skip = hypers.skip and self.n_features > 0
        self.has_embedding = hypers.embedding is not None
        self.has_network = len(hypers.hidden) > 0 and self.n_features > 0
        # Whether derivatives of `forward` on a CPU are those of training.py, in float64 inside.
        self.compiled_training = True
        self.block = 512  # centres worked through together where no derivative by parameters is wanted

        n = len(hypers.species)
        self.register_buffer("types", types_of(hypers.species))
        # Set by the trainer so that the network itself works with numbers of order one.
        self.register_buffer("energy_scale", torch.ones(()))
        self.register_buffer("force_scale", torch.ones(n))  # unused; every architecture has it
        for name, table in case_tables(n, hypers.filters, hypers.networks).items():
            self.register_buffer(name, table)
        self._make_banks(hypers)
        networks = int(self.network_cases.max()) + 1
        self.skip = torch.nn.Parameter(torch.ones(networks, self.n_features))
        self.networks = ElementNetworks(networks, self.n_features, hypers.hidden)
        self._set_first_values()

    def _make_banks(self, hypers: SNNPHypers) -> None:
        def radial(cases: Tensor, last: float, intervals: int, channels: int, before: int = 0) -> SplineBank:
            count = int(cases.max()) + 1
            step = (last - hypers.inner) / intervals
            return SplineBank(
                [hypers.inner] * count, [step] * count, [intervals] * count, channels, True, before
            )

        intervals = hypers.radial_intervals
        before = math.floor((hypers.inner - CORE) / (self.cutoff - hypers.inner) * intervals)
        before = max(before, 0) if hypers.core and hypers.pair else 0
        self.phi = radial(self.pair_cases, self.cutoff, intervals, int(hypers.pair), before)
        self.set_energy_scale(1.0)
        self.rho = radial(self.radial_cases, self.cutoff, hypers.radial_intervals, hypers.radial_filters)
        self.f = radial(
            self.radial_cases, self.angular_cutoff, hypers.angular_intervals, hypers.angular_filters
        )
        angles = int(self.angle_cases.max()) + 1
        intervals = hypers.angle_intervals
        self.g = SplineBank(
            [-1.0] * angles, [2.0 / intervals] * angles, [intervals] * angles, hypers.angular_filters, False
        )
        first, last, count = hypers.embedding or [0.0, 1.0, 1.0]
        n = len(hypers.species)
        step = (last - first) / count
        self.embedding = SplineBank(
            [first] * n, [step] * n, [int(count)] * n, int(self.has_embedding), vanishing=False
        )

    @torch.jit.unused
    def set_energy_scale(self, scale: float) -> None:
        """Give the network another unit of energy, in eV; the repulsion of the nuclei stays what it is.

        Parameters
        ----------
        scale : float
            what energies are multiplied with, eV
        """
        self.energy_scale.fill_(scale)
        if self.phi.before == 0:
            return
        species, step = self.hypers.species, float(self.phi.grid[0, 1])
        for case in range(self.phi.core.size(0)):
            first, second = (self.pair_cases == case).nonzero()[0].tolist()
            core = core_coefficients(
                species[first], species[second], self.hypers.inner, step, self.phi.before
            )
            self.phi.core[case, 0] = core.to(self.phi.core) / scale

    def _set_first_values(self) -> None:
        """For f waves that fade towards the cutoff, whose products resolve distances; ρ and g at random."""
        with torch.no_grad():
            torch.nn.init.normal_(self.rho.coefficients, std=0.3)
            torch.nn.init.normal_(self.g.coefficients, std=0.3)
            n, channels = self.f.coefficients.size(2), self.f.channels
            place = torch.linspace(0.0, 1.0 - 1.0 / n, n)
            phase = min(0.8, 0.4 * n / max(channels, 1)) * math.pi
            for channel in range(channels):
                self.f.coefficients[:, channel] = (1.0 - place) * torch.cos(phase * channel * place)

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        outputs: list[str],
    ) -> dict[str, Tensor]:
        """Energies [N] in eV; differentiable twice, by edge vectors and parameters.

        The arguments are the contract's. On a CPU, operators give the derivatives that training needs; they
        have no second derivative by the edge vectors alone. With ``compiled_training`` false torch's own
        operators do, and have all.
        """
        types = self.types[species]
        if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript leaves out only a whole branch)
            if self.compiled_training and torch.is_grad_enabled() and not edge_vectors.is_cuda:
                return {"energies": self._trained_energies(types, edge_index, edge_vectors)}
        if self.training:
            return {"energies": self._energies(types, edge_index, edge_vectors, 0, types.size(0))}
        energies: list[Tensor] = []
        for start in range(0, max(types.size(0), 1), self.block):
            stop = min(start + self.block, types.size(0))
            low, high = edges_of(edge_index, start, stop)
            edges = edge_index[:, low:high]
            energies.append(self._energies(types, edges, edge_vectors[low:high], start, stop))
        return {"energies": torch.cat(energies)}

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
        """Energies [N] and d(Σ_i w_i E_i)/d edge_vectors [E, 3] in eV/Å.

        The arguments are the contract's, the operator is that of csrc/snnp/operators.cpp. Nodes without
        weight may get no energy.
        """
        types = self.types[species]
        nodes = torch.arange(types.size(0) + 1, device=types.device)
        starts = torch.searchsorted(edge_index[0].contiguous(), nodes)
        coefficients: list[Tensor] = []
        grids: list[Tensor] = []
        for bank in (self.phi, self.rho, self.f, self.g, self.embedding):
            coefficients.append(bank.all_coefficients())
            grids.append(bank.grid.to(edge_vectors.device))  # no buffer: it stays where it was made
        energies, gradients = torch.ops.ase_mlip.snnp(
            edge_vectors,
            starts,
            types,
            types[edge_index[1]],
            node_weights,
            coefficients,
            grids,
            [self.pair_cases, self.radial_cases, self.angle_cases, self.network_cases],
            self.skip if self.has_skip else torch.zeros_like(self.skip),
            self.networks.weights_and_biases() if self.has_network else [],
            self.energy_scale,
            self.cutoff,
            self.angular_cutoff,
        )
        return {"energies": energies.detach()}, gradients.detach()

    def _energies(self, types: Tensor, edge_index: Tensor, vectors: Tensor, start: int, stop: int) -> Tensor:
        """Energies of the nodes from ``start`` to ``stop``, whose edges are given: [stop - start], eV"""
        own = types[start:stop]
        centres = edge_index[0] - start
        centre_types, neighbour_types = types[edge_index[0]], types[edge_index[1]]
        # The smallest number keeps the gradient of an edge without length finite.
        distances = torch.sqrt((vectors * vectors).sum(dim=-1) + 1e-30)
        zeros = torch.zeros(own.size(0), dtype=vectors.dtype, device=vectors.device)
        energies = zeros
        if self.has_pair:
            phi = self.phi(distances, self.pair_cases[centre_types, neighbour_types])
            energies = zeros.index_add(0, centres, 0.5 * phi[:, 0])
        if self.n_features > 0:
            features = self._features(own, centres, centre_types, neighbour_types, vectors, distances)
            energies = energies + self._read(own, features)
        return energies * self.energy_scale

    def _features(
        self,
        own: Tensor,
        centres: Tensor,
        centre_types: Tensor,
        neighbour_types: Tensor,
        vectors: Tensor,
        distances: Tensor,
    ) -> Tensor:
        """G2 and G3 of the nodes ``own``, [n, A + B]"""
        features: list[Tensor] = []
        if self.has_radial:
            rho = self.rho(distances, self.radial_cases[centre_types, neighbour_types])
            features.append(rho.new_zeros(own.size(0), rho.size(1)).index_add(0, centres, rho))
        if self.has_angular:
            near = torch.nonzero(distances.detach() < self.angular_cutoff).squeeze(1)
            c, t, r = centres[near], neighbour_types[near], distances[near]
            f = self.f(r, self.radial_cases[centre_types[near], t])
            directions = vectors[near] / r[:, None]
            triplets: Triplets = find_triplets(c, own.size(0))
            j, k = triplets.first, triplets.second
            cosines = (directions[j] * directions[k]).sum(dim=-1)
            g = self.g(cosines, self.angle_cases[own[c[j]], t[j], t[k]])
            products = f[j] * f[k] * g
            features.append(f.new_zeros(own.size(0), f.size(1)).index_add(0, c[j], products))
        return torch.cat(features, dim=1)

    def _read(self, own: Tensor, features: Tensor) -> Tensor:
        """What the features give to the energies, [n]; zero where they vanish"""
        cases = self.network_cases[own]
        energies = torch.zeros_like(features[:, 0])
        if self.has_skip:
            energies = energies + (self.skip[cases] * features).sum(dim=1)
        if self.has_embedding:
            total = features.sum(dim=1)
            at_zero = self.embedding(torch.zeros_like(total), own)
            energies = energies + (self.embedding(total, own) - at_zero)[:, 0]
        if self.has_network:
            at_zero = self.networks(torch.zeros_like(features), cases)
            energies = energies + self.networks(features, cases) - at_zero
        return energies

    @torch.jit.ignore
    def _trained_energies(self, types: Tensor, edge_index: Tensor, vectors: Tensor) -> Tensor:
        """The energies [N] by operators whose derivatives are those that training needs."""
        nodes = torch.arange(types.size(0) + 1)
        banks = (self.phi, self.rho, self.f, self.g)
        constants = Constants(
            torch.searchsorted(edge_index[0].contiguous(), nodes),
            types,
            types[edge_index[1]],
            [bank.grid for bank in banks],
            [self.pair_cases, self.radial_cases, self.angle_cases],
            self.cutoff,
            self.angular_cutoff,
        )
        coefficients = [bank.all_coefficients().double() for bank in banks]
        features = Features.apply(constants, vectors.double(), *coefficients).to(vectors.dtype)
        first = int(self.has_pair)
        energies = features[:, :first].sum(dim=1)
        if self.n_features > 0:
            energies = energies + self._read(types, features[:, first:])
        return energies * self.energy_scale

    @torch.jit.ignore
    def roughness(self) -> Tensor:
        """Square curvature of the filters (:meth:`.SplineBank.roughness`), which training may penalise."""
        banks = [bank for bank in (self.phi, self.rho, self.f, self.g) if bank.channels > 0]
        return torch.stack([bank.roughness() for bank in banks]).sum()


def edges_of(edge_index: Tensor, start: int, stop: int) -> tuple[int, int]:
    """The range of the edges that have their centres in a range of nodes.

    Parameters
    ----------
    edge_index : Tensor
        int64 [2, E], sorted by centre
    start, stop : int
        the first node, and the first behind the range

    Returns
    -------
    tuple of int
        the first edge, and the first behind the range
    """
    bounds = torch.tensor([start, stop], dtype=torch.int64, device=edge_index.device)
    found: list[int] = torch.searchsorted(edge_index[0].contiguous(), bounds).tolist()
    return found[0], found[1]
