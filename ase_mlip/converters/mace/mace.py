"""MACE: checkpoints of mace-torch, which are whole modules as a pickle.

The exported file evaluates MACE in an order of our own (:mod:`ase_mlip.converters.mace.network`), with
numbers
asked from the checkpoint's submodules (:mod:`ase_mlip.converters.mace.weights`); some of these it contains.

Unpickling needs mace-torch. Its import sets ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD`` for the whole process, and
e3nn 0.4.4 cannot be imported where ``torch.load`` is strict; :func:`mace_packages` keeps both to this file.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from .exact import exact_copy
from .weights import make_network

VERSIONS = ("0.3.16", "0.4")  # of mace-torch: at least, below
INSTALL = "pip install 'mace-torch>=0.3.16,<0.4' 'e3nn==0.4.4'"
PROCESS_WIDE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"

CLASSES = ("MACE", "ScaleShiftMACE")
REASONS = {
    "MACELES": "long-range electrostatics (LES) needs the cell",
    "PolarMACE": "its charges and spins need the cell",
    "AtomicDipolesMACE": "it predicts dipoles, not energies",
    "AtomicDielectricMACE": "it predicts polarizabilities, not energies",
    "EnergyDipolesMACE": "its dipoles would be dropped",
}
# Packages whose modules replace e3nn's in a converted model, and the way back.
CONVERTED = {
    "cuequivariance": "mace_cueq_to_e3nn",
    "cuequivariance_torch": "mace_cueq_to_e3nn",
    "openequivariance": "python -m mace.cli.convert_oeq_e3nn",
}
# Of the modules inside: what is evaluated as MACE evaluates it.
SUPPORTED = {
    "interactions": (
        "RealAgnosticInteractionBlock",
        "RealAgnosticResidualInteractionBlock",
        "RealAgnosticDensityInteractionBlock",
        "RealAgnosticDensityResidualInteractionBlock",
    ),
    "products": ("EquivariantProductBasisBlock",),
    "readouts": ("LinearReadoutBlock", "NonLinearReadoutBlock", "NonLinearBiasReadoutBlock"),
    "pair_repulsion_fn": ("ZBLBasis",),
    "radial_embedding": ("RadialEmbeddingBlock",),
    "radial_embedding.bessel_fn": ("BesselBasis", "GaussianBasis", "ChebychevBasis"),
    "radial_embedding.distance_transform": ("AgnesiTransform", "SoftTransform"),
    "radial_embedding.cutoff_fn": ("PolynomialCutoff",),
    "node_embedding": ("LinearNodeEmbeddingBlock",),
    "spherical_harmonics": ("SphericalHarmonics",),
    "atomic_energies_fn": ("AtomicEnergiesBlock",),
    "scale_shift": ("ScaleShiftBlock",),
}
EMBEDDED = "embedded code of mace-torch and e3nn: MIT"
NOT_RECORDED = "not recorded in the checkpoint, ask who trained them"
# What mace-torch's own description (0.3.16) says of its foundation models, by their names' beginnings: data,
# functional, licence of the weights. Of mh-0 and mh-1 each head has another functional.
ASL = "Academic Software License (ASL), no commercial use"
KNOWN = {
    ("small-omat", "medium-omat"): ("OMat24", "PBE+U", ASL),
    ("mace-matpes-pbe",): ("MatPES-PBE", "PBE", ASL),
    ("mace-matpes-r2scan",): ("MatPES-r2SCAN", "r2SCAN", ASL),
    ("mh-",): ("OMat24, OMol25, OC20, MatPES", "by head: PBE, r2SCAN or ωB97M-VV10", ASL),
    ("medium-mpa",): ("MPtrj and sAlex", "PBE+U", "MIT"),
    ("off-",): ("SPICE", "ωB97M-D3", ASL),
    ("anicc",): ("ANI (H, C, N, O)", "coupled cluster", "MIT"),
    ("small", "medium", "large"): ("MPtrj (Materials Project)", "PBE+U", "MIT"),
}
CITATION = (
    "MACE: arXiv:2206.07697 and arXiv:2205.06643; e3nn: arXiv:2207.09453; and whoever trained the model"
)


def adapt(
    source: str | Path, *, allow_pickle: bool = False, head: str | None = None, modal: str | None = None
) -> Adapted:
    """A checkpoint of ``MACE`` or ``ScaleShiftMACE`` as a module of the contract.

    Parameters
    ----------
    source : str or Path
        a ``.model`` file, or the name of a foundation model that mace-torch has downloaded before: one of
        ``mace_mp`` such as ``medium-mpa-0``, ``off-small``, ``off-medium``, ``off-large`` or ``anicc``
    allow_pickle : bool
        must be True, since the file is a pickle
    head : str, optional
        which head of a model with several
    modal : str, optional
        MACE has none

    Returns
    -------
    Adapted
        the network, what is known of it, and its own program as the reference

    Raises
    ------
    AdapterError
        mace-torch is missing, too old or too new; the file is damaged or holds something else; the model has
        no such head or uses an option that cannot be carried over, which the message names
    """
    refuse_keywords("mace", modal=modal)
    require_package("mace", INSTALL)
    require_package("e3nn", INSTALL)
    version = check_version("mace-torch", *VERSIONS)
    with mace_packages():
        path = _find(source)
        require_pickle(path, allow_pickle)
        model = _unpickle(path)
        _refuse_unsupported(model)
        heads = [str(name) for name in (getattr(model, "heads", None) or ["Default"])]
        head = choose("head", head, heads)
        module = make_network(model, heads.index(head))
    metadata = _describe(model, path, heads, head, version)
    if path != Path(source):
        metadata |= {"name": str(source), **_known(str(source), metadata["training"])}
    return Adapted(module, metadata, Calculator(model, head), f"mace-torch {version}")


class Calculator:
    """mace-torch's own ASE calculator in float64 of :func:`exact_copy`, made when it is first called."""

    def __init__(self, model: torch.nn.Module, head: str):
        self.model, self.head = model, head
        self.calculator: Any = None

    def __call__(self, atoms: Atoms) -> Reference:
        """Energy, forces and (for a periodic crystal) stress, as ``MACECalculator`` gives them."""
        with mace_packages():
            if self.calculator is None:
                from mace.calculators import MACECalculator

                model = exact_copy(self.model)
                options = {"device": "cpu", "default_dtype": "float64", "head": self.head}
                self.calculator = MACECalculator(models=[model], **options)
            atoms = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            atoms.calc = self.calculator
            stress = atoms.get_stress() if atoms.pbc.all() else None
            return Reference(float(atoms.get_potential_energy()), np.array(atoms.get_forces()), stress)


