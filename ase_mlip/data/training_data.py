"""Training data: from the files named in a run's ``[data]`` table to three lists of checked samples."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge
from ase import Atoms
from ase.data import chemical_symbols

from ..errors import DataError, users_line
from .checks import check_magnitudes, warn_of_doubtful
from .frames import as_list, described, numbered_frames
from .references import ReferenceKeys, Sample, sample_from_atoms, species_of

Paths = str | list[str]


@dataclass
class DataConfig:
    """The ``[data]`` table of a training run.

    Parameters
    ----------
    train, validation, test : Paths
        files ASE reads, relative to the TOML's folder; ``"file.xyz@0:300"`` is a slice
    validation_fraction : float
        share of ``train`` that becomes the validation set where ``validation`` names no file
    split_seed : Annotated
        seed of that split
    group_key : str, optional
        key of ``atoms.info`` that names a frame's group; the split takes its share of every group, and errors
        are also reported by group. A set may be without groups
    energy_key, forces_key, stress_key : str, optional
        where the references stand; "" (None in Python) does not use one. Energy and forces must be there
        unless their key is ""; stress is used where the files have it
    virial_key : str, optional
        a virial (energy unit) to be used instead of the stress, stress = -virial/volume
    stress_sign : str
        "ase", or "vasp", where a compressed crystal has a positive stress; of a virial, too
    stress_order : str
        of six numbers, "ase" xx yy zz yz xz xy, or "vasp" xx yy zz xy yz zx
    units : dict of str
        of the files, ``{"energy": "eV", "length": "Å"}``; the length applies to positions and cells, too.
        ``stress`` may be added; without it stresses are in energy per cubic length
    allow_missing : bool
        accept frames that lack a reference other frames have
    reference_energies : dict of float
        of isolated atoms, eV by symbol, which are taken off the energies before training and added again by
        the model file; if empty, energies per element are fitted to the training set
    """

    train: Paths
    validation: Paths | None = None
    test: Paths | None = None
    validation_fraction: float = 0.1
    split_seed: Annotated[int, Ge(0)] = 0
    group_key: str | None = None
    energy_key: str | None = "energy"
    forces_key: str | None = "forces"
    stress_key: str | None = "stress"
    virial_key: str | None = None
    stress_sign: Literal["ase", "vasp"] = "ase"
    stress_order: Literal["ase", "vasp"] = "ase"
    units: dict[str, str] = field(default_factory=lambda: {"energy": "eV", "length": "Å"})
    allow_missing: bool = False
    reference_energies: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        unknown = [symbol for symbol in self.reference_energies if symbol not in chemical_symbols[1:]]
        if unknown:
            raise DataError(
                f"`data.reference_energies`: expected symbols of elements such as Si, got {unknown[0]!r}"
            )
        self.keys.scales()
        if not as_list(self.train):
            raise DataError('`data.train`: expected at least one file, got none; write train = "file.xyz"')
        if not self.validation and not 0 < self.validation_fraction < 1:
            raise DataError(
                f"`data.validation_fraction`: expected a number between 0 and 1, got "
                f"{self.validation_fraction}; or name a `data.validation` file"
            )
        if self.keys.energy is None and self.keys.forces is None:
            raise DataError("`data.energy_key` and `data.forces_key` are both empty: name at least one")

    @property
    def keys(self) -> ReferenceKeys:
        """The keys with "" as None, as TOML has no null."""
        return ReferenceKeys(
            energy=self.energy_key or None,
            forces=self.forces_key or None,
            stress=self.stress_key or None,
            virial=self.virial_key or None,
            group=self.group_key or None,
            units=self.units,
            stress_sign=self.stress_sign,
            stress_order=self.stress_order,
        )


@dataclass
class DataSplit:
    """Three lists of samples and what they were made of (file names, SHA-256, counts), ready for JSON."""

    train: list[Sample]
    validation: list[Sample]
    test: list[Sample]
    description: dict[str, Any]


def load_data(config: DataConfig, base_dir: str | Path = ".") -> DataSplit:
    """Read, check and split the files of ``config``, whose paths are relative to ``base_dir``.

    Warns when a structure stands in more than one of the three sets, and of what data_checks.py doubts.

    Parameters
    ----------
    config : DataConfig
        files, keys and units
    base_dir : str or Path
        folder that relative paths start from

    Returns
    -------
    DataSplit
        training, validation and test samples, in eV and Å

    Raises
    ------
    DataError
        unreadable or empty files, bad or missing references, species that only validation or test hold,
        stresses that cannot be in eV/Å^3
    """
    base_dir = Path(base_dir)
    sets = {name: _load_samples(getattr(config, name), config.keys, base_dir) for name in _SETS}
    every = [sample for name in _SETS for sample in sets[name]]
    check_magnitudes(every, config.keys)
    used = _check_presence(sets, config)
    if config.group_key:
        _check_groups(sets, config.group_key)
    if not config.validation:
        sets["train"], sets["validation"] = split_off(
            sets["train"],
            config.validation_fraction,
            config.split_seed,
            stratify=config.group_key is not None,
        )
    _check_species(sets)
    warn_of_doubtful(every, config.keys)
    duplicates = _warn_of_duplicates(sets)
    description = {
        "files": {
            name: [described(path, base_dir) for path in as_list(getattr(config, name))] for name in _SETS
        },
        "structures": {name: len(samples) for name, samples in sets.items()},
        "atoms": {name: sum(len(sample.atoms) for sample in samples) for name, samples in sets.items()},
        "references": used,
        "species": [chemical_symbols[number] for number in species_of(sets["train"])],
        "duplicates_across_sets": duplicates,
        "keys": {
            "energy": config.keys.energy,
            "forces": config.keys.forces,
            **({"virial": config.keys.virial} if config.keys.virial else {"stress": config.keys.stress}),
        },
        "units": dict(config.units),
        "stress_sign": config.stress_sign,
        "stress_order": config.stress_order,
        "reference_energies": dict(config.reference_energies) or "fitted",
    }
    if not config.validation:
        description["validation_split"] = {"fraction": config.validation_fraction, "seed": config.split_seed}
    if config.group_key:
        description["groups"] = {
            name: dict(Counter(s.group for s in samples)) for name, samples in sets.items()
        }
    return DataSplit(**sets, description=description)


def split_off(
    samples: Sequence[Sample], fraction: float, seed: int, stratify: bool = False
) -> tuple[list[Sample], list[Sample]]:
    """Two lists in the given order, the second with ``fraction`` of the samples (one at least) chosen by lot.

    With ``stratify``, every group gives its share, rounded so that the total is kept (largest remainder).
    """
    if len(samples) < 2:
        raise DataError(
            f"`data.train`: expected at least 2 structures to split a validation set off, got "
            f"{len(samples)}; name a `data.validation` file"
        )
    total = min(max(1, round(fraction * len(samples))), len(samples) - 1)
    groups = np.array([sample.group if stratify else "" for sample in samples])
    names, sizes = np.unique(groups, return_counts=True)
    quotas = total * sizes / len(samples)
    counts = np.floor(quotas).astype(int)
    counts[np.argsort(counts - quotas, kind="stable")[: total - counts.sum()]] += 1
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(samples), dtype=bool)
    for name, count in zip(names, counts, strict=True):
        chosen[generator.permutation(np.flatnonzero(groups == name))[:count]] = True
    kept = [sample for sample, off in zip(samples, chosen, strict=True) if not off]
    return kept, [sample for sample, off in zip(samples, chosen, strict=True) if off]


_SETS = ("train", "validation", "test")


def _load_samples(paths: Paths | None, keys: ReferenceKeys, base_dir: Path) -> list[Sample]:
    return [
        sample_from_atoms(atoms, keys, source=f"`{Path(path).name}`, frame {index}")
        for path in as_list(paths)
        for index, atoms in numbered_frames(path, base_dir, keys.stress_order)
    ]


def _check_presence(sets: dict[str, list[Sample]], config: DataConfig) -> list[str]:
    """The names of the references in use; an error where a wanted one is missing."""
    keys, used = config.keys, []
    samples = [sample for name in _SETS for sample in sets[name]]
    for name, key, required in (
        ("energy", keys.energy, True),
        ("forces", keys.forces, True),
        ("stress", keys.virial or keys.stress, keys.virial is not None),
    ):
        if key is None:
            continue
        able = [sample for sample in samples if name != "stress" or sample.atoms.pbc.all()]
        lacking = [sample for sample in able if getattr(sample, name) is None]
        trained = any(getattr(sample, name) is not None for sample in sets["train"])
        if not trained and required:
            raise DataError(
                f"`data.train`: expected the {name} under the key `{key}`, got no frame that has it in "
                f"{', '.join(str(path) for path in as_list(config.train))}; name the key in "
                f'`data.{name}_key`, or write "" there not to use it'
            )
        if trained and lacking and not config.allow_missing:
            raise DataError(
                f"{lacking[0].source}: expected the {name} under the key `{key}` as in other frames, got "
                f"none ({len(lacking)} of {len(able)} frames lack it); complete or remove them, or set "
                "`data.allow_missing = true`"
            )
        if trained:
            used.append(name)
    return used


def _check_groups(sets: dict[str, list[Sample]], key: str) -> None:
    """Every set has groups in all of its frames or in none, and one set has them."""
    for samples in sets.values():
        lacking = [sample for sample in samples if not sample.group]
        if 0 < len(lacking) < len(samples):
            raise DataError(
                f"{lacking[0].source}: expected its group under the key `{key}` as in other frames, got "
                "none; add it or leave out `data.group_key`"
            )
    if not any(sample.group for samples in sets.values() for sample in samples):
        raise DataError(
            f"`data.group_key`: expected `{key}` in the comment lines of at least one set, got it nowhere; "
            "correct the key or leave it out"
        )


def _symbols(numbers: Sequence[int]) -> str:
    return ", ".join(chemical_symbols[number] for number in numbers)


def _check_species(sets: dict[str, list[Sample]]) -> None:
    known = set(species_of(sets["train"]))
    for name in ("validation", "test"):
        for sample in sets[name]:
            unknown = sorted(set(sample.atoms.numbers.tolist()) - known)
            if unknown:
                raise DataError(
                    f"{sample.source} of the {name} set holds {_symbols(unknown)}: expected only species of "
                    f"the training set ({_symbols(sorted(known))}); add training data or remove "
                    "the frame"
                )


def _warn_of_duplicates(sets: dict[str, list[Sample]]) -> int:
    """The number of validation and test structures that stand in an earlier set as well."""
    seen: set[bytes] = set()
    duplicates: list[str] = []
    for name in _SETS:
        prints = [_fingerprint(sample.atoms) for sample in sets[name]]
        duplicates += [
            sample.source
            for sample, fingerprint in zip(sets[name], prints, strict=True)
            if fingerprint in seen
        ]
        seen.update(prints)
    if duplicates:
        warnings.warn(
            f"{len(duplicates)} structures of the validation and test sets are also in another set (first: "
            f"{duplicates[0]}); their errors say nothing about new structures, remove them",
            stacklevel=users_line(),
        )
    return len(duplicates)


def _fingerprint(atoms: Atoms) -> bytes:
    """Equal for equal structures to 1e-6 Å in the same order of atoms."""
    digest = hashlib.sha256(atoms.numbers.astype(np.int64).tobytes() + atoms.pbc.tobytes())
    cell = np.asarray(atoms.cell) if atoms.pbc.any() else np.zeros((3, 3))
    for array in (cell, atoms.positions):
        digest.update((np.round(array, 6) + 0.0).tobytes())  # + 0.0: no negative zeros
    return digest.digest()
