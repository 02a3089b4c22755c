"""Thermodynamics of harmonic oscillators from phonon frequencies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units

from .bands import ACOUSTIC


@dataclass
class ThermalProperties:
    """Harmonic thermodynamics per primitive cell: temperatures in K, [n]; the rest phonopy's units.

    ``free_energy`` in kJ/mol, ``entropy`` and ``heat_capacity`` (constant volume) in J/K/mol, [n].
    """

    temperatures: np.ndarray
    free_energy: np.ndarray
    entropy: np.ndarray
    heat_capacity: np.ndarray


def thermal_properties(
    frequencies: np.ndarray, weights: np.ndarray, temperatures: np.ndarray
) -> ThermalProperties:
    """Harmonic oscillators' thermodynamics from frequencies (THz, [n, bands]) with weights [n].

    Modes below 0.01 THz are left out: acoustic modes at Γ, which carry no weight on a dense mesh.
    """
    counted = frequencies > ACOUSTIC
    weight = np.broadcast_to(weights[:, None] / weights.sum(), frequencies.shape)[counted]
    quantum = 1e12 * units._hplanck * frequencies[counted]  # J
    columns = []
    for temperature in temperatures:
        thermal = units._k * temperature
        x = np.minimum(quantum / thermal, 500.0) if temperature > 0.0 else np.full_like(quantum, 500.0)
        occupation = 1.0 / np.expm1(x)
        free = weight @ (0.5 * quantum + thermal * np.log1p(-np.exp(-x)))
        inner = weight @ (quantum * (0.5 + occupation))
        entropy = (inner - free) / temperature if temperature > 0.0 else 0.0
        columns.append((free, entropy, units._k * weight @ (x**2 * occupation * (1.0 + occupation))))
    free, entropy, capacity = units._Nav * np.array(columns).T
    return ThermalProperties(np.asarray(temperatures), free / 1000.0, entropy, capacity)
