"""A training run: one TOML file that maps onto the dataclasses below, key by key."""

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .architectures.pet import PETHypers
from .architectures.snnp import SNNPHypers
from .data import DataConfig
from .errors import DataError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass
class LossConfig:
    """Weights of the terms; each residual is divided by that quantity's rms in the training set.

    A Huber loss turns from quadratic to linear at ``*_delta`` (in units of that rms), and is divided
    by it, so that its slope is 1 beyond. Energies enter per atom; their errors end far below their
    rms, hence the small default. A weight of zero switches a term off. ``direct_*`` are the heads that
    predict forces and virials without differentiation.
    """

    kind: str = "huber"  # "huber" or "mse"
    # The energy's weight grows geometrically from `energy_start` to `energy` over the run: a total
    # energy has one noisy gradient per structure, which drowns the forces' while errors are large.
    energy_start: float = 0.05
    energy_delta: float = 0.01
    forces_delta: float = 0.1
    stress_delta: float = 0.1
    energy: float = 1.0
    forces: float = 1.0
    stress: float = 0.1
    direct_forces: float = 0.0
    direct_stress: float = 0.0
    curvature: float = 0.0  # of an s-NNP's splines (SNNP.roughness)


@dataclass
class OptimizerConfig:
    """The optimizer; its learning rate rises linearly and falls as a cosine to ``final_fraction`` of it."""

    kind: str = "muon"  # "muon" (for the matrices, AdamW for the rest) or "adamw"

    epochs: int = 300  # 0: the least-squares fit alone
    batch_size: int = 8  # structures
    learning_rate: float = 1e-3
    warmup_fraction: float = 0.02
    final_fraction: float = 0.01
    weight_decay: float = 0.0
    gradient_clip: float = 1.0  # norm; 0 switches it off
    ema_decay: float = 0.995  # per step; validation, the best checkpoint and the export use the average
    # Before this epoch only energies and direct heads are trained, which needs no second derivative.
    conservative_from: int = 0
    rotate: bool = True  # random O(3) element per structure and step
    # Curvature weight of the least-squares fit that an s-NNP starts from (linear_fit.py); 0 = a random start.
    linear_start: float = 0.0


@dataclass
class RunConfig:
    """The whole run. ``output`` is relative to the folder of the TOML file."""

    name: str
    output: str
    data: DataConfig
    model: PETHypers | SNNPHypers
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    seed: int = 0
    device: str = "auto"  # "auto", "cpu" or "cuda"
    threads: int = 0  # CPU threads; 0 leaves torch's choice
    tensorboard: bool = False
    description: str = ""
    license: str = ""
    citation: str = ""
    functional: str = ""  # of the reference data, e.g. "PBE"


HYPERS = {"pet": PETHypers, "snnp": SNNPHypers}


def _from_table(kind: type, table: dict[str, Any], where: str, **given: Any) -> Any:
    known = [f.name for f in dataclasses.fields(kind)]
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise DataError(f"`{where}` has the unknown key `{unknown[0]}`; expected one of {', '.join(known)}")
    try:
        return kind(**table, **given)
    except (TypeError, ValueError) as error:
        raise DataError(f"`{where}`: {error}; expected keys {', '.join(known)}") from None


def read_config(path: str | Path) -> RunConfig:
    """Read and check a run's TOML file.

    Raises
    ------
    DataError
        when the file is missing, is not TOML, or has unknown, missing or impossible entries
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"`{path}` does not exist; expected the TOML file of a training run") from None
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"`{path}` is not valid TOML: {error}") from None
    for section in ("data", "model"):
        if section not in table:
            raise DataError(f"`{path}` has no table `[{section}]`; see docs/training.md for an example")
    model = dict(table.pop("model"))
    architecture = model.pop("architecture", "pet")
    if architecture not in HYPERS:
        raise DataError(f"`{path}`: `architecture` must be one of {sorted(HYPERS)}, got {architecture!r}")
    sections = {
        "data": _from_table(DataConfig, table.pop("data"), f"{path} [data]"),
        "model": _from_table(HYPERS[architecture], model, f"{path} [model]"),
        "loss": _from_table(LossConfig, table.pop("loss", {}), f"{path} [loss]"),
        "optimizer": _from_table(OptimizerConfig, table.pop("optimizer", {}), f"{path} [optimizer]"),
    }
    config = _from_table(RunConfig, table, str(path), **sections)
    _check(config, path)
    return config


def _check(config: RunConfig, path: Path) -> None:
    def expect(ok: bool, name: str, expected: str, got: Any) -> None:
        if not ok:
            raise DataError(f"`{path}`: `{name}` must be {expected}, got {got!r}")

    loss, optimizer, model = config.loss, config.optimizer, config.model
    expect(loss.kind in ("huber", "mse"), "loss.kind", "'huber' or 'mse'", loss.kind)
    expect(loss.energy_start >= 0, "loss.energy_start", "zero or positive", loss.energy_start)
    for name in ("energy_delta", "forces_delta", "stress_delta"):
        expect(getattr(loss, name) > 0, f"loss.{name}", "positive", getattr(loss, name))
    expect(optimizer.kind in ("muon", "adamw"), "optimizer.kind", "'muon' or 'adamw'", optimizer.kind)
    fitted = optimizer.linear_start > 0 and isinstance(model, SNNPHypers) and not model.hidden
    expect(
        optimizer.epochs > 0 or (optimizer.epochs == 0 and fitted),
        "optimizer.epochs",
        "at least 1, or 0 for the least-squares fit of an s-NNP (`linear_start`, hidden = [])",
        optimizer.epochs,
    )
    expect(optimizer.batch_size > 0, "optimizer.batch_size", "at least 1", optimizer.batch_size)
    expect(optimizer.learning_rate > 0, "optimizer.learning_rate", "positive", optimizer.learning_rate)
    expect(0 <= optimizer.ema_decay < 1, "optimizer.ema_decay", "in [0, 1)", optimizer.ema_decay)
    _check_model(config, path, expect)
    expect(
        model.direct_forces or loss.direct_forces == 0,
        "loss.direct_forces",
        "0 unless model.direct_forces is true",
        loss.direct_forces,
    )
    expect(
        model.direct_stress or loss.direct_stress == 0,
        "loss.direct_stress",
        "0 unless model.direct_stress is true",
        loss.direct_stress,
    )
    if optimizer.conservative_from > 0:
        expect(loss.direct_forces > 0, "loss.direct_forces", "positive with conservative_from", 0)


def _check_model(config: RunConfig, path: Path, expect: Callable[[bool, str, str, Any], None]) -> None:
    model, loss, optimizer = config.model, config.loss, config.optimizer
    expect(loss.curvature >= 0, "loss.curvature", "zero or positive", loss.curvature)
    expect(optimizer.linear_start >= 0, "optimizer.linear_start", "zero or positive", optimizer.linear_start)
    if isinstance(model, PETHypers):
        expect(model.cutoff > model.cutoff_width, "model.cutoff", "larger than cutoff_width", model.cutoff)
        expect(loss.curvature == 0, "loss.curvature", "0: PET has no splines", loss.curvature)
        expect(optimizer.linear_start == 0, "optimizer.linear_start", "0 for PET", optimizer.linear_start)
        return
    try:
        dataclasses.replace(model, species=model.species or [1]).check()
    except ValueError as error:
        raise DataError(f"`{path}` [model]: {error}") from None
    if optimizer.linear_start > 0:
        linear = model.skip and (model.pair or model.radial_filters > 0)
        expect(
            linear, "optimizer.linear_start", "0 without skip, or without pair term and radial filters",
            optimizer.linear_start,
        )  # fmt: skip
