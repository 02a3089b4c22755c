"""Structures as scaled rows of one basis: an s-NNP's least-squares basis, or a network's features."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

from ...errors import DataError, MLIPError
from ...networks.snnp.hypers import SNNPHypers
from ...networks.snnp.snnp import SNNP
from ...progress.form import Progress, told
from ..settings import DesignSettings, directions
from ..structures.inputs import Inputs
from ..structures.pool import Frame
from .fixed import Values, core_of, predictions_of
from .linear_basis import LinearBasis, linear_rows
from .structure_rows import LABELS, Rows

if TYPE_CHECKING:
    from ...model_file.model import Model

SKETCH = 8  # directions for a model, and where exact rows would not fit
MOST_BYTES = 2**30  # of all exact rows
RIDGE = 1e-6  # of features, relative to what the pool says of each


@dataclass
class RowSource:
    """Turns structures into rows, scaled by σ.

    Attributes
    ----------
    name : str
        of the basis, in words
    names : list of str
        of its coefficients
    make : callable
        structures to their rows, one after another, per unit of a coefficient
    fixed : callable
        energy per atom [1], forces [3N] and stress [6] of a structure that are there without coefficients
    combine : callable
        forces [3N] of a structure as the force rows have them: sums of these where rows are a sketch
    prior_of : callable
        the prior A₀ [p, p] for the information [p, p] of the pool
    labels : tuple of str
        that a calculation gives
    sigma : dict of float
        by which rows are divided, by label
    document, arrays : dict, dict of array
        from which :mod:`..output.stored` makes the source again
    depends_on : dict or None
        what rows depend on beside their structure, ready for JSON, if they are worth storing: those of a
        network take seconds each; None for a linear s-NNP, whose take milliseconds
    """

    name: str
    names: list[str]
    make: Callable[[Sequence[Atoms]], Iterable[Rows]]
    fixed: Callable[[Atoms], Values]
    combine: Callable[[Atoms, np.ndarray], np.ndarray]
    prior_of: Callable[[np.ndarray], np.ndarray]
    labels: tuple[str, ...]
    sigma: dict[str, float]
    document: dict
    arrays: Values
    depends_on: dict | None = None

    @property
    def linear(self) -> bool:
        """Whether it is an s-NNP's least-squares basis, and not the features of a network."""
        return self.document["kind"] == "linear"

    def rows(self, structures: Sequence[Atoms], progress: Progress | None = None) -> Iterator[Rows]:
        """Rows of structures, not scaled, with at most p rows of the forces of each."""
        progress = told(progress)
        for done, found in enumerate(self.make(structures)):
            yield replace(found, forces=shortened(found.forces))
            progress(done + 1, len(structures), "rows")

    def scale(self, rows: Rows) -> Values:
        """By label, [r, p] in units of σ."""
        return {label: getattr(rows, label) / self.sigma[label] for label in self.labels}

    def stacked(self, rows: Rows) -> np.ndarray:
        """The block [r, p] of a structure: all rows that labelling it adds."""
        return np.concatenate(list(self.scale(rows).values()))

    def of(self, atoms: Atoms) -> Rows:
        """Rows of one structure, not scaled."""
        return next(iter(self.rows([atoms])))


def counts_of(rows: Rows, labels: Sequence[str]) -> dict[str, int]:
    """How many numbers a calculation of a structure gives; a sketch has fewer rows.

    Parameters
    ----------
    rows : Rows
        of the structure
    labels : sequence of str
        what is calculated

    Returns
    -------
    dict of int
        by label
    """
    numbers = {"energy": 1, "forces": 3 * rows.n_atoms, "stress": len(rows.stress)}
    return {label: numbers[label] for label in labels}


def shortened(rows: np.ndarray) -> np.ndarray:
    """At most p rows [r, p] with the same Gram matrix."""
    return rows if len(rows) <= rows.shape[1] else np.linalg.qr(rows, mode="r")


