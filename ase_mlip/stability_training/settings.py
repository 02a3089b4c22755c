"""A run of ``ase-mlip stabilize``: one TOML file that maps onto the dataclasses below, key by key."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from ..configuration.run import Device, LossConfig, Name, Positive, Weight
from ..configuration.typed_table import Sections, read_toml
from ..data.training_data import DataConfig
from ..dynamics.criteria import Criteria

NUMBERS = (".csv", ".txt", ".dat")  # files of numbers as references; all others hold frames
Fraction = Annotated[float, Gt(0), Le(1)]
Count = Annotated[int, Ge(1)]


@dataclass
class StartsConfig:
    """Starting frames, files ASE reads as in ``[data]``; all of one system.

    ``train`` starts the replicas of the epochs, ``validation`` those that choose the weights, ``test`` those
    that judge the chosen ones, once; without it validation starts do, and the report says so.
    """

    train: str | list[str]
    validation: str | list[str]
    test: str | list[str] | None = None


@dataclass
class SimulationConfig:
    """The runs in which the potential fails.

    Momenta are drawn from the Maxwell-Boltzmann distribution at each start of a run.
    """

    temperature_K: Positive
    time: Positive = 1.0  # ps, of an epoch
    timestep: Positive = 0.5  # fs
    replicas: Annotated[int, Ge(4)] = 16  # halves of at least two for the cross-fitted gradient
    ensemble: Literal["langevin", "nose-hoover"] = "langevin"
    friction: Positive = 10.0  # 1/ps, of Langevin
    damping: Positive = 0.1  # ps, of Nosé-Hoover
    hold_centre: bool = True  # 3N - 3 degrees of freedom, noise without net force; else 3N
    engine: Literal["ase", "lammps"] = "ase"  # lammps: pair_style mlip, for large systems
    record_interval: Count = 10  # steps between examined frames, which are also the samples
    equilibration: Weight = 0.0  # ps of every run that give no samples
    unstable_fraction: Fraction = 0.75  # of the replicas; then the epoch's simulation ends


@dataclass
class ObservableConfig:
    """What the simulation should give, and how much a deviation counts.

    L = weight · mean over components of ((⟨g⟩ - g₀)/scale)², or weight · ⟨g⟩/scale of unseen distances.
    """

    kind: Literal["distances", "unseen_distances", "bond_lengths", "nonbonded_distance", "pressure"]
    # a file of frames, a file of numbers (.csv, .txt, .dat), or numbers in the observable's unit
    reference: str | list[float]
    reference_error: list[float] = field(default_factory=list)  # standard errors of given numbers
    weight: Positive = 1.0
    scale: Weight = 0.0  # 0: rms of the reference for distributions, 1 distance, 0.1 Å, 1 GPa
    pairs: str = "all"  # of either: or elements as "H-O"
    rmax: Positive = 6.0  # Å, distances and unseen_distances
    width: Positive = 0.1  # Å, the same
    each: bool = False  # bond_lengths: every bond by itself
    apart: Count = 3  # nonbonded_distance: bonds between the atoms, at least
    of_each_atom: bool = False  # nonbonded_distance: mean of the atoms' smallest distances


@dataclass
class LearningConfig:
    """The gradient steps, and when the run ends."""

    error_weight: Weight = 1.0  # λ, of the energy and force errors beside the observables
    estimator: Literal["global", "local"] = (
        "global"  # local: covariances with the energies of near atoms only
    )
    radius: Weight = 0.0  # Å, local: which atoms are near; 0: the atom itself
    # adamw moves every weight by about the learning rate, sgd what the gradient is about; trust_region takes
    # the step that lowers the loss most for what it changes of energies and forces: `learning_rate` times
    # their errors
    optimizer: Literal["adamw", "sgd", "trust_region"] = "adamw"
    learning_rate: Positive = 1e-3
    steps: Count = 5  # at most, from one simulation
    min_sample_fraction: Fraction = 0.9  # effective samples; below it a new simulation comes first
    batch_size: Count = 8  # frames with references in a step
    gradient_clip: Weight = 1.0  # norm; 0 switches it off
    epochs: Count = 60
    patience: Count = 5  # epochs without a smaller unstable fraction, then the learning rate falls
    factor: Annotated[float, Gt(0), Le(1)] = 0.5  # by this
    final_fraction: Fraction = 0.01  # of the first learning rate; below it the run ends
    stable_epochs: Count = 2  # in a row without an unstable replica, then the run ends
    # the budgets: of the mean absolute errors on validation frames, as fractions of the errors at the start.
    # An energy error is that of a few numbers, one for each frame, and moves by a third for nothing
    max_force_error_increase: Weight = 0.15
    max_energy_error_increase: Weight = 0.5
    # a step that leaves a budget is taken back, and taken again with half the learning rate; without it
    # the run ends at the first epoch that leaves one
    backtracking: bool = True
    epoch_share: Fraction = 0.25  # of what is left of a budget, which the steps of one epoch may use

    @property
    def smallest_rate(self) -> float:
        """The floor of the learning rate: below it the run ends."""
        return self.final_fraction * self.learning_rate * (1.0 - 1e-9)


@dataclass
class EvaluationConfig:
    """How survival is measured: on validation starts during the run, on test starts at its end."""

    time: Positive = 10.0  # ps
    replicas: Count = 16
    every: Count = 5  # epochs
    # steps between examined frames; 0: as in [simulation], whose records are also the samples
    record_interval: Annotated[int, Ge(0)] = 0
    confidence: Annotated[float, Gt(0), Le(1)] = 0.95


@dataclass
class StabilizeConfig:
    """The whole run. ``output`` and files are relative to the folder of the TOML file."""

    name: Name
    output: str
    model: str  # a model file, or the name of a shipped potential
    starts: StartsConfig
    data: DataConfig
    simulation: SimulationConfig
    observables: list[ObservableConfig]
    criteria: Criteria = field(default_factory=Criteria)
    learning: LearningConfig = field(default_factory=LearningConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    seed: Annotated[int, Ge(0)] = 0
    device: Device = "cpu"
    threads: Annotated[int, Ge(0)] = 0
    description: str = ""


SECTIONS: dict[str, type] = {
    "starts": StartsConfig,
    "data": DataConfig,
    "simulation": SimulationConfig,
    "criteria": Criteria,
    "learning": LearningConfig,
    "evaluation": EvaluationConfig,
    "loss": LossConfig,
}
REQUIRED = ("starts", "data", "simulation", "observables")


def read_settings(path: str | Path) -> StabilizeConfig:
    """Read and check a run's TOML file.

    Raises
    ------
    ConfigurationError
        when the file is missing, is not TOML, or has unknown, missing or impossible entries: a line for each
    """
    path = Path(path)
    table = read_toml(path, "the TOML file of a StABlE training")
    sections = Sections(path)
    sections.problems += [
        f"`{path}` has no table `[{name}]`; see docs/stability_training.md for an example"
        for name in REQUIRED
        if name not in table
    ]
    parts = {
        name: sections.read(kind, name, table.pop(name, {}))
        for name, kind in SECTIONS.items()
        if name in table or name not in REQUIRED
    }
    entries = table.pop("observables", [])
    if not isinstance(entries, list) or (not entries and "observables" not in " ".join(sections.problems)):
        sections.problems.append(
            f"`{path}` observables: expected tables `[[observables]]`, at least one, got none"
        )
        entries = []
    parts["observables"] = [sections.read(ObservableConfig, "[observables]", entry) for entry in entries]
    missing = {name: None for name in REQUIRED if name not in parts}
    config = sections.read(StabilizeConfig, "", table, **parts, **missing)
    return sections.checked(config, _contradictions)


def _names_frames(reference: str | list[float]) -> bool:
    return isinstance(reference, str) and Path(reference).suffix.lower() not in NUMBERS


def _contradictions(config: StabilizeConfig) -> list[str]:
    found = []
    simulation, learning = config.simulation, config.learning
    if simulation.equilibration >= simulation.time:
        found.append(
            f"[simulation] equilibration: expected less than the time of {simulation.time:g} ps, got "
            f"{simulation.equilibration:g}; nothing would be sampled"
        )
    for observable in config.observables:
        if observable.kind == "pressure" and learning.estimator == "local":
            found.append(
                '[learning] estimator: expected "global" with the pressure, which is no sum over atoms, got '
                '"local"'
            )
        if observable.kind == "unseen_distances" and not _names_frames(observable.reference):
            found.append(
                "[[observables]] reference: expected a file of frames for unseen distances, "
                f"which are those that no frame has, got {observable.reference!r}"
            )
        if observable.rmax < observable.width:
            found.append(
                f"[[observables]] width: expected at most rmax = {observable.rmax:g}, got "
                f"{observable.width:g}"
            )
    if learning.radius > 0.0 and learning.estimator == "global":
        found.append(
            f'[learning] radius: expected 0 with estimator = "global", got {learning.radius:g}; leave it out'
        )
    return found
