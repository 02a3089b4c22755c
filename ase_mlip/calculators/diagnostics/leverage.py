"""The leverage of the atoms of a graph, for a calculator that is asked for it (leverage_file.py)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...errors import MLIPError
from ...graph.neighbors import Graph
from ...model_file.earlier.first_contract import unwrapped
from ...model_file.leverage_file import ATTACH
from ...model_file.model import Model

OUTPUTS = ("leverage", "structure_leverage", "energy_uncertainty")


class GraphLeverage:
    """What a model file knows of the distance from its training data.

    Attributes
    ----------
    wanted : list of str
        outputs of the model that are needed for it

    Parameters
    ----------
    model : Model
        a loaded model file with a leverage

    Raises
    ------
    MLIPError
        the file has no leverage
    """

    def __init__(self, model: Model):
        if model.leverage is None:
            raise MLIPError(
                f"`leverage=True` needs a model file with a leverage, and `{model.path}` has none; {ATTACH}"
            )
        self._leverage = model.leverage
        is_snnp = model.leverage.basis == "snnp"
        self._basis = SNNPBasis(model) if is_snnp else None
        self.wanted = [] if is_snnp else ["features"]

    def __call__(self, graph: Graph, features: Tensor | None) -> dict[str, Tensor]:
        """Leverages of the atoms and of the structures of a graph.

        Parameters
        ----------
        graph : Graph
            of one or more structures
        features : Tensor, optional
            [N, F], the model's output, where :attr:`wanted` names it

        Returns
        -------
        dict of Tensor
            ``leverage`` float64 [N]; ``structure_leverage`` float64 [B]; where the file is calibrated
            ``energy_uncertainty`` float64 [B], eV
        """
        if self._basis is not None:
            features = self._basis(graph)
        device, leverage = features.device, self._leverage
        species, structure = graph.species.to(device), graph.structure.to(device)
        of_structures, deviations = leverage.of_structures(features, species, structure, graph.n_structures)
        found = {"leverage": leverage.of_atoms(features, species), "structure_leverage": of_structures}
        calibration = leverage.record.get("calibration")
        if calibration is not None:
            found["energy_uncertainty"] = calibration["factor"] * deviations
        return found


def leverage_diagnostics(outputs: dict[str, np.ndarray], nodes: slice, index: int) -> dict:
    """Of one structure, whose atoms are ``nodes`` and whose place is ``index``; empty without a leverage."""
    if "leverage" not in outputs:
        return {}
    found = {name: float(outputs[name][index]) for name in OUTPUTS[1:] if name in outputs}
    return {"leverage": outputs["leverage"][nodes], **found}


class SNNPBasis:
    """The least-squares basis of the atoms of an s-NNP, with the f of the file (csrc/snnp/basis.h)."""

    def __init__(self, model: Model):
        averaged = getattr(model.module.network, "network", None)
        network = None if averaged is None else unwrapped(averaged)
        if network is None or network.original_name != "SNNP":
            raise MLIPError(f"`{model.path}` has the leverage of an s-NNP, and is none; {ATTACH}")
        self._types = network.types.cpu()
        banks = (network.phi, network.rho, network.f, network.g)
        coefficients = [bank.all_coefficients().detach().to("cpu", torch.float64) for bank in banks]
        has_pair = coefficients[0].shape[1] > 0
        coefficients[1] = coefficients[1][:, : int(not has_pair)]  # what the fit is free to choose
        grids = [bank.grid.detach().to("cpu", torch.float64) for bank in banks]
        tables = (network.pair_cases, network.radial_cases, network.angle_cases)
        cases = [table.cpu() for table in tables]
        self._before = int(getattr(network.phi, "before", 0))
        self._network = (coefficients, grids, cases, network.cutoff, network.angular_cutoff)

    def __call__(self, graph: Graph) -> Tensor:
        """float64 [N, P] on the CPU, eV per unit of each coefficient."""
        graph = graph.to("cpu")
        types = self._types[graph.species]
        starts = torch.searchsorted(graph.edge_index[0].contiguous(), torch.arange(len(types) + 1))
        edges = (graph.edge_vectors, starts, types, types[graph.edge_index[1]])
        return torch.ops.ase_mlip.snnp_basis(self._before, *edges, *self._network)
