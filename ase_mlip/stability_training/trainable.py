"""The network of a model file with weights that can change, and model files of it as it is now."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from torch import Tensor

from .. import _torchscript
from ..converters.export_again import SAME, loaded_network, made_anew
from ..data.batches import GraphDataset
from ..data.references import Sample
from ..errors import MLIPError, ModelFileError
from ..graph.neighbors import Graph, build_graph, concatenate
from ..model_file import self_test
from ..model_file.earlier.first_contract import in_second_contract
from ..model_file.export import export_model
from ..model_file.info import ModelInfo
from ..model_file.model import Model, load_model
from ..model_file.symmetrized_model import SymmetrizedModel

ATOMS_AT_ONCE = 256  # in one pass through the network
PROBE_STEP = 1e-4  # of the weights' own size, along a random direction; central differences in float64
PROBE_TOLERANCE = 1e-4  # relative
NOT_OF_NEW_WEIGHTS = ("errors", "leverage")  # what a file says of its training and other weights do not keep


@dataclass
class Trainable:
    """The network of a model file, whose weights change. Made by :func:`open_trainable`.

    Attributes
    ----------
    info: the file's document
    path: of the file
    network: module of the contract in training mode, with the rotations the file was exported with
    inner: the same without rotations
    table: reference energies, float64 [119], eV by atomic number
    rebuilt: whether the code is this version's; False for other families, whose scripted code is kept
    device: where the network is
    """

    info: ModelInfo
    path: Path
    network: torch.nn.Module
    inner: torch.nn.Module
    table: Tensor
    rebuilt: bool
    device: torch.device
    _live: Model | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.inner.parameters()).dtype

    def parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """Names and weights, in a fixed order."""
        return [(name, p) for name, p in self.inner.named_parameters() if p.is_floating_point()]

    def graph(self, frames: Sequence[Atoms]) -> Graph:
        """One graph of all frames, on the CPU."""
        return concatenate([build_graph(atoms, self.info.cutoff, self.info.pair_cutoffs) for atoms in frames])

    def energies(self, graph: Graph) -> Tensor:
        """Energies of atoms less their reference energies, float64 [N], eV, differentiable by the weights."""
        graph = graph.to(self.device)
        vectors = graph.edge_vectors.to(self.dtype)
        found = self.network(graph.species, graph.edge_index, vectors, graph.reverse_edges, {}, [])
        return found["energies"].double()

    def graphs(self, frames: Sequence[Atoms]) -> Iterator[Graph]:
        """Graphs of neighbouring frames that are evaluated together, as :func:`parts` divides them."""
        return (self.graph(frames[part]) for part in parts(frames))

    def potential_energies(
        self, frames: Sequence[Atoms], graphs: Sequence[Graph] | None = None
    ) -> np.ndarray:
        """Energies of whole frames with the present weights, without reference energies, eV, [n].

        ``graphs``: those of :meth:`graphs`, where they have been made before.
        """
        found = [np.zeros(0)]
        with _torchscript.calling(), torch.no_grad():
            for graph in self.graphs(frames) if graphs is None else graphs:
                energies = self.energies(graph).cpu()
                sums = torch.zeros(graph.n_structures, dtype=torch.float64)
                found.append(sums.index_add(0, graph.structure, energies).numpy())
        return np.concatenate(found)

    def dataset(self, samples: Sequence[Sample]) -> GraphDataset:
        """Samples with references as training takes them."""
        return GraphDataset(samples, self.info.cutoff, self.info.pair_cutoffs)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the present weights by name."""
        return {name: p.detach().cpu().clone() for name, p in self.parameters()}

    def set_weights(self, weights: dict[str, Tensor]) -> None:
        """Take the weights of :meth:`weights`."""
        with torch.no_grad():
            for name, p in self.parameters():
                p.copy_(weights[name])

    def model(self) -> Model:
        """The present weights as a loaded model, for calculators.

        Every call returns the same model. Weights that have changed since the last call are written into it,
        and no others, so that threads may share it while the weights stay as they are.
        No self-test is asked of it, as the numbers in the file are those of other weights.
        """
        with self._lock:
            if self._live is None:
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / "model.pt"
                    self.export_for_dynamics(file)
                    self._live = load_model(file, self.device, self_test=False)
            _write_changes(self.inner.state_dict(), loaded_network(self._live).state_dict())
            return self._live

    def export(self, path: Path, training: dict[str, Any], name: str | None = None) -> ModelInfo:
        """Write the present weights as a model file.

        Parameters
        ----------
        training: entries that replace those of the same name in what the file says of its training
        name: of the potential; None keeps that of the file
        """
        kept = {key: value for key, value in self.info.training.items() if key not in NOT_OF_NEW_WEIGHTS}
        return self._export(path, {**kept, **training}, name)

    def export_for_dynamics(self, path: Path) -> None:
        """The same without what the training data visited: runs are meant to leave them, without warnings."""
        left_out = (*NOT_OF_NEW_WEIGHTS, "visits")
        self._export(path, {key: value for key, value in self.info.training.items() if key not in left_out})

    def _export(self, path: Path, training: dict[str, Any], name: str | None = None) -> ModelInfo:
        metadata = replace(self.info, name=name or self.info.name, outputs=["energies"], training=training)
        with self.evaluating():
            return export_model(self.network, path, metadata)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within the context the network is in evaluation mode: faster, without derivatives by weights."""
        self.network.eval()
        try:
            yield
        finally:
            self.network.train()


def _write_changes(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    """Copies the tensors that differ; autograd in another thread would refuse those that were written on."""
    for name, tensor in source.items():
        value = tensor.to(target[name])
        if not torch.equal(value, target[name]):
            target[name].copy_(value)


def parts(frames: Sequence[Atoms]) -> Iterator[slice]:
    """Neighbouring frames that are evaluated together: so many that calls cost less than what they do."""
    start = atoms = 0
    for n, frame in enumerate(frames):
        if atoms and atoms + len(frame) > ATOMS_AT_ONCE:
            yield slice(start, n)
            start, atoms = n, 0
        atoms += len(frame)
    if atoms:
        yield slice(start, len(frames))


def open_trainable(
    path: str | Path, device: str | torch.device = "cpu", frames: Sequence[Atoms] = ()
) -> Trainable:
    """The network of a model file, rebuilt by the code of this version, or as it is scripted in the file.

    Before anything else its energies are compared with the file's, in float64, on the self-test structure and
    on ``frames``. Of a scripted network, the derivative by the weights is compared with a finite difference.

    Raises
    ------
    MLIPError
        energies that deviate, a network without weights or whose weights have no derivative
    FileNotFoundError, ModelFileError
        see :func:`ase_mlip.load_model`
    """
    old = load_model(path, device="cpu", dtype="float64")
    anew = made_anew(old)
    inner = loaded_network(load_model(path, device="cpu", dtype="float64")) if anew is None else anew
    rotations = self_test.exported_rotations(old.module)
    network = SymmetrizedModel(inner, *rotations) if len(rotations[0]) else in_second_contract(inner)
    table = torch.zeros(119, dtype=torch.float64)
    for symbol, energy in old.info.reference_energies.items():
        table[atomic_numbers[symbol]] = energy
    found = Trainable(
        old.info, old.path, network.train(), inner, table, anew is not None, torch.device("cpu")
    )
    parameters = found.parameters()
    if not parameters:
        raise MLIPError(f"`{old.path}` holds a network without weights: there is nothing to train")
    for _, parameter in parameters:
        parameter.requires_grad_(True)
    structure = old.info.self_test["structure"]
    probe = Atoms(structure["numbers"], structure["positions"], cell=structure["cell"], pbc=True)
    with _torchscript.calling():
        _compare(found, old, [probe, *frames])
        if not found.rebuilt:
            _probe(found, probe)
    found.network.to(getattr(torch, old.info.dtype))
    found.network.to(device)
    found.table, found.device = table.to(device), torch.device(device)
    return found


def _compare(found: Trainable, old: Model, frames: Sequence[Atoms]) -> None:
    for atoms in frames:
        graph = found.graph([atoms])
        expected = old(graph, outputs=[])["energies"] - found.table[graph.species]
        with torch.no_grad():
            energies = found.energies(graph)
        deviation = float((energies - expected).abs().max()) / max(1.0, float(expected.abs().max()))
        if not deviation <= SAME:
            raise MLIPError(
                f"`{found.path}`: expected the rebuilt network to give the energies of the file, got a "
                f"relative deviation of {deviation:.1e}, allowed {SAME:.0e}; please report it"
            )


def _probe(found: Trainable, atoms: Atoms) -> None:
    """Refuse a scripted network whose derivative by its weights is not that of finite differences."""
    parameters = [p for _, p in found.parameters()]
    graph = found.graph([atoms])
    generator = torch.Generator().manual_seed(0)
    direction = [
        torch.randn(p.shape, generator=generator, dtype=p.dtype) * (p.detach().abs().mean() + 1e-3)
        for p in parameters
    ]
    name = found.info.architecture.get("name", "another family")
    try:
        gradients = torch.autograd.grad(found.energies(graph).sum(), parameters, allow_unused=True)
    except RuntimeError as error:
        raise _refusal(found, name, f"no derivative ({' '.join(str(error).split())[-120:]})") from None
    pairs = zip(gradients, direction, strict=True)
    slope = sum(float((g * v).sum()) for g, v in pairs if g is not None)
    ends = []
    with torch.no_grad():
        for sign in (1.0, -1.0):
            for p, v in zip(parameters, direction, strict=True):
                p.add_(v, alpha=sign * PROBE_STEP)
            ends.append(float(found.energies(graph).sum()))
            for p, v in zip(parameters, direction, strict=True):
                p.sub_(v, alpha=sign * PROBE_STEP)
    measured = (ends[0] - ends[1]) / (2.0 * PROBE_STEP)
    if not abs(slope - measured) <= PROBE_TOLERANCE * max(abs(measured), 1e-3):
        raise _refusal(found, name, f"{slope:.6g} eV, where finite differences give {measured:.6g} eV")


def _refusal(found: Trainable, name: str, got: str) -> ModelFileError:
    return ModelFileError(
        f"`{found.path}` holds {name}: expected the derivative of the energy by the weights, got {got}; such "
        "a file can be used but not trained"
    )
