"""Networks of other programs as modules of the contract: a package for each family, and one for PET.

A family's own program is imported when a file is converted. The package may import ``networks`` and what is
below ``training``.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from .common import Adapted, AdapterError, Reference, export_adapted
from .recognise import FAMILIES, refuse_other_family

__all__ = ["FAMILIES", "Adapted", "AdapterError", "Reference", "adapt", "export_adapted"]


def adapt(
    family: str,
    source: str | Path,
    *,
    allow_pickle: bool = False,
    head: str | None = None,
    modal: str | None = None,
) -> Adapted:
    """The network of a checkpoint as a module of the contract, to be written by :func:`export_adapted`.

    Parameters
    ----------
    family : str
        ``"mace"``, ``"nequip"``, ``"sevennet"`` or ``"pet"``; its package must be installed
    source : str or Path
        a checkpoint, or a name that the family's package resolves without a download
    allow_pickle : bool
        whether a checkpoint may be unpickled, which can run any code it contains
    head : str, optional
        the head of a model with several
    modal : str, optional
        the modality (level of theory) of a multi-fidelity model

    Returns
    -------
    Adapted
        what :func:`export_adapted` takes

    Raises
    ------
    AdapterError
        the family is unknown or its package missing, too old or too new; the checkpoint is of another family,
        damaged, or uses an option that cannot be carried over, which the message names
    """
    if family not in FAMILIES:
        raise AdapterError(f"`family` must be one of {', '.join(FAMILIES)}, got `{family}`")
    path = Path(source)
    if path.is_dir():
        raise AdapterError(f"`{source}` is a folder; a checkpoint file was expected")
    if path.is_file():
        refuse_other_family(path, family)
    module = importlib.import_module(f".{family}.{family}", __name__)
    return module.adapt(source, allow_pickle=allow_pickle, head=head, modal=modal)
