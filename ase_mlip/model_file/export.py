"""Writing model files: the network is scripted, tried on its own self-test, described and stored."""

from __future__ import annotations

import copy
import datetime
import io
import os
import re
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import torch
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor

import ase_mlip

from .. import _torchscript
from ..building import _ops
from ..errors import MLIPError, ModelFileError
from ..provenance import write_atomically
from ..rotations.averaging import Averaging
from ..voigt import antisymmetric
from . import archive, self_test
from .code import NAMESPACES, check_code
from .earlier.first_contract import unwrapped
from .info import KNOWN_OUTPUTS, ModelInfo
from .potential import Potential
from .symmetrized_model import SymmetrizedModel

MEASURED = ("schema_version", "dtype", "versions", "created", "self_test", "members", "document_sha256")
# how closely a ``reference`` must give the module's numbers, relative: its weights may have been more precise
INDEPENDENT = {"float64": 1e-7, "float32": 1e-4}
REQUIRED = ("name", "species", "cutoff", "message_passing_layers", "interaction_range")


def export_model(
    module: torch.nn.Module,
    path: str | os.PathLike,
    metadata: ModelInfo | dict,
    reference: Callable[[Atoms], dict[str, Tensor]] | None = None,
    averaging: Averaging | None = None,
) -> ModelInfo:
    """Write a network as a model file and return its document.

    Parameters
    ----------
    module : torch.nn.Module
        a network of the contract (``docs/architecture.md``), or a ``Potential`` around one; it is copied
    path : str or Path
        the file; it is replaced in one step, so that a crash or a full disk leaves the old one
    metadata : ModelInfo or dict
        fields of :class:`ModelInfo`; ``name, species, cutoff, message_passing_layers, interaction_range`` are
        required in a dict; outputs, dtype, hashes and the self-test are measured
    reference : callable, optional
        gives independent numbers for the self-test, by default the module's own: ``energy`` [1] (eV),
        ``forces`` [N, 3] (eV/Å) and ``virial`` [1, 3, 3] (eV, symmetric) of a structure, in float64
    averaging : Averaging, optional
        rotations that engines average the network over unless told otherwise, such as
        ``find_averaging(crystal)`` of :mod:`ase_mlip.rotations.schemes`; None keeps those of ``module``

    Returns
    -------
    ModelInfo
        the document of the file

    Raises
    ------
    ModelFileError
        a claim of ``metadata`` is unknown or not true of the module, or its code calls operators that do
        something else than compute
    MLIPError
        the module has weights that are not finite, gives wrong shapes or values on the self-test, or is not
        what ``reference`` describes
    OSError
        the file cannot be written

    Examples
    --------
    A shipped potential, averaged over the rotations of the crystal it is for:

    >>> from ase.build import bulk
    >>> from ase_mlip import export_model, load_model
    >>> from ase_mlip.rotations.schemes import find_averaging
    >>> model = load_model("pet-si")
    >>> info = export_model(model.module, "crystal.pt", model.info, averaging=find_averaging(bulk("Si")))
    >>> info.symmetrization["rotations"]
    48
    """
    _ops.load()
    with _torchscript.calling():
        module, metadata = _averaged(module, metadata, averaging)
        info = _describe(module, metadata)
        potential = _prepare(module, info)
        _check_weights(potential)
        self_test.check_species(potential, info)
        buffer = io.BytesIO()
        _torchscript.save(_torchscript.script(potential), buffer)
        members = archive.strip(buffer.getvalue())
        namespaces = {*NAMESPACES, *info.operators}
        check_code({name: content for name, (content, _) in members.items()}, namespaces)
        info.operators = _find_operators(members, info.operators)
        info.self_test = _make_self_test(archive.compose(members, None), info, reference)
    info.members = archive.digests(members)
    info.validate()
    write_atomically(path, archive.compose(members, info.to_json()))
    return info


def _averaged(
    module: torch.nn.Module, metadata: ModelInfo | dict, averaging: Averaging | None
) -> tuple[torch.nn.Module, ModelInfo | dict]:
    """The module with the rotations of ``averaging``, and ``metadata`` that says so."""
    if averaging is None:
        return module, metadata
    claims = asdict(metadata) if isinstance(metadata, ModelInfo) else dict(metadata)
    claims["symmetrization"] = averaging.document() if len(averaging.rotations) else None
    module = _copied(module)
    rotations = torch.from_numpy(averaging.rotations), torch.from_numpy(averaging.weights)
    network = module.network if _is_potential(module) else module
    if not _is_symmetrized(network):
        return SymmetrizedModel(module, *(rotations if len(averaging.rotations) else ())), claims
    network.rotations, network.weights = rotations
    return module, claims


