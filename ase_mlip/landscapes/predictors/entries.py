"""Other predictors of how far a potential extrapolates, as a landscape's document holds them.

    {"sharpness_trace": {"value": 12.3, "error": 0.8, "unit": "(eV/Å)²", "sense": -1}, ...}

``sense`` is +1 where a larger value is better and -1 where a smaller one is. ``sharpness`` needs training
frames, ``bonds`` a structure. What a file knows of its training data or of rotations is asked at the ends of
the bond scan, every bond at -20 % and at +20 %: structures outside the data that need no labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ...calculators.calculator import MLIPCalculator
from ...calculators.ensemble import Ensemble
from ...data.references import Sample
from ...errors import ArgumentError
from ...model_file.model import Model
from ...progress.form import Progress
from ..losses import FrameLosses
from ..weights import model_weights
from .bond_scan import STRETCH, bond_frames, bonds_of, scan_bonds
from .sharpness import PROBES, sharpness

NAMES = ("sharpness", "bonds", "leverage", "rotation")
SHARPNESS_FRAMES = 20
AVERAGING = "octahedral"
FORCES = "eV/Å"


def predictors_of(
    names: Sequence[str],
    model: Model,
    samples: Sequence[Sample],
    probes: int = PROBES,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[dict[str, dict], list[str]]:
    """The named predictors as the document has them, and sentences about those that a file does not have.

    Parameters
    ----------
    names : sequence of str
        of :data:`NAMES`
    model : Model
        evaluated as it is, but ``rotation``, which averages over the octahedral group
    samples : sequence of Sample
        training frames. The bonds are those of the one with the lowest energy per atom, and 20 frames, evenly
        spread over energies per atom, give the sharpness
    probes, seed : int
        of the trace of the Hessian
    progress : callable, optional
        of the probes, called as ``progress(done, total, stage)``

    Returns
    -------
    dict of dict
        by name of the number ``value``, ``unit``, ``sense`` and, where it is known, ``error``
    list of str
        a sentence about each predictor that the file does not have

    Raises
    ------
    MLIPError
        an unknown name, or as :func:`.sharpness.sharpness` and :func:`.bond_scan.scan_bonds`
    """
    checked_names(names)
    found: dict[str, dict] = {}
    notes: list[str] = []
    if "sharpness" in names:
        found |= _sharpness(model, spread_by_energy(samples, SHARPNESS_FRAMES), probes, seed, progress)
    calmest = min(samples, key=_energy_per_atom).atoms
    if "bonds" in names:
        scan = scan_bonds(calmest, MLIPCalculator(model))
        found["bond_roughness"] = entry(scan.roughness, "eV/Å³")
    if "leverage" in names and model.leverage is None:
        notes.append("the file has no leverage; `ase-mlip design --attach` gives it one")
    elif "leverage" in names:
        found["leverage"] = entry(mean_leverage(model, bond_ends(calmest)), "")
    if "rotation" in names:
        found["rotational_spread"] = entry(rotational_spread(model, bond_ends(calmest)), FORCES)
    return found, notes


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of predictors, each once, in the order in which they first stand.

    Parameters
    ----------
    names : sequence of str
        of :data:`NAMES`

    Returns
    -------
    tuple of str
        without repetitions

    Raises
    ------
    ArgumentError
        another name
    """
    for name in names:
        if name not in NAMES:
            raise ArgumentError(f"`predictors`: expected some of {', '.join(NAMES)}, got {name!r}")
    return tuple(dict.fromkeys(names))


def entry(value: float, unit: str, error: float | None = None, sense: int = -1) -> dict:
    """One predictor as the document has it."""
    known = {"value": value, "unit": unit, "sense": sense}
    return known if error is None else {**known, "error": error}


def spread_by_energy(samples: Sequence[Sample], count: int) -> list[Sample]:
    """The middle one, by energy per atom, of each of ``count`` equal shares, in their order; or all."""
    if count >= len(samples):
        return list(samples)
    order = sorted(range(len(samples)), key=lambda k: (_energy_per_atom(samples[k]), k))
    ranks = ((np.arange(count) + 0.5) * len(samples) / count).astype(int)
    return [samples[k] for k in sorted(order[rank] for rank in ranks)]


def bond_ends(atoms: Atoms, stretch: float = STRETCH) -> list[Atoms]:
    """The structure with each bond in turn at the shortest and at the longest length of its scan."""
    ways = [bond_frames(atoms, bond, stretch)[1] for bond in bonds_of(atoms)]
    return [frame for frames in ways for frame in (frames[0], frames[-1])]


def mean_leverage(model: Model, frames: Sequence[Atoms]) -> float:
    """The mean structure leverage, 1 where the training data end. Raises MLIPError for a file without one."""
    calculator = MLIPCalculator(model, leverage=True)
    found = calculator.evaluate(frames, ["energy", "diagnostics"])
    return float(np.mean([result["diagnostics"]["structure_leverage"] for result in found]))


def rotational_spread(model: Model, frames: Sequence[Atoms], scheme: str = AVERAGING) -> float:
    """Root mean square over atoms of the spread of forces over the rotations of a scheme, eV/Å."""
    calculator = MLIPCalculator(model, symmetrize=scheme)
    found = calculator.evaluate(frames, ["forces", "diagnostics"])
    return _rms([result["diagnostics"]["forces_spread"] for result in found])


def committee_deviation(models: Sequence[Model], frames: Sequence[Atoms]) -> float:
    """How far the members of a committee are apart in their forces.

    Parameters
    ----------
    models : sequence of Model
        the members
    frames : sequence of ase.Atoms
        structures, without labels

    Returns
    -------
    float
        root mean square over all atoms of the deviation, eV/Å

    Raises
    ------
    MLIPError
        models that are no committee, or structures that they cannot evaluate
    """
    committee = Ensemble.from_files(models)
    deviations = []
    for frame in frames:
        committee.get_property("forces", frame)
        deviations.append(committee.diagnostics["forces_deviation"])
    return _rms(deviations)


def _sharpness(
    model: Model, samples: list[Sample], probes: int, seed: int, progress: Progress | None
) -> dict[str, dict]:
    found = sharpness(FrameLosses(model, samples), model_weights(model), "forces", probes, seed, progress)
    return {
        "sharpness_trace": entry(found.trace, found.unit, found.trace_error),
        "sharpness_largest": entry(found.largest, found.unit),
    }


def _energy_per_atom(sample: Sample) -> float:
    return sample.energy / len(sample.atoms)


def _rms(parts: Sequence[np.ndarray]) -> float:
    return float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))
