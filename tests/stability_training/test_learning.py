"""The gradient of a whole loss: of observables that depend on the weights themselves, too.

It also tests `gradients`, `learning.learner`.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk

from ase_mlip.configuration.run import LossConfig
from ase_mlip.data.references import Sample
from ase_mlip.stability_training import gradients
from ase_mlip.stability_training.learning import learner as steps
from ase_mlip.stability_training.learning.learner import Learner, Samples
from ase_mlip.stability_training.observables.distances import Distances
from ase_mlip.stability_training.observables.kinds import Pressure
from ase_mlip.stability_training.observables.reference_values import Reference, Target
from ase_mlip.stability_training.settings import LearningConfig
from ase_mlip.stability_training.trainable import open_trainable
from ase_mlip.training.loss import Scales, predict

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stabilize_cases import frames

TEMPERATURE = 600.0  # K


def no_metric():
    raise AssertionError("only a trust region is measured")


def test_the_gradient_of_a_loss_of_the_pressure_has_both_its_terms_cross_fitted():
    """By finite differences: L'(mean of one half) times the derivative of the other half's average."""
    trainable = open_trainable("snnp-si")
    trainable.network.double()
    frames = []
    for seed in range(7):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.12, seed=seed)
        frames.append(atoms)
    second = np.arange(7) >= 3
    reference = Reference(np.array([1.5]), np.zeros(1), "numbers")
    target = Target(Pressure(TEMPERATURE), reference, scale=2.0, weight=0.3)
    learner = Learner(
        trainable, [target], trainable.dataset([]), LearningConfig(), LossConfig(), Scales(1.0, 1.0, 1.0),
        TEMPERATURE, 0, no_metric,
    )  # fmt: skip
    learner.add_observables(Samples(frames, second), np.full(7, 1.0 / 7.0))
    parameter = next(p for name, p in trainable.parameters() if name.startswith("phi"))
    place = int(parameter.grad.abs().argmax())
    flat, h = parameter.data.view(-1), 1e-4
    pressures, energies = [], []
    for sign in (1.0, -1.0):
        flat[place] += sign * h
        pressures.append(gradients.pressures(trainable, frames) / units.GPa)
        energies.append(trainable.potential_energies(frames))
        flat[place] -= sign * h
    by_weight = (pressures[0] - pressures[1]) / (2.0 * h)
    of_energy = (energies[0] - energies[1]) / (2.0 * h)
    values = target.observable.values(frames, trainable)[:, 0]
    expected = 0.0
    for half in (second, ~second):
        slope = 2.0 * 0.3 * (values[~half].mean() - 1.5) / 2.0**2
        covariance = np.cov(values[half], of_energy[half])[0, 1]
        expected += 0.5 * slope * (by_weight[half].mean() - covariance / (units.kB * TEMPERATURE))
    assert float(parameter.grad.view(-1)[place]) == pytest.approx(expected, rel=1e-6)


def test_graphs_that_are_kept_change_no_gradient(monkeypatch):
    trainable = open_trainable("snnp-si")
    frames = [bulk("Si", cubic=True) for _ in range(40)]  # two parts of a pass
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed)
    reference = Reference(np.array([0.1, 0.4, 0.1]), np.zeros(3), "numbers")
    target = Target(Distances("all", 4.5, 1.5), reference, scale=0.2)
    found = []
    for kept in (steps.KEPT_ATOMS, 0):
        monkeypatch.setattr(steps, "KEPT_ATOMS", kept)
        learner = Learner(
            trainable, [target], trainable.dataset([]), LearningConfig(), LossConfig(), Scales(1.0, 1.0, 1.0),
            TEMPERATURE, 0, no_metric,
        )  # fmt: skip
        samples = Samples(frames, np.arange(40) >= 20)
        learner.optimizer.zero_grad()
        for _ in range(2):  # the second time with what is kept
            learner.add_observables(samples, np.full(40, 1.0 / 40.0))
        assert (samples.graphs(trainable) is None) == (kept == 0)
        found.append([p.grad.clone() for _, p in trainable.parameters() if p.grad is not None])
        energies = trainable.potential_energies(frames, samples.graphs(trainable))
        np.testing.assert_array_equal(energies, trainable.potential_energies(frames))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert max(float(one.abs().max()) for one in found[0]) > 0.0


def test_the_error_loss_is_that_with_which_a_training_ends():
    """Energies have their final weight, not the small one that a training begins with."""
    trainable = open_trainable("snnp-si")
    trainable.network.double()
    samples = [Sample(a, a.get_potential_energy(), a.get_forces()) for a in frames(3, 0)]
    data = trainable.dataset(samples)
    scales = Scales(0.3, 2.0, 1.0)
    network, table = trainable.network, trainable.table
    residual = [[], []]
    for k in range(3):
        batch = data.collate([k], None, torch.float64, "cpu")
        found = predict(network, batch, table, True)
        residual[0].append(float((found["energies"] - batch.energies)[0].detach()) / 8.0 / scales.energy)
        residual[1].append((found["forces"] - batch.forces).detach().numpy().ravel() / scales.forces)
    expected = 1.7 * np.mean(np.square(residual[0])) + 0.4 * np.mean(np.square(residual[1]))
    config = LossConfig(kind="mse", energy_start=0.001, energy=1.7, forces=0.4)
    assert gradients.add_errors(trainable, data, [0, 1, 2], config, scales) == pytest.approx(expected)