def _describe(module: torch.nn.Module, metadata: ModelInfo | dict) -> ModelInfo:
    claims = asdict(metadata) if isinstance(metadata, ModelInfo) else copy.deepcopy(metadata)
    unknown = sorted(claims.keys() - {field.name for field in fields(ModelInfo)})
    if unknown:
        raise ModelFileError(f"`metadata` has an unknown field `{unknown[0]}`, none of `ModelInfo`'s")
    missing = [name for name in REQUIRED if name not in claims]
    if missing:
        raise ModelFileError(f"`metadata` needs `{missing[0]}`; it has {sorted(claims)}")
    info = ModelInfo(**{key: value for key, value in claims.items() if key not in MEASURED})
    info.species = sorted(int(number) for number in info.species)
    # it belongs to the features of the file it was attached to (leverage_file.py)
    if isinstance(info.training, dict):
        info.training = {key: value for key, value in info.training.items() if key != "leverage"}
    network = module.network if _is_potential(module) else module
    info.symmetrization = _describe_averaging(network, info.symmetrization)
    network = network.network if _is_symmetrized(network) else network
    hypers = getattr(network, "hypers", None)
    if not info.architecture:
        info.architecture = {"name": type(network).__name__}
        if is_dataclass(hypers):
            info.architecture.update(asdict(hypers))
    if _is_potential(module):
        info.reference_energies = _read_references(module.reference_energies, info)
    info.versions = {
        **(claims.get("versions") or {}),
        "torch": torch.__version__,
        "ase_mlip": ase_mlip.__version__,
    }
    info.created = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    info.validate()
    return info


def _is_symmetrized(network: torch.nn.Module) -> bool:
    return hasattr(network, "network") and hasattr(network, "rotations")


def _describe_averaging(network: torch.nn.Module, claimed: dict | None) -> dict | None:
    """How the network is averaged: counted here, with the scheme's name from ``claimed``."""
    count = network.rotations.shape[0] if _is_symmetrized(network) else 0
    if count == 0:
        if claimed is not None:
            raise ModelFileError(
                f"`symmetrization` claims {claimed}, but the module has no rotations; "
                "wrap it in `ase_mlip.SymmetrizedModel`"
            )
        return None
    return {"scheme": "custom", "lattice": False, **(claimed or {}), "rotations": count}


def _is_potential(module: torch.nn.Module) -> bool:
    """A Potential, or the scripted one of a loaded model."""
    return hasattr(module, "network") and hasattr(module, "reference_energies")


def _read_references(table: Tensor, info: ModelInfo) -> dict[str, float]:
    """Reference energies (eV) that a Potential carries, by symbol."""
    foreign = [n for n in table.nonzero().flatten().tolist() if n not in info.species]
    if foreign:
        symbols = [chemical_symbols[number] for number in foreign]
        raise ModelFileError(f"the module has reference energies of {symbols}, which `species` does not list")
    return {chemical_symbols[number]: float(table[number]) for number in info.species}


def _copied(module: torch.nn.Module) -> torch.nn.Module:
    """An independent copy. With gradients on, weights of a scripted module would be copied with a history."""
    with torch.no_grad():
        return copy.deepcopy(module)


def _prepare(module: torch.nn.Module, info: ModelInfo) -> torch.nn.Module:
    """An independent copy on the CPU, in evaluation mode, whose weights need no gradients."""
    potential = _copied(module)
    energies = {atomic_numbers[symbol]: energy for symbol, energy in info.reference_energies.items()}
    if not _is_potential(module):
        potential = Potential(potential, energies)
    elif _torchscript.is_scripted(module):
        potential = _rewrapped(potential, energies)
    potential = potential.to("cpu").eval()
    for parameter in potential.parameters():
        parameter.requires_grad_(False)  # else every evaluation would keep what weight gradients need
    info.dtype = _stored_dtype(potential.network)
    return potential


def _rewrapped(loaded: torch.nn.Module, energies: dict[int, float]) -> Potential:
    """The network of a loaded model, which may be of an older schema, in the wrappers of this."""
    network = loaded.network
    rotations: tuple[Tensor, ...] = ()
    if _is_symmetrized(network):
        rotations = (network.rotations, network.weights) if len(network.rotations) else ()
        network = unwrapped(network.network)
    potential = Potential(SymmetrizedModel(network, *rotations), energies)
    potential.reference_energies = loaded.reference_energies.detach().clone()
    return potential


def _stored_dtype(network: torch.nn.Module) -> str:
    dtypes = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    if not dtypes:
        return "float64"  # a network without weights computes in the precision of its input
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        raise MLIPError(
            f"the weights must all be float32 or all float64, got {sorted(map(str, dtypes))}; "
            "convert the network with `.to(torch.float32)`"
        )
    return str(dtypes.pop()).removeprefix("torch.")


