"""A training that starts from the weights of another: from a model file or from a run's folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..converters.export_again import made_anew
from ..errors import DataError
from ..model_file.model import load_model
from ..networks.pet.pet import PET
from ..networks.snnp.snnp import SNNP
from .export import load_native


@dataclass
class Start:
    """What a training starts from: a network, and reference energies in eV by atomic number."""

    network: PET | SNNP
    reference_energies: dict[int, float]


def read_start(init_from: str, folder: Path) -> Start:
    """Weights and reference energies of ``init_from``, as of ``starting_hypers``.

    Raises
    ------
    DataError
        weights that cannot be read or rebuilt
    """
    place = folder / init_from
    if place.is_dir():
        return Start(*load_native(place / "best.safetensors"))
    old = load_model(place if place.is_file() else init_from, device="cpu")
    network = made_anew(old)
    if not isinstance(network, (PET, SNNP)):
        raise DataError(
            f"`init_from`: expected weights that this version can rebuild, got those of `{old.path}`; train "
            "from random weights, or from the run's folder"
        )
    numbers = torch.nonzero(old.module.reference_energies).flatten().tolist()
    return Start(network, {n: float(old.module.reference_energies[n]) for n in {*old.info.species, *numbers}})


def check_species(known: list[int], data: list[int]) -> None:
    """Raise DataError for elements in the data that the given weights do not know."""
    from ase.data import chemical_symbols

    unknown = sorted(set(data) - set(known))
    if unknown:
        raise DataError(
            f"`init_from`: expected weights for all elements of the training data, got none for "
            f"{', '.join(chemical_symbols[number] for number in unknown)}; train from random weights"
        )


def same_hypers(start: Start, hypers: Any) -> None:
    """Raise DataError unless the file still holds the network that the configuration was read for."""
    if dataclasses.asdict(start.network.hypers) != dataclasses.asdict(hypers):
        raise DataError(
            "`init_from`: the file was replaced by another network while it was read; start again"
        )
