"""What a stored force was computed with: enough to tell whether another calculator would give the same."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..crystals import require_none_or
from ..errors import users_line
from ..provenance import Parts, plain, structures_sha256, versions

if TYPE_CHECKING:
    from ase import Atoms

    Checkpoint = str | Path | Parts | None

# what moves no number: where the file is, where it runs, how far a neighbour list reaches beyond the cutoff
_NO_MATTER = {"model", "members", "device", "skin"}
VERSIONS = ("ase_mlip", "torch", "ase", "phonopy")


def identity(calculator) -> dict:
    """A calculator as JSON has it: its class, parameters, model file's hash, rotations, and those inside it.

    Calculators inside are the members of a committee, what :class:`.SymmetrizedCalculator` rotates, and the
    parts of ASE's mixers.
    """
    parameters = dict(getattr(calculator, "parameters", None) or {})
    left_out = _NO_MATTER if _is_ours(calculator) else {"device"}
    document = {
        "class": _class_of(calculator),
        "parameters": plain({name: value for name, value in parameters.items() if name not in left_out}),
        "model": _document_sha256(calculator),
    }
    averaging = getattr(calculator, "averaging", None)
    if averaging is not None:
        content = averaging.rotations.tobytes() + averaging.weights.tobytes()
        document["averaging"] = [averaging.name, hashlib.sha256(content).hexdigest()]
    weights = getattr(getattr(calculator, "mixer", None), "weights", None)
    if weights is not None:
        document["weights"] = plain(list(weights))
    document["inside"] = [identity(part) for part in _inside(calculator)]
    return json.loads(json.dumps(document, default=_class_of))


def made_with(calculator) -> dict:
    """:func:`identity` and the versions that numbers depend on."""
    known = versions()
    return {"calculator": identity(calculator), "versions": {name: known.get(name) for name in VERSIONS}}


def parts_of(checkpoint: Checkpoint, structures: Sequence[Atoms], calculator, **settings) -> Parts:
    """Finished parts of what ``calculator`` gives for structures, from a file that may be there.

    Where :func:`identity` does not tell everything, as of a foreign calculator, the energy of the first
    structure counts, too.

    Parameters
    ----------
    checkpoint
        the file; None keeps nothing. :class:`.Parts` are taken as they are: their owner has compared settings
    structures
        all of the run
    **settings
        what else the parts depend on, as JSON has it

    Warns
    -----
    UserWarning
        for a file of another run, which is replaced, saying what differs
    """
    require_none_or((str, os.PathLike, Parts), "a path", checkpoint=checkpoint)
    if checkpoint is None or isinstance(checkpoint, Parts):
        return checkpoint or Parts()
    known = made_with(calculator) | {"settings": plain(settings)}
    known["structure_sha256"] = structures_sha256(structures)
    if not is_known(calculator):
        known["energy"] = f"{calculator.get_property('energy', structures[0]):.8g}"  # what rounding leaves
    parts = Parts(Path(checkpoint), known, overwrite=True)
    if parts.replaced:
        text = f"`{checkpoint}` holds parts of another run ({parts.replaced}): all are computed anew"
        warnings.warn(text, UserWarning, stacklevel=users_line())
    return parts


def is_known(calculator) -> bool:
    """Whether :func:`identity` tells everything: all numbers come from model files of this package."""
    inside = list(_inside(calculator))
    if not _is_ours(calculator):
        return False
    return all(map(is_known, inside)) if inside else _document_sha256(calculator) is not None


def _is_ours(calculator) -> bool:
    return type(calculator).__module__.partition(".")[0] == __package__.partition(".")[0]


def _document_sha256(calculator) -> str | None:
    return getattr(getattr(getattr(calculator, "model", None), "info", None), "document_sha256", None)


def _inside(calculator) -> Iterator:
    """Calculators that a calculator asks."""
    single = getattr(calculator, "calculator", None)
    if hasattr(single, "get_property"):
        yield single
    several = getattr(calculator, "members", None) or getattr(getattr(calculator, "mixer", None), "calcs", ())
    yield from several


def _class_of(value) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"  # repr may hold an address