# ---- reading -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mace_packages() -> Iterator[None]:
    """Import mace-torch and e3nn, quietly, and leave the process's settings as they were.

    e3nn 0.4.4 reads its constants with a plain ``torch.load``; the slices in them are allowed for its import.
    """
    before = os.environ.get(PROCESS_WIDE)
    try:
        with (
            torch.random.fork_rng(devices=[]),  # compiling and tracing draw random numbers
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # theirs are about TorchScript's and pickle's future
            with torch.serialization.safe_globals([slice]):
                importlib.import_module("e3nn.o3")
            importlib.import_module("mace.modules")

            yield
    finally:
        if before is None:
            os.environ.pop(PROCESS_WIDE, None)
        else:
            os.environ[PROCESS_WIDE] = before


def _find(source: str | Path) -> Path:
    """The file itself, or that of a foundation model where mace-torch keeps it; downloads nothing."""
    path = Path(source)
    if path.is_file():
        return path
    places = _foundation_models()
    if str(source) not in places:
        raise AdapterError(f"`{source}` is neither a file nor a foundation model: {', '.join(places)}")
    path, function, name = places[str(source)]
    if not path.is_file():
        argument = "" if name is None else repr(name)
        raise AdapterError(
            f"the foundation model `{source}` is not there as `{path}`; let mace-torch download it: "
            f'`python -c "from mace.calculators import {function}; {function}({argument})"`'
        )
    return path


def _foundation_models() -> dict[str, tuple[Path, str, str | None]]:
    """Where mace-torch puts what it downloads, with the function and its argument that do; by our names."""
    from mace.calculators import foundations_models as theirs
    from mace.tools.utils import get_cache_dir

    found = {}
    for name, address in theirs.mace_mp_urls.items():
        file = "".join(letter for letter in address.rpartition("/")[2] if letter.isalnum() or letter == "_")
        found[name] = (Path(get_cache_dir()) / file, "mace_mp", name)
    for name, address in theirs.mace_off_urls.items():
        found[f"off-{name}"] = (Path(get_cache_dir()) / address.rpartition("/")[2], "mace_off", name)
    file = Path(theirs.__file__).parent / "foundations_models" / "ani500k_large_CC.model"
    return {**found, "anicc": (file, "mace_anicc", None)}


def _known(name: str, training: dict) -> dict:
    """Licence and training of a foundation model, as mace-torch describes it."""
    for beginnings, (data, functional, weights) in KNOWN.items():
        if name.startswith(beginnings):
            training = {**training, "data": data, "functional": functional}
            return {"training": training, "license": f"weights: {weights}; {EMBEDDED}"}
    return {}


def _unpickle(path: Path) -> torch.nn.Module:
    try:
        model = torch.load(path, map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        back = CONVERTED.get((error.name or "").partition(".")[0])
        hint = f"; convert it to e3nn first where it is installed (`{back}`)" if back else ""
        raise AdapterError(
            f"`{path}` needs the package `{error.name}`, which is not installed{hint}"
        ) from None
    except Exception as error:  # unpickling runs the file's own code: it can fail in any way
        lines = str(error).splitlines() or [""]
        raise AdapterError(
            f"`{path}` could not be read as a checkpoint of MACE ({type(error).__name__}: {lines[0]}); "
            "give the `.model` file that `mace_run_train` writes, or fetch it again"
        ) from None
    if isinstance(model, torch.nn.Module):
        return model
    raise AdapterError(
        f"`{path}` holds a {type(model).__name__}, expected a whole model: of a training run's files, "
        "give the one that ends in `.model`"
    )


def _refuse_unsupported(model: torch.nn.Module) -> None:
    """Raise AdapterError, naming what the file has that would not be evaluated as MACE does."""
    name = type(model).__name__
    if name not in CLASSES:
        reason = REASONS.get(name, "unknown here")
        raise AdapterError(f"the checkpoint's model is `{name}` ({reason}); supported: {', '.join(CLASSES)}")
    if hasattr(model, "joint_embedding"):
        names = ", ".join(getattr(model, "embedding_specs", None) or ["further inputs"])
        raise AdapterError(f"the model embeds {names}, which is not supported: ours has no such inputs")
    for inside in model.modules():
        package, kind = type(inside).__module__.partition(".")[0], type(inside).__name__
        if package in CONVERTED:
            raise AdapterError(
                f"the model holds `{kind}` of {package}; convert it to e3nn first (`{CONVERTED[package]}`)"
            )
        if kind.startswith("LoRA"):
            raise AdapterError(
                f"the model holds `{kind}`; merge it first (`mace.modules.lora.merge_lora_weights`)"
            )
    for path, known in SUPPORTED.items():
        for part in _parts(model, path):
            if type(part).__name__ not in known:
                raise AdapterError(
                    f"the model's `{path}` is `{type(part).__name__}`, not supported; "
                    f"known: {', '.join(known)}"
                )


def _parts(model: torch.nn.Module, path: str) -> list[torch.nn.Module]:
    """The modules under a name: those of a list, the one that is there, or none."""
    part: Any = model
    for name in path.split("."):
        part = getattr(part, name, None)
    if isinstance(part, torch.nn.ModuleList):
        return list(part)
    return [] if part is None else [part]


# ---- describing --------------------------------------------------------------------------------------------


def _describe(model: torch.nn.Module, path: Path, heads: list[str], head: str, version: str) -> dict:
    """The document's claims about a checkpoint of mace-torch ``version``."""
    import e3nn

    cutoff, layers = float(model.r_max), len(model.interactions)
    numbers = [int(number) for number in model.atomic_numbers]
    energies = torch.atleast_2d(model.atomic_energies_fn.atomic_energies).double()[heads.index(head)]
    by_number = dict(zip(numbers, energies.tolist(), strict=True))
    training = {"checkpoint": path.name, "checkpoint_sha256": file_sha256(path)}
    if len(heads) > 1:
        training |= {"head": head, "heads": heads}
    return {
        "name": path.stem,
        "species": sorted(numbers),
        "cutoff": cutoff,
        "message_passing_layers": layers,
        "interaction_range": cutoff * layers,
        "description": f"{type(model).__name__} of mace-torch {version}",
        "equivariant": True,
        "architecture": _architecture(model),
        "reference_energies": {chemical_symbols[number]: by_number[number] for number in sorted(numbers)},
        "training": training,
        "license": f"weights: {NOT_RECORDED}; {EMBEDDED}",
        "citation": CITATION,
        "versions": {"mace-torch": version, "e3nn": e3nn.__version__},
    }


def _architecture(model: torch.nn.Module) -> dict[str, Any]:
    """What tells one MACE from another."""
    contraction = model.products[0].symmetric_contractions.contractions[0]
    transform = _parts(model, "radial_embedding.distance_transform")
    return {
        "name": type(model).__name__,
        "layers": len(model.interactions),
        "interactions": [type(interaction).__name__ for interaction in model.interactions],
        "features": [str(product.linear.irreps_out) for product in model.products],
        "harmonics": str(model.spherical_harmonics.irreps_out),
        "correlation": int(contraction.correlation),
        "radial": type(model.radial_embedding.bessel_fn).__name__,
        "distance_transform": type(transform[0]).__name__ if transform else None,
        "zbl": hasattr(model, "pair_repulsion_fn"),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
