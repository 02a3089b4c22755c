"""PET of metatrain, and UPET: the weights of a checkpoint in this package's own PET.

No code of metatrain enters the model file. metatrain itself reads the checkpoint, which is a pickle of its
own classes, brings old versions up to date, and gives the numbers that ours are compared with.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols

from ...building import _ops
from ...graph.neighbors import build_graph
from ...networks.pet.hypers import PETHypers
from ...networks.pet.pet import PET
from ...provenance import file_sha256
from ...voigt import PAIRS
from ..common import (
    FORCES,
    STRESS,
    Adapted,
    AdapterError,
    check_version,
    choose,
    refuse_keywords,
    require_package,
    require_pickle,
)
from ..converted_pet import ConvertedPET
from ..structures import parity_structures
from .metatrain import (
    INSTALL,
    MetatomicReference,
    build,
    check_architecture,
    read_checkpoint,
    without_uncertainties,
)

FORCE_NAMES = ("non_conservative_force", "non_conservative_forces")
STRESS_NAMES = ("non_conservative_stress",)
# Hyper-parameters that say nothing about the numbers unless another one is set, which is refused.
WITHOUT_EFFECT = {"max_charge", "max_spin_multiplicity", "long_range", "zbl", "system_conditioning"}
RENAMED = [  # (metatrain's name, ours); applied one after the other
    (r"^gnn_layers\.(\d+)\.trans\.", r"gnn_layers.\1."),
    (r"^(gnn_layers\.\d+)\.edge_embedder\.", r"\1.embed_geometry."),
    (r"^(gnn_layers\.\d+)\.neighbor_embedder\.", r"\1.embed_neighbour."),
    (r"\.input_linear\.", ".project."),
    (r"\.output_linear\.", ".leave."),
    (r"\.norm_mlp\.", ".norm_feedforward."),
    (r"\.norm_center_features\.", ".norm_node."),
    (r"\.center_contraction\.", ".contract."),
    (r"\.center_expansion\.", ".expand."),
    (r"\.center_mlp\.", ".feedforward_node."),
    (r"\.mlp\.", ".feedforward."),
    (r"\.w_in\.", ".enter."),
    (r"\.w_out\.", ".leave."),
    (r"^combination_norms\.(\d+)\.", r"combinations.\1.norm."),
    (r"^combination_mlps\.(\d+)\.", r"combinations.\1.perceptron."),
    (r"^node_embedders\.0\.", "embed_node."),
    (r"^node_embedders\.(\d+)\.", lambda found: f"embed_node_later.{int(found[1]) - 1}."),
    (r"^edge_embedder\.", "embed_edge."),
    (r"^(node|edge)_heads\.(\w+)\.(\d+)\.", r"\2.\3.\1_head."),
    (r"^(node|edge)_last_layers\.(\w+)\.(\d+)\.\w+\.", r"\2.\3.\1_last."),
    (r"(compress|perceptron|_head)\.0\.", r"\1.enter."),
    (r"(compress|perceptron|_head)\.2\.", r"\1.leave."),
]
HEAD = re.compile(r"^(node|edge)_(heads|last_layers)\.([^.]+)\.(.*)$")
TABLES = ("embed_node.", "embed_node_later.", "embed_edge.", "embed_neighbour.")


def adapt(
    source: str | Path,
    *,
    allow_pickle: bool = False,
    head: str | None = None,
    modal: str | None = None,
) -> Adapted:
    """The PET of a checkpoint of metatrain or UPET, with its direct heads, as a module of the contract.

    Parameters
    ----------
    source : str or Path
        a checkpoint (``*.ckpt``) of metatrain 2026 or one that it can bring up to date
    allow_pickle : bool
        must be true: the checkpoint is a pickle
    head : str, optional
        the energy to convert where there are several (``"energy/pbe"`` or ``"pbe"``); with it, targets that a
        model file has no place for are left out instead of being refused
    modal : str, optional
        of no use here

    Returns
    -------
    Adapted
        the network, what is known of it, and its own program as the reference

    Raises
    ------
    AdapterError
        no such file; a damaged one, one of another architecture or of a version that metatrain cannot read;
        an option that cannot be carried over: long-range features, ZBL, charge and spin, LoRA, other targets
    """
    refuse_keywords("PET", modal=modal)
    path = Path(source)
    if not path.is_file():
        raise AdapterError(f"`{source}`: no such file; PET needs the path of a checkpoint (`*.ckpt`)")
    require_pickle(path, allow_pickle)
    require_package("metatrain", INSTALL)
    version = check_version("metatrain", "2026.4", "2027")
    check_version("metatomic-torch", "0.1.17", "0.2")
    with torch.random.fork_rng(devices=[]):  # networks are made with random weights before they get their own
        return _adapt(path, head, version)


def _adapt(path: Path, head: str | None, version: str) -> Adapted:
    checkpoint = read_checkpoint(path)
    written = check_architecture(checkpoint, path)
    _refuse_switches(_stored_hypers(checkpoint))  # before metatrain builds what may need further packages
    model = build(checkpoint, path)
    public = model.model if written["architecture"] == "llpr" else model
    targets = _choose_targets(public, head)
    hypers = _hypers(public, targets)
    dtype = next(public.backend.parameters()).dtype
    module = _convert(public, hypers, targets).to(dtype).eval()
    variant = targets["energy"].partition("/")[2] or None
    reference = MetatomicReference(public, variant)
    if hypers.direct_forces or hypers.direct_stress:
        _prove_direct_heads(module, public, variant, hypers)
    metadata = _metadata(path, public, hypers, targets, written | {"metatrain": version})
    return Adapted(module, metadata, reference, f"metatrain {version}")


# ---- what is in it -----------------------------------------------------------------------------------------


def _choose_targets(public: torch.nn.Module, head: str | None) -> dict[str, str]:
    """Names of the targets for ``energy`` and, where the checkpoint has them, ``forces`` and ``virial``."""
    names = list(public.dataset_info.targets)
    energies = [name for name in names if name == "energy" or name.startswith("energy/")]
    if not energies:
        raise AdapterError(f"the checkpoint has no target `energy`, only {_listed(names)}")
    if head is not None and f"energy/{head}" in energies:
        head = f"energy/{head}"
    energy = choose("head", head, energies)
    variant = energy.removeprefix("energy")
    found = {"energy": energy}
    for key, known in (("forces", FORCE_NAMES), ("virial", STRESS_NAMES)):
        for name in known:
            if name + variant in names:
                found[key] = name + variant
    left_out = sorted(set(names) - set(found.values()))
    if head is None and left_out:
        raise AdapterError(
            f"the targets {_listed(left_out)} have no place in a model file, which holds energy, direct "
            f'forces and direct stress; `head="{energy}"` leaves them out'
        )
    for key, name in found.items():
        _check_target(public, name, per_atom=key == "forces")
    return found


def _check_target(public: torch.nn.Module, name: str, per_atom: bool) -> None:
    target = public.dataset_info.targets[name]
    expected = "atom" if per_atom else "system"
    if target.sample_kind != expected or len(target.layout) != 1:
        raise AdapterError(
            f"the target `{name}` must be one block per {expected}, got {len(target.layout)} per "
            f"{target.sample_kind}"
        )


def _stored_hypers(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Hyper-parameters as the checkpoint has them, in whatever version; empty if they are nowhere."""
    data = without_uncertainties(checkpoint).get("model_data")
    hypers = data.get("model_hypers") if isinstance(data, dict) else None
    return hypers if isinstance(hypers, dict) else {}


