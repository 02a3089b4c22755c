"""What a design starts from: candidates, labelled structures, the target, and what must be picked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ...data.frames import as_list, described
from ...errors import DataError
from ..settings import DesignSettings, costs_of
from .pool import Frame, Rejected, Structures, places_of, read_frames_of, require_apart, set_aside


@dataclass
class Inputs:
    """Frames in their roles.

    Attributes
    ----------
    candidates : list of Frame
        of the pool, what may be picked
    rejected : list of Rejected
        of the pool, what may not, and why
    have : list of Frame
        labelled already
    target : list of Frame
        what the potential is for; the candidates where nothing else is given
    keep : list of int
        places among the candidates that must be picked
    costs : float64 [candidates]
        of labelling each candidate
    size : float
        number of frames to pick, or what they may cost together
    files : list of dict of str
        role, name and SHA-256 of every file
    notes : list of str
        what the user should know
    """

    candidates: list[Frame]
    rejected: list[Rejected]
    have: list[Frame]
    target: list[Frame]
    keep: list[int]
    costs: np.ndarray
    size: float
    files: list[dict[str, str]]
    notes: list[str] = field(default_factory=list)

    @property
    def every(self) -> list[Frame]:
        """Candidates, labelled structures, and the target if it is another."""
        return [*self.candidates, *self.have, *([] if self.target is self.candidates else self.target)]


def read_inputs(
    pool: Structures,
    have: Structures | None,
    target: Structures | None,
    keep: Structures | None,
    settings: DesignSettings,
) -> Inputs:
    """Read and check everything that is not a model.

    Parameters
    ----------
    pool : ase.Atoms, path or sequence of these
        what is chosen from
    have : ase.Atoms, path or sequence of these, optional
        what is labelled already
    target : ase.Atoms, path or sequence of these, optional
        what the potential is for; None for the pool
    keep : ase.Atoms, path or sequence of these, optional
        of the pool, what must be picked
    settings : DesignSettings
        how many are picked, or what they may cost; groups

    Returns
    -------
    Inputs
        frames in their roles

    Raises
    ------
    DataError
        see :mod:`.pool`; a pool of which nothing is left, that lacks elements of the target, that lacks or
        exceeds with ``keep`` what is asked for; a budget below the cheapest frame
    """
    key = settings.group_key
    frames = read_frames_of(pool, "pool", key, must_have_key=key is not None)
    labelled = [] if have is None else require_apart(read_frames_of(have, "have"))
    candidates, rejected = set_aside(frames, labelled)
    if not candidates:
        reasons = sorted({item.reason.partition(":")[0] for item in rejected})
        raise DataError(
            f"`pool`: expected structures to choose from, got none: its {len(frames)} frames are set aside "
            f"({'; '.join(reasons)}); give others"
        )
    aims = candidates if target is None else require_apart(read_frames_of(target, "target", key))
    _require_species(aims, candidates, labelled)
    wanted = [] if keep is None else places_of(read_frames_of(keep, "keep"), candidates, rejected)
    costs = costs_of([frame.atoms for frame in candidates], [f.name for f in candidates], settings.cost)
    size, notes = _size(settings, costs, wanted)
    roles = {"pool": pool, "have": have, "target": target, "keep": keep}
    files = [entry for role, what in roles.items() for entry in _described(role, what)]
    return Inputs(candidates, rejected, labelled, aims, wanted, costs, size, files, notes)


def _species(frames: Sequence[Frame]) -> list[int]:
    return sorted({int(number) for frame in frames for number in np.unique(frame.atoms.numbers)})


def _require_species(target: Sequence[Frame], *others: Sequence[Frame]) -> None:
    known = set(_species([frame for frames in others for frame in frames]))
    for frame in target:
        unknown = sorted(set(frame.atoms.numbers.tolist()) - known)
        if unknown:
            named = ", ".join(chemical_symbols[number] for number in unknown)
            raise DataError(
                f"`pool`: expected structures with every element of the target, got none with {named}, which "
                f"{frame.name} holds; add some to the pool, or take the frame out of the target"
            )


def _size(settings: DesignSettings, costs: np.ndarray, keep: Sequence[int]) -> tuple[float, list[str]]:
    kept = float(costs[list(keep)].sum())
    if settings.budget is None:
        if len(keep) > settings.pick:
            raise DataError(
                f"`keep`: expected at most {settings.pick} frames, which `pick` asks for, got {len(keep)}; "
                "ask for more or keep fewer"
            )
        if settings.pick <= len(costs):
            return float(settings.pick), []
        note = (
            f"{settings.pick} frames were asked for, and the pool has {len(costs)} candidates: all are taken"
        )
        return float(len(costs)), [note]
    if settings.budget < costs.min():
        raise DataError(
            f"`budget`: expected at least {costs.min():g}, the cost of the cheapest frame ({settings.cost}), "
            f"got {settings.budget:g}; raise it"
        )
    if kept > settings.budget:
        raise DataError(
            f"`budget`: expected at least {kept:g}, the cost of the frames in `keep`, got {settings.budget:g}"
        )
    if settings.budget < costs.sum():
        return settings.budget, []
    return float(costs.sum()), [f"the budget {settings.budget:g} pays for the whole pool: all are taken"]


def _described(role: str, what: Structures | None) -> list[dict[str, str]]:
    if what is None or isinstance(what, Atoms):
        return []
    paths = [item for item in as_list(what) if not isinstance(item, Atoms)]
    return [{"role": role} | described(path) | {"file": str(path)} for path in paths]
