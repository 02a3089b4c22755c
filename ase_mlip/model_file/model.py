"""Model files: exporting a network, and loading it with everything verified.

A file is loaded in this order, each step with its own error: document → hashes of the archive → operators →
TorchScript → dtype and device → self-test.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .. import _torchscript
from ..building import _ops
from ..building.device import on_first_that_works
from ..errors import MLIPError, ModelFileError, users_line
from ..rotations.averaging import PLAIN, Averaging
from . import archive
from .earlier.first_schema import in_present_schema
from .export import export_model
from .info import ModelInfo, find_model, parse_document, read_info, shipped_models
from .leverage_file import MEMBER, Leverage, read_leverage
from .self_test import check_species, exported_rotations
from .self_test import run as run_self_test

if TYPE_CHECKING:
    from ase import Atoms

    from ..graph.neighbors import Graph

__all__ = ["Model", "ModelInfo", "export_model", "find_model", "load_model", "read_info", "shipped_models"]

# what every model gives beside the outputs of its network
OF_ANY_MODEL = ("energies", "energy", "forces", "virial", "virials", "gradients", "spread")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
# glibc then keeps the large edge tensors instead of giving them back to the system and faulting them in anew
MMAP_THRESHOLD = 2**31 - 1  # bytes, the largest it takes
TRIM_THRESHOLD = -1  # never; with 2 GiB, systems beyond 50 000 atoms lost a fifth of their speed

# Nodes of rotated copies that are evaluated together on a CPU: 2 atoms 3.5 times, 8 atoms 1.8 times as fast
NODES_AT_ONCE = 128

_allocator_tuned = False


@dataclass
class Model:
    """A loaded potential. Calling it evaluates a graph; it pickles by its path.

    Nothing is written on it when it is called, so that threads may share it. Files of schema 1 are the
    exception: their calls wait for each other.

    Attributes
    ----------
    info : ModelInfo
        what the file says about itself
    module : torch.jit.ScriptModule
        the scripted :class:`ase_mlip.model_file.potential.Potential`
    device, dtype : torch.device, torch.dtype
        where and in which precision the network runs
    path : Path
        the file it came from
    exported : Averaging
        the averaging the file was exported with
    batch : int
        rotations of an averaging that are evaluated together; 0: what is fastest
    self_test : bool
        whether the file had to reproduce its own self-test, and has to wherever else it is evaluated
    leverage : Leverage or None
        how far atoms are from the training data; None where the file does not say
    potential
        the module, or what calls one of schema 1, with the arguments of ``Potential.forward``
    """

    info: ModelInfo
    module: torch.jit.ScriptModule
    device: torch.device
    dtype: torch.dtype
    path: Path
    exported: Averaging = PLAIN
    batch: int = 0
    self_test: bool = True
    leverage: Leverage | None = None

    def __post_init__(self) -> None:
        self.potential = in_present_schema(self.module)

    def graph_of(self, atoms: Atoms) -> Graph:
        """The graph of a structure with the edges within this model's cutoffs, on the CPU.

        Raises StructureError, see :func:`ase_mlip.graph.neighbors.check_structure`.
        """
        from ..graph.neighbors import build_graph  # late: most programs that load a model bring their edges

        return build_graph(atoms, self.info.cutoff, self.info.pair_cutoffs)

    def __call__(
        self,
        graph: Graph,
        outputs: Sequence[str] = ("forces", "virial"),
        averaging: Averaging | None = None,
        at_once: int = 0,
    ) -> dict[str, Tensor]:
        """Evaluate a graph of :mod:`ase_mlip.graph.neighbors`; every result is float64 on the model's device.

        The results do not depend on the context of the caller: gradients, inference mode and autocast may be
        on or off.

        Parameters
        ----------
        graph : Graph
            of one or more structures
        outputs : sequence of str
            names of what is wanted beside the energies; nothing else is computed
        averaging : Averaging, optional
            rotations to average over; None takes those the file was exported with
        at_once : int
            rotations that are evaluated together; 0: as :attr:`batch` says

        Returns
        -------
        dict of Tensor
            always ``energies`` [N] and ``energy`` [B] in eV. If wanted ``forces`` [N, 3] in eV/Å, ``virial``
            [B, 3, 3] and ``virials`` [N, 3, 3] in eV (LAMMPS sign, not symmetrised), ``gradients`` [E, 3] in
            eV/Å (not in files written before it existed), and what else ``info.outputs`` declares, such as
            ``direct_forces`` [N, 3] in eV/Å. With ``spread`` and G rotations also ``energies_by_rotation``
            [N, G], and of what is wanted ``forces_by_rotation`` [N, G, 3], ``virial_by_rotation`` [B, G, 3,
            3], ``virials_by_rotation`` and those of the direct heads.

        Raises
        ------
        MLIPError
            an output that nobody knows or that the model does not have
        """
        wanted = self._checked(outputs)
        averaging = self.exported if averaging is None else averaging
        with _torchscript.calling():
            graph = graph.to(self.device)
            of_graph = (
                *(graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges),
                *(graph.node_weights, graph.structure),
            )
            return self.potential(
                *(_torchscript.ordinary(tensor) for tensor in of_graph),
                graph.n_structures,
                {},
                torch.from_numpy(averaging.rotations),
                torch.from_numpy(averaging.weights),
                at_once or self.batch or self._at_once(len(graph.species)),
                wanted,
            )

    def rotations_on_cpu(self, n_nodes: int) -> int:
        """Rotations that are evaluated together on a CPU where nothing else is asked for."""
        return max(1, NODES_AT_ONCE // max(1, n_nodes))

    def _at_once(self, n_nodes: int) -> int:
        return 0 if self.device.type == "cuda" else self.rotations_on_cpu(n_nodes)  # 0: the network fills it

    def _checked(self, outputs: Sequence[str]) -> list[str]:
        if isinstance(outputs, str) or not isinstance(outputs, Sequence):
            raise MLIPError(f"`outputs` must be a list of names such as `forces`, got {outputs!r}")
        known = (*OF_ANY_MODEL, *self.info.outputs)
        for name in outputs:
            if name not in known:
                raise MLIPError(
                    f"`outputs`: `{self.path}` has no `{name}`; expected some of {', '.join(known)}"
                )
        return list(outputs)

    def __reduce__(self):
        dtype = str(self.dtype).removeprefix("torch.")
        return _reload, (self.path, str(self.device), dtype, self.info.document_sha256)


def load_model(
    path_or_name: str | os.PathLike,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    self_test: bool = True,
    tune_allocator: bool = True,
) -> Model:
    """Load a model file, or a shipped potential by its name such as ``"pet-si"``.

    Parameters
    ----------
    path_or_name : str or Path
        the file, or the name of a potential in this package
    device : str or torch.device
        ``"auto"`` takes the GPU if it can run this file here, else the CPU, and says why
        (:mod:`ase_mlip.building.device`); or ``"cpu"``, ``"cuda"``, ``"cuda:1"``
    dtype : str or torch.dtype, optional
        ``"float32"`` or ``"float64"`` for the network; by default that of the stored weights
    self_test : bool
        whether the file has to reproduce its own self-test here
    tune_allocator : bool
        let glibc keep large freed blocks, once per process; it makes large systems up to twice as fast on a
        CPU, for about 20 % more memory

    Returns
    -------
    Model
        the model, ready to evaluate graphs

    Raises
    ------
    FileNotFoundError
        there is no such file or name
    ModelFileError
        the file is damaged, foreign, too new, altered, or fails its self-test
    MLIPError
        unknown dtype or device, or the system refuses the threads that torch is set to
    BuildError
        the operators are missing and cannot be built

    Examples
    --------
    >>> from ase_mlip import load_model
    >>> model = load_model("snnp-si", device="cpu")
    >>> model.info.species
    [14]
    """
    path = find_model(path_or_name)
    info = parse_document(archive.read_document(path), path)
    precision = _find_dtype(dtype, info)
    data = path.read_bytes()
    archive.verify_members(data, info.members, path)
    _ops.load()
    _check_operators(info, path)
    _require_threads()
    if tune_allocator:
        _tune_allocator()

    def load_on(target: torch.device) -> Model:
        with _torchscript.calling():
            module = _load_module(data, info, path, target, precision)
            if self_test:
                potential = in_present_schema(module)
                name = str(precision).removeprefix("torch.")
                run_self_test(potential, module, info, name, target, path)
            exported = _exported_averaging(module, info)
        leverage = read_leverage(info, archive.read_member(data, MEMBER), path, target)
        return Model(info, module, target, precision, path, exported, self_test=self_test, leverage=leverage)

    return on_first_that_works(device, load_on)


# ---- steps of loading --------------------------------------------------------------------------------------


def _load_module(
    data: bytes, info: ModelInfo, path: Path, target: torch.device, precision: torch.dtype
) -> torch.jit.ScriptModule:
    try:
        module = _torchscript.load(io.BytesIO(data), target)
    except RuntimeError as error:
        raise ModelFileError(
            f"`{path}` is intact, but torch {torch.__version__} cannot load it "
            f"(written with torch {info.versions.get('torch')}): {error}"
        ) from None
    try:
        check_species(module, info)
    except ModelFileError as error:
        raise ModelFileError(f"`{path}`: {error}; fetch the file again") from None
    module.network.to(precision)
    return module


def _find_dtype(dtype: str | torch.dtype | None, info: ModelInfo) -> torch.dtype:
    name = info.dtype if dtype is None else str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        expected = " or ".join(DTYPES)
        raise MLIPError(f"unsupported `dtype` {dtype}; expected {expected}, or None for {info.dtype}")
    return DTYPES[name]


def _exported_averaging(module: torch.jit.ScriptModule, info: ModelInfo) -> Averaging:
    if info.symmetrization is None:
        return PLAIN
    claims = info.symmetrization
    rotations, weights = (tensor.numpy() for tensor in exported_rotations(module))
    lattice, cell = bool(claims.get("lattice", False)), claims.get("cell")
    return Averaging(
        claims["scheme"], rotations, weights, lattice=lattice, cell=None if cell is None else np.array(cell)
    )


def _check_operators(info: ModelInfo, path: Path) -> None:
    available = {"ase_mlip": int(torch.ops.ase_mlip.schema_version())}
    for name, version in info.operators.items():
        if name not in available:
            raise ModelFileError(
                f"`{path}` needs the operators `{name}`, which this version does not have; "
                f"expected only {', '.join(available)}"
            )
        if version > available[name]:
            raise ModelFileError(
                f"`{path}` needs version {version} of the operators `{name}`, expected at most "
                f"{available[name]}; upgrade ase_mlip"
            )


def _require_threads() -> None:
    """An OpenMP run time that cannot make a thread ends the process, so it is tried before."""
    try:
        torch.ops.ase_mlip.require_threads(torch.get_num_threads())
    except RuntimeError as error:
        raise MLIPError(str(error)) from error


def _tune_allocator() -> None:
    global _allocator_tuned
    if _allocator_tuned:
        return
    _allocator_tuned = True
    done = torch.ops.ase_mlip.tune_allocator(MMAP_THRESHOLD, TRIM_THRESHOLD)
    uses_glibc = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})
    if uses_glibc and not done:
        warnings.warn(
            "glibc refused `mallopt`: large systems may run at half the speed; "
            "`load_model(..., tune_allocator=False)` silences this",
            RuntimeWarning,
            stacklevel=users_line(),
        )


def _reload(path: Path, device: str, dtype: str, document_sha256: str) -> Model:
    """Unpickle: the same file in the same precision, or an error if the file changed meanwhile."""
    model = load_model(path, device, dtype)
    if model.info.document_sha256 != document_sha256:
        raise ModelFileError(f"`{path}` was replaced since the model was pickled; pickle it again")
    return model
