"""Model files of schema 1: a call writes on their module what it wants, so that calls wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from ... import _torchscript
from ...errors import ModelFileError
from ..derivatives import needs_gradients

# not to be had by evaluating without derivatives
NEVER_APART = ("energy", "energies", "spread", "forces", "virial", "virials", "gradients")


def in_present_schema(module: torch.nn.Module) -> Callable[..., dict[str, Tensor]]:
    """The potential of a model file, to be called as :meth:`.potential.Potential.forward`.

    Parameters
    ----------
    module : torch.nn.Module
        as it was loaded; of one that is not scripted nothing has to be changed

    Returns
    -------
    callable
        the module itself, or one that hands arguments over to a module of schema 1
    """
    if not _torchscript.is_scripted(module):
        return module
    names = [argument.name for argument in module.forward.schema.arguments]
    return FirstSchema(module) if "derivatives" in names else module


class FirstSchema:
    """A scripted potential of schema 1, to be called with the arguments of schema 2.

    Rotations and whether their single values are wanted are attributes of its module. A lock makes writing
    them and evaluating one step, so that threads may share it.
    """

    def __init__(self, module: torch.jit.ScriptModule):
        self._module = module
        self._lock = threading.Lock()

    def __call__(
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
        """As :meth:`.potential.Potential.forward`.

        Raises
        ------
        ModelFileError
            rotations for a file that was written before there was averaging
        """
        graph = species, edge_index, edge_vectors, reverse_edges, node_weights, structure, n_structures
        derivatives = needs_gradients(outputs)
        with self._lock:
            self._choose(rotations, weights, at_once, "spread" in outputs)
            found = self._module(*graph, derivatives, inputs)
            if derivatives and any(name not in found for name in outputs if name not in NEVER_APART):
                found = {**self._module(*graph, False, inputs), **found}
        if "virial" in outputs and "virials_by_rotation" in found:
            zeros = found["virial"].new_zeros(n_structures, *found["virials_by_rotation"].shape[1:])
            found["virial_by_rotation"] = zeros.index_add(0, structure, found["virials_by_rotation"])
        always = ("energies", "energy", "energies_by_rotation")
        return {
            name: value
            for name, value in found.items()
            if name in always or name.removesuffix("_by_rotation") in outputs
        }

    def _choose(self, rotations: Tensor, weights: Tensor, at_once: int, spread: bool) -> None:
        network = self._module.network
        if hasattr(network, "rotations"):
            network.rotations, network.weights = rotations, weights
            network.spread, network.batch = spread, at_once
        elif len(rotations) > 0:
            raise ModelFileError(
                "this file was written before models could be averaged over rotations; export it again for "
                "`symmetrize`"
            )
