"""The end of a training run: best weights, learning curve, test errors, exported model."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from ..calculators.diagnostics.visited import count_visits
from ..checks.evaluate import EvaluationResult, evaluate
from ..configuration.run import HYPERS, RunConfig
from ..data.references import Sample
from ..data.training_data import DataSplit
from ..errors import DataError
from ..graph.neighbors import build_graph
from ..model_file.model import export_model, load_model
from ..networks.pet.hypers import PETHypers
from ..networks.pet.pet import PET
from ..networks.snnp.hypers import SNNPHypers
from ..networks.snnp.snnp import SNNP
from ..optimal_design.leverage.attach import attach_leverage
from ..provenance import file_sha256, write_atomically
from .checkpoint import TrainState

# Evaluating a large training set would take longer than anybody learns from it.
_MOST_TRAINING_FRAMES = 200
_FRAMES_TO_CENTRE = 20


def finish(
    config: RunConfig, state: TrainState, reference: dict[int, float], data: DataSplit, output: Path
) -> Path:
    """Write best.safetensors (+ .json), learning_curve.png, errors.json and the exported model."""
    network = state.network
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(state.best.get(name, parameter))
    network.to("cpu").eval()
    centre_direct_forces(network, data.train[:_FRAMES_TO_CENTRE], config.model.cutoff)
    baseline = {str(z): energy for z, energy in reference.items()}
    save_native(output / "best.safetensors", network, config.model, baseline)
    if state.history:
        plot_learning_curve(state.history, output / "learning_curve.png")
    path = output / f"{config.name}.pt"
    metadata: dict[str, Any] = {
        "name": config.name,
        "description": config.description,
        "license": config.license,
        "citation": config.citation,
        "species": config.model.species,
        "cutoff": config.model.cutoff,
        "message_passing_layers": config.model.message_passing_layers,
        "interaction_range": config.model.interaction_range,
        "conservative": True,
        "equivariant": isinstance(network, SNNP),
        "architecture": {"name": _name(network), **dataclasses.asdict(config.model)},
        "reference_energies": _by_symbol(reference),
        "training": _provenance(config, state, data, output),
    }
    if isinstance(network, SNNP):
        graphs = (build_graph(sample.atoms, config.model.cutoff) for sample in data.train)
        metadata["training"]["visits"] = count_visits(graphs, config.model)
    export_model(network, path, metadata)
    errors = {part: evaluate_samples(path, samples) for part, samples in _parts(data).items()}
    write_atomically(output / "errors.json", json.dumps(errors, indent=1).encode())
    metadata["training"]["errors"] = {
        k: {q: v for q, v in e.items() if q != "groups"} for k, e in errors.items()
    }
    export_model(network, path, metadata)
    if config.design.export:
        attach_to(path, data)
    return path


def attach_to(path: Path, data: DataSplit) -> None:
    """Give an exported model the leverage of its training data.

    It is calibrated on the validation set, as far as that has energies, where the energies are linear in what
    the leverage is made of.
    """
    validation = [sample.to_atoms() for sample in data.validation if sample.energy is not None]
    files = data.description["files"]["train"]
    attach_leverage(
        path,
        [sample.atoms for sample in data.train],
        path,
        validation,
        hashes={entry["file"]: entry["sha256"] for entry in files},
        must_calibrate=False,
    )


def make_network(hypers: PETHypers | SNNPHypers) -> PET | SNNP:
    """The network that the hyper-parameters describe, with random weights."""
    return PET(hypers) if isinstance(hypers, PETHypers) else SNNP(hypers)


def _name(network: PET | SNNP) -> str:
    return "pet" if isinstance(network, PET) else "snnp"


def centre_direct_forces(network: PET | SNNP, samples: list[Sample], cutoff: float) -> None:
    """Take the mean force of ``samples`` out of the direct head's bias.

    The loss sees direct forces without their net force, so a constant is left undetermined; engines
    subtract it, but it would cost digits in float32. The trainer sets one scale for all types.
    """
    if not network.hypers.direct_forces:
        return
    with torch.no_grad():
        means = []
        for sample in samples:
            graph = build_graph(sample.atoms, cutoff)
            vectors = graph.edge_vectors.to(network.energy_scale.dtype)
            arguments = graph.species, graph.edge_index, vectors, graph.reverse_edges, {}
            means.append(network(*arguments, ["direct_forces"])["direct_forces"].mean(dim=0))
        network.readout_forces.node_last.bias -= torch.stack(means).mean(dim=0) / network.force_scale[0]


def _parts(data: DataSplit) -> dict[str, list[Sample]]:
    parts = {
        "training": data.train[:_MOST_TRAINING_FRAMES],
        "validation": data.validation,
        "test": data.test,
    }
    return {name: samples for name, samples in parts.items() if samples}


def evaluate_samples(path: Path, samples: list[Sample]) -> dict[str, Any]:
    """Errors of an exported model on samples, as ``ase-mlip evaluate --json`` prints them."""
    result: EvaluationResult = evaluate(load_model(path, device="cpu"), [s.to_atoms() for s in samples])
    return result.to_dict()


def save_native(
    path: Path, network: PET | SNNP, hypers: PETHypers | SNNPHypers, baseline: dict[str, float]
) -> None:
    """Weights as safetensors; hyper-parameters and reference energies (by atomic number) as JSON beside."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    write_atomically(path, save(tensors))
    document = {
        "architecture": _name(network),
        "hypers": dataclasses.asdict(hypers),
        "reference_energies": baseline,
    }
    write_atomically(path.with_suffix(".json"), json.dumps(document, indent=1).encode())


