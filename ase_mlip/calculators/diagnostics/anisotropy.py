"""How much a model's results change when a structure is rotated, for every averaging scheme."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from ...crystals import volume_of
from ...graph.neighbors import Graph, check_species
from ...model_file.model import Model
from ...progress.form import Progress, told
from ...provenance import Parts
from ...rotations.averaging import Averaging
from ...rotations.schemes import find_averaging
from .residual import uniform_rotations

SCHEMES = (
    *("none", "octahedral", "octahedral+inversion", "icosahedral", "icosahedral+inversion"),
    "lebedev 5",  # lebedev 3 is the octahedral group; lebedev 7 alone would cost as much as all of these
)
SAME = 1e-9  # of matrices
VALUES_AT_ONCE = 500_000  # atoms times rotations whose forces are kept: 12 MB
SHORT = 0.2  # s


@dataclass
class Anisotropy:
    """Standard deviations of a structure's results over orientations, with one scheme.

    Attributes
    ----------
    scheme : str
        name of the averaging
    evaluations : int
        of the network per evaluation of the average
    energy : float
        eV/atom
    forces : float
        root mean square over atoms of the vector's deviation, eV/Å
    largest_force : float
        the largest of an atom, eV/Å
    stress : float or None
        root mean square over the six components, eV/Å³; None without a volume
    seconds : float
        per evaluation of the average
    """

    scheme: str
    evaluations: int
    energy: float
    forces: float
    largest_force: float
    stress: float | None
    seconds: float

    def to_dict(self) -> dict:
        return asdict(self)


def measure(
    model: Model,
    atoms: Atoms,
    schemes: Sequence[str | Averaging] = SCHEMES,
    orientations: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
    parts: Parts | None = None,
    name: str = "",
) -> list[Anisotropy]:
    """The anisotropy that each scheme leaves, over the same uniformly random orientations.

    Parameters
    ----------
    model : Model
        a loaded model file
    atoms : ase.Atoms
        the structure
    schemes : sequence of str or Averaging
        see :func:`ase_mlip.rotations.schemes.find_averaging`
    orientations : int
        random rotations of the structure, at least 2
    seed : int
        of the orientations
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each orientation, see :mod:`ase_mlip.progress`
    parts : Parts, optional
        keeps the results in finished orientations, from which a run that was ended goes on
    name : str, optional
        of the structure among the parts

    Returns
    -------
    list of Anisotropy
        of each scheme, in their order

    Raises
    ------
    StructureError
        a structure that the model cannot evaluate
    """
    progress = told(progress)
    check_species(atoms.numbers, model.info.species)
    graph = model.graph_of(atoms)
    volume = volume_of(atoms)
    chosen = [find_averaging(scheme) for scheme in schemes]
    pool, weights = pooled(chosen)
    samples = []
    with parts or Parts() as parts:
        for k, rotation in enumerate(uniform_rotations(max(2, orientations), seed)):
            own = partial(_averages, model, graph, pool @ rotation, weights)
            samples.append(parts.once(f"orientation {k} {name}", own))
            progress(len(samples), max(2, orientations), "")
    energies, forces, virials = (np.array(values) for values in zip(*samples, strict=True))
    found = []
    for k, averaging in enumerate(chosen):
        of_atoms = np.sqrt(np.var(forces[:, k], axis=0).sum(axis=1))
        stresses = full_3x3_to_voigt_6_stress(virials[:, k]) / volume if volume else None
        found.append(
            Anisotropy(
                scheme=averaging.name,
                evaluations=averaging.evaluations,
                energy=float(np.std(energies[:, k])) / len(atoms),
                forces=float(np.sqrt((of_atoms**2).mean())),
                largest_force=float(of_atoms.max()),
                stress=None if stresses is None else float(np.sqrt(np.var(stresses, axis=0).mean())),
                seconds=_seconds(model, graph, averaging),
            )
        )
    return found


def pooled(schemes: Sequence[Averaging]) -> tuple[np.ndarray, np.ndarray]:
    """The rotations of all schemes, each once, [P, 3, 3], and their weights in every scheme, [S, P].

    The groups and rules share many: an average over several of them needs each only once.
    """
    pool = np.zeros((0, 3, 3))
    entries = []
    for row, scheme in enumerate(schemes):
        for rotation, share in zip(*scheme.matrices(), strict=True):
            same = np.flatnonzero(np.abs(pool - rotation).max(axis=(1, 2)) < SAME)
            if not len(same):
                same = [len(pool)]
                pool = np.concatenate([pool, rotation[None]])
            entries.append((row, same[0], share))
    weights = np.zeros((len(schemes), len(pool)))
    for row, column, share in entries:
        weights[row, column] += share
    return pool, weights


def _averages(model: Model, graph: Graph, rotations: np.ndarray, weights: np.ndarray) -> list[list]:
    """Energy, forces and virial of each scheme, [S, ...], from those of all rotations and their weights."""
    return [np.tensordot(weights, values, 1).tolist() for values in _by_rotation(model, graph, rotations)]


def _by_rotation(
    model: Model, graph: Graph, rotations: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies [G], forces [G, N, 3] and virials [G, 3, 3] of each rotation, rotated back."""
    n_atoms = len(graph.species)
    size = max(1, VALUES_AT_ONCE // n_atoms)
    energies, forces, virials = [], [], []
    for start in range(0, len(rotations), size):
        part = rotations[start : start + size]
        every = Averaging("every", part, np.full(len(part), 1.0 / len(part)))
        outputs = model(graph, ("forces", "virial", "spread"), every)
        energies.append(outputs["energies_by_rotation"].sum(0).cpu().numpy())
        forces.append(outputs["forces_by_rotation"].transpose(0, 1).cpu().numpy())
        virials.append(outputs["virial_by_rotation"][0].cpu().numpy())
    return np.concatenate(energies), np.concatenate(forces), np.concatenate(virials)


def _seconds(model: Model, graph: Graph, averaging: Averaging) -> float:
    """Of one evaluation of the average, as a calculator has it; the mean of several if they are short."""
    count, started = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - started < SHORT:
        model(graph, ("forces", "virial"), averaging)
        count += 1
    return (time.perf_counter() - started) / count


def to_text(rows: Sequence[Anisotropy]) -> str:
    """A table for people."""
    lines = [
        f"{'scheme':<24}{'evaluations':>12}{'energy':>14}{'forces':>12}{'largest':>12}{'stress':>13}{'time':>10}",
        f"{'':<24}{'':>12}{'meV/atom':>14}{'meV/Å':>12}{'meV/Å':>12}{'meV/Å³':>13}{'s':>10}",
    ]
    for row in rows:
        stress = "-" if row.stress is None else f"{1000 * row.stress:.3g}"
        lines.append(
            f"{row.scheme:<24}{row.evaluations:>12}{1000 * row.energy:>14.3g}{1000 * row.forces:>12.3g}"
            f"{1000 * row.largest_force:>12.3g}{stress:>13}{row.seconds:>10.3g}"
        )
    return "\n".join(lines)