def row_source(settings: DesignSettings, inputs: Inputs, notes: list[str]) -> RowSource:
    """The basis that ``settings`` name, not yet scaled: its σ are those of the settings.

    "auto" takes its knots from all structures, so that what only the target has gets coefficients, too, and
    shows as left open.

    Parameters
    ----------
    settings : DesignSettings
        basis, labels, σ, form of the rows, seed
    inputs : Inputs
        all structures
    notes : list of str
        to which is added what the user should know

    Returns
    -------
    RowSource
        of an s-NNP's least-squares basis, or of a network's features

    Raises
    ------
    DataError
        a recipe that has no least-squares basis; a model that lacks elements of the structures
    MLIPError
        a model that cannot be read, or has no ``features``
    """
    from .auto_basis import auto_basis, basis_from_hypers

    structures = [frame.atoms for frame in inputs.every]
    if settings.basis == "auto":
        basis, origin = auto_basis(structures), "knots from the pool"
    elif settings.basis.endswith(".toml"):
        basis, origin = basis_from_hypers(_hypers_of(Path(settings.basis)), structures), settings.basis
    else:
        return _of_model(settings, inputs, notes)
    return linear_source(basis, origin, settings, _sketch_of(settings, inputs, basis.size, notes))


def linear_source(basis: LinearBasis, origin: str, settings: DesignSettings, number: int | None) -> RowSource:
    """Rows by an s-NNP's least-squares basis.

    Parameters
    ----------
    basis : LinearBasis
        of p columns
    origin : str
        where the basis is from, in words
    settings : DesignSettings
        labels, σ, seed
    number : int or None
        of random combinations of a structure's force rows; None for all rows

    Returns
    -------
    RowSource
        not yet scaled
    """
    hypers, wanted = basis.network.hypers, _wanted(settings)

    def make(structures: Sequence[Atoms]) -> Iterator[Rows]:
        for rows in linear_rows(basis, structures, wanted):
            yield rows if number is None else rows.sketched(number, _seed_of(settings.seed, rows))

    def combine(atoms: Atoms, forces: np.ndarray) -> np.ndarray:
        if number is not None:
            raise MLIPError(
                "`combine`: expected the exact rows of an s-NNP, got a sketch, whose sums are not kept; "
                "make the source with `number` = None"
            )
        return forces

    name = (
        f"linear s-NNP, {basis.size} coefficients, {hypers.inner:g} to {hypers.cutoff:g} Å, "
        f"{hypers.angular_filters} angular filters; {origin}"
    )
    return RowSource(
        name=name,
        names=basis.names,
        make=make,
        fixed=core_of(basis),
        combine=combine,
        prior_of=basis.prior,
        labels=settings.labels,
        sigma=dict(settings.sigma),
        document={"kind": "linear", "origin": origin, "hypers": asdict(hypers), "directions": number},
        arrays={"f": basis.network.f.coefficients.detach().numpy()},
    )


def feature_source(settings: DesignSettings, smallest: Atoms, loaded: Model | None = None) -> RowSource:
    """Rows by the last-layer features of a model.

    Parameters
    ----------
    settings : DesignSettings
        model (``basis``), labels, σ, form of the rows, seed
    smallest : ase.Atoms
        a structure to count the features with
    loaded : Model, optional
        that model, where it is loaded already

    Returns
    -------
    RowSource
        not yet scaled

    Raises
    ------
    MLIPError
        a model that cannot be read, or has no ``features``
    """
    from ...model_file.info import find_model
    from ...model_file.model import load_model
    from .sketch import feature_names, force_combinations, sketch_rows, sketch_settings, with_features

    model = with_features(loaded or load_model(find_model(settings.basis), dtype="float64"))
    number = directions(settings.rows) if settings.rows else SKETCH
    wanted = _wanted(settings)

    def make(structures: Sequence[Atoms]) -> Iterator[Rows]:
        return sketch_rows(model, structures, number, settings.seed, labels=wanted)

    size = next(iter(sketch_rows(model, [smallest], labels=("energy",), constants=False))).size
    return RowSource(
        name=f"{size} features of {settings.basis}, and a constant for each element",
        names=feature_names(model, size),
        make=make,
        fixed=predictions_of(settings.basis),
        combine=lambda atoms, forces: force_combinations(model, atoms, number, settings.seed) @ forces,
        prior_of=_ridge,
        labels=settings.labels,
        sigma=dict(settings.sigma),
        document={"kind": "features"},
        arrays={},
        depends_on=sketch_settings(model, number, settings.seed, wanted),
    )


