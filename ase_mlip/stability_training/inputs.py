"""What a run starts from, read and checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ..data.baseline import composition_baseline
from ..data.frames import as_list, read_structures
from ..data.training_data import DataSplit, load_data
from ..dynamics.criteria import Criteria, Frame, Monitor
from ..errors import DataError, StructureError
from ..graph.pairs import find_pairs
from ..training.loss import Scales, scales_of
from .observables.distances import Distances, UnseenDistances
from .observables.kinds import BondLengths, NonbondedDistance, Observable, Pressure
from .observables.reference_values import Target, check_same_system, read_reference
from .settings import ObservableConfig, StabilizeConfig
from .trainable import Trainable, open_trainable

CLOSER = 0.9  # times the shortest distance of the training data: a start is outside them
REACH = 4.0  # Å, in which shortest distances are looked for


@dataclass
class Inputs:
    """The model, the data, starting frames by set, observables with references, and units of the errors."""

    trainable: Trainable
    data: DataSplit
    starts: dict[str, list[Atoms]]
    targets: list[Target]
    scales: Scales


def read_inputs(config: StabilizeConfig, folder: Path, device: str) -> Inputs:
    """Read everything that ``config`` names, relative to ``folder``.

    Raises
    ------
    DataError, StructureError, ModelFileError, MLIPError, FileNotFoundError
        what cannot be used, each with what to do
    """
    model = folder / config.model
    data = load_data(config.data, folder)
    if not data.validation:
        raise DataError("`data.validation`: expected frames that measure the force error, got none")
    if not any(sample.forces is not None for sample in data.validation):
        raise DataError("`data.validation`: expected forces, on whose error the budget is, got none")
    starts = {
        name: read_structures(files, folder)
        for name, files in vars(config.starts).items()
        if files is not None and as_list(files)
    }
    trainable = open_trainable(model if model.is_file() else config.model, device, starts["train"][:1])
    check_starts(starts, trainable.info.species, config.criteria)
    check_near_data(starts, [sample.atoms for sample in data.train])
    like = starts["train"][0]
    targets = [make_target(entry, like, config, folder) for entry in config.observables]
    for observable in (target.observable for target in targets):
        if isinstance(observable, BondLengths):  # which follows the images of the first training start
            starts = {name: [observable.in_one_piece(a) for a in frames] for name, frames in starts.items()}
    has_energies = any(sample.energy is not None for sample in data.train)
    composition = composition_baseline(data.train) if has_energies else {}
    return Inputs(trainable, data, starts, targets, scales_of(data.train, composition))


def make_target(entry: ObservableConfig, like: Atoms, config: StabilizeConfig, folder: Path) -> Target:
    """An ``[[observables]]`` table with its reference."""
    observable: Observable
    if entry.kind == "distances":
        observable = Distances(entry.pairs, entry.rmax, entry.width)
        observable.values([like])  # a pair of elements that is not there is refused here
    elif entry.kind == "unseen_distances":
        frames = read_structures(entry.reference, folder)
        observable = UnseenDistances(frames, entry.pairs, entry.rmax, entry.width)
    elif entry.kind == "bond_lengths":
        observable = BondLengths(like, entry.each)
    elif entry.kind == "nonbonded_distance":
        observable = NonbondedDistance(like, entry.apart, entry.of_each_atom)
    else:
        observable = Pressure(config.simulation.temperature_K)
        if not like.pbc.all():
            raise StructureError(
                '`observables`: kind = "pressure" needs starts periodic in three directions, got others'
            )
    error = entry.reference_error or None
    reference = read_reference(observable, entry.reference, error, like, folder)
    scale = entry.scale or observable.default_scale(reference.mean)
    return Target(observable, reference, scale, entry.weight)


def check_starts(
    starts: dict[str, list[Atoms]], species: Sequence[int], criteria: Criteria | None = None
) -> None:
    """Raise StructureError or DataError for starts of other elements or systems, or unstable ones."""
    like = starts["train"][0]
    for name, frames in starts.items():
        for n, atoms in enumerate(frames):
            unknown = sorted(set(atoms.numbers.tolist()) - set(species))
            if unknown:
                raise StructureError(
                    f"`starts.{name}`: expected elements that the model knows, got "
                    f"{chemical_symbols[unknown[0]]} in frame {n}; use starts of the same system"
                )
            if not np.array_equal(atoms.numbers, like.numbers) or not np.array_equal(atoms.pbc, like.pbc):
                raise StructureError(
                    f"`starts.{name}`: expected frames of one system, the atoms in one order, got "
                    f"{atoms.symbols.get_chemical_formula()} in frame {n} beside "
                    f"{like.symbols.get_chemical_formula()}"
                )
            check_same_system(atoms, like, f"starts.{name}")
            failure = Monitor(atoms, criteria, 0.0).check(Frame(0, 0.0, atoms.positions))
            if failure is not None:
                raise StructureError(
                    f"`starts.{name}`: expected frames that the criteria call stable, but frame {n} is not "
                    f"({failure.kind}: {failure.detail}); correct the frames or `[criteria]`"
                )


def check_near_data(starts: dict[str, list[Atoms]], data: Sequence[Atoms]) -> None:
    """Raise StructureError for starts whose atoms are much closer than any of the training data."""
    known: dict[tuple[int, int], float] = {}
    for atoms in data:
        for pair, distance in _shortest(atoms).items():
            known[pair] = min(known.get(pair, np.inf), distance)
    for name, frames in starts.items():
        for n, atoms in enumerate(frames):
            for pair, distance in _shortest(atoms).items():
                limit = known.get(pair)
                if limit is None or distance < CLOSER * limit:
                    elements = "-".join(chemical_symbols[number] for number in pair)
                    nearest = "no such pair" if limit is None else f"none below {limit:.2f} Å"
                    raise StructureError(
                        f"`starts.{name}`: expected frames like the training data, got {elements} at "
                        f"{distance:.2f} Å in frame {n} (the data have {nearest}); a potential need not be "
                        "stable outside its data: take starts from them"
                    )


def _shortest(atoms: Atoms) -> dict[tuple[int, int], float]:
    """Shortest distance of each pair of elements within reach, Å."""
    i, j, _, distances = find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, REACH)
    numbers = np.sort(np.stack([atoms.numbers[i], atoms.numbers[j]]), axis=0)
    found: dict[tuple[int, int], float] = {}
    for a, b in sorted(set(zip(*numbers.tolist(), strict=True))):
        found[(a, b)] = float(distances[(numbers[0] == a) & (numbers[1] == b)].min())
    return found