def _check_weights(potential: torch.nn.Module) -> None:
    """Masks may hold infinities, so buffers are only searched for NaN."""
    for name, weights in potential.network.named_parameters():
        if not bool(torch.isfinite(weights).all()):
            raise MLIPError(f"weight `{name}` is not finite: training diverged; export an earlier checkpoint")
    for name, values in potential.named_buffers():
        if bool(torch.isnan(values).any()):
            raise MLIPError(f"buffer `{name}` holds NaN; export an earlier checkpoint")
    if not bool(torch.isfinite(potential.reference_energies).all()):
        raise MLIPError("`reference_energies` are not finite")


def _find_operators(members: dict[str, tuple[bytes, int]], declared: dict[str, int]) -> dict[str, int]:
    """Namespaces of the custom operators the scripted code really calls, with their schema versions."""
    code = b"".join(content for name, (content, _) in members.items() if name.startswith("code/"))
    called = {match.decode() for match in re.findall(rb"\bops\.(\w+)\.\w+\(", code)} - {"aten", "prim"}
    known = {**declared, "ase_mlip": int(torch.ops.ase_mlip.schema_version())}
    unknown = sorted(called - known.keys())
    if unknown:
        raise ModelFileError(f"the module calls operators of `{unknown[0]}`, not declared in `operators`")
    return {name: known[name] for name in sorted(called)}


def _make_self_test(
    data: bytes, info: ModelInfo, reference: Callable[[Atoms], dict[str, Tensor]] | None
) -> dict[str, Any]:
    """Evaluate what will be stored, in float64 and float32, and check what comes out."""
    structure = self_test.make_structure(info)
    results = {}
    for dtype in (torch.float64, torch.float32):
        module = _torchscript.load(io.BytesIO(data))
        module.network.to(dtype)
        species, edge_index, vectors, reverse = self_test.make_graph(structure, info)
        with torch.no_grad():
            outputs = module.network.network(
                species, edge_index, vectors.to(dtype), reverse, {}, list(KNOWN_OUTPUTS)
            )
        _check_outputs(outputs, info, len(species), str(dtype))
        rotations = self_test.exported_rotations(module)
        wanted = ["forces", "virial", *info.outputs]
        results[dtype] = self_test.evaluate(module, rotations, structure, info, wanted)
        _check_finite(results[dtype], str(dtype))
    mine, single = results[torch.float64], results[torch.float32]
    exact = (
        mine
        if reference is None
        else {**mine, **_independent(reference, mine, structure, INDEPENDENT[info.dtype])}
    )
    return self_test.record(exact, {"float64": mine, "float32": single}, structure, info)


def _independent(
    reference: Callable[[Atoms], dict[str, Tensor]],
    mine: dict[str, Tensor],
    structure: dict[str, Any],
    tolerance: float,
) -> dict[str, Tensor]:
    """The reference's numbers, which must be the module's own; it knows the virial's symmetric part only."""
    found = reference(
        Atoms(structure["numbers"], positions=structure["positions"], cell=structure["cell"], pbc=True)
    )
    for name, value in found.items():
        if name == "virial":
            value = value + antisymmetric(mine["virial"])
        deviation = float((value - mine[name]).abs().max())
        limit = tolerance * max(1.0, float(value.abs().max()))
        if not deviation <= limit:
            raise MLIPError(
                f"`{name}` of the self-test structure deviates by {deviation:.1e} {self_test.UNITS[name]} "
                f"from the reference, allowed {limit:.1e}: the module is not the network it was made from"
            )
        found[name] = value
    return found


def _check_outputs(outputs: dict[str, Tensor], info: ModelInfo, n_atoms: int, dtype: str) -> None:
    """Names and shapes of what the network itself returned; a Potential would broadcast over a wrong one."""
    unknown = sorted(outputs.keys() - set(KNOWN_OUTPUTS))
    if unknown:
        raise ModelFileError(f"the network returns an unknown output `{unknown[0]}`, not in {KNOWN_OUTPUTS}")
    if info.outputs == ["energies"]:
        info.outputs = [name for name in KNOWN_OUTPUTS if name in outputs]
    if outputs.keys() != set(info.outputs):
        raise ModelFileError(f"`outputs` declare {info.outputs}, but the network returns {sorted(outputs)}")
    shapes = {
        "energies": [n_atoms],
        "direct_forces": [n_atoms, 3],
        "direct_stresses": [n_atoms, 3, 3],
        "direct_virials": [n_atoms, 3, 3],
    }
    for name, value in outputs.items():
        shape = shapes.get(name, list(value.shape))
        if list(value.shape) != shape or (name == "features" and (value.dim() != 2 or len(value) != n_atoms)):
            expected = shape if name in shapes else [n_atoms, "F"]
            raise MLIPError(f"output `{name}` must have shape {expected}, got {list(value.shape)}")
    _check_finite(outputs, dtype)


def _check_finite(outputs: dict[str, Tensor], dtype: str) -> None:
    for name, value in outputs.items():
        if not bool(torch.isfinite(value).all()):
            raise MLIPError(f"output `{name}` is not finite on the self-test structure in {dtype}")
