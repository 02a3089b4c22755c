"""NequIP and Allegro models as modules of the contract, in our own form of the networks.

Checkpoints are those of nequip >= 0.15, packages those of nequip >= 0.10.

Only weights and constants of a checkpoint are carried over, so the exported file embeds no code of the peer.
Per-type shifts become reference energies, which are added in float64 outside; scales stay inside.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

from ...provenance import file_sha256
from ..common import (
    Adapted,
    AdapterError,
    Reference,
    check_version,
    choose,
    refuse_keywords,
    require_package,
    require_pickle,
)
from ..recognise import texts_in

OLDEST, NEWEST = "0.15", "0.20"  # of the code that wrote a checkpoint
OLDEST_PACKAGE = "0.10"  # which brings its code along
INSTALLED = "0.19"  # oldest that reads them here
COMMAND = "pip install 'nequip>=0.19,<0.20'"
ALLEGRO = ("0.8", "0.9")  # of nequip-allegro: at least, below
ALLEGRO_COMMAND = "pip install 'nequip-allegro>=0.8,<0.9'"
PACKAGE = ".nequip.zip"  # what its packages' names end in
SITE = "nequip.net:"  # before the names of models that nequip fetches
LICENSE = (
    "weights: not stated in the checkpoint, ask its author; "
    "code: ase_mlip (BSD-3-Clause), no code of nequip (MIT) is embedded"
)
NAMES = {"nequip": "NequIP", "allegro": "Allegro"}
CITATION = {
    "nequip": "Batzner et al., Nat. Commun. 13, 2453 (2022), doi:10.1038/s41467-022-29939-5; "
    "Tan et al., arXiv:2504.16068",
    "allegro": "Musaelian et al., Nat. Commun. 14, 579 (2023), doi:10.1038/s41467-023-36329-y; "
    "Tan et al., arXiv:2504.16068",
}


def adapt(
    source: str | Path, *, allow_pickle: bool = False, head: str | None = None, modal: str | None = None
) -> Adapted:
    """The network of a NequIP or Allegro checkpoint (``.ckpt``) or package (``.nequip.zip``).

    Parameters
    ----------
    source : str or Path
        the file, or `nequip.net:GROUP/MODEL:VERSION` of a package that nequip has downloaded before
    allow_pickle : bool
        both formats are pickles, and a package brings its own code along; both run when read
    head : str, optional
        of a checkpoint with several models (``ModuleDict``), the name of one
    modal : str, optional
        has no meaning here

    Returns
    -------
    Adapted
        the network, what is known of it, and its own program as the reference

    Raises
    ------
    AdapterError
        nequip (for Allegro also nequip-allegro) is missing, too old or too new; the file is damaged, was
        written by another version, or has an option that is not supported, which the message names
    """
    refuse_keywords("nequip", modal=modal)
    path = _find(str(source))
    require_package("nequip", COMMAND)
    version = check_version("nequip", INSTALLED, NEWEST)
    _require_allegro(path)
    require_pickle(path, allow_pickle)
    with _defaults():
        model, recorded = _load(path, head)
        exact = _in_double(_load(path, head)[0])
        adapted = _adapt(path, model, exact, recorded, version)
    if str(source).startswith(SITE):  # the cache's file names are hashes
        adapted.metadata["name"] = str(source)[len(SITE) :].replace("/", "-").replace(":", "-")
    return adapted


def _require_allegro(path: Path) -> None:
    """A checkpoint of Allegro needs the package that defines it; a package of nequip has the code inside."""
    if path.name.endswith(PACKAGE) or not any(text.startswith("allegro.") for text in texts_in(path)):
        return
    require_package("allegro", ALLEGRO_COMMAND)
    check_version("nequip-allegro", *ALLEGRO)


def _adapt(path: Path, model, exact, recorded: dict, version: str) -> Adapted:
    from .nequip_read import read_nequip
    from .parts import Parts, species_of

    written = recorded.get("nequip")
    _check_recorded(path, written)
    types = list(model.type_names)
    species = species_of(types)
    r_max = float(model.metadata["r_max"])
    energy_model = _energy_model(model)
    parts = Parts(energy_model, _energy_model(exact))
    if "allegro" in parts.modules:
        from .allegro_read import read_allegro

        network, shifts = read_allegro(parts, species)
        kind, layers = "allegro", 1
    else:
        network, shifts = read_nequip(parts, species)
        kind, layers = "nequip", network.n_layers
    metadata = {
        "name": path.name.removesuffix(".zip").removesuffix(".nequip").removesuffix(".ckpt"),
        "species": sorted(species),
        "cutoff": r_max,
        "pair_cutoffs": _pair_cutoffs(network.edges.lengths, species),
        "message_passing_layers": layers,
        "interaction_range": r_max * layers,
        "equivariant": True,
        "architecture": _architecture(kind, network),
        "description": f"{NAMES[kind]} model of {path.name}",
        "reference_energies": {chemical_symbols[z]: float(e) for z, e in zip(species, shifts, strict=True)},
        "training": {
            "checkpoint": path.name,
            "checkpoint_sha256": file_sha256(path),
            "written_by": {package: number for package, number in recorded.items() if number},
            "dtype": str(model.metadata["model_dtype"]),
            "units": "taken as eV and Å: the checkpoint does not record them",
        },
        "license": LICENSE,
        "citation": CITATION[kind],
        "versions": _versions(kind),
    }
    _match_dtype(network, str(model.metadata["model_dtype"]))
    return Adapted(network.eval(), metadata, _Reference(exact, r_max, types), f"nequip {version}")


def _architecture(kind: str, network: torch.nn.Module) -> dict:
    """What tells one network from another."""
    found = {
        "name": NAMES[kind],
        "l_max": network.edges.harmonics.l_max,
        "zbl": network.edges.pair is not None,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    if kind == "allegro":
        sizes = {"scalar_features": network.n_scalars, "tensor_features": network.n_channels}
        return {**found, "layers": len(network.latents), **sizes}
    return {**found, "layers": network.n_layers}


def _versions(kind: str) -> dict[str, str]:
    """Of the packages that read the file and gave the numbers of the proof."""
    packages = ["nequip", "e3nn"]
    if kind == "allegro" and importlib.util.find_spec("allegro") is not None:
        packages.append("nequip-allegro")
    return {package: importlib.metadata.version(package) for package in packages}


def _match_dtype(network: torch.nn.Module, name: str) -> None:
    """Weights in the precision of the checkpoint; constants that it keeps in float64 stay so."""
    dtype = {"float32": torch.float32, "float64": torch.float64}[name]
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype)


def _energy_model(model: torch.nn.Module) -> torch.nn.Module:
    """The sequence of modules that gives the energy, without what differentiates it."""
    inner = model.model
    if type(inner).__name__ != "ForceStressOutput":
        raise AdapterError(
            f"the model ends in `{type(inner).__name__}`; supported are `ForceStressOutput` models"
        )
    if type(inner.func).__name__ != "SequentialGraphNetwork":
        raise AdapterError(f"the energy model is a `{type(inner.func).__name__}`, not supported")
    return inner.func


def _pair_cutoffs(lengths, species: list[int]) -> dict[str, float] | None:
    """Per pair of elements the larger cutoff of both directions, Å; the network itself knows either."""
    inverse = lengths.inverse_cutoffs
    if inverse.numel() == 1:
        return None
    table = 1.0 / inverse.to(torch.float64).reshape(len(species), len(species))
    table = torch.maximum(table, table.t())
    found = {}
    for a, first in enumerate(species):
        for b in range(a, len(species)):
            found[f"{chemical_symbols[first]}-{chemical_symbols[species[b]]}"] = float(table[a, b])
    return found


# ---- reading -------------------------------------------------------------------------------------


def _find(source: str) -> Path:
    """The file itself, or a package in nequip's cache, told by the document beside it; downloads nothing."""
    if Path(source).is_file():
        return Path(source)
    if not source.startswith(SITE):
        raise AdapterError(
            f"`{source}` is no file; a checkpoint `.ckpt` or package `.nequip.zip` was expected"
        )
    folder = Path(os.environ.get("NEQUIP_CACHE_DIR") or Path.home() / ".nequip" / "model_cache").expanduser()
    for document in sorted(folder.glob("*.metadata.json")):
        package = document.with_name(document.name.replace(".metadata.json", PACKAGE))
        if json.loads(document.read_text()).get("model_id") == source[len(SITE) :] and package.is_file():
            return package
    raise AdapterError(
        f"`{source}` is not in nequip's cache `{folder}`, and nothing is downloaded here; fetch the package "
        "from the site and give its path"
    )


