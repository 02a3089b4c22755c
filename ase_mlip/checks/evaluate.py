"""Errors of a potential against reference energies, forces and stresses, overall and per group."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError

from ..calculators.averaged import average_model, is_crystal
from ..calculators.calculator import MLIPCalculator
from ..calculators.identity import parts_of
from ..calculators.inputs import named_only
from ..crystals import SYMPREC
from ..data.frames import read_structures
from ..data.references import ReferenceKeys, Sample, sample_from_atoms
from ..errors import ArgumentError, DataError, StructureError
from ..graph.neighbors import check_structure
from ..model_file.model import Model
from ..pictures.parity import plot_parity
from ..pictures.plots import save_figure
from ..progress.form import Progress, told
from ..provenance import Parts, plain
from ..voigt import COLUMNS, ROWS

if TYPE_CHECKING:
    from ..calculators.averaged import Scheme
    from ..calculators.identity import Checkpoint

QUANTITIES = ("energy", "forces", "stress")
TOGETHER = 1000  # structures whose results come from a GPU before they are kept


@dataclass
class Errors:
    """Errors over some structures; None where nothing could be compared.

    Attributes
    ----------
    energy_rmse, energy_mae : float or None
        eV/atom, every structure counting once
    forces_rmse, forces_mae : float or None
        eV/Å, over all Cartesian components
    stress_rmse : float or None
        eV/Å^3, over the six Voigt components
    n_structures, n_atoms : int
        of all structures, with or without references
    n_energies : int
        structures with a reference energy
    n_forces : int
        atoms with a reference force
    n_stresses : int
        structures with a reference stress
    """

    energy_rmse: float | None = None
    energy_mae: float | None = None
    forces_rmse: float | None = None
    forces_mae: float | None = None
    stress_rmse: float | None = None
    n_structures: int = 0
    n_atoms: int = 0
    n_energies: int = 0
    n_forces: int = 0
    n_stresses: int = 0


@dataclass
class EvaluationResult(Errors):
    """Errors over all structures, those of each group, and what was compared.

    Attributes
    ----------
    groups : dict of Errors
        errors by group, in the order of first appearance; empty if no structure names one
    parity : dict of array
        by quantity the reference and predicted values [n, 2]: ``energy`` in eV/atom, ``forces`` in eV/Å,
        ``stress`` in eV/Å^3
    parity_groups : dict of array
        by quantity the group of each of these rows
    parity_elements : str [n]
        the element of each row of the forces
    """

    groups: dict[str, Errors] = field(default_factory=dict)
    parity: dict[str, np.ndarray] = field(default_factory=dict)
    parity_groups: dict[str, np.ndarray] = field(default_factory=dict)
    parity_elements: np.ndarray = field(default_factory=lambda: np.array([], dtype=str))

    def to_dict(self) -> dict:
        """The errors and the counts, and the same for each of ``groups``, as JSON has them."""
        numbers = {entry.name: getattr(self, entry.name) for entry in fields(Errors)}
        return plain(numbers | {"groups": {name: asdict(group) for name, group in self.groups.items()}})

    def plot(self, path: str | Path) -> None:
        """Draw predictions against references, with the groups in colours, into a PNG, PDF or SVG.

        Of structures without groups, the forces have the colours of the elements.
        """
        save_figure(plot_parity(self), path)

    def to_text(self) -> str:
        """An aligned table with one line per group and one for all."""
        rows = [
            ("group", "structures", "atoms", "energy RMSE", "MAE", "forces RMSE", "MAE", "stress RMSE"),
            ("", "", "", "meV/atom", "meV/atom", "eV/Å", "eV/Å", "eV/Å^3"),
        ]
        for name, errors in [*self.groups.items(), ("all", self)]:
            energies = [_text(errors.energy_rmse, 1e3, 2), _text(errors.energy_mae, 1e3, 2)]
            forces = [_text(errors.forces_rmse, 1, 4), _text(errors.forces_mae, 1, 4)]
            counts = [str(errors.n_structures), str(errors.n_atoms)]
            rows.append((name, *counts, *energies, *forces, _text(errors.stress_rmse, 1, 5)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = []
        for row in rows:
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            lines.append("  ".join(cells).rstrip())
        lacking = [
            f"{self.n_structures - found} lack {name}"
            for name, found in (("an energy", self.n_energies), ("a stress", self.n_stresses))
            if found < self.n_structures
        ]
        if self.n_forces < self.n_atoms:
            lacking.append(f"{self.n_atoms - self.n_forces} atoms lack forces")
        return "\n".join([*lines, *([f"not compared: {', '.join(lacking)}"] if lacking else [])])


@named_only(2, "group_key", "progress")
def evaluate(
    model: Model | str | Path | BaseCalculator,
    structures: Sequence[Atoms] | Atoms | str | Path | Sequence[str | Path],
    *,
    group_key: str | None = "group",
    progress: Progress | None = None,
    symmetrize: Scheme | None = None,
    checkpoint: Checkpoint = None,
) -> EvaluationResult:
    """Compare a potential with the references that come with the structures.

    References are ``energy`` (eV), ``forces`` (eV/Å) and ``stress`` (eV/Å^3, ASE's sign) of a structure's
    calculator, its ``info`` or its ``arrays``; each is compared where it is there.

    Parameters
    ----------
    model : Model, str, Path or ASE calculator
        a model, its file, the name of a shipped one, or any ASE calculator
    structures : sequence of ase.Atoms, ase.Atoms, str, Path or sequence of str or Path
        structures, or files that ASE reads, of which all frames are used
    group_key : str, optional
        key of ``atoms.info`` that names a structure's group; None for no groups
    progress : callable, optional
        called as ``progress(done, total, stage)`` with structures, see :mod:`ase_mlip.progress`
    symmetrize : str, ase.Atoms or Averaging, optional
        average the model over rotations, see :func:`ase_mlip.rotations.schemes.find_averaging`; None takes it
        as it is. ``"auto"`` chooses by the first structure. A crystal's point group is that of the
        undisplaced crystal, which is given; cells that it does not map onto themselves are refused
    checkpoint : str or Path, optional
        keep the results of finished structures in this JSON file, from which a run that was ended goes on

    Returns
    -------
    EvaluationResult
        errors over all structures and in each group

    Raises
    ------
    DataError
        no structure has any reference, or a reference is of the wrong shape or not finite
    StructureError
        a structure the model cannot evaluate
    MLIPError
        an unknown ``symmetrize``, or ``"crystal"``, since structures with references are displaced

    Warns
    -----
    UserWarning
        for a ``checkpoint`` of another run, whose structures are computed anew

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.singlepoint import SinglePointCalculator
    >>> from ase_mlip import MLIPCalculator, evaluate
    >>> frames = []
    >>> for seed in range(3):
    ...     frames.append(bulk("Si", cubic=True))
    ...     frames[-1].rattle(0.05, seed=seed)
    ...     forces = MLIPCalculator("pet-si").get_forces(frames[-1])  # in place of those of a DFT code
    ...     frames[-1].calc = SinglePointCalculator(frames[-1], energy=-43.4, forces=forces)
    >>> found = evaluate("snnp-si", frames)
    >>> found.forces_rmse < 0.2  # eV/Å
    True
    """
    progress = told(progress)
    if is_crystal(symmetrize):
        raise ArgumentError(
            "`symmetrize='crystal'`: expected the undisplaced crystal of structures that are displaced, got "
            "its word only; pass it as `symmetrize=atoms`"
        )
    named = named_frames(structures)
    frames = [atoms for _, atoms in named]
    samples = [sample_from_atoms(atoms, ReferenceKeys(), source) for source, atoms in named]
    wanted = [name for name in QUANTITIES if any(getattr(sample, name) is not None for sample in samples)]
    if not wanted:
        raise DataError(
            f"`structures`: expected a reference `energy`, `forces` or `stress` in at least one, got none in "
            f"{len(samples)}; name the columns of the file so, or store the results in a calculator"
        )
    calculator = model if isinstance(model, BaseCalculator) else MLIPCalculator(model)
    if isinstance(calculator, MLIPCalculator):
        _check_species(calculator, named)
    if symmetrize is not None:
        calculator = _averaged(calculator, symmetrize, frames[0])
    with parts_of(checkpoint, frames, calculator, wanted=wanted) as kept:
        found = predictions(calculator, frames, wanted, progress, kept)
    groups = np.array([str(atoms.info.get(group_key, "")) if group_key else "" for atoms in frames])
    return _summarise(samples, found, groups)


def _averaged(calculator: BaseCalculator, symmetrize: Scheme, atoms: Atoms) -> BaseCalculator:
    first = atoms.copy()
    first.calc = calculator
    average_model(first, symmetrize, "evaluate", SYMPREC)
    return first.calc


def named_frames(structures) -> list[tuple[str, Atoms]]:
    """Every structure with what an error calls it: its place in the list, or its file and frame."""
    items = [structures] if isinstance(structures, (Atoms, str, Path)) else structures
    frames: list[tuple[str, Atoms]] = []
    for item in items:
        if isinstance(item, Atoms):
            frames.append((f"structure {len(frames)}", item))
        else:
            frames += [(f"`{item}` frame {k}", atoms) for k, atoms in enumerate(read_structures(item))]
    return frames


def _check_species(calculator: MLIPCalculator, named: list[tuple[str, Atoms]]) -> None:
    """Refuse what the model does not know before anything is computed, by file and frame."""
    for source, atoms in named:
        try:
            check_structure(atoms, calculator.model.info.species)
        except StructureError as error:
            raise StructureError(f"{source}: {error}") from None


def predictions(
    calculator: BaseCalculator,
    frames: list[Atoms],
    wanted: list[str],
    progress: Progress | None = None,
    kept: Parts | None = None,
) -> list[dict[str, np.ndarray]]:
    """Energy (eV), forces and stress (Voigt-6), as far as the calculator has them, or as they were kept."""
    kept, progress = kept or Parts(), told(progress)
    results: list[dict[str, np.ndarray]] = []
    while (start := len(results)) < len(frames):
        known = kept.found.get(f"structure {start}")
        if known is not None:
            found = [{name: np.array(value) for name, value in known.items()}]
        elif isinstance(calculator, MLIPCalculator):
            found = _some(calculator, frames, start, wanted, kept.path is None, progress)
        else:
            found = [_one(calculator, frames[start].copy(), wanted)]
        for k, one in enumerate(found if known is None and kept.path is not None else ()):
            part = {name: np.asarray(value).tolist() for name, value in one.items()}
            kept.keep(f"structure {start + k}", part)
        results += found
        progress(len(results), len(frames), "")
    return results


def _some(
    calculator: MLIPCalculator,
    frames: list[Atoms],
    start: int,
    wanted: list[str],
    whole: bool,
    progress: Progress,
) -> list[dict[str, np.ndarray]]:
    """Results of frames from ``start`` on: on a CPU of one, on a GPU of many, which it takes together."""
    on_cpu = calculator.model.device.type == "cpu"
    some = frames[start:] if whole and not on_cpu else frames[start : start + (1 if on_cpu else TOGETHER)]

    def reached(done: int, _total: int, stage: str) -> None:
        progress(start + done, len(frames), stage)

    try:
        return calculator.evaluate(some, wanted, reached)
    except PropertyNotImplementedError:  # direct forces without a direct stress
        return calculator.evaluate(some, [name for name in wanted if name != "stress"], reached)
    except StructureError as error:  # which counts from the first of those that it was given
        text = re.sub(r"^structure (\d+)", lambda found: f"structure {start + int(found[1])}", str(error))
        raise StructureError(text) from None


def _one(calculator: BaseCalculator, atoms: Atoms, wanted: list[str]) -> dict[str, np.ndarray]:
    names = [name for name in wanted if name in calculator.implemented_properties]
    return {
        name: np.array(calculator.get_property(name, atoms))
        for name in names
        if name != "stress" or atoms.pbc.all()
    }


def _summarise(
    samples: list[Sample], predictions: list[dict[str, np.ndarray]], groups: np.ndarray
) -> EvaluationResult:
    parity, owners = {}, {}
    for name in QUANTITIES:
        pairs, rows = [np.zeros((0, 2))], [np.zeros(0, dtype=int)]
        for index, (sample, prediction) in enumerate(zip(samples, predictions, strict=True)):
            reference = getattr(sample, name)
            if reference is None or name not in prediction:
                continue
            if name == "energy":
                values = np.array([[reference, prediction[name]]]) / len(sample.atoms)
            else:
                reference = reference[ROWS, COLUMNS] if name == "stress" else reference
                values = np.stack([reference.ravel(), np.ravel(prediction[name])], axis=1)
            pairs.append(values)
            rows.append(np.full(len(values), index))
        parity[name], owners[name] = np.concatenate(pairs), np.concatenate(rows)
    sizes = np.array([len(sample.atoms) for sample in samples])
    everything = _errors(parity, owners, np.ones(len(samples), dtype=bool), sizes)
    named = list(dict.fromkeys(groups.tolist()))
    return EvaluationResult(
        **asdict(everything),
        groups={} if named == [""] else {n: _errors(parity, owners, groups == n, sizes) for n in named},
        parity=parity,
        parity_groups={name: groups[owners[name]] for name in QUANTITIES},
        parity_elements=_elements(samples, owners["forces"]),
    )


def _elements(samples: list[Sample], owners: np.ndarray) -> np.ndarray:
    """The element of each row of the forces, of which an atom has three."""
    symbols = [np.repeat(samples[index].atoms.get_chemical_symbols(), 3) for index in np.unique(owners)]
    return np.concatenate([np.array([], dtype=str), *symbols])


def _errors(
    parity: dict[str, np.ndarray], owners: dict[str, np.ndarray], chosen: np.ndarray, sizes: np.ndarray
) -> Errors:
    """Errors over the structures where ``chosen`` (bool) is set."""
    differences = {name: np.diff(parity[name][chosen[owners[name]]], axis=1) for name in QUANTITIES}
    return Errors(
        energy_rmse=_rmse(differences["energy"]),
        energy_mae=_mae(differences["energy"]),
        forces_rmse=_rmse(differences["forces"]),
        forces_mae=_mae(differences["forces"]),
        stress_rmse=_rmse(differences["stress"]),
        n_structures=int(chosen.sum()),
        n_atoms=int(sizes[chosen].sum()),
        n_energies=len(differences["energy"]),
        n_forces=len(differences["forces"]) // 3,
        n_stresses=len(differences["stress"]) // 6,
    )


def _rmse(differences: np.ndarray) -> float | None:
    return float(np.sqrt(np.mean(differences**2))) if differences.size else None


def _mae(differences: np.ndarray) -> float | None:
    return float(np.mean(np.abs(differences))) if differences.size else None


def _text(value: float | None, factor: float, digits: int) -> str:
    return "-" if value is None else f"{factor * value:.{digits}f}"
