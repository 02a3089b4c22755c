"""What a test of stability returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..dynamics.criteria import Criteria
from ..dynamics.rdf import RDF
from ..dynamics.thermostats import Thermostat
from ..provenance import plain
from .replica import Replica
from .survival import Survival

SHORTEST_DRIFT = 1.0  # ps; in shorter runs the slope is that of slow oscillations (docs/md_stability.md)


@dataclass
class StabilityResult:
    """What :func:`ase_mlip.md_stability` found.

    Attributes
    ----------
    engine : str
        "ase" or "lammps"
    n_atoms, temperature_K, timestep, time, record_interval, equilibration : int or float
        of the runs: K, fs, ps, steps, ps
    thermostat : Thermostat or None
        of the runs, None at constant energy
    criteria : Criteria
        what was called unstable
    replicas : list of Replica
        one by one
    survival : Survival
        estimated lifetimes with their intervals
    drift, drift_error : float
        mean over replicas and its standard error, meV/atom/ps; NaN where not defined; in runs too short for
        ``shows_drift`` a slope only
    mean_temperature : float
        K, over replicas
    rdf : RDF or None
        of all sound records after the equilibration; None if there are none
    reference : RDF or None
        of the reference; None without one
    rdf_error : dict of float or None
        ∫|g - g_ref| dr by pair of species, Å; None without reference
    rdf_noise : dict of float or None
        half of the same between two halves of the replicas (of the records, if there is one replica): about
        what chance alone contributes to ``rdf_error``; None if a half is empty
    """

    engine: str
    n_atoms: int
    temperature_K: float
    timestep: float
    time: float
    record_interval: int
    equilibration: float
    thermostat: Thermostat | None
    criteria: Criteria
    replicas: list[Replica]
    survival: Survival
    drift: float
    drift_error: float
    mean_temperature: float
    rdf: RDF | None = field(repr=False)
    reference: RDF | None = field(repr=False)
    rdf_error: dict[str, float] | None
    rdf_noise: dict[str, float] | None

    @property
    def stable(self) -> bool:
        """Whether no replica failed."""
        return not any(replica.failure for replica in self.replicas)

    @property
    def shows_drift(self) -> bool:
        """Whether the runs are long enough for the slope of their energy to be a drift."""
        return self.time > SHORTEST_DRIFT - 1e-6

    @property
    def knows_conserved(self) -> bool:
        """Whether there is a record whose conserved energy the engine says."""
        return any(np.isfinite(replica.conserved_energies).any() for replica in self.replicas)

    @property
    def min_distance(self) -> float:
        """The shortest distance in any replica, Å."""
        return min(replica.min_distance for replica in self.replicas)

    def to_dict(self) -> dict:
        """Everything as JSON values: lists for arrays, null for what is not finite."""
        more = {name: getattr(self, name) for name in ("stable", "shows_drift", "min_distance")}
        return plain(asdict(self) | more)

    def plot(self, path: str | Path) -> None:
        """Draw energies, distances and survival of the replicas into a PNG, PDF or SVG."""
        from ..pictures.md import plot_stability
        from ..pictures.plots import save_figure

        save_figure(plot_stability(self), path)