@contextlib.contextmanager
def _defaults() -> Iterator[None]:
    """What nequip needs while it builds a model, without its global state: all of it is put back.

    ``set_global_state`` would seed every generator, change TorchScript's fusion and torch's default dtype for
    the rest of the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about training settings; what matters here is checked here
        import e3nn
        from nequip.utils import global_state

        dtype, optimisation = torch.get_default_dtype(), e3nn.get_optimization_defaults()
        initialised = global_state._GLOBAL_STATE_INITIALIZED
        global_state._GLOBAL_STATE_INITIALIZED = True
        torch.set_default_dtype(torch.float64)
        e3nn.set_optimization_defaults(jit_mode="eager")
        try:
            yield
        finally:
            global_state._GLOBAL_STATE_INITIALIZED = initialised
            torch.set_default_dtype(dtype)
            e3nn._OPT_DEFAULTS.update(optimisation)


def _load(path: Path, head: str | None) -> tuple[torch.nn.Module, dict]:
    """The model, and the versions of the packages that wrote it."""
    from nequip.model.saved_models.load_utils import load_saved_model

    try:
        recorded = _recorded_versions(path)
        _check_recorded(path, recorded.get("nequip"))
        models = load_saved_model(str(path), model_key=None)
    except AdapterError:
        raise
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        EOFError,
        OSError,
        RuntimeError,
        KeyError,
        AttributeError,
        ImportError,
        TypeError,
        ValueError,
        AssertionError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise AdapterError(
            f"`{path}` cannot be read as checkpoint or package of nequip: {type(error).__name__}: {reason}; "
            "it is damaged, or was written with a version or extension that is not installed; then make a "
            "package of it with that version (`nequip-package build`), which brings its own code"
        ) from error
    return models[choose("head", head, models.keys())].eval(), recorded


def _recorded_versions(path: Path) -> dict:
    """Versions by package, as the file records them."""
    if path.name.endswith(PACKAGE):
        import yaml

        importer = torch.package.PackageImporter(str(path))
        return dict(yaml.safe_load(importer.load_text("model", "package_metadata.txt")).get("versions") or {})
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    return dict(checkpoint["hyper_parameters"]["info_dict"].get("versions") or {})


def _check_recorded(path: Path, version: str | None) -> None:
    from ..common import _numbers

    is_package = path.name.endswith(PACKAGE)
    oldest = OLDEST_PACKAGE if is_package else OLDEST
    if version is None:
        raise AdapterError(f"`{path}` does not say which nequip wrote it; at least {oldest} is expected")
    if not _numbers(oldest) <= _numbers(version) < _numbers(NEWEST):
        remedy = "write it anew with one of these, or use a matching ase_mlip"
        if not is_package and _numbers(OLDEST_PACKAGE) <= _numbers(version) < _numbers(oldest):
            remedy = "make a package of it with that version (`nequip-package build`)"
        raise AdapterError(
            f"`{path}` was written by nequip {version}; expected at least {oldest} and below {NEWEST}; "
            f"{remedy}"
        )


# ---- the family's own numbers --------------------------------------------------------------------


def _in_double(model: torch.nn.Module) -> torch.nn.Module:
    """The model in float64: weights, and the precision that its modules cast to."""
    model = model.double().eval()
    for module in model.modules():
        for name in ("_output_dtype", "model_dtype", "out_dtype"):
            if isinstance(getattr(module, name, None), torch.dtype):
                setattr(module, name, torch.float64)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


class _Reference:
    """nequip's own calculator around the model in float64."""

    def __init__(self, model: torch.nn.Module, r_max: float, types: list[str]):
        from nequip.integrations.ase import NequIPCalculator
        from nequip.integrations.utils import basic_transforms

        transforms = basic_transforms(dict(model.metadata), r_max, types, {name: name for name in types})
        self.calculator = NequIPCalculator(model, "cpu", transforms=transforms)

    def __call__(self, atoms: Atoms) -> Reference:
        with _defaults():
            atoms = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            self.calculator.calculate(atoms)
        results = self.calculator.results
        stress = None
        if atoms.pbc.all():
            stress = np.asarray(results["stress"], dtype=float)
        return Reference(float(results["energy"]), np.asarray(results["forces"], dtype=float), stress)