def load_native(path: str | Path) -> tuple[PET | SNNP, dict[int, float]]:
    """The network of a native checkpoint and its reference energies in eV by atomic number.

    Raises
    ------
    DataError
        when a file is missing or does not hold weights of ours
    """
    path = Path(path)
    try:
        document = json.loads(path.with_suffix(".json").read_text())
        network = make_network(HYPERS[document["architecture"]](**document["hypers"]))
        network.load_state_dict(load_file(path))
    except Exception as error:
        raise DataError(
            f"`{path}` and its .json cannot be read as native weights: {error}; "
            "expected the best.safetensors and best.json of a training run"
        ) from None
    return network.eval(), {int(z): e for z, e in document["reference_energies"].items()}


def _by_symbol(baseline: dict[int, float]) -> dict[str, float]:
    from ase.data import chemical_symbols

    return {chemical_symbols[z]: energy for z, energy in baseline.items()}


def _provenance(config: RunConfig, state: TrainState, data: DataSplit, output: Path) -> dict[str, Any]:
    seconds = sum(row["seconds"] for row in state.history)
    return {
        "data": data.description,
        "functional": config.functional,
        **({"init_from": config.init_from} if config.init_from else {}),
        "loss": dataclasses.asdict(config.loss),
        "optimizer": dataclasses.asdict(config.optimizer),
        "seed": config.seed,
        "epochs": state.epoch,
        "hours": round(seconds / 3600, 3),
        "parameters": sum(p.numel() for p in state.network.parameters()),
        "checkpoint_sha256": file_sha256(output / "best.safetensors"),
    }


def plot_learning_curve(history: list[dict[str, float]], path: Path) -> None:
    """Training (last weights, rotated) and validation (averaged weights) errors against the epoch."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [("energy", "energy RMSE (meV/atom)", 1e3), ("forces", "force RMSE (meV/Å)", 1e3)]
    panels += [("stress", "stress RMSE (meV/Å³)", 1e3)]
    panels = [p for p in panels if any(f"train_{p[0]}_rmse" in row for row in history)]
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.4), squeeze=False)
    for axis, (name, label, factor) in zip(axes[0], panels, strict=True):
        for part, colour in (("train", "tab:blue"), ("validation", "tab:orange")):
            for kind, style in (("", "-"), ("direct_", ":")):
                key = f"{part}_{kind}{name}_rmse"
                points = [(row["epoch"], factor * row[key]) for row in history if key in row]
                if points:
                    title = part + (" (direct head)" if kind else "")
                    axis.plot(*zip(*points, strict=True), color=colour, ls=style, label=title, lw=1)
        axis.set(xlabel="epoch", ylabel=label, yscale="log")
        axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)
