"""What a training run needs to continue exactly where it stopped, in one safetensors file."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ..configuration.run import RunConfig
from ..data.training_data import DataSplit
from ..errors import ArgumentError, DataError
from ..model_file.info import find_model
from ..provenance import file_sha256, write_atomically

KIND = "ase_mlip_training"
REPLACE = "replace it with `overwrite=True` and begin anew"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step", "momentum_buffer")  # of AdamW, of Muon


@dataclass
class TrainState:
    """Everything that changes during a run; random numbers depend on (seed, epoch, step) alone."""

    network: torch.nn.Module
    optimizers: list[torch.optim.Optimizer]
    average: list[Tensor]  # exponential moving average of the parameters
    epoch: int = 0  # finished epochs
    step: int = 0  # finished optimizer steps
    best_loss: float = float("inf")
    best: dict[str, Tensor] = field(default_factory=dict)  # averaged parameters at the best epoch
    history: list[dict[str, float]] = field(default_factory=list)


def require_earlier_run(checkpoint: Path, resume: bool, overwrite: bool) -> None:
    """Check that a run that is to go on has left its checkpoint, and that it is not to be replaced.

    Raises
    ------
    ArgumentError
        for ``resume`` together with ``overwrite``
    DataError
        for ``resume`` where there is no checkpoint
    """
    if resume and overwrite:
        raise ArgumentError(
            "`resume=True` only goes on with an earlier run, and `overwrite=True` replaces one of another "
            "configuration, got both; leave one out"
        )
    if resume and not checkpoint.exists():
        raise DataError(
            f"`resume=True` goes on with an earlier run, got none (there is no "
            f"`{checkpoint}`); leave it out to begin one, or correct the `output` of the TOML file"
        )


def goes_on(checkpoint: Path, kind: str, configuration: dict[str, Any], overwrite: bool) -> bool:
    """Whether there is a checkpoint of the same configuration; with ``overwrite`` any other is removed.

    Raises
    ------
    DataError
        see :func:`read_tensors`, without ``overwrite``
    """
    if not checkpoint.exists():
        return False
    try:
        read_tensors(checkpoint, kind, configuration)
    except DataError:
        if not overwrite:
            raise
        checkpoint.unlink()
        return False
    return True


def unchanging_of(config: RunConfig, data: DataSplit, base: Path) -> dict[str, Any]:
    """What must not change between a run and its continuation, by the keys of the TOML file."""
    parts = dataclasses.asdict(config)
    for free in (
        "output",
        "device",
        "threads",
        "tensorboard",
        "description",
        "license",
        "citation",
        "design",
    ):
        parts.pop(free)
    if config.init_from:
        parts["init_from"] = _start_digest(base, config.init_from)
    for name in ("train", "validation", "test"):  # where they lie is free, what is in them is not
        parts["data"][name] = data.description["files"][name]
    return parts


def _start_digest(base: Path, init_from: str) -> str:
    """SHA-256 of the file with the weights that a training starts from."""
    place = base / init_from
    if place.is_dir():
        place = place / "best.safetensors"
    return file_sha256(place if place.is_file() else find_model(init_from))


def _digest(tensors: dict[str, Tensor], header: dict) -> str:
    """SHA-256 of all tensors with their names, types and shapes, and of the header."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, kind: str, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write a checkpoint, all or nothing: tensors, and JSON beside them under the key ``kind``."""
    content = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    header = header | {"sha256": _digest(content, header)}
    write_atomically(path, save(content, {kind: json.dumps(header)}))


