"""Linear maps between features of equivariant networks, and dense layers of their scalars.

Features of a node are one row. It holds one block after the other, each of ``mul`` channels of an irreducible
representation with ``d = 2l + 1`` components, as [d, mul] with the channels fastest. The conventions of the
numbers (component normalisation, order of the components) are those of e3nn; the tables come from there.
"""

import math

import torch
from torch import Tensor


class Dense(torch.nn.Module):
    """y = x (alpha W), then an activation.

    Parameters
    ----------
    weight : Tensor
        [in, out], W
    alpha : Tensor
        factor of W
    activation : str
        a name that :func:`activate` knows
    """

    alpha: Tensor

    def __init__(self, weight: Tensor, alpha: Tensor, activation: str):
        super().__init__()
        self.weight = torch.nn.Parameter(weight.detach().clone(), requires_grad=False)
        self.register_buffer("alpha", alpha.detach().clone())
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """y [..., out] of x [..., in]."""
        return activate(torch.matmul(x, self.weight * self.alpha), self.activation)


class Perceptron(torch.nn.Module):
    """Dense layers in a row.

    Parameters
    ----------
    layers : list of Dense
        the first first
    """

    def __init__(self, layers: list[Dense]):
        super().__init__()
        self.layers = torch.nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """What the last layer gives, [..., out], of x [..., in]."""
        for layer in self.layers:
            x = layer(x)
        return x


def activate(x: Tensor, name: str) -> Tensor:
    """The activation of that name; which a family may have, its reader says.

    Parameters
    ----------
    x : Tensor
        of any shape
    name : str
        silu, tanh, abs, gelu, mish, ssp (softplus less log 2), relu, sigmoid, elu or none

    Returns
    -------
    Tensor
        of the shape of ``x``

    Raises
    ------
    ValueError
        another name
    """
    if name == "silu":
        return torch.nn.functional.silu(x)
    if name == "tanh":
        return torch.tanh(x)
    if name == "abs":
        return torch.abs(x)
    if name == "gelu":
        return torch.nn.functional.gelu(x)
    if name == "mish":
        return torch.nn.functional.mish(x)
    if name == "ssp":
        return torch.nn.functional.softplus(x) - math.log(2.0)
    if name == "relu":
        return torch.relu(x)
    if name == "sigmoid":
        return torch.sigmoid(x)
    if name == "elu":
        return torch.nn.functional.elu(x)
    if name == "none":
        return x
    raise ValueError("unknown activation `" + name + "`")


class BlockLinear(torch.nn.Module):
    """Mixes the channels of blocks of the same representation.

    Parameters
    ----------
    shapes_in, shapes_out : list of tuple
        (d, mul) of every block
    paths : list of tuple
        (block in, block out, factor) in the order of the weights
    weight : Tensor
        all matrices [mul_in, mul_out] in a row

    Raises
    ------
    ValueError
        a weight with another number of entries
    """

    paths: list[tuple[int, int, int]]
    factors: list[float]
    shapes_in: list[tuple[int, int]]
    shapes_out: list[tuple[int, int]]

    def __init__(
        self,
        shapes_in: list[tuple[int, int]],
        shapes_out: list[tuple[int, int]],
        paths: list[tuple[int, int, float]],
        weight: Tensor,
    ):
        super().__init__()
        self.shapes_in, self.shapes_out = shapes_in, shapes_out
        self.factors = [factor for _, _, factor in paths]
        self.paths = []
        offset = 0
        for source, target, _ in paths:
            self.paths.append((source, target, offset))
            offset += shapes_in[source][1] * shapes_out[target][1]
        if weight.numel() != offset:
            raise ValueError(f"`weight` must have {offset} entries, got {weight.numel()}")
        self.weight = torch.nn.Parameter(weight.detach().clone(), requires_grad=False)

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        """Blocks [N, d, mul] of ``shapes_out``, of those of ``shapes_in``."""
        return self.apply_weight(x, self.weight)

    def apply_weight(self, x: list[Tensor], weight: Tensor) -> list[Tensor]:
        """The same with another ``weight`` [size]."""
        found: list[Tensor] = []
        for d, mul in self.shapes_out:
            found.append(torch.zeros(x[0].size(0), d, mul, dtype=weight.dtype, device=weight.device))
        started = [False for _ in found]
        for k, (source, target, offset) in enumerate(self.paths):
            rows, columns = self.shapes_in[source][1], self.shapes_out[target][1]
            matrix = weight.narrow(0, offset, rows * columns).view(rows, columns) * self.factors[k]
            value = torch.matmul(x[source], matrix)
            found[target] = found[target] + value if started[target] else value
            started[target] = True
        return found

    def apply_weights(self, x: list[Tensor], weights: Tensor, types: Tensor) -> list[Tensor]:
        """The same with a row of ``weights`` [T, size] for each type, node by node."""
        found: list[Tensor] = []
        for d, mul in self.shapes_out:
            found.append(torch.zeros(x[0].size(0), d, mul, dtype=weights.dtype, device=weights.device))
        for k, (source, target, offset) in enumerate(self.paths):
            rows, columns = self.shapes_in[source][1], self.shapes_out[target][1]
            matrices = weights.narrow(1, offset, rows * columns).unflatten(1, [rows, columns])
            parts: list[Tensor] = []
            for start in range(0, types.size(0), 8192):  # a matrix for each node takes memory
                kinds = types[start : start + 8192]
                parts.append(torch.bmm(x[source][start : start + 8192], matrices.index_select(0, kinds)))
            if len(parts) > 0:
                found[target] = found[target] + torch.cat(parts) * self.factors[k]
        return found