def _refuse_switches(hypers: dict[str, Any]) -> None:
    """Raise AdapterError for a part of the network that is switched on and cannot be carried over."""
    switches = {
        "zbl": hypers.get("zbl"),
        "long_range.enable": (hypers.get("long_range") or {}).get("enable"),
        "system_conditioning": hypers.get("system_conditioning"),
    }
    for name, given in switches.items():
        if given:
            raise AdapterError(f"the checkpoint sets `{name}`, which cannot be carried over; expected false")


def _hypers(public: torch.nn.Module, targets: dict[str, str]) -> PETHypers:
    """The hyper-parameters in our names; AdapterError names one that cannot be carried over."""
    theirs = dict(public.hypers)
    _refuse_switches(theirs)
    if any("lora_" in name for name in public.state_dict()):
        raise AdapterError("the checkpoint was fine-tuned with `lora`, which cannot be carried over")
    carried = PETHypers.__dataclass_fields__
    unknown = sorted(set(theirs) - set(carried) - WITHOUT_EFFECT)
    if unknown:
        raise AdapterError(
            f"the checkpoint has the hyper-parameter `{unknown[0]}` = {theirs[unknown[0]]!r}, unknown here; "
            "it is of a newer metatrain"
        )
    if public.dataset_info.length_unit.lower() not in ("", "angstrom", "a", "å"):
        raise AdapterError(f"the checkpoint's lengths are in `{public.dataset_info.length_unit}`, expected Å")
    values = {name: value for name, value in theirs.items() if name in carried}
    values["cutoff_function"] = values["cutoff_function"].capitalize()
    values["adaptive_cutoff_method"] = values["adaptive_cutoff_method"].lower()
    try:
        return PETHypers(
            **values,
            species=[int(number) for number in sorted(public.atomic_types)],
            norm_eps=None,
            combine_last=values["featurizer_type"] == "feedforward",
            direct_forces="forces" in targets,
            direct_stress="virial" in targets,
        )
    except ValueError as error:
        raise AdapterError(f"the checkpoint's settings are not known here: {error}") from None


