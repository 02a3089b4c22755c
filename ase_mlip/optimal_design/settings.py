"""What a design is asked for, checked once: the options of ``ase-mlip design`` without its files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from ase import Atoms

from ..crystals import is_whole
from ..errors import ArgumentError, DataError
from ..model_file.document_checks import is_positive

CRITERIA = MappingProxyType(
    {
        "i": "mean predicted variance of the target",
        "d": "volume of the coefficients' uncertainty",
        "a": "mean variance of the coefficients",
        "e": "worst combination of coefficients",
        "g": "largest predicted variance of the target",
    }
)
LABELS = ("energy", "forces", "stress")
UNITS = MappingProxyType({"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/Å³"})
# The weights of the s-NNP's least-squares fit: residuals count 100 : 1 : 100.
SIGMA = MappingProxyType({"energy": 0.01, "forces": 1.0, "stress": 0.01})
WHEN_NOT_D = (
    "criterion d: it values every combination of coefficients alike, whether the target feels it or not, and "
    "takes the model for the truth. Do not use it to choose training data for energies: force rows outnumber "
    "them, and a misspecified model is best fitted near its target; the default, i, asks for the target"
)


@dataclass(frozen=True)
class DesignSettings:
    """Options of a design; see ``docs/optimal_design.md`` for each.

    Attributes
    ----------
    pick: number of frames to choose; None with a ``budget``
    budget: in the units of ``cost``; None with a ``pick``
    basis: ``auto``, a training's TOML file, a model file or the name of a shipped potential
    criterion: i, d, a, e or g
    labels: which of energy, forces and stress a calculation gives
    sigma: of one label, by name: eV/atom, eV/Å, eV/Å³
    cost: ``count``, ``atoms^P``, or a key of the frames' ``info``
    balance: ``groups``: each group of the target counts alike; ``frames``: each frame
    group_key: of ``info``; None for ``group`` where it is, else the file
    rows: ``exact``, ``sketch:K``, or None: exact for an s-NNP, sketch:8 for a model
    seed: of the random selections and of the sketches
    weigh_equally: whether the forces' σ is changed so that energies and forces of the pool count alike

    Raises
    ------
    ArgumentError
        for whatever is not one of these
    """

    pick: int | None = None
    budget: float | None = None
    basis: str = "auto"
    criterion: str = "i"
    labels: tuple[str, ...] = ("energy", "forces")
    sigma: Mapping[str, float] = field(default_factory=lambda: dict(SIGMA))
    cost: str = "count"
    balance: str = "groups"
    group_key: str | None = None
    rows: str | None = None
    seed: int = 0
    weigh_equally: bool = True

    def __post_init__(self) -> None:
        power_of(self.cost)
        self._require_size()
        _one_of("criterion", self.criterion, tuple(CRITERIA), "leave it out for i, which serves the target")
        _one_of("balance", self.balance, ("groups", "frames"), "leave it out for groups")
        object.__setattr__(self, "labels", _checked_labels(self.labels))
        object.__setattr__(self, "sigma", {**SIGMA, **_checked_sigma(self.sigma)})
        directions(self.rows)
        if not is_whole(self.seed) or self.seed < 0:
            raise ArgumentError(
                f"`seed`: expected a whole number of at least 0, got {self.seed!r}; give another"
            )

    def _require_size(self) -> None:
        if (self.pick is None) == (self.budget is None):
            got = "neither" if self.pick is None else "both"
            raise ArgumentError(
                f"`pick`, `budget`: expected one of them, got {got}; give `pick`, how many frames to choose, "
                "or `budget`, what they may cost together"
            )
        if self.pick is not None:
            if not is_whole(self.pick):
                raise ArgumentError(
                    f"`pick`: expected a whole number of picks, got {self.pick!r}; give how many frames to "
                    "choose, or `budget`, what they may cost together"
                )
            if self.pick < 1:
                raise ArgumentError(
                    f"`pick`: expected at least 1, got {self.pick}; ask for one frame or more"
                )
            object.__setattr__(self, "pick", int(self.pick))
        if self.budget is not None and not is_positive(self.budget):
            raise ArgumentError(
                f"`budget`: expected a positive number, got {self.budget!r}; give what the picks may cost "
                "together"
            )
        if self.pick is not None and self.cost != "count":
            raise ArgumentError(
                f"`cost`: expected `count` with `pick`, which counts frames, got {self.cost!r}; give a "
                "`budget` instead of `pick`"
            )


def parse_sigma(text: str) -> dict[str, float]:
    """``energy=0.01,forces=1`` as a dictionary. Raises ArgumentError."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise ArgumentError(f"`sigma`: expected NAME=NUMBER such as energy=0.01,forces=1, got {part!r}")
    return _checked_sigma(found)