class TypedLinear(torch.nn.Module):
    """A :class:`BlockLinear` whose matrices depend on the node's type: Σ_v W[u, v, w] a[type, v].

    Parameters
    ----------
    shapes_in, shapes_out : list of tuple
        (d, mul) of every block
    paths : list of tuple
        (block in, block out, factor) in the order of the weights
    weight : Tensor
        all W [mul_in, A, mul_out] in a row
    n_attributes : int
        A, the length of the attributes a of a type
    """

    def __init__(
        self,
        shapes_in: list[tuple[int, int]],
        shapes_out: list[tuple[int, int]],
        paths: list[tuple[int, int, float]],
        weight: Tensor,
        n_attributes: int,
    ):
        super().__init__()
        self.n_attributes = n_attributes
        sizes = [shapes_in[i][1] * shapes_out[o][1] for i, o, _ in paths]
        parts = weight.detach().split([size * n_attributes for size in sizes])
        ordered = []
        for (source, target, _), part in zip(paths, parts, strict=True):
            cube = part.view(shapes_in[source][1], n_attributes, shapes_out[target][1])
            ordered.append(cube.transpose(0, 1).reshape(n_attributes, -1))
        # one row per attribute, so that a type's matrices are one product
        self.weight = torch.nn.Parameter(torch.cat(ordered, dim=1), requires_grad=False)
        self.linear = BlockLinear(shapes_in, shapes_out, paths, torch.zeros(sum(sizes)))
        self.linear.weight = torch.nn.Parameter(torch.zeros(0, dtype=weight.dtype), requires_grad=False)

    def forward(self, x: list[Tensor], types: Tensor, attributes: Tensor) -> list[Tensor]:
        """Blocks of ``shapes_out``, each node with the matrices of its type.

        Parameters
        ----------
        x : list of Tensor
            blocks [N, d, mul] of ``shapes_in``
        types : Tensor
            int64 [N]
        attributes : Tensor
            [T, A]

        Returns
        -------
        list of Tensor
            blocks [N, d, mul]
        """
        if types.is_cuda:  # the host would have to wait for the types that are there
            return self.linear.apply_weights(x, torch.matmul(attributes, self.weight), types)
        present = torch.unique(types)
        weights = torch.matmul(attributes[present], self.weight)
        if present.numel() == 1:
            return self.linear.apply_weight(x, weights[0])
        found: list[Tensor] = []
        for d, mul in self.linear.shapes_out:
            found.append(torch.zeros(types.size(0), d, mul, dtype=weights.dtype, device=weights.device))
        for k in range(present.numel()):
            rows = torch.nonzero(types == present[k]).squeeze(1)
            picked: list[Tensor] = []
            for block in x:
                picked.append(block.index_select(0, rows))
            values = self.linear.apply_weight(picked, weights[k])
            for b in range(len(found)):
                found[b] = found[b].index_copy(0, rows, values[b])
        return found


def to_blocks(row: Tensor, shapes: list[tuple[int, int]]) -> list[Tensor]:
    """The blocks of a row of features.

    Parameters
    ----------
    row : Tensor
        [N, F]
    shapes : list of tuple
        (d, mul) of every block

    Returns
    -------
    list of Tensor
        blocks [N, d, mul]
    """
    found: list[Tensor] = []
    offset = 0
    for d, mul in shapes:
        found.append(row.narrow(1, offset, d * mul).unflatten(1, [d, mul]))
        offset += d * mul
    return found


def to_rows(blocks: list[Tensor]) -> Tensor:
    """The row of features that blocks make up.

    Parameters
    ----------
    blocks : list of Tensor
        [N, d, mul] each

    Returns
    -------
    Tensor
        [N, F]
    """
    flat: list[Tensor] = []
    for block in blocks:
        flat.append(block.flatten(1))
    return torch.cat(flat, dim=1)
