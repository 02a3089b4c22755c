"""Whether a model's energies are linear in its features, as error bars from them assume. Only reported."""

from __future__ import annotations

import numpy as np

from .probe import CheckResult, Probe, report
from .structures import disordered_structure

LINEAR = 1e-8  # of the scatter of an element's energies: what rounding leaves of a linear map is below
SIZE = 40  # atoms of each structure
MOST = 100  # structures
ELEMENTS = 2  # at most, whose maps are fitted


def linear_features(probe: Probe) -> list[CheckResult]:
    """The largest residual of E_i = w·f_i + b with w and b for each element, over the scatter of E_i."""
    if "features" not in probe.info.outputs:
        return []
    name = "energies are linear in the features"
    residual, atoms, features = features_residual(probe)
    if not np.isfinite(residual):
        return [report(name, residual, "", f"not known: {atoms} atoms are too few for {features} features")]
    verdict = "yes" if residual <= LINEAR else "no"
    detail = f"{verdict}, {residual:.0e}; {atoms} atoms, {features} features"
    return [report(name, residual, "", detail)]


def features_residual(probe: Probe) -> tuple[float, int, int]:
    """The residual, the number of atoms it was found with, and the number of features.

    For each of up to two elements a fit to twice as many atoms as it has unknowns, in disordered structures;
    NaN where they would be too many to make.
    """
    rng = probe.rng()
    species = rng.permutation(probe.info.species)[:ELEMENTS]
    numbers = np.resize(species, SIZE)
    energies, features, found = [], [], []
    wanted = np.inf
    for _ in range(MOST):
        atoms = disordered_structure(numbers, True, rng)
        outputs = probe.evaluate(atoms, ["features"])
        energies.append(outputs["energies"])
        features.append(outputs["features"])
        found.append(atoms.numbers)
        wanted = 2 * (features[0].shape[1] + 2)
        least = min(np.sum(np.concatenate(found) == z) for z in species)
        if least >= wanted:
            break
    energy, values, found = (np.concatenate(parts) for parts in (energies, features, found))
    if least < wanted:
        return float("nan"), len(energy), values.shape[1]
    residual = max(_residual(values[found == z], energy[found == z]) for z in species)
    return residual, len(energy), values.shape[1]


def _residual(features: np.ndarray, energies: np.ndarray) -> float:
    scatter = float(energies.std())
    if scatter == 0.0:
        return 0.0
    scale = np.abs(features).max(axis=0)
    matrix = np.column_stack([features / np.where(scale > 0, scale, 1.0), np.ones(len(features))])
    solution, *_ = np.linalg.lstsq(matrix, energies - energies.mean(), rcond=1e-13)
    return float(np.abs(matrix @ solution - (energies - energies.mean())).max()) / scatter
