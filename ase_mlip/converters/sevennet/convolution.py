"""Sums over neighbours of coupled features, in blocks of centres, and their derivative.

For a centre with n neighbours and a path from degree l to l', the sum is a product of [2l'+1, n (2l+1)] with
[n (2l+1), m]: messages are never stored. Neighbourhoods are padded to the longest in their block.
"""

import torch
from torch import Tensor

from ...networks.gradients import pulled_back
from .blocks import Block
from .parts import Exact, Perceptron


class Convolution(torch.nn.Module):
    """Sums over neighbours of weighted couplings: [B, Σ (2l+1) m] with one slot per degree and parity.

    Parameters
    ----------
    sizes : list of tuple of int
        (2l+1, m) of the slots of the neighbours' features
    paths : list of tuple of int
        slot of the features, 2l'+1 of the result, slot of the result; in the order of the result's columns
    coupling : Tensor
        float64 [(l_max+1)², Σ_paths (2l+1) (2l'+1)]
    perceptron : Perceptron
        from the radial basis to the weights of all paths, [n] → [Σ_paths m]
    """

    def __init__(
        self,
        sizes: list[tuple[int, int]],
        paths: list[tuple[int, int, int]],
        coupling: Tensor,
        perceptron: Perceptron,
    ):
        super().__init__()
        self.lengths = [dim * channels for dim, channels in sizes]
        self.sources = [source for source, _, _ in paths]
        self.targets = [target for _, _, target in paths]
        self.dims = [sizes[source][0] for source, _, _ in paths]
        self.dims_out = [dim for _, dim, _ in paths]
        self.channels = [sizes[source][1] for source, _, _ in paths]
        self.coupled = [dim * out for dim, out in zip(self.dims, self.dims_out, strict=True)]
        self.coupling = Exact(coupling)
        self.perceptron = perceptron
        self.size = sum(out * channels for out, channels in zip(self.dims_out, self.channels, strict=True))
        self.parts: list[list[int]] = [[] for _ in set(self.targets)]  # channels of the paths of each result
        for channels, target in zip(self.channels, self.targets, strict=True):
            self.parts[target].append(channels)
        self.rows = [0 for _ in self.parts]  # 2l'+1 of each result
        for dim, target in zip(self.dims_out, self.targets, strict=True):
            self.rows[target] = dim
        self.results = [dim * sum(parts) for dim, parts in zip(self.rows, self.parts, strict=True)]

    def weights(self) -> list[Tensor]:
        weights = [self.coupling()]
        weights.extend(self.perceptron.weights())
        return weights

    def forward(
        self, features: Tensor, harmonics: Tensor, basis: Tensor, n_centres: int, weights: list[Tensor]
    ) -> Tensor:
        """Per edge, n edges of a centre in a row: features [B n, D], harmonics [B n, H], basis [B n, R]."""
        slots = features.split(self.lengths, dim=1)
        factors = self.perceptron.evaluate(basis, weights[1:]).split(self.channels, dim=1)
        couplings = torch.mm(harmonics, weights[0]).split(self.coupled, dim=1)
        columns: list[Tensor] = []
        k = 0
        for parts in self.parts:
            joined: list[Tensor] = []
            for channels in parts:
                weighted = slots[self.sources[k]].view(-1, self.dims[k], channels) * factors[k][:, None, :]
                coupling = couplings[k].reshape(n_centres, -1, self.dims_out[k])
                joined.append(torch.bmm(coupling.transpose(1, 2), weighted.view(n_centres, -1, channels)))
                k += 1
            columns.append(torch.cat(joined, dim=2).flatten(1))
        return torch.cat(columns, dim=1)

    def pulled_back(
        self,
        features: Tensor,
        harmonics: Tensor,
        basis: Tensor,
        n_centres: int,
        weights: list[Tensor],
        given: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients by features, harmonics and basis of what :meth:`forward` gives; ``given`` is that by it.

        Written out, since autograd would also form the sums again and pass over the tables more often.
        """
        basis = basis.detach().requires_grad_(True)
        evaluated = self.perceptron.evaluate(basis, weights[1:])
        factors = evaluated.detach().split(self.channels, dim=1)
        slots = features.split(self.lengths, dim=1)
        couplings = torch.mm(harmonics, weights[0]).split(self.coupled, dim=1)
        by_features = torch.zeros_like(features)
        by_slots = by_features.split(self.lengths, dim=1)
        by_couplings: list[Tensor] = []
        by_factors: list[Tensor] = []
        k = 0
        for column, result in enumerate(given.split(self.results, dim=1)):
            table = result.view(n_centres, self.rows[column], -1)
            for by_path in table.split(self.parts[column], dim=2):
                dim, channels = self.dims[k], self.channels[k]
                slot = slots[self.sources[k]].view(-1, dim, channels)
                factor = factors[k][:, None, :]
                weighted = (slot * factor).view(n_centres, -1, channels)
                coupling = couplings[k].reshape(n_centres, -1, self.dims_out[k])
                by_couplings.append(torch.bmm(weighted, by_path.transpose(1, 2)).view(-1, self.coupled[k]))
                by_weighted = torch.bmm(coupling, by_path).view(-1, dim, channels)
                by_slots[self.sources[k]].view(-1, dim, channels).addcmul_(by_weighted, factor)
                by_factor = by_weighted.mul_(slot)
                by_factors.append(by_factor.sum(dim=1) if dim > 1 else by_factor.squeeze(1))
                k += 1
        by_harmonics = torch.mm(torch.cat(by_couplings, dim=1), weights[0].t())
        by_basis = pulled_back([evaluated], [torch.cat(by_factors, dim=1)], [basis])[0]
        return by_features, by_harmonics, by_basis

    def sums(self, features: Tensor, harmonics: Tensor, basis: Tensor, blocks: list[Block]) -> Tensor:
        """features [N, D], harmonics [E, H], basis [E, R] → one row per centre, in the blocks' order."""
        weights = self.weights()
        rows = [features.new_zeros(0, self.size)]
        for block in blocks:
            if block.edges.size(0) == 0:
                rows.append(features.new_zeros(block.centres.size(0), self.size))
            else:
                on_edges = harmonics.index_select(0, block.edges) * block.mask
                rows.append(
                    self.forward(
                        features.index_select(0, block.neighbours),
                        on_edges,
                        basis.index_select(0, block.edges),
                        block.centres.size(0),
                        weights,
                    )
                )
        return torch.cat(rows)

    def add_gradients(
        self,
        features: Tensor,
        harmonics: Tensor,
        basis: Tensor,
        blocks: list[Block],
        given: Tensor,
        gradients: list[Tensor],
    ) -> None:
        """Add to ``gradients`` those by features, harmonics and basis; ``given`` is that by the sums."""
        weights = self.weights()
        start = 0
        for block in blocks:
            n_centres = block.centres.size(0)
            by_sums = given[start : start + n_centres]
            start += n_centres
            if block.edges.size(0) == 0:
                continue
            found = self.pulled_back(
                features.index_select(0, block.neighbours),
                harmonics.index_select(0, block.edges) * block.mask,
                basis.index_select(0, block.edges),
                n_centres,
                weights,
                by_sums,
            )
            gradients[0].index_add_(0, block.neighbours, found[0])
            gradients[1].index_add_(0, block.edges, found[1] * block.mask)
            gradients[2].index_add_(0, block.edges, found[2])
