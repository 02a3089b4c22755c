"""A training run: one TOML file that maps onto the dataclasses below, key by key."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import StringConstraints

from ..data.training_data import DataConfig
from ..errors import ConfigurationError
from ..networks.pet.hypers import PETHypers
from ..networks.snnp.hypers import SNNPHypers
from .hypers import starting_hypers
from .typed_table import Sections, read_toml

Positive = Annotated[float, Gt(0)]
Weight = Annotated[float, Ge(0)]  # zero switches off
Share = Annotated[float, Ge(0), Le(1)]
Name = Annotated[str, StringConstraints(pattern=r"^[^/\\\s][^/\\]*$"), "a name without slashes"]
Device = Annotated[
    str, StringConstraints(pattern=r"^(auto|cpu|cuda(:\d+)?)$"), '"auto", "cpu", "cuda" or "cuda:N"'
]


@dataclass
class LossConfig:
    """Weights of the terms; each residual is divided by that quantity's rms in the training set.

    A Huber loss turns from quadratic to linear at ``*_delta`` (in units of that rms), and is divided
    by it, so that its slope is 1 beyond. Energies enter per atom; their errors end far below their
    rms, hence the small default. A weight of zero switches a term off. ``direct_*`` are the heads that
    predict forces and virials without differentiation.
    """

    kind: Literal["huber", "mse"] = "huber"
    # The energy's weight grows geometrically from `energy_start` to `energy` over the run: a total
    # energy has one noisy gradient per structure, which drowns the forces' while errors are large.
    energy_start: Weight = 0.05
    energy_delta: Positive = 0.01
    forces_delta: Positive = 0.1
    stress_delta: Positive = 0.1
    energy: Weight = 1.0
    forces: Weight = 1.0
    stress: Weight = 0.1
    direct_forces: Weight = 0.0
    direct_stress: Weight = 0.0
    curvature: Weight = 0.0  # of an s-NNP's splines (SNNP.roughness)


@dataclass
class OptimizerConfig:
    """The optimizer; its learning rate rises linearly and falls as a cosine to ``final_fraction`` of it."""

    kind: Literal["muon", "adamw"] = "muon"  # muon for the matrices, AdamW for the rest
    epochs: Annotated[int, Ge(0)] = 300  # 0: the least-squares fit alone
    batch_size: Annotated[int, Gt(0)] = 8  # structures
    learning_rate: Positive = 1e-3
    warmup_fraction: Share = 0.02
    final_fraction: Share = 0.01
    weight_decay: Weight = 0.0
    gradient_clip: Weight = 1.0  # norm; 0 switches it off
    # per step; validation, the best checkpoint and the export use the average
    ema_decay: Annotated[float, Ge(0), Lt(1)] = 0.995
    # Before this epoch only energies and direct heads are trained, which needs no second derivative.
    conservative_from: Annotated[int, Ge(0)] = 0
    rotate: bool = True  # random O(3) element per structure and step
    # Curvature weight of the least-squares fit that an s-NNP starts from (linear_fit.py); 0 = a random start.
    linear_start: Weight = 0.0


@dataclass
class DesignConfig:
    """What the exported file says of its training data (:mod:`ase_mlip.model_file.leverage_file`)."""

    export: bool = False  # whether the file gets a leverage, calibrated on the validation set where it can be


@dataclass
class RunConfig:
    """The whole run; docs/training.md has all keys.

    Attributes
    ----------
    name : str
        of the potential, and of its file
    output : str
        folder of the run, relative to that of the TOML file
    data, model, loss, optimizer, design : DataConfig, PETHypers or SNNPHypers, LossConfig, ...
        the tables of the file
    init_from : str
        a model file, a shipped potential or a run's folder, whose weights are taken
    seed : int
        of weights, batches and rotations
    device : str
        as everywhere
    threads : int
        of the CPU; 0 leaves torch's choice
    tensorboard : bool
        whether the loss is logged for it
    description, license, citation, functional : str
        for the model file
    """

    name: Name
    output: str
    data: DataConfig
    model: PETHypers | SNNPHypers
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    design: DesignConfig = field(default_factory=DesignConfig)
    # A model file, a shipped potential or a run's folder: its network and weights, in the place of `[model]`.
    init_from: str = ""
    seed: Annotated[int, Ge(0)] = 0
    device: Device = "auto"
    threads: Annotated[int, Ge(0)] = 0  # CPU threads; 0 leaves torch's choice
    tensorboard: bool = False
    description: str = ""
    license: str = ""
    citation: str = ""
    functional: str = ""  # of the reference data, e.g. "PBE"


HYPERS = {"pet": PETHypers, "snnp": SNNPHypers}
# What an s-NNP has in the place of the defaults above, which are PET's, and of the bare network's: the recipe
# of the shipped snnp-si.
SNNP_DEFAULTS: dict[str, dict[str, Any]] = {
    "model": {"inner": "auto", "radial_filters": 6, "angular_filters": 8, "hidden": [24]},
    "loss": {"energy": 2.0, "energy_start": 1.0, "curvature": 1e-4},
    "optimizer": {
        "kind": "adamw",
        "epochs": 110,
        "batch_size": 4,
        "learning_rate": 3e-3,
        "ema_decay": 0.998,
        "rotate": False,
        "linear_start": 1e-6,
    },
}


def read_config(path: str | Path) -> RunConfig:
    """Read and check a run's TOML file.

    Parameters
    ----------
    path : str or Path
        the TOML file

    Returns
    -------
    RunConfig
        checked settings, with the defaults of the architecture

    Raises
    ------
    ConfigurationError
        when the file is missing, is not TOML, or has unknown, missing or impossible entries: a line for each
    """
    path = Path(path)
    table = read_toml(path, "the TOML file of a training run")
    start = table.get("init_from")
    fine_tuning = isinstance(start, str) and bool(start)
    if fine_tuning:
        if "model" in table:
            raise ConfigurationError(
                f"`{path}` [model]: expected no such table beside `init_from`, whose file says what the "
                "network is; leave it out"
            )
        try:
            table["model"] = starting_hypers(start, path.parent)
        except ConfigurationError as error:
            raise ConfigurationError(f"`{path}` {error}") from None
    for name in ("data", "model"):
        if name not in table:
            raise ConfigurationError(f"`{path}` has no table `[{name}]`; see docs/training.md for an example")
    sections = Sections(path)
    model = table.pop("model")
    architecture = model.pop("architecture", "pet") if isinstance(model, dict) else "pet"
    if not isinstance(architecture, str) or architecture not in HYPERS:
        raise ConfigurationError(
            f"`{path}` [model] architecture: expected one of {sorted(HYPERS)}, got {architecture!r}"
        )
    if architecture == "snnp":
        model = {**SNNP_DEFAULTS["model"], **model}
    hypers = sections.read(HYPERS[architecture], "model", model)
    loss, optimizer = table.pop("loss", {}), table.pop("optimizer", {})
    if architecture == "snnp" and isinstance(loss, dict) and isinstance(optimizer, dict):
        loss = {**SNNP_DEFAULTS["loss"], **loss}
        optimizer = {**_optimizer_defaults(hypers, fine_tuning), **optimizer}
    parts = {
        "data": sections.read(DataConfig, "data", table.pop("data")),
        "model": hypers,
        "loss": sections.read(LossConfig, "loss", loss),
        "optimizer": sections.read(OptimizerConfig, "optimizer", optimizer),
        "design": sections.read(DesignConfig, "design", table.pop("design", {})),
    }
    return sections.checked(sections.read(RunConfig, "", table, **parts), _contradictions)


def _optimizer_defaults(hypers: SNNPHypers | None, has_weights: bool) -> dict[str, Any]:
    """Of an s-NNP; without the least-squares start where there is nothing to fit, or weights are given."""
    defaults = SNNP_DEFAULTS["optimizer"]
    if has_weights or (hypers is not None and not _has_linear_fit(hypers)):
        return {key: value for key, value in defaults.items() if key != "linear_start"}
    return defaults


def _has_linear_fit(hypers: SNNPHypers) -> bool:
    features = hypers.radial_filters + hypers.angular_filters
    terms = hypers.pair or hypers.radial_filters > 0
    return terms and (hypers.skip or features == 0) and hypers.embedding is None


def _contradictions(config: RunConfig) -> Iterator[str]:
    """Entries that do not go together, a line each, without the name of the file."""
    loss, optimizer, model = config.loss, config.optimizer, config.model
    try:
        known = {"species": model.species or [1]}
        if isinstance(model, SNNPHypers) and model.inner == "auto":
            known["inner"] = 0.1  # some number: the data give one (first_knot.py)
        dataclasses.replace(model, **known).check()
    except ValueError as error:
        yield f"[model]: {error}"
        return
    snnp = isinstance(model, SNNPHypers)
    if optimizer.epochs == 0 and not (snnp and optimizer.linear_start > 0 and not model.hidden):
        yield (
            "[optimizer] epochs: expected at least 1, got 0, which is for the least-squares fit of an s-NNP "
            "alone (`linear_start`, hidden = [])"
        )
    if config.init_from and optimizer.linear_start > 0:
        yield (
            "[optimizer] linear_start: expected 0 with `init_from`, as a fit would replace its weights, got "
            f"{optimizer.linear_start}; leave it out"
        )
    if not snnp:
        for section, name in (("loss", "curvature"), ("optimizer", "linear_start")):
            got = getattr(getattr(config, section), name)
            if got > 0:
                yield f"[{section}] {name}: expected 0 for PET, which has no splines, got {got}; leave it out"
    elif optimizer.linear_start > 0 and not _has_linear_fit(model):
        yield (
            "[optimizer] linear_start: expected 0 without `skip`, without pair term and radial filters, or "
            f"with an `embedding`, got {optimizer.linear_start}; leave it out"
        )
    for name in ("direct_forces", "direct_stress"):
        if getattr(loss, name) > 0 and not getattr(model, name):
            yield (
                f"[loss] {name}: expected 0 without such a head, got {getattr(loss, name)}; leave it out"
                + ("" if snnp else f", or write {name} = true under [model]")
            )
    if optimizer.conservative_from > 0 and loss.direct_forces == 0:
        yield (
            "[loss] direct_forces: expected a positive weight with `conservative_from`, got 0; before that "
            "epoch only energies and direct heads are trained"
        )
    if loss.energy == loss.forces == loss.stress == loss.direct_forces == loss.direct_stress == 0:
        yield "[loss]: expected a positive weight of at least one quantity, got 0 for all; nothing is learned"
