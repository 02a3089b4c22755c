"""How long a step is, measured by what it changes of energies and forces; and the steepest one of a length.

With J the derivatives of energies and forces on training frames by the weights, each in units of its mean
absolute error at the start, the length of a step Δ is

    |Δ|² = ½ ⟨(J_E Δ)²⟩ + ½ ⟨(J_F Δ)²⟩ + Σ Δ²,

so that a step of length 0.1 changes energies and forces by about a tenth of their errors. The last term
bounds what no frame determines. For a loss with the gradient g the steepest step is along -(JᵀJ + 1)⁻¹ g,
the direction of J. Schulman et al., Trust Region Policy Optimization (ICML 2015), section 6 and appendix C,
with errors in the place of their divergence. Weights that frames determine move little, and those that they
leave open move freely.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ... import _torchscript
from ...data.batches import GraphDataset
from ...errors import DataError
from ...training.loss import predict
from ..trainable import Trainable

MOST_ROWS = 3000  # of J: factorizing J Jᵀ takes some seconds
MOST_NUMBERS = 100_000_000  # in J, 800 MB
DAMPING = 1.0  # of the weights themselves


class ErrorMetric:
    """The length of steps and the steepest of them, for weights as they are when it is made.

    Parameters
    ----------
    trainable : Trainable
        whose weights move
    data : GraphDataset
        frames with references
    errors : mapping of float
        ``energy`` eV/atom and ``forces`` eV/Å, which count as 1
    seed : int
        of the combinations of forces that stand for all of them where there are too many

    Raises
    ------
    DataError
        a force error of zero, in whose units no step has a length
    """

    def __init__(self, trainable: Trainable, data: GraphDataset, errors: Mapping[str, float], seed: int = 0):
        if not errors["forces"] > 0.0:
            raise DataError(
                "`data.validation`: expected forces with an error, by which a step is measured, got "
                "an error of zero; give frames that the model was not labelled by, or set "
                '`learning.optimizer = "adamw"`'
            )
        self._rows = _rows(trainable, data, errors, seed)
        gram = self._rows @ self._rows.T
        gram.diagonal().add_(DAMPING)
        self._factor = torch.linalg.cholesky(gram)

    def steepest(self, gradient: Tensor) -> Tensor:
        """-(JᵀJ + 1)⁻¹ g of a gradient [p], by the identity of Woodbury; float64 [p]."""
        g = gradient.double()
        inner = torch.cholesky_solve((self._rows @ g)[:, None], self._factor)[:, 0]
        return -(g - self._rows.T @ inner) / DAMPING

    def length(self, step: Tensor) -> float:
        """Of a step [p]; no unit."""
        return float(((self._rows @ step).square().sum() + DAMPING * step.square().sum()).sqrt())


@_torchscript.calling()
def _rows(trainable: Trainable, data: GraphDataset, errors: Mapping[str, float], seed: int) -> Tensor:
    """J with the roots of the factors ½/n in it, float64 [rows, p], on the CPU.

    A frame has a row for its energy and one for each force, or, if those are too many, sums of all its forces
    with random signs: their squares have the sum over forces as mean (M. F. Hutchinson, Commun. Stat. Simul.
    Comput. 18, 1059 (1989)). Of too many frames some at equal distances stand for all.
    """
    parameters = [p for _, p in trainable.parameters()]
    size = sum(p.numel() for p in parameters)
    most = max(min(MOST_ROWS, MOST_NUMBERS // size), 2)
    n = min(len(data), most // 2)
    random = np.random.default_rng([seed, n])
    of_energies, of_forces, components = [], [], 0
    for k in range(n):
        batch = data.collate([k * len(data) // n], None, trainable.dtype, trainable.device)
        found = predict(trainable.network, batch, trainable.table, True)
        forces = found["forces"].flatten()
        components += len(forces)
        if errors.get("energy"):
            energy = found["energies"][0] / batch.n_atoms[0]
            of_energies.append(_gradient(energy / errors["energy"], parameters))
        for sign in _signs(len(forces), most // n - 1, random):
            of_forces.append(
                _gradient(torch.from_numpy(sign).to(forces) @ forces / errors["forces"], parameters)
            )
    parts = [(of_energies, len(of_energies)), (of_forces, components)]
    rows = [np.sqrt(0.5 / count) * torch.stack(gradients) for gradients, count in parts if gradients]
    return torch.cat(rows) if rows else torch.zeros(0, size, dtype=torch.float64)


def _signs(n: int, most: int, random: np.random.Generator) -> np.ndarray:
    """Combinations of n numbers, [m, n], whose squares have the sum of the numbers' squares as mean."""
    if n <= most:
        return np.eye(n)
    return random.choice([-1.0, 1.0], (most, n)) / np.sqrt(most)


def _gradient(value: Tensor, parameters: list[torch.nn.Parameter]) -> Tensor:
    found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    flat = [(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs]
    return torch.cat(flat).double().cpu()
