"""A model file of any schema as one of the present: the same weights, the same numbers."""

from __future__ import annotations

import tempfile
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import MLIPError
from ..model_file import self_test
from ..model_file.earlier.first_contract import unwrapped
from ..model_file.export import export_model
from ..model_file.info import ModelInfo
from ..model_file.leverage_file import write_leverage
from ..model_file.model import Model, load_model
from ..model_file.symmetrized_model import SymmetrizedModel
from ..networks.pet.hypers import PETHypers
from ..networks.pet.pet import PET
from ..networks.snnp.hypers import SNNPHypers
from ..networks.snnp.snnp import SNNP
from ..provenance import write_atomically
from .converted_pet import ConvertedPET

SAME = 1e-12  # relative, or of 1 eV, eV/Å: the same sums in the same order, compiled anew


def export_again(path: str | Path, output: str | Path) -> ModelInfo:
    """Write a model file once more, with the code and the schema of this version.

    The networks PET and s-NNP are made anew around their weights, so that they compute only what a call asks
    for and declare all outputs that they have. Others keep the code that they were exported with. Weights,
    rotations, reference energies and what the file says of its training stay what they are.

    Parameters
    ----------
    path: the model file, or the name of a shipped potential
    output: the new file; it is replaced in one step

    Raises
    ------
    MLIPError
        the new file does not give the numbers of the old one on its self-test structure
    FileNotFoundError, ModelFileError
        see :func:`ase_mlip.load_model`
    """
    old = load_model(path, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.pt"
        for network in (made_anew(old), loaded_network(old)):
            if network is None:
                continue
            info = _export(old, network, file)
            difference = _difference(path, file)
            if difference <= SAME:
                if old.leverage is not None:
                    record, whitening = old.leverage.record, old.leverage.whitening.numpy()
                    info = write_leverage(file, file, record, whitening)
                write_atomically(output, file.read_bytes())
                return info
    raise MLIPError(
        f"`{old.path}` written anew gives other numbers, by {difference:.1e} of their size, allowed "
        f"{SAME:.0e}: nothing was written; please report it"
    )


def _export(old: Model, network: torch.nn.Module, file: Path) -> ModelInfo:
    rotations = self_test.exported_rotations(old.module)
    averaged = SymmetrizedModel(network, *(rotations if len(rotations[0]) else ()))
    # outputs are measured; for the rest the file is believed
    metadata = replace(old.info, outputs=["energies"])
    return export_model(averaged, file, metadata)


def loaded_network(old: Model) -> torch.nn.Module:
    """The scripted network as it is in the file."""
    averaged = old.module.network
    return unwrapped(averaged.network) if hasattr(averaged, "network") else averaged


def made_anew(old: Model) -> torch.nn.Module | None:
    """The same network by the code of this version; None where that does not know it."""
    loaded = loaded_network(old)
    try:
        if loaded.original_name == "ConvertedPET":
            inner = _with_weights(PET, PETHypers, loaded.network, old)
            return ConvertedPET(inner, loaded.energy, loaded.forces, loaded.virial)
        if loaded.original_name == "PET":
            return _with_weights(PET, PETHypers, loaded, old)
        if loaded.original_name == "SNNP":
            return _with_weights(SNNP, SNNPHypers, loaded, old)
    except (TypeError, ValueError, RuntimeError):  # hyper-parameters or weights of another make
        return None
    return None


def _with_weights(architecture, hypers, loaded: torch.nn.Module, old: Model) -> torch.nn.Module:
    names = {field.name for field in fields(hypers)}
    known = {key: value for key, value in old.info.architecture.items() if key in names}
    network = architecture(hypers(**known)).to(old.dtype)
    network.load_state_dict(loaded.state_dict())
    return network.eval()


def _difference(old: str | Path, new: Path) -> float:
    """The largest deviation of energies and derivatives in float64, relative to their size, at least 1."""
    found = []
    for path in (old, new):
        model = load_model(path, device="cpu", dtype="float64")
        structure, names = model.info.self_test["structure"], list(model.info.self_test["reference"])
        rotations = self_test.exported_rotations(model.module)
        found.append(self_test.evaluate(model.potential, rotations, structure, model.info, names))
    return max(_deviation(found[1][name], value) for name, value in found[0].items())


def _deviation(value: Tensor, expected: Tensor) -> float:
    return float((value - expected).abs().max()) / max(1.0, float(expected.abs().max()))