def basis_of_hypers(hypers: Mapping, f: np.ndarray) -> LinearBasis:
    """The basis that ``document`` and ``arrays`` of a linear source describe.

    Parameters
    ----------
    hypers : mapping
        ``hypers`` of the document
    f : float64 array
        coefficients of f, as the network has them

    Returns
    -------
    LinearBasis
        with a constant for each element
    """
    with torch.random.fork_rng(devices=[]):
        network = SNNP(SNNPHypers(**hypers)).double()
    with torch.no_grad():
        network.f.coefficients.copy_(torch.from_numpy(np.asarray(f)))
    return LinearBasis(network)


def _wanted(settings: DesignSettings) -> tuple[str, ...]:
    """The labels, and the energy, in which the map is drawn."""
    return tuple(label for label in LABELS if label in settings.labels or label == "energy")


def _of_model(settings: DesignSettings, inputs: Inputs, notes: list[str]) -> RowSource:
    """An s-NNP's least-squares basis, or the features of another network."""
    from ...model_file.info import find_model
    from ...model_file.model import load_model
    from .auto_basis import basis_from_model

    model = load_model(find_model(settings.basis), dtype="float64")
    _require_known(inputs.every, model.info.species, settings.basis)
    try:
        basis = basis_from_model(model)
    except MLIPError:  # another network, or an s-NNP without least-squares basis
        notes += _not_linear(model, settings.basis)
        return feature_source(settings, min((frame.atoms for frame in inputs.every), key=len), model)
    return linear_source(basis, settings.basis, settings, _sketch_of(settings, inputs, basis.size, notes))


def _not_linear(model: Model, name: str) -> list[str]:
    """What to know of a model with features of which its energies are no linear function."""
    from ...checks.features import LINEAR, features_residual
    from ...checks.probe import Probe

    missed = features_residual(Probe(model, []))[0] if "features" in model.info.outputs else 0.0
    if not missed > LINEAR:
        return []
    return [
        f"the energies of `{name}` are not linear in its features, which miss {missed:.0e} of their scatter: "
        "the picks are those for a linear function of these features, and predicted errors no error bars of "
        "the model's own"
    ]


def _hypers_of(path: Path) -> SNNPHypers:
    """The ``[model]`` of a training's TOML file. Raises ConfigurationError; DataError unless of an s-NNP."""
    from ...configuration.run import read_config

    hypers = read_config(path).model
    if not isinstance(hypers, SNNPHypers):
        raise DataError(
            f"`basis`: expected the training of an s-NNP, whose least-squares basis is taken, got that of a "
            f"PET, `{path}`; train it and give the model file, whose features are taken, or write auto"
        )
    return hypers


def _sketch_of(settings: DesignSettings, inputs: Inputs, size: int, notes: list[str]) -> int | None:
    """Directions of the sketch; where none is asked for, one is taken if exact rows would not fit."""
    if settings.rows is not None:
        return directions(settings.rows)
    needed = sum(min(3 * len(frame.atoms), size) * size * 8 for frame in inputs.every)
    if needed <= MOST_BYTES:
        return None
    notes.append(
        f"exact rows would take {needed / 2**30:.1f} GB: {SKETCH} random combinations of each structure's "
        'force rows are taken; `rows="exact"` insists'
    )
    return SKETCH


def _seed_of(seed: int, rows: Rows) -> int:
    """Another for each structure, and the same wherever it comes: of the numbers in its energy row."""
    return (zlib.crc32(np.round(rows.energy, 6).tobytes()) + seed) % 2**32


def _ridge(information: np.ndarray) -> np.ndarray:
    """The prior of features, of which nothing is known: a little of the pool's own information on each."""
    diagonal = np.diag(information)
    return np.diag(RIDGE * np.where(diagonal > 0, diagonal, max(diagonal.max(initial=0.0), 1.0)))


def _require_known(frames: Sequence[Frame], species: Sequence[int], model: str) -> None:
    for frame in frames:
        unknown = sorted(set(frame.atoms.numbers.tolist()) - set(species))
        if unknown:
            raise DataError(
                f"`basis`: expected a model that knows the elements of all structures, got `{model}` without "
                f"{', '.join(chemical_symbols[number] for number in unknown)}, which {frame.name} holds; "
                "give another model, or write auto"
            )
