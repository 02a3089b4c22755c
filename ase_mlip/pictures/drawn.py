"""What the pictures read of the results they draw, in the names and units that the results have.

Results are of packages above this one, which is why they are known by these names only. `make lint` checks
that they have what is read (tests/public_signatures.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from ase import Atoms

# ---- one structure -------------------------------------------------------------------------------


class Relaxation(Protocol):
    """A :class:`ase_mlip.relaxation.result.RelaxResult`."""

    atoms: Atoms
    cell: bool | str
    energies: list[float]
    fmaxes: list[float]
    optimizer: str


class EquationOfState(Protocol):
    """A :class:`ase_mlip.mechanics.eos.EOSResult`."""

    volumes: np.ndarray
    energies: np.ndarray
    volume: float
    energy: float
    bulk_modulus: float
    bulk_modulus_derivative: float
    n_atoms: int

    def curve(self, volumes: np.ndarray) -> np.ndarray: ...


class Elasticity(Protocol):
    """A :class:`ase_mlip.mechanics.elasticity.ElasticResult`."""

    strains: np.ndarray
    stresses: np.ndarray
    residual_stress: np.ndarray

    @property
    def stable(self) -> bool: ...
    def young(self, directions: np.ndarray) -> np.ndarray: ...


class Bands(Protocol):
    """A :class:`ase_mlip.lattice_dynamics.bands.BandStructure`."""

    distances: np.ndarray
    frequencies: np.ndarray
    segments: list[tuple[int, int]]
    labels: list[tuple[float, str]]


class Phonons(Protocol):
    """A :class:`ase_mlip.lattice_dynamics.results.PhononResult`."""

    dos: np.ndarray
    dos_frequencies: np.ndarray

    @property
    def bands(self) -> Bands: ...
    @property
    def stable(self) -> bool: ...


class Conductivity(Protocol):
    """A :class:`ase_mlip.lattice_dynamics.results.ConductivityResult`."""

    temperatures: np.ndarray
    frequencies: np.ndarray
    mode_kappa: np.ndarray
    weights: np.ndarray

    @property
    def mean_kappa(self) -> np.ndarray: ...


# ---- dynamics ------------------------------------------------------------------------------------


class Dynamics(Protocol):
    """A :class:`ase_mlip.dynamics.md.MDResult`."""

    atoms: Atoms
    times: np.ndarray
    temperatures: np.ndarray
    equilibration: float
    drift: float
    mean_temperature: float

    @property
    def total_energies(self) -> np.ndarray: ...


class Replica(Protocol):
    """A :class:`ase_mlip.stability.replica.Replica`."""

    times: np.ndarray
    temperatures: np.ndarray
    total_energies: np.ndarray
    conserved_energies: np.ndarray
    survived: float

    @property
    def failure(self) -> object | None: ...


class Distances(Protocol):
    """A :class:`ase_mlip.dynamics.rdf.RDF`."""

    r: np.ndarray
    g: dict[str, np.ndarray]
    periodic: bool


class Survival(Protocol):
    """A :class:`ase_mlip.stability.survival.Survival`."""

    n: int
    failures: int
    times: np.ndarray
    survival: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Stability(Protocol):
    """A :class:`ase_mlip.stability.result.StabilityResult`."""

    n_atoms: int
    time: float
    drift: float
    drift_error: float
    rdf_error: dict[str, float] | None

    @property
    def thermostat(self) -> object | None: ...
    @property
    def replicas(self) -> Sequence[Replica]: ...
    @property
    def survival(self) -> Survival: ...
    @property
    def rdf(self) -> Distances | None: ...
    @property
    def reference(self) -> Distances | None: ...
    @property
    def shows_drift(self) -> bool: ...
    @property
    def knows_conserved(self) -> bool: ...


# ---- models and designs --------------------------------------------------------------------------


class LossLandscape(Protocol):
    """A :class:`ase_mlip.landscapes.result.Landscape`."""

    model: dict[str, Any]
    settings: dict[str, Any]
    x: np.ndarray
    energy_losses: np.ndarray
    force_losses: np.ndarray
    numbers: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    plane: dict[str, Any] | None


class Quantity(Protocol):
    """A :class:`ase_mlip.landscapes.comparison.files.Quantity`."""

    @property
    def name(self) -> str: ...
    @property
    def sense(self) -> int: ...


class Entry(Protocol):
    """A :class:`ase_mlip.landscapes.comparison.files.Entry`."""

    name: str

    @property
    def predictors(self) -> Mapping[Any, float]: ...
    @property
    def targets(self) -> Mapping[Any, float]: ...


class Correlation(Protocol):
    """A :class:`ase_mlip.landscapes.comparison.correlations.Correlation`."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def reason(self) -> str: ...


class Worth(Protocol):
    """A :class:`ase_mlip.landscapes.comparison.compare.Worth`."""

    @property
    def predictor(self) -> Quantity: ...
    @property
    def target(self) -> Quantity: ...
    @property
    def plain(self) -> Correlation: ...
    @property
    def partial(self) -> Correlation | None: ...


class Family(Protocol):
    """A :class:`ase_mlip.landscapes.comparison.compare.Family`."""

    name: str

    @property
    def models(self) -> Sequence[Entry]: ...
    @property
    def ranks(self) -> Mapping[Any, Sequence[float]]: ...
    @property
    def control(self) -> Quantity: ...
    @property
    def worths(self) -> Sequence[Worth]: ...


class Comparison(Protocol):
    """A :class:`ase_mlip.landscapes.comparison.compare.Comparison`."""

    @property
    def families(self) -> Sequence[Family]: ...


class Group(Protocol):
    """A :class:`ase_mlip.optimal_design.result.GroupForecast`."""

    @property
    def name(self) -> str: ...
    @property
    def before(self) -> Mapping[str, float]: ...
    @property
    def after(self) -> Mapping[str, float]: ...
    @property
    def best(self) -> Mapping[str, float]: ...
    @property
    def failing(self) -> Sequence[str]: ...


class Parity(Protocol):
    """A :class:`ase_mlip.checks.evaluate.EvaluationResult`."""

    energy_rmse: float | None
    forces_rmse: float | None
    stress_rmse: float | None
    parity: dict[str, np.ndarray]
    parity_groups: dict[str, np.ndarray]
    parity_elements: np.ndarray

    @property
    def groups(self) -> Mapping[str, Any]: ...


class Design(Protocol):
    """A :class:`ase_mlip.optimal_design.result.DesignResult`."""

    floor: float
    map: dict[str, np.ndarray]

    @property
    def settings(self) -> Any: ...  # its ``cost``
    @property
    def target(self) -> Any: ...  # its ``kinds``
    @property
    def inputs(self) -> Any: ...  # the ``group`` of its ``candidates``
    @property
    def picks(self) -> Sequence[Any]: ...  # the ``cost`` of each
    @property
    def path(self) -> Any: ...  # its ``values``
    @property
    def band(self) -> Any: ...  # its ``spent`` and ``percentiles()``
    @property
    def groups(self) -> Sequence[Group]: ...
    @property
    def knee(self) -> int | None: ...
    @property
    def feasible(self) -> bool: ...
    @property
    def own_target(self) -> bool: ...
