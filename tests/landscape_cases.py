"""Small models and frames for landscapes: a linear s-NNP, a random PET, silicon with references.

:func:`assert_landscape` proves losses along lines and their gradient for a model of any family.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from random_pet import random_network

from ase_mlip import export_model, landscape, load_model
from ase_mlip.checks.evaluate import evaluate
from ase_mlip.data.references import ReferenceKeys, sample_from_atoms
from ase_mlip.landscapes.losses import FrameLosses
from ase_mlip.landscapes.predictors.sharpness import LossGradient, sharpness
from ase_mlip.landscapes.weights import model_weights
from ase_mlip.model_file.model import Model
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP

CUTOFF = 4.0


def linear_snnp() -> SNNP:
    """Without hidden layer, float64: linear in the coefficients of φ and g, whose features count once."""
    torch.manual_seed(1)
    network = SNNP(
        SNNPHypers(
            species=[14],
            cutoff=CUTOFF,
            radial_filters=0,
            angular_filters=2,
            radial_intervals=6,
            angular_intervals=5,
            angle_intervals=4,
            hidden=[],
            core=False,
        )
    ).double()
    torch.nn.init.normal_(network.phi.coefficients, std=0.3)
    return network


def export(network: torch.nn.Module, path: Path, layers: int = 1) -> Model:
    """The model file of a network of silicon, loaded in float64."""
    claims = {"name": "toy", "species": [14], "cutoff": CUTOFF, "message_passing_layers": layers}
    export_model(network, path, {**claims, "interaction_range": CUTOFF * layers})
    return load_model(path, device="cpu", dtype="float64")


def pet(path: Path) -> Model:
    return export(random_network(), path, 2)


def silicon(n: int, seed: int = 0, repeat: int = 1) -> list[Atoms]:
    """Crystals whose references are random numbers of the size of a model's errors."""
    generator = np.random.default_rng(seed)
    frames = []
    for k in range(n):
        atoms = bulk("Si", cubic=k % 2 == 1) * (1, 1, repeat)
        atoms.rattle(0.15, rng=generator)
        results = {
            "energy": generator.normal(0.0, 0.1 * len(atoms)),
            "forces": generator.normal(0.0, 0.2, (len(atoms), 3)),
        }
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["group"] = "large" if k % 2 else "small"
        frames.append(atoms)
    return frames


def labelled(model: Model, frames: list[Atoms], seed: int = 0, of_forces: float | None = None) -> list[Atoms]:
    """The same with references that the model misses by 0.01 eV/atom, and by 0.01 eV/Å.

    ``of_forces``: by this share of the forces' spread instead, for a network whose forces are small.
    """
    from ase_mlip import MLIPCalculator

    generator = np.random.default_rng(seed)
    calculator = MLIPCalculator(model)
    found = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = calculator
        energy, forces = copy.get_potential_energy(), copy.get_forces()
        energy += generator.normal(0.0, 0.01 * len(atoms))
        error = 0.01 if of_forces is None else of_forces * forces.std()
        copy.calc = SinglePointCalculator(
            copy, energy=energy, forces=forces + generator.normal(0.0, error, forces.shape)
        )
        found.append(copy)
    return found


def assert_landscape(model: Model, atoms: Atoms) -> None:
    """Losses rise from those of ``evaluate``; gradients are those of differences; the weights are back.

    ``model`` is in float64 and of any family; ``atoms`` have elements that it knows.
    """
    other = atoms.copy()
    other.rattle(0.05, seed=3)
    frames = labelled(model, [atoms, other], of_forces=0.002)
    stored = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    found = landscape(model, frames, lines=2, points=5, span=0.04)
    errors = evaluate(model, frames)
    assert found.energy_losses[:, 2] == pytest.approx([errors.energy_rmse] * 2, rel=1e-9)
    assert found.force_losses[:, 2] == pytest.approx([errors.forces_rmse] * 2, rel=1e-9)
    assert (found.force_losses[:, [0, -1]] > found.force_losses[:, 2:3]).all()

    samples = [sample_from_atoms(frame, ReferenceKeys()) for frame in frames]
    losses, weights = FrameLosses(model, samples), model_weights(model)
    for quantity in ("forces", "energy"):
        gradient = LossGradient(losses, weights, quantity)
        generator = torch.Generator().manual_seed(0)
        step = 1e-6 * weights.start.abs() * torch.randn(weights.size, generator=generator).double()
        with gradient.ready():
            slopes = gradient.at(weights.start)
            difference = gradient.value(weights.start + step) - gradient.value(weights.start - step)
        assert float(slopes @ step) == pytest.approx(0.5 * difference, rel=1e-4)
    hessian = sharpness(losses, weights, probes=2)
    assert hessian.largest > 0.0 and hessian.converged
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.module.state_dict().items())
