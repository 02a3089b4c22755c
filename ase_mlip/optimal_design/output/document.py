"""A design as JSON: what design.json holds, and what ``--json`` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ...provenance import plain, versions
from ..settings import DesignSettings
from ..structures.inputs import Inputs

if TYPE_CHECKING:
    from ..result import DesignResult


def to_document(result: DesignResult) -> dict:
    """A design as JSON values, all of it but the structures.

    Parameters
    ----------
    result : DesignResult
        what ``design`` returned

    Returns
    -------
    dict
        ready for JSON
    """
    return plain(
        {
            "settings": settings_document(result.settings, result.inputs),
            "versions": versions(),
            "basis": result.rows.name,
            "coefficients": len(result.rows.names),
            "sigma_used": result.sigma,
            "pool": {
                "candidates": len(result.inputs.candidates),
                "rejected": [
                    {"source": item.frame.source, "index": item.frame.index, "reason": item.reason}
                    for item in result.inputs.rejected
                ],
            },
            "picks": [
                {key: value for key, value in vars(pick).items() if key not in ("atoms", "place")}
                for pick in result.picks
            ],
            "spent": result.spent,
            "curve": result.curve,
            "efficiency": result.efficiency,
            "predicted_error": result.predicted_error,
            "floor": result.floor,
            "random": result.random,
            "knee": result.knee,
            "last_gain": result.last_gain,
            "groups": [
                asdict(group) | {"feasible": group.feasible, "reached": group.reached}
                for group in result.groups
            ],
            "feasible": result.feasible,
            "undetermined": result.undetermined,
            "notes": result.notes,
        }
    )


def settings_document(settings: DesignSettings, inputs: Inputs) -> dict:
    """What a result depends on: options, and the files by content.

    Parameters
    ----------
    settings : DesignSettings
        options
    inputs : Inputs
        whose files are named with their SHA-256

    Returns
    -------
    dict
        ready for JSON
    """
    return plain({**vars(settings), "files": inputs.files})