def read_tensors(path: Path, kind: str, configuration: dict[str, Any]) -> tuple[dict[str, Tensor], dict]:
    """What :func:`write_tensors` wrote, whose header has the same ``configuration``.

    Raises
    ------
    DataError
        when the file is not such a checkpoint, was damaged, or belongs to another configuration: the message
        names the keys, what they were and what they are
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[kind])
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
            stored = header.pop("sha256", None)
    except Exception as error:
        raise DataError(
            f"`{path}` cannot be read as a training checkpoint: {error}; choose another `output`, or "
            f"{REPLACE}"
        ) from None
    _refuse_changes(path, header.get("configuration"), configuration)
    if stored != _digest(tensors, header):
        raise DataError(
            f"`{path}` was damaged or altered since it was written, or is of an older version (its SHA-256 "
            f"does not agree); restore it, choose another `output`, or {REPLACE}"
        )
    return tensors, header


def moments(name: str, parameter: Tensor, optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """What the optimizers remember of one parameter, as tensors of a checkpoint."""
    return {
        f"{moment}/{name}": torch.as_tensor(value)
        for optimizer in optimizers
        for moment, value in optimizer.state.get(parameter, {}).items()
    }


def restore_moments(
    name: str, parameter: Tensor, optimizers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]
) -> None:
    """Give the optimizers back what :func:`moments` took."""
    found = {m: tensors[f"{m}/{name}"] for m in _MOMENTS if f"{m}/{name}" in tensors}
    for optimizer in optimizers:
        if found and any(p is parameter for g in optimizer.param_groups for p in g["params"]):
            # torch keeps the step count on the CPU
            optimizer.state[parameter] = {
                m: value if m == "step" else value.to(parameter.device) for m, value in found.items()
            }


def save_checkpoint(path: Path, state: TrainState, configuration: dict[str, Any]) -> None:
    """Store ``state`` with the entries that must be the same when it is continued."""
    tensors: dict[str, Tensor] = {}
    names = [name for name, _ in state.network.named_parameters()]
    for name, parameter, average in zip(names, state.network.parameters(), state.average, strict=True):
        tensors[f"parameter/{name}"] = parameter.detach()
        tensors[f"average/{name}"] = average
        tensors |= moments(name, parameter, state.optimizers)
    for name, value in state.network.named_buffers():
        tensors[f"buffer/{name}"] = value
    for name, value in state.best.items():
        tensors[f"best/{name}"] = value
    header = {
        "configuration": configuration,
        "epoch": state.epoch,
        "step": state.step,
        "best_loss": state.best_loss,
        "history": state.history,
    }
    write_tensors(path, KIND, tensors, header)


def load_checkpoint(path: Path, state: TrainState, configuration: dict[str, Any]) -> None:
    """Restore ``state`` in place.

    Raises
    ------
    DataError
        when the file is not a checkpoint of a training run, or belongs to another configuration: the message
        names the keys, what they were and what they are
    """
    tensors, header = read_tensors(path, KIND, configuration)
    with torch.no_grad():
        for k, (name, parameter) in enumerate(state.network.named_parameters()):
            parameter.copy_(tensors[f"parameter/{name}"])
            state.average[k].copy_(tensors[f"average/{name}"])
            restore_moments(name, parameter, state.optimizers, tensors)
        for name, value in state.network.named_buffers():
            value.copy_(tensors[f"buffer/{name}"])
    prefix = "best/"
    state.best = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    state.epoch, state.step = header["epoch"], header["step"]
    state.best_loss, state.history = header["best_loss"], header["history"]


def flat(table: Any, name: str = "") -> dict[str, Any]:
    """Nested tables and lists of tables as one, such as ``{"data.units.energy": "eV"}``."""
    if isinstance(table, list) and any(isinstance(entry, dict) for entry in table):
        table = dict(enumerate(table))
    if not isinstance(table, dict):
        return {name: table}
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{name}.{key}" if name else str(key))
    return found


def _refuse_changes(path: Path, stored: dict[str, Any] | None, configuration: dict[str, Any]) -> None:
    if stored is None:
        raise DataError(
            f"`{path}` was written by an earlier version, which did not store its configuration; choose "
            f"another `output`, or {REPLACE}"
        )
    before, now = flat(stored), flat(json.loads(json.dumps(configuration)))
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed:
        lines = [f"`{key}` was {_text(before.get(key))} and is {_text(now.get(key))}" for key in changed[:5]]
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise DataError(
            f"`{path}` belongs to another configuration: {'; '.join(lines)}{more}; restore the TOML file and "
            f"the data it was made with, choose another `output`, or {REPLACE}"
        )


def _text(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False)
