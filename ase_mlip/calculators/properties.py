"""ASE's properties: what a model must compute for them, and why one is not there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ..model_file.model import Model
from .results import has_direct_stress

IMPLEMENTED = ["energy", "free_energy", "energies", "forces", "stress", "stresses"]
NEED_DERIVATIVES = {"forces", "stress", "stresses"}


def outputs_for(properties: Sequence[str], model: Model, forces: str) -> list[str]:
    """What the model must compute for ``properties``; ``forces`` is "conservative" or "direct"."""
    if forces == "direct":
        heads = ("direct_forces", "direct_stresses", "direct_virials")
        return [name for name in heads if name in model.info.outputs]
    if NEED_DERIVATIVES.isdisjoint(properties):
        return []
    return ["forces", "virial", "virials"] if "stresses" in properties else ["forces", "virial"]


def absent(properties: Sequence[str], model: Model, forces: str) -> list[str]:
    """Those of ``properties`` that no structure has with this model; ``diagnostics`` always are there."""
    has_stress = forces == "conservative" or has_direct_stress(model.info)
    known = {name for name in IMPLEMENTED if has_stress or "stress" not in name}
    return [name for name in properties if name not in known | {"diagnostics"}]


def why_absent(name: str, model: Model, forces: str, atoms: Atoms | None) -> str:
    """Why there is no property ``name``, and what to do."""
    if name not in IMPLEMENTED:
        return f"`{name}`: expected one of {', '.join(IMPLEMENTED)}"
    if forces == "direct" and not has_direct_stress(model.info):
        return (
            f"`{name}` with `forces='direct'` needs the output `direct_stresses` or `direct_virials`, but "
            f"`{model.path}` has only {', '.join(model.info.outputs)}; use `forces='conservative'`"
        )
    cell = None if atoms is None else np.asarray(atoms.cell).tolist()
    return f"`{name}` needs three cell vectors that span a volume, got {cell}; set the cell of the atoms"