def directions(rows: str | None) -> int | None:
    """The number of random directions of ``sketch:8``; None for ``exact`` or None. Raises ArgumentError."""
    if rows in (None, "exact"):
        return None
    found = re.fullmatch(r"sketch:(\d+)", rows)
    if not found or int(found[1]) < 1:
        raise ArgumentError(
            f"`rows`: expected `exact`, or `sketch:8` for that many random directions, got {rows!r}"
        )
    return int(found[1])


def costs_of(structures: Sequence[Atoms], names: Sequence[str], cost: str) -> np.ndarray:
    """What labelling each structure costs, float64 [n]: 1, N^P, or what its ``info`` says.

    Raises
    ------
    DataError
        a structure without a positive number under that key
    """
    if cost == "count":
        return np.ones(len(structures))
    power = power_of(cost)
    if power is not None:
        return np.array([float(len(atoms)) ** power for atoms in structures])
    return np.array([_stored_cost(atoms, name, cost) for atoms, name in zip(structures, names, strict=True)])


def power_of(cost: str) -> float | None:
    """P of a ``cost`` atoms^P; None of any other. Raises ArgumentError for one that is no number."""
    if not cost.startswith("atoms^"):
        return None
    found = re.fullmatch(r"atoms\^(\d+(?:\.\d*)?)", cost)
    if not found:
        raise ArgumentError(
            f"`cost`: expected a power after atoms^, a number of at least 0, got {cost!r}; write atoms^3 for "
            "the third power of the number of atoms"
        )
    return float(found[1])


def _stored_cost(atoms: Atoms, name: str, key: str) -> float:
    value = atoms.info.get(key)
    if not is_positive(value):
        got = "nothing" if value is None else repr(value.item() if isinstance(value, np.generic) else value)
        raise DataError(
            f"`cost`: expected count, atoms^P (atoms^1 is the number of atoms), or a key with a positive "
            f"number in the comment line of every frame, got {got} under `{key}` in {name}; correct the key "
            "or the file"
        )
    return float(value)


def _checked_sigma(sigma: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(sigma, Mapping):
        raise ArgumentError(
            f"`sigma`: expected a number for each label, such as {{'energy': 0.01, 'forces': 1.0}}, got "
            f"{sigma!r}; give the errors by name, or leave `sigma` out"
        )
    for name, value in sigma.items():
        _one_of("sigma", name, LABELS, "give errors by these names, as in energy=0.01,forces=1")
        if not is_positive(value):
            got = f"{value:g}" if isinstance(value, (int, float, np.number)) else repr(value)
            raise ArgumentError(
                f"`sigma`: expected a positive number of {UNITS[name]} for {name}, got {got}; it is the "
                "error that one label may have"
            )
    return {name: float(value) for name, value in sigma.items()}


def _checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    remedy = "name what each calculation gives, as in energy,forces"
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise ArgumentError(
            f"`labels`: expected a list such as ['energy', 'forces'], got {labels!r}; name what each "
            "calculation gives"
        )
    for label in labels:
        _one_of("labels", label, LABELS, remedy)
    if not labels:
        raise ArgumentError(f"`labels`: expected at least one of {', '.join(LABELS)}, got none; {remedy}")
    return tuple(labels)


def _one_of(name: str, value: str, known: tuple[str, ...], remedy: str) -> None:
    if value not in known:
        raise ArgumentError(f"`{name}`: expected one of {', '.join(known)}, got {value!r}; {remedy}")
