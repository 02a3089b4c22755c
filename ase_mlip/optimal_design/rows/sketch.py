"""Rows of any model that gives last-layer features: an energy that is linear in them has these derivatives.

With f_i [F] the features of atom i and G = Σ f_i, the energy row is G/N, and the force rows are -dG/dx,
J [3N, F]. All of J costs two evaluations for each coordinate. A sketch is V J/√k with a few rows v of random
signs: since E[v vᵀ] = 1, its Gram matrix is JᵀJ in the mean. v J is a derivative along one direction, which
central differences give (:mod:`.feature_sums`); so no derivative of the features is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ... import __version__
from ...calculators.arguments import resolve_model
from ...errors import MLIPError, StructureError
from ...model_file.model import Model
from ...provenance import file_sha256
from ...rotations.averaging import Averaging
from ...rotations.schemes import find_averaging
from .feature_sums import DISPLACEMENT, STRAIN, FeatureSums
from .side_by_side import side_by_side
from .structure_rows import Rows, checked_labels

DIRECTIONS = 8
VERSION = 1  # of what rows are: one more whenever they become others


def sketch_rows(
    model: Model | str | os.PathLike,
    structures: Sequence[Atoms],
    directions: int | None = DIRECTIONS,
    seed: int = 0,
    symmetrize: str | Averaging | None = None,
    labels: Sequence[str] = ("energy", "forces"),
    constants: bool = True,
    atoms: bool = False,
    device: str = "auto",
) -> Iterator[Rows]:
    """Rows of structures one after another, in float64, with a sketch of their force rows.

    The signs follow from ``seed``, the structure, and the atoms' features: they are the same for the same
    structure moved, or with its atoms in another order, and others for another structure. Where atoms are
    equivalent by symmetry, another order may give another sketch.

    Parameters
    ----------
    model : Model, str or Path
        a model, its file or the name of a shipped one, whose outputs hold ``features``
    structures : sequence of ase.Atoms
        their labels, if any, are not looked at
    directions : int or None
        force rows of each structure, k; None, or 3N and more: all 3N, exact but for the differences
    seed : int
        of the directions
    symmetrize : str or Averaging, optional
        averaging over rotations, as of :class:`ase_mlip.MLIPCalculator`; None takes what the file was
        exported with, else for a model that is not equivariant the 12 rotations of a tetrahedron; ``"none"``:
        no average
    labels : sequence of str
        which of ``"energy"``, ``"forces"``, ``"stress"`` are wanted; the others get no rows
    constants : bool
        whether the last columns are the shares of the model's elements, for a constant of each
    atoms : bool
        whether the rows of single atoms are wanted
    device : str
        where a model that has to be loaded runs

    Yields
    ------
    Rows
        of one structure after another

    Raises
    ------
    MLIPError
        the model has no features; an unknown label; no direction
    StructureError
        naming the position in the list of a structure that cannot be evaluated, or has other species
    """
    chosen = checked_labels(labels)
    if directions is not None and directions < 1:
        raise MLIPError(f"`directions`: expected at least 1, or None for all 3N, got {directions}")
    loaded = with_features(model, device)
    averaging = averaging_of(loaded, symmetrize)
    return _all_rows(loaded, averaging, list(structures), directions, seed, chosen, constants, atoms)


def force_combinations(
    model: Model,
    structure: Atoms,
    directions: int | None,
    seed: int = 0,
    symmetrize: str | Averaging | None = None,
) -> np.ndarray:
    """V/√k [k, 3N]: what the force rows of :func:`sketch_rows` are combinations of, with the same arguments.

    Times the forces [3N] of a label it is what these rows times the coefficients should give.
    """
    every = 3 * len(structure)
    if directions is None or directions >= every:
        return np.eye(every)
    features = FeatureSums(model, averaging_of(model, symmetrize), structure).of_atoms()
    return _signs(structure, features, directions, seed) / np.sqrt(directions)


def sketch_settings(model: Model, directions: int | None, seed: int, labels: Sequence[str]) -> dict:
    """What rows of :func:`sketch_rows` depend on beside their structure, ready for JSON."""
    averaging = averaging_of(model, None)
    return {
        "model_sha256": file_sha256(model.path),
        "rotations": averaging.rotations.tolist(),
        "weights": averaging.weights.tolist(),
        "directions": directions,
        "seed": seed,
        "labels": list(labels),
        "steps": [DISPLACEMENT, STRAIN],
        "versions": {"ase_mlip": __version__, "rows": VERSION},
    }


def feature_names(model: Model, size: int, constants: bool = True) -> list[str]:
    """Names of the columns of ``size`` features: ``"feature 1"`` and so on, ``"the constant of Si"``."""
    names = [f"feature {k + 1}" for k in range(size)]
    return names + [f"the constant of {chemical_symbols[z]}" for z in model.info.species] * constants


def with_features(model: Model | str | os.PathLike, device: str = "auto") -> Model:
    """The model in float64, once it has features; raises MLIPError if not."""
    loaded = resolve_model(model, device, "float64")
    if "features" not in loaded.info.outputs:
        raise MLIPError(
            f"`model`: expected one with the output `features`, but `{loaded.path}` has only "
            f"{', '.join(loaded.info.outputs)}; convert its checkpoint again (`ase-mlip export`), or use the "
            "linear basis of an s-NNP"
        )
    return loaded


def averaging_of(model: Model, symmetrize: str | Averaging | None) -> Averaging:
    """Over which rotations the features are averaged; see :func:`sketch_rows`."""
    if symmetrize is not None:
        return find_averaging(symmetrize)
    if len(model.exported.rotations) or model.info.equivariant:
        return model.exported
    return _tetrahedral()


def _tetrahedral() -> Averaging:
    """Half of the octahedral group: what is left of rows is a few per cent, for half the evaluations."""
    from scipy.spatial.transform import Rotation  # late: most processes never need it

    matrices = Rotation.create_group("T").as_matrix()
    return Averaging("tetrahedral", matrices, np.full(len(matrices), 1.0 / len(matrices)))


def _all_rows(
    model: Model,
    averaging: Averaging,
    structures: list[Atoms],
    directions: int | None,
    seed: int,
    labels: tuple[str, ...],
    constants: bool,
    atoms: bool,
) -> Iterator[Rows]:
    species = np.array(model.info.species)

    def rows_of(item: tuple[int, Atoms]) -> Rows:
        index, structure = item
        try:
            rows = _rows(FeatureSums(model, averaging, structure), directions, seed, labels)
        except StructureError as error:
            raise StructureError(f"structure {index} of the list: {error}") from None
        shares = (structure.numbers[:, None] == species).astype(float)
        return _with_constants(rows, shares[:, : len(species) * constants], labels, atoms)

    threads = 1 if len(structures) == 1 or model.device.type == "cuda" else None
    return side_by_side(rows_of, enumerate(structures), threads)


def _rows(sums: FeatureSums, directions: int | None, seed: int, labels: tuple[str, ...]) -> Rows:
    features = sums.of_atoms()
    n, size = features.shape
    forces = stress = np.zeros((0, size))
    if "forces" in labels:
        every = directions is None or directions >= 3 * n
        signs = np.eye(3 * n) if every else _signs(sums.atoms, features, directions, seed)
        scale = 1.0 if every else 1.0 / np.sqrt(directions)
        forces = -scale * sums.along(signs.reshape(-1, n, 3))
    if "stress" in labels and sums.atoms.pbc.all():
        stress = sums.by_strain() / sums.atoms.get_volume()
    return Rows(features.mean(axis=0, keepdims=True), forces, stress, features, n)


def _with_constants(rows: Rows, shares: np.ndarray, labels: tuple[str, ...], atoms: bool) -> Rows:
    """With the columns of the elements' constants, ``shares`` [N, S], and without what is not wanted."""
    room = ((0, 0), (0, shares.shape[1]))
    every = np.concatenate([rows.atoms, shares], axis=1)
    energy = every.mean(axis=0, keepdims=True) if "energy" in labels else every[:0]
    forces, stress = np.pad(rows.forces, room), np.pad(rows.stress, room)
    return Rows(energy, forces, stress, every if atoms else every[:0], rows.n_atoms)


def _signs(atoms: Atoms, features: np.ndarray, directions: int, seed: int) -> np.ndarray:
    """Random signs [directions, 3N] that do not depend on the order of the atoms.

    Atoms are put in the order of a number that their features give; a rounded sum of these numbers tells
    structures apart, so that the sketches of different ones are independent.
    """
    keys = features @ np.random.default_rng(0).standard_normal(features.shape[1])
    order = np.lexsort((keys, atoms.numbers))
    share = keys.sum() / max(float(np.abs(keys).sum()), 1e-300)
    fingerprint = round((share + 2.0) * 1e6)
    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    generator = np.random.default_rng([seed, fingerprint, *numbers.tolist(), *counts.tolist()])
    signs = generator.choice([-1.0, 1.0], size=(directions, len(atoms), 3))
    placed = np.empty_like(signs)
    placed[:, order] = signs
    return placed.reshape(directions, -1)
