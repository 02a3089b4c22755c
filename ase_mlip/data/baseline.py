"""Energies per atom that a training takes off before it starts and that the model file adds again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from ..errors import DataError
from .references import Sample, species_of

__all__ = ["atomic_baseline", "composition_baseline"]


def composition_baseline(samples: Sequence[Sample]) -> dict[int, float]:
    """Energies per atomic number (eV) that fit the samples' energies per atom best: float64 least squares.

    Where the compositions do not determine them (water: H and O always 2:1), those of least norm are taken;
    their sums are the same.

    Raises
    ------
    DataError
        no sample has an energy
    """
    samples = [sample for sample in samples if sample.energy is not None]
    if not samples:
        raise DataError(
            "`samples`: expected at least one with an energy, got none; name the key in `data.energy_key`"
        )
    species = species_of(samples)
    counts = np.array(
        [[np.sum(sample.atoms.numbers == number) for number in species] for sample in samples], float
    )
    energies = np.array([sample.energy for sample in samples], dtype=np.float64)
    # Per atom, so that a large structure does not outweigh a small one.
    atoms = counts.sum(axis=1)
    solution, *_ = np.linalg.lstsq(counts / atoms[:, None], energies / atoms, rcond=None)
    return {int(number): float(energy) for number, energy in zip(species, solution, strict=True)}


def atomic_baseline(samples: Sequence[Sample], given: Mapping[str, float]) -> dict[int, float]:
    """The energies per atomic number (eV) that a training takes off: given ones, else fitted ones.

    Without any energy to fit them to, they are zero: the constant of a training on forces is arbitrary.

    Parameters
    ----------
    samples : sequence of Sample
        of the training set
    given : mapping of float
        ``data.reference_energies``, of isolated atoms, eV by symbol; may be empty

    Raises
    ------
    DataError
        energies are given, but not for an element of the samples
    """
    if not given and all(sample.energy is None for sample in samples):
        return {int(number): 0.0 for number in species_of(samples)}
    if not given:
        return composition_baseline(samples)
    energies = {atomic_numbers[symbol]: float(energy) for symbol, energy in given.items()}
    missing = [chemical_symbols[number] for number in species_of(samples) if number not in energies]
    if missing:
        raise DataError(
            f"`data.reference_energies`: expected an energy for every element of the training set, got none "
            f"for {', '.join(missing)}; add it, or give none at all to have them fitted"
        )
    return {int(number): energies[int(number)] for number in species_of(samples)}
