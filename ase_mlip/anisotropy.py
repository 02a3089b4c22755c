"""How much a model's results change when a structure is turned, for every way of averaging over rotations."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from .averaging import Averaging
from .model import Model
from .neighbors import build_graph, check_species
from .residual import averaging_turned, uniform_rotations
from .symmetry import find_averaging

SCHEMES = (
    *("none", "octahedral", "octahedral+inversion", "icosahedral", "icosahedral+inversion"),
    *("lebedev 5", "lebedev 7"),  # lebedev 3 is the octahedral group
)


@dataclass
class Anisotropy:
    """Standard deviations of a structure's results over orientations, with one scheme.

    Attributes
    ----------
    scheme: name of the averaging
    evaluations: of the network per evaluation of the average
    energy: eV/atom
    forces: root mean square over atoms of the vector's deviation, eV/Å
    largest_force: the largest of an atom, eV/Å
    stress: root mean square over the six components, eV/Å³; None without a volume
    seconds: per evaluation of the average
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
    progress: Callable[[], None] | None = None,
) -> list[Anisotropy]:
    """The anisotropy that each scheme leaves, over the same uniformly random orientations.

    Parameters
    ----------
    model: a loaded model file
    atoms: the structure
    schemes: see :func:`ase_mlip.symmetry.find_averaging`
    orientations: random rotations of the structure, at least 2
    seed: of the orientations
    progress: called after every orientation of every scheme

    Raises
    ------
    StructureError
        a structure that the model cannot evaluate
    """
    check_species(atoms.numbers, model.info.species)
    graph = build_graph(atoms, model.info.cutoff, model.info.pair_cutoffs)
    volume = atoms.cell.volume if atoms.cell.rank == 3 else 0.0
    turns = uniform_rotations(max(2, orientations), seed)
    found = []
    for scheme in schemes:
        chosen = find_averaging(scheme)
        energies, forces, virials = [], [], []
        started = time.perf_counter()
        for turn in turns:
            outputs = model(graph, True, averaging_turned(chosen, turn))
            energies.append(float(outputs["energy"][0]))
            forces.append(outputs["forces"].cpu().numpy())
            virials.append(outputs["virial"][0].cpu().numpy())
            if progress is not None:
                progress()
        seconds = (time.perf_counter() - started) / len(turns)
        of_atoms = np.sqrt(np.var(forces, axis=0).sum(axis=1))
        stresses = full_3x3_to_voigt_6_stress(np.array(virials)) / volume if volume else None
        found.append(
            Anisotropy(
                scheme=chosen.name,
                evaluations=chosen.evaluations,
                energy=float(np.std(energies)) / len(atoms),
                forces=float(np.sqrt((of_atoms**2).mean())),
                largest_force=float(of_atoms.max()),
                stress=None if stresses is None else float(np.sqrt(np.var(stresses, axis=0).mean())),
                seconds=seconds,
            )
        )
    return found


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
