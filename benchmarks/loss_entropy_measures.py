"""What the study of loss entropy measures of a model, once; docs/loss_entropy_study.md fixes the settings.

Every measurement has its CPU seconds. The order is that of ``MEASURES``: the errors of test frames come last.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import loss_entropy_models as models
import numpy as np
from ase import Atoms, units
from ase.io import read
from loss_entropy_models import RUNS, Recipe

from ase_mlip.calculators.batches.batch_evaluator import BatchEvaluator
from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.checks.evaluate import evaluate
from ase_mlip.data.references import ReferenceKeys, sample_from_atoms
from ase_mlip.dynamics.criteria import Criteria
from ase_mlip.dynamics.thermostats import Thermostat
from ase_mlip.landscapes.landscape import landscape
from ase_mlip.landscapes.losses import FrameLosses
from ase_mlip.landscapes.predictors import entries
from ase_mlip.landscapes.predictors.bond_scan import scan_bonds
from ase_mlip.landscapes.predictors.sharpness import sharpness
from ase_mlip.landscapes.weights import model_weights
from ase_mlip.model_file.model import Model, load_model
from ase_mlip.stability.runs import md_stability

LINES, POINTS, SPAN, SEED = 20, 81, 0.5, 0
DIGITS = 7  # of stored losses
REPLICAS, LENGTH, RISE = 12, 6.0, 1.5  # ps
COLD, HOT, LONGEST_BOND = 300.0, 1600.0, 2.0  # K, K, Å
TIMESTEP, FRICTION = 1.0, 10.0  # fs, 1/ps
SHARPNESS_FRAMES, PROBES = 20, 32


def measured(recipe: Recipe, stored: dict, store: Callable[[dict], None], late: bool = False) -> dict:
    """What is not stored yet of a model, which is trained for it; ``store`` is called after each measurement.

    ``LATE`` measurements wait until all models have the others. A model that has all is not trained.
    """
    for name, measure in MEASURES.items():
        if name in stored or (name in LATE) != late or recipe.family not in OF_FAMILY.get(name, FAMILIES):
            continue
        training = models.trained(recipe)
        stored.setdefault("training", training)
        before = time.process_time()
        found = measure(recipe)
        if found is not None:
            stored[name] = {**found, "cpu_seconds": round(time.process_time() - before, 1)}
            store(stored)
    return stored


def _landscape(directions: str) -> Callable[[Recipe], dict]:
    def measure(recipe: Recipe) -> dict:
        found = landscape(
            recipe.file,
            models.training_files()["landscape"],
            lines=LINES,
            points=POINTS,
            span=SPAN,
            directions=directions,
            seed=SEED,
            output=RUNS / "landscapes" / f"{recipe.name}-{directions}",
            device="cpu",
        )
        return {
            "x": np.round(found.x, 6).tolist(),
            "energy": np.round(found.energy_losses.mean(axis=0), DIGITS).tolist(),
            "forces": np.round(found.force_losses.mean(axis=0), DIGITS).tolist(),
            "numbers": {name: float(value) for name, value in found.numbers.items()},
            "intervals": {name: [float(v) for v in pair] for name, pair in found.intervals.items()},
        }

    return measure


def _sharpness(recipe: Recipe) -> dict:
    model = load_model(recipe.file, "cpu", "float64")
    frames = read(models.training_files()["landscape"], ":")
    samples = [sample_from_atoms(atoms, ReferenceKeys(), "frame") for atoms in frames]
    losses = FrameLosses(model, entries.spread_by_energy(samples, SHARPNESS_FRAMES))
    return sharpness(losses, model_weights(model), "forces", PROBES, SEED).to_dict()


@cache
def start() -> Atoms:
    """The validation frame of the lowest energy, from which dynamics and bond scans start."""
    frames = read(models.training_files()["validation"], ":")
    best = min(frames, key=lambda atoms: atoms.get_potential_energy())
    return Atoms(best.numbers, best.positions)


def _bonds(recipe: Recipe) -> dict:
    found = scan_bonds(start(), MLIPCalculator(recipe.file, device="cpu", dtype="float64"))
    return {"roughness": found.roughness, "n_bonds": found.n_bonds}


def _leverage(recipe: Recipe) -> dict | None:
    model = _with_leverage(recipe)
    if model is None:
        return None
    return {"mean": entries.mean_leverage(model, entries.bond_ends(start()))}


def _with_leverage(recipe: Recipe) -> Model | None:
    """The model with a leverage of its own training frames, attached once."""
    from ase_mlip.errors import MLIPError
    from ase_mlip.optimal_design.leverage.attach import attach_leverage

    path = recipe.folder / f"{recipe.name}-leverage.pt"
    try:
        if not path.exists():
            attach_leverage(recipe.file, read(models.training_files()[recipe.frames], ":"), path)
        return load_model(path, "cpu")
    except MLIPError as error:
        print(f"{recipe.name}: {error}")
        return None


def _committee(recipe: Recipe) -> dict:
    """Of three seeds; the two others are trained now."""
    members = models.committee(recipe)
    for member in members:
        models.trained(member)
    loaded = [load_model(member.file, "cpu") for member in members]
    return {"deviation": entries.committee_deviation(loaded, entries.bond_ends(start()))}


def _rotation(recipe: Recipe) -> dict:
    model = load_model(recipe.file, "cpu")
    return {"spread": entries.rotational_spread(model, entries.bond_ends(start()))}


def _survival(recipe: Recipe) -> dict:
    atoms = start()
    found = md_stability(
        atoms,
        temperature_K=COLD,
        timestep=TIMESTEP * units.fs,
        time=1000.0 * LENGTH * units.fs,
        replicas=REPLICAS,
        evaluate=BatchEvaluator(load_model(recipe.file, "cpu"), atoms),
        thermostat=Thermostat("langevin", COLD, friction=FRICTION, ramp_K=HOT, ramp_time=RISE),
        criteria=Criteria(bond_length=LONGEST_BOND, temperature_factor=None, energy_jump=None),
    )
    return {
        "restricted_mean": found.survival.restricted_mean,
        "interval": [float(end) for end in found.survival.restricted_mean_interval],
        "times": [replica.survived for replica in found.replicas],
        "failures": [replica.failure.kind if replica.failure else "" for replica in found.replicas],
    }


def _errors(recipe: Recipe) -> dict:
    """Of the test frames; the last of all measurements."""
    found = evaluate(load_model(recipe.file, "cpu"), models.test_frames())
    return {
        name: {"energy_rmse": errors.energy_rmse, "forces_rmse": errors.forces_rmse}
        for name, errors in found.groups.items()
    }


MEASURES: dict[str, Callable[[Recipe], dict | None]] = {
    "landscape": _landscape("gaussian"),
    "legacy": _landscape("legacy"),
    "sharpness": _sharpness,
    "bonds": _bonds,
    "leverage": _leverage,
    "rotation": _rotation,
    "survival": _survival,
    "errors": _errors,
    "committee": _committee,
}
LATE = ("committee",)
FAMILIES = ("snnp", "pet")
OF_FAMILY = {"committee": ("snnp",), "rotation": ("pet",)}  # PETs are too dear; an s-NNP is invariant
