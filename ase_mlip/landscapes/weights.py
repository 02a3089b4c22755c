"""The weights of a loaded model as one vector, moved in place in the scripted module and put back.

    weights = model_weights(load_model("pet-si"))
    with weights.kept():
        weights.move(weights.start + 0.1 * direction)
        ...  # model(graph) is now that of the moved weights

``start``, the stored θ*, never changes: points are computed from it, never from where the weights are, and
leaving the block puts back the stored numbers bit by bit, after an exception and an interrupt as well.

The scripted module sees the moved weights at its next call. What has copied them when it was loaded does not:
the kernel of an s-NNP that :class:`ase_mlip.MLIPCalculator` uses. While weights are moved, evaluate with the
:class:`ase_mlip.model_file.model.Model` itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MLIPError
from ..model_file.model import Model
from .families import Table, tables_of


@dataclass(frozen=True)
class Filter:
    """Weights that a direction is normalised by: ``values[start:stop]`` of the vector of all weights.

    Attributes
    ----------
    name: that of the tensor, with a number where the tensor has several, ``skip[0]``
    kind: ``row``, ``spline``, ``irrep block`` or ``vector``
    tensor: the name of the stored tensor
    start, stop: its place in the vector
    """

    name: str
    kind: str
    tensor: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


class StoredTensor:
    """A stored tensor and where its numbers are in the vector of all weights.

    Attributes
    ----------
    name, kind: as of the :class:`~ase_mlip.landscapes.families.Table`
    tensors: the tensors of the scripted module, one or the two whose sum is meant; writing on them moves it
    start, stop: place in the vector of all weights; elements of one filter follow each other
    """

    def __init__(self, table: Table, start: int):
        self.name, self.kind, self.tensors = table.name, table.kind, table.tensors
        labels = table.labels.expand(table.tensors[0].shape)
        first = (labels[:1] if table.tied else labels).flatten()
        order = torch.argsort(first, stable=True)
        order = order[int((first < 0).sum()) :]
        self.sizes = torch.unique_consecutive(first[order], return_counts=True)[1].tolist()
        place = torch.full_like(first, -1)
        place[order] = torch.arange(len(order))
        if table.tied:
            place = place.repeat(labels.size(0))
        self._elements = torch.nonzero(place >= 0).squeeze(1)  # of the flattened tensor
        self._places = place[self._elements]  # in this tensor's part of the vector
        self.start, self.stop = start, start + len(order)
        self._stored = tuple(tensor.detach().clone() for tensor in table.tensors)

    def values(self) -> Tensor:
        """The weights as they are now, float64 on the CPU."""
        total = sum(tensor.detach().to("cpu", torch.float64) for tensor in self.tensors).flatten()
        found = torch.zeros(self.stop - self.start, dtype=torch.float64)
        found[self._places] = total[self._elements]
        return found

    def move(self, values: Tensor) -> None:
        """Write weights float64 [stop - start], rounded to the dtype; the second of two has the rest."""
        total = self._stored[0].to("cpu", torch.float64, copy=True).flatten()
        total[self._elements] = values[self._places]
        total = total.view(self._stored[0].shape)
        self.tensors[0].copy_(total)
        for tensor, stored in zip(self.tensors[1:], self._stored[1:], strict=True):
            rest = stored.to("cpu", torch.float64, copy=True).flatten()
            given = (total - self.tensors[0].to("cpu", torch.float64)).flatten()
            rest[self._elements] = given[self._elements]
            tensor.copy_(rest.view(stored.shape))

    def gradient(self, of_tensor: Tensor | None) -> Tensor:
        """A gradient by the weights, float64 [stop - start] on the CPU, from one by the (first) tensor.

        Copies that move together count together; None is a tensor that nothing depends on.
        """
        found = torch.zeros(self.stop - self.start, dtype=torch.float64)
        if of_tensor is not None:
            flat = of_tensor.detach().to("cpu", torch.float64).flatten()
            found.index_add_(0, self._places, flat[self._elements])
        return found

    def restore(self) -> None:
        for tensor, stored in zip(self.tensors, self._stored, strict=True):
            tensor.copy_(stored)


class Weights:
    """The weights of a model, in a fixed order, as :func:`model_weights` finds them.

    Attributes
    ----------
    family: such as ``PET``, ``s-NNP``, ``MACE``; the class of a network of no known family
    filters: in order; together they cover the vector
    tensors: the stored tensors they lie in
    start: θ*, float64 [size], on the CPU; of what was stored when this was made
    """

    def __init__(self, family: str, tables: list[Table]):
        self.family = family
        self.tensors: list[StoredTensor] = []
        self.filters: list[Filter] = []
        for table in tables:
            stored = StoredTensor(table, self.tensors[-1].stop if self.tensors else 0)
            self.tensors.append(stored)
            self.filters += _filters(stored)
        self.start = torch.cat([tensor.values() for tensor in self.tensors])

    @property
    def size(self) -> int:
        """Number of weights."""
        return len(self.start)

    def values(self) -> Tensor:
        """The weights as they are now, float64 [size] on the CPU."""
        return torch.cat([tensor.values() for tensor in self.tensors])

    def move(self, values: Tensor) -> None:
        """Write the weights ``values`` float64 [size] into the model, rounded to its dtype.

        Raises
        ------
        MLIPError
            another shape
        """
        if values.shape != self.start.shape:
            raise MLIPError(f"`values`: expected {self.size} weights, got the shape {list(values.shape)}")
        with torch.no_grad():
            for tensor in self.tensors:
                tensor.move(values[tensor.start : tensor.stop])

    def restore(self) -> None:
        """Put the stored numbers back, bit by bit."""
        with torch.no_grad():
            for tensor in self.tensors:
                tensor.restore()

    @contextlib.contextmanager
    def kept(self) -> Iterator[Weights]:
        """Whatever happens inside, the stored weights are back at the end."""
        try:
            yield self
        finally:
            self.restore()

    def without_effect(self, evaluate: Callable[[], Tensor], seed: int = 0) -> list[str]:
        """Names of the stored tensors on which what ``evaluate`` gives does not depend.

        Each tensor is moved alone, by a random vector of half its norm: a gradient of zero in one point may
        be chance, an unchanged result is not. These are heads that are not asked for, rows of elements that
        the structures do not have, or what another part undoes.

        Parameters
        ----------
        evaluate: results of the model, such as energies and forces of some structures, in one tensor
        """
        generator = torch.Generator().manual_seed(seed)
        found = []
        with self.kept():
            before = evaluate()
            for tensor in self.tensors:
                values = self.start[tensor.start : tensor.stop]
                step = torch.randn(len(values), generator=generator, dtype=torch.float64)
                step *= 0.5 * max(float(values.norm()), 1e-3) / float(step.norm())
                with torch.no_grad():
                    tensor.move(values + step)
                if torch.equal(evaluate(), before):
                    found.append(tensor.name)
                with torch.no_grad():
                    tensor.restore()
        return found


def model_weights(model: Model) -> Weights:
    """The weights of a loaded model, whichever family it is of: what training has set, and nothing else.

    :mod:`.families` says what that is. Rounding to the model's dtype is that of every model: load it with
    ``dtype="float64"`` where differences between near points matter.

    Raises
    ------
    MLIPError
        the model has no weights that could be moved: it computes a formula, or its network was frozen
    """
    family, tables = tables_of(model.module.network.network)
    if not tables:
        raise MLIPError(
            f"`{model.path}` has no weights that can be moved: its network `{family}` keeps none as tensors "
            "(a formula, or a module that TorchScript froze); expected a trained network that was exported "
            "as it is, without freezing"
        )
    return Weights(family, tables)


def _filters(stored: StoredTensor) -> list[Filter]:
    found, start = [], stored.start
    for number, size in enumerate(stored.sizes):
        name = stored.name if len(stored.sizes) == 1 else f"{stored.name}[{number}]"
        found.append(Filter(name, stored.kind, stored.name, start, start + size))
        start += size
    return found