# ---- conversion --------------------------------------------------------------------------------------------


def _convert(public: torch.nn.Module, hypers: PETHypers, targets: dict[str, str]) -> ConvertedPET:
    network = PET(hypers).to(torch.float64)
    weights = convert_weights(public.backend.state_dict(), hypers, targets)
    missing, unexpected = network.load_state_dict(weights, strict=False)
    missing = sorted(set(missing) - {"types", "energy_scale", "force_scale"})
    if missing or unexpected:
        raise AdapterError(
            f"the checkpoint has other weights than its settings say: missing {_listed(missing[:3])}, "
            f"unknown {_listed(unexpected[:3])}"
        )
    factors = {key: _scales(public, name) * _to_ours(public, name, key) for key, name in targets.items()}
    forces = torch.zeros(len(network.types), dtype=torch.float64)
    if "forces" in factors:
        forces[hypers.species] = factors["forces"]
    virial = -float(factors["virial"]) if "virial" in factors else 0.0  # a stress times volume, ASE's sign
    return ConvertedPET(network, float(factors["energy"]), forces, virial).requires_grad_(False)


def convert_weights(
    theirs: dict[str, torch.Tensor], hypers: PETHypers, targets: dict[str, str]
) -> dict[str, torch.Tensor]:
    """The state dictionary of metatrain's ``PETBackend`` under the names of our PET.

    Parameters
    ----------
    theirs : dict of torch.Tensor
        tensors by name
    hypers : PETHypers
        in our names, with the species
    targets : dict of str
        names of the targets for ``energy``, ``forces`` and ``virial``; heads of others are left out
    """
    last = hypers.num_gnn_layers - 1 if hypers.residual else 0
    rows = theirs["species_to_species_index"][hypers.species]
    roles = {name: role for role, name in targets.items()}
    ours = {}
    for name, weight in theirs.items():
        head = HEAD.match(name)
        if name == "species_to_species_index" or (head and head[3] not in roles):
            continue
        if head:
            name = f"{head[1]}_{head[2]}.{roles[head[3]]}.{head[4]}".replace("/", "_")
        for pattern, mine in RENAMED:
            name = re.sub(pattern, mine, name)
        if head:
            role, layer, rest = name.split(".", 2)
            place = f"readout_{role}" if int(layer) == last else f"readout_{role}_before.{layer}"
            name = f"{place}.{rest}"
        ours[name] = weight[rows] if any(table in name for table in TABLES) else weight
    return ours


def _scales(public: torch.nn.Module, target: str) -> torch.Tensor:
    """Factor of a target in float64: of all structures, or of each species in the order of their numbers."""
    values = public.scaler.model.scales[target].block().values.to(torch.float64)
    if values.shape[1] != 1:
        raise AdapterError(f"the target `{target}` has {values.shape[1]} properties; expected one")
    if len(values) == 1:
        return values[0, 0]
    return values[public.scaler.model.type_to_index[sorted(public.atomic_types)].cpu(), 0]


