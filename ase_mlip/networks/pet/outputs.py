"""What a call asks of PET, and what it gives: the blocks' outputs by name."""

from typing import NamedTuple

import torch
from torch import Tensor


class Wanted(NamedTuple):
    """What a call asks for beside the energies, as far as the network has it.

    Attributes
    ----------
    features, forces, virials : bool
        last-layer features, direct forces, direct virials
    """

    features: bool
    forces: bool
    virials: bool


def by_name(
    wanted: Wanted,
    energies: list[Tensor],
    forces: list[Tensor],
    virials: list[Tensor],
    features: list[Tensor],
) -> dict[str, Tensor]:
    """Outputs of all blocks by name.

    Parameters
    ----------
    wanted : Wanted
        what is put in beside the energies
    energies, forces, virials, features : list of Tensor
        [B], [B, 3], [B, 3, 3] and [B, F] of each block; empty where they were not wanted

    Returns
    -------
    dict of Tensor
        outputs of the contract, [N, ...] each
    """
    found = {"energies": torch.cat(energies)}
    if wanted.forces:
        found["direct_forces"] = torch.cat(forces)
    if wanted.virials:
        found["direct_virials"] = torch.cat(virials)
    if wanted.features:
        found["features"] = torch.cat(features)
    return found
