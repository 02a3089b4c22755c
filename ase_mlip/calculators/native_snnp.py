"""An s-NNP on a CPU straight from positions and a stored neighbour list, as in LAMMPS' native kernel.

The general way of a model makes a graph, calls the network in the file and sums gradients; an s-NNP is so
cheap that this takes longer than the network. Here one pass in C++ (csrc/snnp/atoms.h) does all of it.
"""

from __future__ import annotations

import threading

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from ..errors import MLIPError
from ..graph.neighbors import NeighborList, pair_table
from ..graph.stored_list import StoredList
from ..model_file.earlier.first_contract import unwrapped
from ..model_file.model import Model
from ..model_file.self_test import check_native
from ..rotations.averaging import Averaging
from .diagnostics.visited import Coverage


class NativeSNNP:
    """The network of a model file, for one structure at a time. See :func:`native_snnp`.

    Threads may share one, and wait for each other; copies of a calculator have one each.
    """

    def __init__(self, model: Model):
        self._lock = threading.Lock()
        network = unwrapped(model.module.network.network)
        self.kinds = network.types.to(torch.int32)
        known = (self.kinds >= 0).nonzero().squeeze(1)
        species = known[self.kinds[known].argsort()]  # atomic numbers in the order of the network
        banks = [network.phi, network.rho, network.f, network.g, network.embedding]
        cases = [network.pair_cases, network.radial_cases, network.angle_cases, network.network_cases]
        layers = network.networks.weights_and_biases() if network.has_network else []
        skip = network.skip if network.has_skip else torch.zeros_like(network.skip)
        limits = torch.full((len(species), len(species)), model.info.cutoff**2, dtype=torch.float64)
        if model.info.pair_cutoffs:
            limits = pair_table(model.info.pair_cutoffs, model.info.cutoff)[species][:, species] ** 2
        self._compiled = torch.classes.ase_mlip.SnnpOnAtoms(
            [_double(bank.all_coefficients()) for bank in banks],
            [_double(bank.grid) for bank in banks],
            [case.contiguous() for case in cases],
            _double(skip),
            [_double(tensor) for tensor in layers],
            float(network.energy_scale),
            network.cutoff,
            network.angular_cutoff,
            model.module.reference_energies[species].contiguous(),
            limits.contiguous(),
            _tables(Coverage.of(model.info)),
            model.dtype == torch.float32,
        )

    def __call__(
        self, stored: StoredList, positions: np.ndarray, virials: bool
    ) -> tuple[dict[str, np.ndarray], np.ndarray, float]:
        """Evaluate a structure whose pairs within the cutoff are in the list.

        Parameters
        ----------
        stored: the list, with the cell as it is now
        positions: float64 [N, 3], Å
        virials: whether those of the atoms are wanted, beside their sum

        Returns
        -------
        outputs as of :class:`ase_mlip.model_file.model.Model`, as far as the calculator needs them:
        ``energies`` [N] and ``energy`` [1] in eV, ``forces`` [N, 3] in eV/Å, ``virial`` [1, 3, 3] and on
        request ``virials`` [N, 3, 3] in eV; int64 [N], the neighbours and angles of each atom without
        training data (zero where the file does not know); the shortest distance of the list, Å
        """
        ghosts = stored.with_ghosts()
        arguments = (
            *(torch.from_numpy(positions), self.kinds[stored.species], ghosts.owners),
            *(stored.offsets.index_select(0, ghosts.edges), ghosts.starts, ghosts.neighbours),
        )
        with self._lock:  # its work space is its own
            energies, forces, of_atoms, virial, counts, shortest = self._compiled.evaluate(
                *arguments, virials
            )
        outputs = {
            "energies": energies,
            "energy": energies.sum(dim=0, keepdim=True),
            "forces": forces,
            "virial": virial.view(1, 3, 3),
        }
        if virials:
            outputs["virials"] = of_atoms.reshape(-1, 3, 3)
        return {name: value.numpy() for name, value in outputs.items()}, counts.numpy(), shortest


def native_snnp(model: Model, averaging: Averaging | None, forces: str) -> NativeSNNP | None:
    """The fast way for a calculator, or None where the general one is needed.

    That is for other architectures and devices, direct forces, and averages over rotations (None: one that
    is still to be chosen).

    Raises
    ------
    ModelFileError
        the tables here do not give the numbers of the file's self-test
    """
    network = getattr(model.module.network, "network", None)  # there is none in old files
    if network is None or unwrapped(network).original_name != "SNNP" or model.device.type != "cpu":
        return None
    plain = averaging is not None and averaging.seed is None and len(averaging.rotations) == 0
    if not plain or forces != "conservative":
        return None
    native = NativeSNNP(model)
    if model.self_test:
        _check_self_test(native, model)
    return native


def chosen_native(
    kernel: str | None, model: Model, averaging: Averaging | None, forces: str
) -> NativeSNNP | None:
    """As :func:`native_snnp`, as the option `kernel` says. Raises MLIPError where "native" cannot be had."""
    native = None if kernel == "torch" else native_snnp(model, averaging, forces)
    if kernel == "native" and native is None:
        raise MLIPError(
            "`kernel='native'` evaluates one s-NNP on the processor, with conservative forces and no "
            f"averaging; got `{model.path}` on {model.device}; use kernel='torch'"
        )
    return native


def _check_self_test(native: NativeSNNP, model: Model) -> None:
    info, given = model.info, model.info.self_test["structure"]
    atoms = Atoms(given["numbers"], given["positions"], cell=given["cell"], pbc=True)
    stored = NeighborList(info.cutoff, 0.0, info.pair_cutoffs).stored(atoms)
    outputs, _, _ = native(stored, atoms.positions, False)
    tensors = {name: torch.from_numpy(value) for name, value in outputs.items()}
    check_native(tensors, info, str(model.dtype).removeprefix("torch."), model.path)


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float64).contiguous()


def _tables(coverage: Coverage | None) -> list[Tensor]:
    if coverage is None:
        return []
    return [
        table.to(torch.uint8).contiguous() for table in (coverage.radial, coverage.angular, coverage.angle)
    ]
