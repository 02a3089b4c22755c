"""The losses of a model on training frames, evaluated again and again while its weights move.

Graphs are made once. A point then costs one evaluation of energies and conservative forces, by the scripted
module itself: it sees weights that were moved in place. The kernel that runs an s-NNP in the calculator has
copied them when it was loaded, and is not used; the operator behind the module is as quick on many frames.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..data.batches import parts
from ..data.references import Sample
from ..errors import DataError, StructureError
from ..graph.neighbors import Graph, check_structure, concatenate
from ..model_file.model import Model

# nodes of frames that are evaluated together: an s-NNP of 27 atoms is three times as fast as one by one on a
# CPU, a PET 1.4 times; both gain nothing from more
NODES_AT_ONCE = {"cpu": 1024, "cuda": 16384}


@dataclass(frozen=True)
class Batch:
    """B frames with N atoms that are evaluated together, on the model's device.

    Attributes
    ----------
    graph: of all of them
    energies, forces: the references, float64 [B] in eV and [N, 3] in eV/Å
    n_atoms: float64 [B]
    """

    graph: Graph
    energies: torch.Tensor
    forces: torch.Tensor
    n_atoms: torch.Tensor


def _batch(graph: Graph, samples: Sequence[Sample], device: torch.device) -> Batch:
    energies = torch.tensor([sample.energy for sample in samples], dtype=torch.float64)
    forces = torch.from_numpy(np.concatenate([sample.forces for sample in samples]))
    n_atoms = torch.tensor([len(sample.atoms) for sample in samples], dtype=torch.float64)
    return Batch(graph.to(device), energies.to(device), forces.to(device), n_atoms.to(device))


class FrameLosses:
    """L_E and L_F of a model on some frames: RMSE of energies per atom, and of force components.

    Parameters
    ----------
    model: evaluated with the averaging it was exported with, on its own device and in its own dtype
    samples: two frames or more with energies and forces

    Attributes
    ----------
    network_seconds: processor time spent in the model so far
    evaluations: of all frames

    Raises
    ------
    DataError
        fewer than two frames; a frame without an energy or without forces
    StructureError
        a frame with species that the model does not know
    """

    def __init__(self, model: Model, samples: Sequence[Sample]):
        check_samples(model, samples)
        self.model, self.samples = model, list(samples)
        self.network_seconds, self.evaluations = 0.0, 0
        graphs = [model.graph_of(sample.atoms) for sample in samples]
        sizes = [len(sample.atoms) for sample in samples]
        most = NODES_AT_ONCE["cuda" if model.device.type == "cuda" else "cpu"]
        self.batches = [
            _batch(concatenate([graphs[k] for k in part]), [samples[k] for k in part], model.device)
            for part in parts(sizes, most)
        ]
        self._n_atoms = torch.tensor(sizes, dtype=torch.float64)
        self._energies = torch.tensor([sample.energy for sample in samples], dtype=torch.float64)
        self._forces = torch.from_numpy(np.concatenate([sample.forces for sample in samples]))

    @property
    def n_frames(self) -> int:
        return len(self._n_atoms)

    @property
    def n_atoms(self) -> int:
        """Of all frames together."""
        return len(self._forces)

    def __call__(self) -> tuple[float, float]:
        """(L_E in eV/atom, L_F in eV/Å) with the weights as they are; infinite where it overflowed."""
        energies, forces = self.results()
        of_energies = ((energies - self._energies) / self._n_atoms).square().mean().sqrt()
        of_forces = (forces - self._forces).square().mean().sqrt()
        return _or_infinite(of_energies), _or_infinite(of_forces)

    def results(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies [frames] in eV and forces [atoms, 3] in eV/Å, float64 on the CPU."""
        before = time.process_time()
        found = [self.model(batch.graph, ["forces"]) for batch in self.batches]
        energies = torch.cat([results["energy"] for results in found]).cpu()
        forces = torch.cat([results["forces"] for results in found]).cpu()
        self.network_seconds += time.process_time() - before
        self.evaluations += 1
        return energies, forces

    def some(self, n: int) -> FrameLosses:
        """The same of n of the frames or two: with all elements, if that is possible, and few atoms."""
        left, chosen, seen = list(self.samples), [], set()
        while left and len(chosen) < max(n, 2):
            best = max(left, key=lambda s: (len(set(s.atoms.numbers.tolist()) - seen), -len(s.atoms)))
            seen |= set(best.atoms.numbers.tolist())
            chosen.append(best)
            left = [sample for sample in left if sample is not best]
        return FrameLosses(self.model, chosen)


def check_samples(model: Model, samples: Sequence[Sample]) -> None:
    """Raise as :class:`FrameLosses`."""
    for sample in samples:
        for name in ("energy", "forces"):
            if getattr(sample, name) is None:
                raise DataError(
                    f"{sample.source} has no reference `{name}`; a landscape needs energies and forces of "
                    "every frame: leave it out, or name the columns of the file so"
                )
        try:
            check_structure(sample.atoms, model.info.species)
        except StructureError as error:
            raise StructureError(f"{sample.source}: {error}") from None
    if len(samples) < 2:
        raise DataError(
            f"`frames`: expected at least two training frames, got {len(samples)}; a loss is a mean over "
            "frames"
        )


def _or_infinite(loss: torch.Tensor) -> float:
    return float(loss) if bool(torch.isfinite(loss)) else float("inf")