def _to_ours(public: torch.nn.Module, target: str, key: str) -> float:
    """Conversion of a target's unit to eV, eV/Å or eV/Å³."""
    unit = public.dataset_info.targets[target].unit
    if unit == "":
        return 1.0
    from metatomic.torch import unit_conversion_factor

    wanted = {"energy": "eV", "forces": "eV/Angstrom", "virial": "eV/Angstrom^3"}[key]
    return float(unit_conversion_factor(unit, wanted))


def _reference_energies(public: torch.nn.Module, target: str) -> dict[str, float]:
    """The composition model: energy per element in eV, in float64."""
    weights = public.additive_models[0].model.weights
    if target not in weights:
        return {}
    block = weights[target].block()
    factor = _to_ours(public, target, "energy")
    numbers = block.samples.column("center_type").tolist()
    values = block.values.to(torch.float64)[:, 0].tolist()
    return {chemical_symbols[z]: factor * value for z, value in zip(numbers, values, strict=True)}


# ---- direct heads ------------------------------------------------------------------------------------------


def _prove_direct_heads(
    module: ConvertedPET, public: torch.nn.Module, variant: str | None, hypers: PETHypers
) -> None:
    """Raise AdapterError unless the direct heads give metatomic's numbers, in float64."""
    _ops.load()
    ours = copy.deepcopy(module).to(torch.float64)
    direct = {(True, True): True, (True, False): "forces", (False, True): "stress"}
    reference = MetatomicReference(public, variant, direct[hypers.direct_forces, hypers.direct_stress])
    atoms = parity_structures(hypers.species, hypers.cutoff)["triclinic crystal"]
    expected = reference(atoms)
    graph = build_graph(atoms, hypers.cutoff)
    arguments = graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges, {}
    with torch.no_grad():
        found = ours(*arguments, ["direct_forces", "direct_virials"])
    if hypers.direct_forces:
        forces = found["direct_forces"]
        error = float((forces - forces.mean(dim=0) - torch.as_tensor(expected.forces)).abs().max())
        _refuse_deviation("direct forces", error, FORCES, "eV/Å")
    if hypers.direct_stress:
        stress = -found["direct_virials"].sum(dim=0) / atoms.get_volume()
        mine = torch.stack([stress[pair] for pair in PAIRS])
        error = float((mine - torch.as_tensor(expected.stress)).abs().max())
        _refuse_deviation("direct stress", error, STRESS, "eV/Å³")


def _refuse_deviation(what: str, error: float, limit: float, unit: str) -> None:
    if not error <= limit:
        raise AdapterError(f"the {what} deviate by {error:.1e} {unit} from metatomic's, allowed {limit:.0e}")


# ---- the document ------------------------------------------------------------------------------------------


def _metadata(
    path: Path, public: torch.nn.Module, hypers: PETHypers, targets: dict[str, str], written: dict[str, Any]
) -> dict[str, Any]:
    theirs = public.metadata
    left_out = sorted(set(public.dataset_info.targets) - set(targets.values()))
    described = [theirs.description or f"PET converted from {path.name}"]
    if written["architecture"] == "llpr":
        described.append("The checkpoint's uncertainties (LLPR) are not in this file.")
    if left_out:
        described.append(f"Left out on request: {', '.join(left_out)}.")
    info = public.dataset_info.targets[targets["energy"]]
    training = {
        "checkpoint": path.name,
        "checkpoint_sha256": file_sha256(path),
        "written_by": f"metatrain, checkpoint version {written['checkpoint_version']}",
        "converted_with": f"metatrain {written['metatrain']}",
        "targets": targets,
    }
    if info.description:
        training["energy"] = info.description
    if theirs.authors:
        training["authors"] = list(theirs.authors)
    references = [text for texts in theirs.references.values() for text in texts]
    return {
        "name": theirs.name or path.stem,
        "species": hypers.species,
        "cutoff": hypers.cutoff,
        "message_passing_layers": hypers.message_passing_layers,
        "interaction_range": hypers.interaction_range,
        "description": " ".join(described),
        "equivariant": False,
        "reference_energies": _reference_energies(public, targets["energy"]),
        "training": training,
        "license": "weights: as their authors state (the checkpoint records none); no foreign code inside",
        "citation": "; ".join(dict.fromkeys(references)),
    }


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
