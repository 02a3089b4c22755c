"""Residuals of a batch, their weighted sum, and the errors reported per epoch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..configuration.run import LossConfig
from ..data.batches import Batch
from ..data.references import Sample
from ..voigt import symmetric


@dataclass
class Scales:
    """Root mean squares in the training set: energy per atom (without baseline), forces, stress.

    The energy's is at least 0.1 Å times the forces': total energies of a liquid or a molecule vary by
    a few meV per atom, and in that unit they would drown the forces.
    """

    energy: float
    forces: float
    stress: float


def scales_of(samples: Sequence[Sample], baseline: Mapping[int, float]) -> Scales:
    """Of a training set; ``baseline`` is an energy in eV for each atomic number, taken off the energies."""

    def rms(values: list[torch.Tensor]) -> float:
        if not values:
            return 1.0
        return max(float(torch.cat(values).square().mean().sqrt()), 1e-8)

    energies, forces, stresses = [], [], []
    for sample in samples:
        numbers = sample.atoms.numbers
        if sample.energy is not None:
            rest = sample.energy - sum(baseline[int(z)] for z in numbers)
            energies.append(torch.tensor([rest / len(numbers)], dtype=torch.float64))
        if sample.forces is not None:
            forces.append(torch.as_tensor(sample.forces, dtype=torch.float64).flatten())
        if sample.stress is not None:
            stresses.append(torch.as_tensor(sample.stress, dtype=torch.float64).flatten())
    of_forces = rms(forces)
    of_energies = max(rms(energies), 0.1 * of_forces if forces else 0.0)
    return Scales(of_energies, of_forces, rms(stresses))


def predict(network: torch.nn.Module, batch: Batch, baseline: Tensor, derivatives: bool) -> dict[str, Tensor]:
    """Energies [B], forces [N, 3] and stresses [B, 3, 3] of a batch, differentiable again if training.

    Without ``derivatives`` only ``energies`` and the network's direct heads are returned. Energies
    are float64 and include ``baseline`` (float64 [119], eV by atomic number).
    """
    vectors = batch.edge_vectors.detach().requires_grad_(derivatives)
    graph = batch.species, batch.edge_index, vectors, batch.reverse_edges
    outputs = network(*graph, {}, ["direct_forces", "direct_virials"])
    zeros = torch.zeros(batch.n_structures, dtype=torch.float64, device=vectors.device)
    atomic = outputs["energies"].double() + baseline[batch.species]
    found = {"energies": zeros.index_add(0, batch.structure, atomic)}
    volumes = batch.volumes.to(vectors.dtype)[:, None, None]
    if derivatives:
        (gradients,) = torch.autograd.grad(
            [outputs["energies"].sum()], [vectors], create_graph=network.training
        )
        n_nodes = batch.species.size(0)
        found["forces"] = torch.ops.ase_mlip.forces_from_gradients(gradients, batch.edge_index, n_nodes)
        virials = torch.ops.ase_mlip.virial_from_gradients(
            gradients, vectors, batch.structure[batch.edge_index[0]], batch.n_structures
        )
        found["stresses"] = -symmetric(virials) / volumes
    if "direct_forces" in outputs:
        direct = outputs["direct_forces"]
        sums = direct.new_zeros(batch.n_structures, 3).index_add(0, batch.structure, direct)
        found["direct_forces"] = direct - (sums / batch.n_atoms[:, None])[batch.structure]
    if "direct_virials" in outputs:
        sums = torch.zeros_like(batch.stresses).index_add(0, batch.structure, outputs["direct_virials"])
        found["direct_stresses"] = -sums / volumes
    return found


def residuals(found: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Prediction minus reference where there is one: eV/atom [B], eV/Å [N, 3], eV/Å³ [B, 3, 3]."""
    errors = {"energy": ((found["energies"] - batch.energies) / batch.n_atoms)[batch.energy_mask].float()}
    for name, mine in (("forces", "forces"), ("direct_forces", "direct_forces")):
        if mine in found:
            errors[name] = (found[mine] - batch.forces)[batch.forces_mask]
    for name, mine in (("stress", "stresses"), ("direct_stress", "direct_stresses")):
        if mine in found:
            errors[name] = (found[mine] - batch.stresses)[batch.stress_mask]
    return errors


def of_structures(errors: dict[str, Tensor], batch: Batch) -> Iterator[dict[str, Tensor]]:
    """The same residuals for each of the B structures alone, in their order; a part without any is empty."""
    counts = {
        "energy": batch.energy_mask.int(),
        "forces": batch.structure[batch.forces_mask].bincount(minlength=batch.n_structures),
        "stress": batch.stress_mask.int(),
    }
    split = {
        name: error.split(counts[name.removeprefix("direct_")].tolist()) for name, error in errors.items()
    }
    for k in range(batch.n_structures):
        yield {name: parts[k] for name, parts in split.items()}


def energy_weight(config: LossConfig, done: float) -> float:
    """Weight of the energy after the fraction ``done`` of the run; geometric from start to end."""
    if config.energy == 0 or config.energy_start == 0:
        return config.energy
    return config.energy_start * (config.energy / config.energy_start) ** done


def loss(errors: dict[str, Tensor], config: LossConfig, scales: Scales, done: float) -> Tensor:
    """Σ weight · mean of Huber(residual/rms) (or its square); Huber is divided by delta.

    ``done`` is the finished fraction of the run, for the weight of the energy.
    """
    total = torch.zeros((), dtype=errors["energy"].dtype, device=errors["energy"].device)
    for name, error in errors.items():
        weight = energy_weight(config, done) if name == "energy" else getattr(config, name)
        if weight == 0 or error.numel() == 0:
            continue
        quantity = name.removeprefix("direct_")
        scaled = error / getattr(scales, quantity)
        if config.kind == "mse":
            total = total + weight * (scaled * scaled).mean()
        else:
            delta = getattr(config, f"{quantity}_delta")
            huber = torch.nn.functional.huber_loss(scaled, torch.zeros_like(scaled), delta=delta)
            total = total + weight * huber / delta
    return total


class RunningErrors:
    """Root-mean-square errors accumulated over batches."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, errors: dict[str, Tensor]) -> None:
        for name, error in errors.items():
            self.sums[name] = self.sums.get(name, 0.0) + float((error.detach().double() ** 2).sum())
            self.counts[name] = self.counts.get(name, 0) + error.numel()

    def rmse(self) -> dict[str, float]:
        """Per quantity; the units of :func:`residuals`. Quantities without references are left out."""
        return {k: (self.sums[k] / n) ** 0.5 for k, n in self.counts.items() if n > 0}
