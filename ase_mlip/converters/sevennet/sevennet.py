"""SevenNet checkpoints (sevenn 0.13) as modules of the contract.

The network is our own (:mod:`.sevennet_network`) with the checkpoint's weights (:mod:`.sevennet_weights`); of
sevenn and e3nn, nothing is in the exported file.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import warnings
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

PIP = "pip install 'sevenn>=0.13,<0.14'"
LOW, HIGH = "0.13", "0.14"
VOIGT = [0, 1, 2, 4, 5, 3]  # sevenn's order is xx, yy, zz, xy, yz, zx
CITATION = (
    "SevenNet: Park, Kim, Hwang, Han, J. Chem. Theory Comput. 20, 4857 (2024), doi 10.1021/acs.jctc.4c00190"
)
MULTI_FIDELITY = (
    "; multi-fidelity: Kim, Kim, Kim, Lee, Park, Kang, Han, J. Am. Chem. Soc. 147, 1042 (2025), "
    "doi 10.1021/jacs.4c14455"
)
EMBEDDED = (
    "of sevenn (MIT) and e3nn (MIT) no code is embedded; the network's code is ase_mlip's, BSD-3-Clause"
)

# What sevenn's documentation says of the checkpoints in its package, which record neither; by their folders.
MPTRJ = {"data": "MPtrj (Materials Project)", "functional": "PBE, PBE+U"}
TWO_LEVELS = "relaxation trajectories of the Materials Project"
KNOWN = {
    "SevenNet_0__11Jul2024": {None: MPTRJ},
    "SevenNet_0__22May2024": {None: MPTRJ},
    "SevenNet_l3i5": {None: MPTRJ},
    "SevenNet_MF_0": {
        "PBE": {"data": TWO_LEVELS, "functional": "PBE, PBE+U"},
        "R2SCAN": {"data": TWO_LEVELS, "functional": "r2SCAN"},
    },
}


def adapt(
    source: str | Path, *, allow_pickle: bool = False, head: str | None = None, modal: str | None = None
) -> Adapted:
    """A SevenNet checkpoint as a module of the contract; see :func:`ase_mlip.converters.adapt`.

    Dispersion (D3) is a correction that sevenn's calculator adds apart; no checkpoint holds it.

    Parameters
    ----------
    source : str or Path
        a checkpoint, or a name such as ``7net-0`` whose checkpoint is on this machine already. The
        checkpoints that the package itself installs may be read without ``allow_pickle``
    modal : str, optional
        the modality of a multi-fidelity model
    allow_pickle : bool
        whether a checkpoint, which is a pickle, may be read
    head : str, optional
        has no meaning here

    Returns
    -------
    Adapted
        the network, what is known of it, and its own program as the reference

    Raises
    ------
    AdapterError
        sevenn is missing, too old or too new; the name would need a download; the checkpoint is damaged,
        newer than sevenn or no SevenNet; the modality is missing or unknown; an option without counterpart
    """
    require_package("sevenn", PIP)
    version = check_version("sevenn", LOW, HIGH)
    refuse_keywords("SevenNet", head=head)
    path = _resolve(source)
    if not _is_installed(path):
        require_pickle(path, allow_pickle)
    with _quiet():
        checkpoint, config, model = _read(path, version)
        chosen = _choose_modal(config, modal)
        from .weights import convert, shifts

        index = None if chosen is None else config["_modal_map"][chosen]
        network = convert(model, config, index)
        constants = shifts(model, config, index)
    metadata = _describe(source, path, checkpoint, config, chosen, constants)
    metadata["versions"] = {"sevenn": version, "e3nn": importlib.metadata.version("e3nn")}
    cutoff = float(config["cutoff"])
    return Adapted(
        network, metadata, lambda atoms: _evaluate(model, atoms, cutoff, chosen), f"sevenn {version}"
    )


# ---- which file --------------------------------------------------------------------------------------------


def _resolve(source: str | Path) -> Path:
    """The checkpoint's file; a name is looked up by sevenn, which is kept from downloading."""
    if Path(source).is_file():
        return Path(source)
    with _quiet():
        import sevenn.util as util

        download = util.download_checkpoint
        util.download_checkpoint = _refuse_download
        try:
            return Path(util.pretrained_name_to_path(str(source)))
        except (ValueError, FileNotFoundError) as error:
            if isinstance(error, AdapterError):
                raise
            known = ", ".join(util.get_available_pretrained_models())
            raise AdapterError(
                f"`{source}` is neither a file nor a name that sevenn knows; it knows {known}"
            ) from None
        finally:
            util.download_checkpoint = download


def _refuse_download(path: str, url: str) -> str:
    raise AdapterError(
        f"`{Path(path).name}` is not on this machine and nothing is downloaded here; get it from {url} "
        "and give its path"
    )


def _is_installed(path: Path) -> bool:
    """Whether pip installed the file with sevenn, whose code runs here anyway."""
    files = importlib.metadata.files("sevenn") or []
    return any(file.name == path.name and file.locate().resolve() == path.resolve() for file in files)


