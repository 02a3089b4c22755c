"""The length of a step, and the steepest step of a length.

It also tests `learning.metric`.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stabilize_cases import frames

from ase_mlip.data.references import Sample
from ase_mlip.errors import DataError
from ase_mlip.stability_training.learning import metric
from ase_mlip.stability_training.learning.metric import ErrorMetric
from ase_mlip.stability_training.trainable import open_trainable
from ase_mlip.training.loss import predict

ERRORS = {"energy": 0.004, "forces": 0.06}


@pytest.fixture(scope="module")
def case():
    trainable = open_trainable("snnp-si")
    trainable.network.double()
    data = trainable.dataset([Sample(atoms) for atoms in frames(3, 0, references=False)])
    return trainable, data


def moved(trainable, step: torch.Tensor) -> None:
    parts = step.split([p.numel() for _, p in trainable.parameters()])
    with torch.no_grad():
        for (_, p), part in zip(trainable.parameters(), parts, strict=True):
            p.add_(part.view_as(p))


def predictions(trainable, data) -> list[np.ndarray]:
    """Energies in eV/atom [n] and forces [n N 3]."""
    found = [
        predict(trainable.network, data.collate([k], None, torch.float64, "cpu"), trainable.table, True)
        for k in range(len(data))
    ]
    energies = np.array([float(one["energies"][0].detach()) / 8.0 for one in found])
    return [energies, np.concatenate([one["forces"].detach().numpy().ravel() for one in found])]


def random_step(trainable, size: float, seed: int = 0) -> torch.Tensor:
    n = sum(p.numel() for _, p in trainable.parameters())
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(n, generator=generator, dtype=torch.float64)


def by_differences(trainable, data, step: torch.Tensor) -> float:
    """The definition: changes of energies and forces in units of their errors, and of the weights."""
    ends = []
    for sign in (1.0, -1.0):
        moved(trainable, sign * step)
        ends.append(predictions(trainable, data))
        moved(trainable, -sign * step)
    energy, forces = (0.5 * (a - b) for a, b in zip(*ends, strict=True))
    squares = [np.mean((energy / ERRORS["energy"]) ** 2), np.mean((forces / ERRORS["forces"]) ** 2)]
    return float(np.sqrt(0.5 * sum(squares) + float(step.square().sum())))


def test_the_length_is_that_of_finite_differences(case):
    trainable, data = case
    found = ErrorMetric(trainable, data, ERRORS)
    step = random_step(trainable, 1e-5)
    assert found.length(step) == pytest.approx(by_differences(trainable, data, step), rel=1e-5)
    assert found.length(3.0 * step) == pytest.approx(3.0 * found.length(step))


def test_no_step_of_the_same_length_lowers_the_loss_more(case):
    """In a direction of another metric, and in those that random numbers add to the steepest."""
    trainable, data = case
    found = ErrorMetric(trainable, data, ERRORS)
    gradient = random_step(trainable, 1.0, seed=1)
    steepest = found.steepest(gradient)
    steepest = steepest / found.length(steepest)
    best = float(gradient @ steepest)
    plain = -gradient / found.length(gradient)
    assert best < 0.0 and float(gradient @ plain) > 0.1 * best  # the plain one is much shorter
    for seed in range(5):
        other = steepest + random_step(trainable, 0.1 * float(steepest.abs().mean()), seed=seed + 2)
        assert float(gradient @ other) / found.length(other) > best


def test_what_no_frame_determines_moves_freely(case):
    """A coefficient of a spline at distances that no frame has is only bounded by itself."""
    trainable, data = case
    found = ErrorMetric(trainable, data, ERRORS)
    n = sum(p.numel() for _, p in trainable.parameters())
    lengths = np.array([found.length(row) for row in torch.eye(n, dtype=torch.float64)])
    free, bound = int(lengths.argmin()), int(lengths.argmax())
    assert lengths[free] == pytest.approx(1.0, abs=1e-6) and lengths[bound] > 100.0
    gradient = torch.zeros(n, dtype=torch.float64)
    gradient[free] = 1.0
    assert torch.allclose(found.steepest(gradient), -gradient, atol=1e-6)


def test_few_random_sums_of_forces_measure_as_all_forces_do_on_average(case, monkeypatch):
    trainable, data = case
    step = random_step(trainable, 1e-4)
    expected = ErrorMetric(trainable, data, ERRORS).length(step) ** 2
    monkeypatch.setattr(metric, "MOST_ROWS", 9)  # three for each frame, of them two for 24 forces
    lengths = [ErrorMetric(trainable, data, ERRORS, seed).length(step) ** 2 for seed in range(60)]
    spread = np.std(lengths, ddof=1) / np.sqrt(len(lengths))
    assert spread > 0.0 and abs(np.mean(lengths) - expected) < 3.0 * spread
    monkeypatch.setattr(metric, "MOST_ROWS", 4)  # of more frames than rows some are left out
    assert ErrorMetric(trainable, data, ERRORS).length(step) > 0.0


def test_without_energies_forces_alone_are_measured(case):
    trainable, data = case
    step = random_step(trainable, 1e-4)
    both, forces = (ErrorMetric(trainable, data, e) for e in (ERRORS, ERRORS | {"energy": 0.0}))
    assert 0.0 < forces.length(step) < both.length(step)


def test_forces_without_an_error_have_no_unit(case):
    """Frames that the model itself has labelled: the division by zero became steps that are not numbers."""
    trainable, data = case
    with pytest.raises(DataError, match=r"`data.validation`.*an error of zero; give frames"):
        ErrorMetric(trainable, data, ERRORS | {"forces": 0.0})
