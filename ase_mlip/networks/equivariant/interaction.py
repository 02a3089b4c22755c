"""One interaction of NequIP (arXiv 2101.03164): features of the nodes, through their neighbours, to features.

The neighbours' features are multiplied with the spherical harmonics of the edges and with weights that a
small network makes of their length, summed over neighbours, and their channels are mixed. In the sum over the
neighbours j of i,

    S_i[m2, p, m1, u] = Σ_j Y_ij[m2] w_ij[p, u] h_j[m1, u],

no coupling coefficient appears: they are applied to S, once per node and path instead of once per edge. The
sum is a matrix product per centre. It is made block by block and differentiated by hand, so that per edge
nothing but the radial weights outlives a block.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..gradients import or_zeros
from .linear import BlockLinear, Perceptron, TypedLinear, activate, to_blocks, to_rows
from .neighbourhoods import rows_of


class Group(NamedTuple):
    """Paths of a tensor product with the same two inputs. Offsets count in the rows they name.

    Attributes
    ----------
    feature : int
        offset of the block [d1, mul] in the features
    d1, mul : int
        components and channels of that block
    harmonic : int
        offset of the [d2] components in the harmonics
    d2 : int
        components of the harmonic
    paths : int
        number of paths
    weight : int
        offset of the weights [paths, mul]
    sum : int
        offset of S [d2, paths, d1, mul]
    """

    feature: int
    d1: int
    mul: int
    harmonic: int
    d2: int
    paths: int
    weight: int
    sum: int


class Graph(NamedTuple):
    """The graph as every layer sees it; the last of E + 1 rows stands for an edge that is not there.

    Attributes
    ----------
    types : Tensor
        int64 [N]
    centres : Tensor
        int64 [E], sorted
    neighbours : Tensor
        int64 [E + 1]
    radial, harmonics : Tensor
        [E + 1, B] and [E + 1, H]
    """

    types: Tensor
    centres: Tensor
    neighbours: Tensor
    radial: Tensor
    harmonics: Tensor


class Step(NamedTuple):
    """What the gradient of a layer needs, which was made for M nodes.

    Attributes
    ----------
    nodes : Tensor
        int64 [M], the nodes it was made for
    x, seen : Tensor
        [N, F], features that came in, and what neighbours saw of them
    own, sum, given : Tensor
        [M, F], [M, width], [M, F'], of the nodes: what came in, S, what came out
    tables : list of Tensor
        int64 [b, n], edges of each block
    radial : list of Tensor
        [b, n, B] of each block, or nothing: see ``Layer.most_kept``
    weights : list of Tensor
        [b, n, W] of each block, differentiable by ``radial``
    """

    nodes: Tensor
    x: Tensor
    own: Tensor
    seen: Tensor
    sum: Tensor
    given: Tensor
    tables: list[Tensor]
    radial: list[Tensor]
    weights: list[Tensor]


class Gate(torch.nn.Module):
    """Scalars through an activation; other blocks times activated scalars.

    Parameters
    ----------
    scalars, gates : list of tuple
        (block, first channel, channels, activation, factor)
    gated : list of tuple
        (block, first channel, channels, factor); their channels are gated in the order of ``gates``
    """

    scalars: list[tuple[int, int, int, str, float]]
    gates: list[tuple[int, int, int, str, float]]
    gated: list[tuple[int, int, int, float]]

    def __init__(
        self,
        scalars: list[tuple[int, int, int, str, float]],
        gates: list[tuple[int, int, int, str, float]],
        gated: list[tuple[int, int, int, float]],
    ):
        super().__init__()
        self.scalars, self.gates, self.gated = scalars, gates, gated

    def forward(self, x: list[Tensor]) -> Tensor:
        """Scalars, then gated blocks, in one row [N, F], of blocks [N, d, mul]."""
        found: list[Tensor] = []
        for block, start, count, name, factor in self.scalars:
            found.append(factor * activate(x[block][:, 0].narrow(1, start, count), name))
        gates: list[Tensor] = []
        for block, start, count, name, factor in self.gates:
            gates.append(factor * activate(x[block][:, 0].narrow(1, start, count), name))
        if len(gates) > 0:
            gate = torch.cat(gates, dim=1).unsqueeze(1)
            position = 0
            for block, start, count, factor in self.gated:
                part = x[block].narrow(2, start, count) * gate.narrow(2, position, count)
                found.append((factor * part).flatten(1))
                position += count
        return torch.cat(found, dim=1)


class Layer(torch.nn.Module):
    """One interaction: features of the nodes → features of the nodes.

    Parameters
    ----------
    shapes_in : list of tuple
        (d, mul) of the blocks of the features
    mix : BlockLinear
        mixes channels of the neighbours' features, before the norm
    norms : Tensor
        factor per type [T], or one for all
    radial : Perceptron
        radial functions of an edge → weights [W] in the order of ``groups``
    groups : list of Group
        paths with equal inputs
    couplings : list of Tensor
        float64 [d2 · d1, d3] of each path, in the order of the groups
    outputs : list of list
        numbers of the paths that make up each block that ``collect`` takes
    collect : BlockLinear
        summed messages → what the gate takes
    keep : TypedLinear or None
        a node's own features, by its type, added to that
    gate : Gate
        makes the features that come out
    resnet : bool
        whether the features are added to those that come out
    """

    groups: list[Group]
    couplings: list[Tensor]
    outputs: list[list[int]]
    shapes_in: list[tuple[int, int]]

    def __init__(
        self,
        shapes_in: list[tuple[int, int]],
        mix: BlockLinear,
        norms: Tensor,
        radial: Perceptron,
        groups: list[Group],
        couplings: list[Tensor],
        outputs: list[list[int]],
        collect: BlockLinear,
        keep: TypedLinear | None,
        gate: Gate,
        resnet: bool,
    ):
        super().__init__()
        self.shapes_in = shapes_in
        self.mix = mix
        self.register_buffer("norms", norms.detach().clone().reshape(-1))
        self.radial = radial
        self.groups, self.couplings, self.outputs = groups, couplings, outputs
        self.collect = collect
        self.keep = keep
        self.gate = gate
        self.resnet = resnet
        # Kept for the gradient, the radial weights take kilobytes per edge; larger graphs make them again.
        self.most_kept = 262144
        self.width = sum(group.d2 * group.paths * group.d1 * group.mul for group in groups)

    def before(self, x: Tensor, types: Tensor) -> Tensor:
        """What neighbours see of a node, [N, F], of its features x [N, F] and types int64 [N]."""
        norms = self.norms.to(x.dtype)
        if norms.numel() > 1:
            norms = norms[types].unsqueeze(1)
        return to_rows(self.mix(to_blocks(x, self.shapes_in))) * norms

    def gather(self, features: Tensor, harmonics: Tensor, weights: Tensor) -> Tensor:
        """S [b, width] of features [b, n, F], harmonics [b, n, H] and weights [b, n, W] of the edges."""
        sums: list[Tensor] = []
        for group in self.groups:
            messages = self._messages(group, features, weights)
            if group.d2 == 1:
                sums.append(messages.sum(1))  # the harmonic is one
            else:
                part = harmonics.narrow(2, group.harmonic, group.d2)
                sums.append(torch.bmm(part.transpose(1, 2), messages).flatten(1))
        return torch.cat(sums, dim=1)

    def _messages(self, group: Group, features: Tensor, weights: Tensor) -> Tensor:
        """[b, n, paths · d1 · mul]"""
        x = features.narrow(2, group.feature, group.d1 * group.mul)
        w = weights.narrow(2, group.weight, group.paths * group.mul)
        if group.d1 == 1 and group.paths == 1:
            return x * w
        x = x.unflatten(2, [1, group.d1, group.mul])
        return (w.unflatten(2, [group.paths, 1, group.mul]) * x).flatten(2)

    def gather_backward(
        self, features: Tensor, harmonics: Tensor, weights: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of Σ gradient · S, ``gradient`` [b, width], by the three arguments of :meth:`gather`."""
        by_features = torch.zeros_like(features)
        by_harmonics = torch.zeros_like(harmonics)
        by_weights = torch.empty_like(weights)
        for group in self.groups:
            size = group.paths * group.d1 * group.mul
            part = gradient.narrow(1, group.sum, group.d2 * size).unflatten(1, [group.d2, size])
            if group.d2 > 1:
                messages = self._messages(group, features, weights)
                by = by_harmonics.narrow(2, group.harmonic, group.d2)
                by += torch.bmm(messages, part.transpose(1, 2))
                part = torch.bmm(harmonics.narrow(2, group.harmonic, group.d2), part)
            x = features.narrow(2, group.feature, group.d1 * group.mul)
            w = weights.narrow(2, group.weight, group.paths * group.mul)
            by_x = by_features.narrow(2, group.feature, group.d1 * group.mul)
            by_w = by_weights.narrow(2, group.weight, group.paths * group.mul)
            shape = [group.paths, group.d1, group.mul]
            self._product_backward(
                part.unflatten(2, shape),
                x.unflatten(2, [group.d1, group.mul]),
                w.unflatten(2, [group.paths, group.mul]),
                by_x.unflatten(2, [group.d1, group.mul]),
                by_w.unflatten(2, [group.paths, group.mul]),
            )
        return by_features, by_harmonics, by_weights

    def _product_backward(self, part: Tensor, x: Tensor, w: Tensor, by_x: Tensor, by_w: Tensor) -> None:
        """Adds to by_x [b, n, d1, mul], sets by_w [b, n, paths, mul]; part is [b, n, paths, d1, mul]."""
        for p in range(w.size(2)):
            target = by_w.select(2, p)
            for m in range(x.size(2)):
                one = part.select(2, p).select(2, m)
                if m == 0:
                    torch.mul(one, x.select(2, m), out=target)
                else:
                    target.addcmul_(one, x.select(2, m))
                by_x.select(2, m).addcmul_(one, w.select(2, p))

    def after(self, sums: Tensor, x: Tensor, types: Tensor, attributes: Tensor) -> Tensor:
        """Features [N, F'] of S [N, width], the nodes' own features x [N, F] and types, attributes [T, A]."""
        pieces: list[Tensor] = []
        for group in self.groups:
            size = group.d2 * group.paths * group.d1 * group.mul
            part = sums.narrow(1, group.sum, size).unflatten(1, [group.d2, group.paths, group.d1, group.mul])
            for p in range(group.paths):
                table = self.couplings[len(pieces)].to(device=sums.device, dtype=sums.dtype)
                pieces.append(
                    torch.matmul(table.t(), part.select(2, p).reshape(-1, group.d2 * group.d1, group.mul))
                )
        mixed: list[Tensor] = []
        for numbers in self.outputs:
            together: list[Tensor] = []
            for number in numbers:
                together.append(pieces[number])
            mixed.append(torch.cat(together, dim=2))
        y = self.collect(mixed)
        if self.keep is not None:
            own = self.keep(to_blocks(x, self.shapes_in), types, attributes)
            for k in range(len(y)):
                y[k] = y[k] + own[k]
        row = self.gate(y)
        return row + x if self.resnet else row

    def forth(self, graph: Graph, x: Tensor, nodes: Tensor, tables: list[Tensor], attributes: Tensor) -> Step:
        """One layer for some nodes, with what its gradient needs.

        Parameters
        ----------
        graph : Graph
            the whole graph
        x : Tensor
            [N, F], features of all nodes
        nodes : Tensor
            int64 [M], the nodes that are wanted
        tables : list of Tensor
            int64 [b, n], their edges in blocks (:func:`.neighbourhoods.neighbourhoods`)
        attributes : Tensor
            [T, A], embedding of the types

        Returns
        -------
        Step
            for :meth:`back`
        """
        x = x.requires_grad_(True)
        own = x.detach().index_select(0, nodes).requires_grad_(True)
        seen = self.before(x, graph.types)
        features = seen.detach()
        kept = graph.centres.size(0) <= (8 if x.is_cuda else 1) * self.most_kept
        sums: list[Tensor] = [features.new_zeros([0, self.width])]
        radial: list[Tensor] = []
        weights: list[Tensor] = []
        for table in tables:
            edges = rows_of(graph.radial, table).requires_grad_(kept)
            weight = self.radial(edges)
            if kept:
                radial.append(edges)
                weights.append(weight)
            sources = rows_of(features, graph.neighbours[table])
            sums.append(self.gather(sources, rows_of(graph.harmonics, table), weight.detach()))
        sum = torch.cat(sums).requires_grad_(True)
        given = self.after(sum, own, graph.types[nodes], attributes)
        return Step(nodes, x, own, seen, sum, given, tables, radial, weights)

    def back(
        self, graph: Graph, step: Step, gradient: Tensor, by_radial: Tensor, by_harmonics: Tensor
    ) -> Tensor:
        """Gradient by the features that came in, from that by the features that came out.

        Parameters
        ----------
        graph : Graph
            the whole graph
        step : Step
            what :meth:`forth` returned
        gradient : Tensor
            [N, F'], by what the layer gave
        by_radial, by_harmonics : Tensor
            [E + 1, B] and [E + 1, H]; the gradients by the edges are added to them in place

        Returns
        -------
        Tensor
            [N, F]
        """
        given: list[Tensor | None] = [gradient.index_select(0, step.nodes)]
        by_sum, by_own = torch.autograd.grad([step.given], [step.sum, step.own], given, allow_unused=True)
        features = step.seen.detach()
        by_seen = torch.zeros_like(features)
        parts = or_zeros(by_sum, step.sum).split([table.size(0) for table in step.tables])
        for b, table in enumerate(step.tables):
            sources = graph.neighbours[table]
            seen, harmonics = rows_of(features, sources), rows_of(graph.harmonics, table)
            if len(step.weights) > 0:
                edges, weights = step.radial[b], step.weights[b]
            else:
                edges = rows_of(graph.radial, table).requires_grad_(True)
                weights = self.radial(edges)
            by_features, by_edges, by_weights = self.gather_backward(
                seen, harmonics, weights.detach(), parts[b]
            )
            rows = table.flatten()
            by_seen.index_add_(0, sources.flatten(), by_features.flatten(0, 1))
            by_harmonics.index_add_(0, rows, by_edges.flatten(0, 1))
            wanted: list[Tensor | None] = [by_weights]
            found = torch.autograd.grad([weights], [edges], wanted, allow_unused=True)[0]
            by_radial.index_add_(0, rows, or_zeros(found, edges).flatten(0, 1))
        onward: list[Tensor | None] = [by_seen]
        by_x = or_zeros(torch.autograd.grad([step.seen], [step.x], onward, allow_unused=True)[0], step.x)
        return by_x.index_add(0, step.nodes, or_zeros(by_own, step.own))