# ---- reading -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without sevenn's and its packages' warnings and remarks, and what they change in the process.

    Importing them sets variables of the environment and filters of warnings; building a model draws numbers.
    """
    before = dict(os.environ)
    try:
        with (
            torch.random.fork_rng(devices=[]),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _read(path: Path, version: str):
    """sevenn's checkpoint, its configuration, and its model in float64."""
    from sevenn.checkpoint import SevenNetCheckpoint

    checkpoint = SevenNetCheckpoint(path)
    try:
        checkpoint._load()
    except Exception as error:  # a damaged pickle raises anything
        raise AdapterError(
            f"`{path}` cannot be read as a SevenNet checkpoint: {type(error).__name__}: {error}; "
            "copy or download it again"
        ) from None
    config = checkpoint.config
    if not config or not checkpoint._model_state_dict:
        raise AdapterError(f"`{path}` is no SevenNet checkpoint: it has no `config` with `model_state_dict`")
    _check_written_by(path, str(config["version"]), version)
    try:
        model = checkpoint.build_model()
    except Exception as error:
        raise AdapterError(
            f"sevenn {version} cannot build the model of `{path}`: {type(error).__name__}: {error}"
        ) from None
    model.set_is_batch_data(False)
    for module in model.modules():
        if type(module).__name__ == "OnehotEmbedding":
            module.register_forward_hook(_in_double)
    return checkpoint, config, model.to(torch.float64).eval()


def _in_double(module, inputs, data):
    """sevenn's one-hot vectors are float32 whatever the model is."""
    for key in (module.key_output, module.key_additional_output):
        if key is not None:
            data[key] = data[key].to(torch.float64)
    return data


def _check_written_by(path: Path, written: str, installed: str) -> None:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(".")[:2] if part.isdigit()]

    if numbers(written) > numbers(installed):
        raise AdapterError(
            f"`{path}` was written by sevenn {written}, which is newer than the installed {installed}; its "
            "settings may mean something else"
        )


def _choose_modal(config: dict, modal: str | None) -> str | None:
    offered = config.get("_modal_map") if config.get("use_modality") else None
    if not offered:
        refuse_keywords("a SevenNet model without modalities", modal=modal)
        return None
    if modal is None:
        raise AdapterError(f"`modal` must be one of {', '.join(offered)}; none was chosen")
    return choose("modal", modal, offered)


# ---- sevenn's own numbers ----------------------------------------------------------------------------------


def _evaluate(model: torch.nn.Module, atoms: Atoms, cutoff: float, modal: str | None) -> Reference:
    """sevenn's graph, energy, forces and stress; its calculator would round positions to float32."""
    with _quiet():
        import sevenn._keys as keys
        from sevenn.atom_graph_data import AtomGraphData
        from sevenn.train.dataload import unlabeled_atoms_to_graph

        graph = unlabeled_atoms_to_graph(atoms, cutoff)
        exact = {key: torch.tensor(graph[key], dtype=torch.float64) for key in (keys.EDGE_VEC, keys.POS)}
        exact[keys.CELL_VOLUME] = torch.tensor(float(atoms.cell.volume), dtype=torch.float64)
        data = AtomGraphData.from_numpy_dict(graph)
        for key, value in exact.items():
            data[key] = value
        if modal is not None:
            data[keys.DATA_MODALITY] = modal
        output = model(data)
    energy = float(output[keys.PRED_TOTAL_ENERGY].detach())
    forces = np.zeros((len(atoms), 3))
    if keys.PRED_FORCE in output:
        forces = output[keys.PRED_FORCE].detach().numpy()
    if not atoms.pbc.all():
        return Reference(energy, forces, None)
    stress = np.zeros(6)
    if keys.PRED_STRESS in output:
        stress = -output[keys.PRED_STRESS].detach().numpy()[VOIGT]
    return Reference(energy, forces, stress)


# ---- what it says about itself -----------------------------------------------------------------------------


def _describe(source, path: Path, checkpoint, config: dict, modal: str | None, constants: dict) -> dict:
    layers, cutoff = int(config["num_convolution_layer"]), float(config["cutoff"])
    mirror = "" if config["is_parity"] else "; invariant under rotations, not under inversion"
    installed = _is_installed(path)
    name = str(source) if not Path(source).is_file() else path.stem
    level = "" if modal is None else f", modality {modal} of {', '.join(config['_modal_map'])}"
    weights = "weights: not recorded in the checkpoint"
    if installed:
        weights = "weights: as distributed in the sevenn package, MIT"
    return {
        "name": name if modal is None else f"{name}-{modal}",
        "description": f"SevenNet checkpoint `{path.name}`{level}; dispersion (D3) is not included{mirror}",
        "species": sorted(constants),
        "cutoff": cutoff,
        "message_passing_layers": layers,
        "interaction_range": layers * cutoff,
        "equivariant": bool(config["is_parity"]),
        "architecture": _architecture(config),
        "reference_energies": {chemical_symbols[z]: energy for z, energy in constants.items()},
        "training": {
            "checkpoint": path.name,
            "checkpoint_sha256": file_sha256(path),
            **_training(checkpoint, config, modal, path if installed else None),
        },
        "license": f"{weights}; {EMBEDDED}",
        "citation": CITATION + ("" if modal is None else MULTI_FIDELITY),
    }


def _architecture(config: dict) -> dict:
    names = ("channel", "lmax", "is_parity", "num_convolution_layer", "radial_basis", "cutoff_function")
    names += ("irreps_manual", "weight_nn_hidden_neurons", "self_connection_type", "version")
    return {"name": "SevenNet", **{name: config[name] for name in names if name in config}}


def _training(checkpoint, config: dict, modal: str | None, installed: Path | None) -> dict:
    """What the checkpoint records, and what is known of an installed one; a modality tells its functional."""
    found = {"functional": "not recorded in the checkpoint" if modal is None else f"modality {modal}"}
    if installed is not None:
        found |= KNOWN.get(installed.parent.name, {}).get(modal, {})
    found |= {name: config[name] for name in ("loss", "optimizer") if isinstance(config.get(name), str)}
    if checkpoint.epoch is not None:
        found["epoch"] = int(checkpoint.epoch)
    for name in ("time", "hash"):
        if getattr(checkpoint, name) != "Not found":
            found[name] = str(getattr(checkpoint, name))
    return found
