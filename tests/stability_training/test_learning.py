"""The gradient of a whole loss: of observables that depend on the weights themselves, too."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk

from ase_mlip.configuration.run import LossConfig
from ase_mlip.stability_training import gradients
from ase_mlip.stability_training.learning import Learner, Samples
from ase_mlip.stability_training.observables import Pressure
from ase_mlip.stability_training.reference import Reference, Target
from ase_mlip.stability_training.settings import LearningConfig
from ase_mlip.stability_training.trainable import open_trainable
from ase_mlip.training.loss import Scales

TEMPERATURE = 600.0  # K


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
        TEMPERATURE, 0,
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
