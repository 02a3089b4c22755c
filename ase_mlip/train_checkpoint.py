"""What a training run needs to continue exactly where it stopped, in one safetensors file."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from .archive import write_atomically
from .errors import DataError

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


def save_checkpoint(path: Path, state: TrainState, fingerprint: str) -> None:
    """Store ``state``; ``fingerprint`` identifies the configuration it belongs to."""
    tensors: dict[str, Tensor] = {}
    names = [name for name, _ in state.network.named_parameters()]
    for name, parameter, average in zip(names, state.network.parameters(), state.average, strict=True):
        tensors[f"parameter/{name}"] = parameter.detach()
        tensors[f"average/{name}"] = average
        for optimizer in state.optimizers:
            for moment, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{moment}/{name}"] = torch.as_tensor(value)
    for name, value in state.network.named_buffers():
        tensors[f"buffer/{name}"] = value
    for name, value in state.best.items():
        tensors[f"best/{name}"] = value
    header = {
        "fingerprint": fingerprint,
        "epoch": state.epoch,
        "step": state.step,
        "best_loss": state.best_loss,
        "history": state.history,
    }
    content = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    write_atomically(path, save(content, {"ase_mlip_training": json.dumps(header)}))


def load_checkpoint(path: Path, state: TrainState, fingerprint: str) -> None:
    """Restore ``state`` in place.

    Raises
    ------
    DataError
        when the file is not a checkpoint of a training run, or belongs to another configuration
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["ase_mlip_training"])
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except Exception as error:
        raise DataError(
            f"`{path}` cannot be read as a training checkpoint: {error}; delete it or train without --resume"
        ) from None
    if header["fingerprint"] != fingerprint:
        raise DataError(
            f"`{path}` belongs to another configuration (model, data, loss or optimizer differ); "
            "restore the TOML file it was made with, or choose another `output`"
        )
    with torch.no_grad():
        for k, (name, parameter) in enumerate(state.network.named_parameters()):
            parameter.copy_(tensors[f"parameter/{name}"])
            state.average[k].copy_(tensors[f"average/{name}"])
            moments = {m: tensors[f"{m}/{name}"] for m in _MOMENTS if f"{m}/{name}" in tensors}
            for optimizer in state.optimizers:
                if moments and any(p is parameter for g in optimizer.param_groups for p in g["params"]):
                    # torch keeps the step count on the CPU
                    optimizer.state[parameter] = {
                        m: value if m == "step" else value.to(parameter.device)
                        for m, value in moments.items()
                    }
        for name, value in state.network.named_buffers():
            value.copy_(tensors[f"buffer/{name}"])
    prefix = "best/"
    state.best = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    state.epoch, state.step = header["epoch"], header["step"]
    state.best_loss, state.history = header["best_loss"], header["history"]
