"""Phonons beside a reference: a phonopy directory of another code's forces, or another ASE calculator.

The model's phonons are computed again in the reference's own unit cell, relaxed by the model, and in its own
supercell, so that the finite supercell acts alike on both. Non-analytic corrections are left out of both.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import phonopy
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.geometry import find_mic
from ase.io import read
from phonopy import Phonopy

from ..crystals import SYMPREC, refuse_constraints, symmetry_dataset
from ..errors import StructureError, SupercellWarning
from ..progress.form import Progress
from ..provenance import file_sha256
from .bands import BandStructure, frequencies_at
from .force_sets import check_force_sets
from .phonons import phonons
from .results import PhononResult
from .supercells.cells import to_ase
from .supercells.supercell import find_supercell

CELLS = ("phonopy.yaml", "phonopy_params.yaml", "phonopy_disp.yaml")
# where else force constants or forces are, by phonopy's argument for them
FORCES = {
    "FORCE_CONSTANTS": "force_constants_filename",
    "force_constants.hdf5": "force_constants_filename",
    "FORCE_SETS": "force_sets_filename",
}
SAME_VOLUME = 0.15  # relative, between the crystal and the reference's


@dataclass
class PhononComparison:
    """Frequencies beside a reference's, on one mesh; THz.

    Attributes
    ----------
    mean_absolute_error, max_error : float
        over all modes of the mesh, weighted by the points' multiplicity
    max_error_q : array
        q-point of the largest error
    gamma : tuple of float
        optical modes' mean frequency at Γ, of the model and of the reference; nan for one atom
    lattice_strain : float
        (V / V_reference)^(1/3) - 1, of the cell that the model relaxed
    model : PhononResult
        the model's phonons in the reference's supercell
    reference_bands : BandStructure
        along the same path
    source : str
        where the reference came from
    """

    mean_absolute_error: float
    max_error: float
    max_error_q: np.ndarray
    gamma: tuple[float, float]
    lattice_strain: float
    model: PhononResult = field(repr=False)
    reference_bands: BandStructure = field(repr=False)
    source: str

    def to_dict(self) -> dict:
        return {
            "source": self.source,
            "mean_absolute_error": self.mean_absolute_error,
            "max_error": self.max_error,
            "max_error_q": np.asarray(self.max_error_q).tolist(),
            "gamma": list(self.gamma),
            "lattice_strain": self.lattice_strain,
            "supercell_matrix": self.model.supercell_matrix.tolist(),
        }


def compare_phonons(
    atoms: Atoms,
    reference: str | Path | BaseCalculator,
    *,
    path: str | None = None,
    mesh: tuple[int, int, int] = (20, 20, 20),
    progress: Progress | None = None,
    **options,
) -> PhononComparison:
    """Compare the calculator of ``atoms`` with a reference.

    Parameters
    ----------
    atoms : ase.Atoms
        the crystal, with a calculator; not modified
    reference : str, Path or ASE calculator
        a directory with ``phonopy.yaml`` or ``phonopy_disp.yaml`` and ``FORCE_SETS``, ``FORCE_CONSTANTS``,
        ``force_constants.hdf5`` or ``vasprun.xml`` (one per displacement, in folders or numbered); or another
        ASE calculator, whose phonons are computed in the same way
    path, mesh : str, tuple of int
        as of :func:`ase_mlip.lattice_dynamics.phonons.phonons`
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each supercell, see :mod:`ase_mlip.progress`
    **options
        of :func:`ase_mlip.lattice_dynamics.phonons.phonons`; with a directory all but the supercell

    Raises
    ------
    StructureError
        a reference without cell or forces, of another crystal, or with forces for other supercells
    """
    options = {**options, "path": path, "mesh": mesh, "progress": progress}
    if isinstance(reference, (str, Path)):
        folder = Path(reference)
        loaded = load_reference(folder)
        return compare_with(atoms, loaded, str(folder), **options)
    if options.get("supercell_matrix") is None and options.get("min_length") is None:
        options["supercell_matrix"] = find_supercell(atoms, None, None, atoms.calc)  # the model's
    other = atoms.copy()
    other.calc = reference
    found = phonons(other, **options)
    same = {"supercell_matrix": found.supercell_matrix, "min_length": None}
    return _compare(phonons(atoms, **{**options, **same}), found.phonopy, type(reference).__name__)


def compare_with(atoms: Atoms, loaded: Phonopy, source: str, **options) -> PhononComparison:
    """As :func:`compare_phonons`, with a reference that is loaded already.

    Parameters
    ----------
    atoms : ase.Atoms
        the crystal, with a calculator; not modified
    loaded : phonopy.Phonopy
        with force constants, of the same crystal
    source : str
        where it comes from, for the result
    **options
        of :func:`ase_mlip.lattice_dynamics.phonons.phonons`, but for the supercell

    Returns
    -------
    PhononComparison
        frequencies of both on the path and the mesh, THz
    """
    refuse_constraints(atoms, "compare_phonons")
    cell = to_ase(loaded.unitcell)
    check_same_crystal(atoms, cell, source)
    cell.calc = atoms.calc
    own = {"supercell_matrix": loaded.supercell_matrix, "primitive_matrix": loaded.primitive_matrix}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SupercellWarning)  # the reference's supercell is the point
        model = phonons(cell, **{**options, **own, "min_length": None})
    return _compare(model, loaded, source)


def load_reference(folder: Path) -> Phonopy:
    """phonopy's object with force constants from a directory.

    Raises StructureError for what is missing, broken, or not of one calculation.
    """
    if not folder.is_dir():
        raise StructureError(f"`reference`: expected a phonopy directory, got `{folder}`, which is none")
    folder = folder.resolve()
    cells = [folder / name for name in CELLS if (folder / name).is_file()]
    if not cells:
        raise StructureError(f"`{folder}`: expected one of {', '.join(CELLS)}, got none of them")
    loaded, source = _load(cells[0]), cells[0]
    for name, keyword in FORCES.items():
        if (folder / name).is_file():
            source = folder / name
            if name == "FORCE_SETS":
                check_force_sets(source, len(loaded.supercell))
            loaded = _load(cells[0], source, keyword)
            break
    else:
        if not _has_forces(loaded.dataset):
            loaded.forces = _vasp_forces(folder, loaded)
    with _reading(source):
        if loaded.force_constants is None:
            loaded.produce_force_constants(fc_calculator="symfc", show_drift=False)
    expected, found = len(loaded.supercell), loaded.force_constants.shape[1]
    if found != expected:
        raise StructureError(
            f"`{source}`: expected force constants of a supercell of {expected} atoms, as in `{cells[0]}`, "
            f"got {found}; take both from one calculation"
        )
    return loaded


def reference_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files that :func:`load_reference` may read."""
    named = {folder / name for name in (*CELLS, *FORCES) if (folder / name).is_file()}
    digest = hashlib.sha256()
    for file in sorted(named | set(_vasp_runs(folder))):
        digest.update(str(file.relative_to(folder)).encode() + b"\n")
        digest.update(bytes.fromhex(file_sha256(file)))
    return digest.hexdigest()


def _load(cell: Path, forces: Path | None = None, keyword: str = "") -> Phonopy:
    files = {} if forces is None else {keyword: str(forces)}
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as empty, _reading(forces or cell):
        os.chdir(empty)  # phonopy would take FORCE_SETS of whatever folder the user is in
        try:
            return phonopy.load(str(cell), is_nac=False, produce_fc=False, log_level=0, **files)
        finally:
            os.chdir(before)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """What phonopy and the readers of YAML, HDF5 and XML raise, as a StructureError that names the file."""
    try:
        yield
    except StructureError:
        raise
    except Exception as error:
        why = " ".join(str(error).split()) or "no reason given"
        raise StructureError(
            f"`{file}`: expected a whole file that belongs to the cells beside it, got one that cannot be "
            f"used ({type(error).__name__}: {why}); write it again, or take all files from one calculation"
        ) from error


def _has_forces(dataset: dict | None) -> bool:
    """Of phonopy's displacements, listed one by one or as arrays."""
    dataset = dataset or {}
    return "forces" in dataset or any("forces" in row for row in dataset.get("first_atoms", ()))


def _vasp_forces(folder: Path, loaded: Phonopy) -> np.ndarray:
    files = _vasp_runs(folder)
    expected = loaded.supercells_with_displacements or []
    if not files:
        raise StructureError(
            f"`{folder}`: expected forces in FORCE_SETS, FORCE_CONSTANTS, force_constants.hdf5 or "
            "vasprun.xml, got none of them"
        )
    if len(files) != len(expected):
        raise StructureError(
            f"`{folder}`: expected a vasprun.xml for each of {len(expected)} displacements, got {len(files)}"
        )
    return _matched(files, [to_ase(cell) for cell in expected], to_ase(loaded.supercell))


def _vasp_runs(folder: Path) -> list[Path]:
    files = list(folder.glob("vasprun*.xml*")) or list(folder.glob("*/vasprun.xml*"))
    return sorted(files, key=_by_number)


def _by_number(file: Path) -> list:
    """For sorting: 2 before 10. Parts are text and digits in turns."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(file))]


def _matched(files: Sequence[Path], expected: list[Atoms], perfect: Atoms) -> np.ndarray:
    """Forces of runs of VASP in the order of the displaced supercells ``expected``, eV/Å, [n, N, 3].

    Atoms say which displacement a run is of, names do not: sorted as text, 10 comes before 2.
    """
    lengths = [_furthest(cell.positions, perfect)[0] for cell in expected]
    found: dict[int, tuple[Path, np.ndarray]] = {}
    for file in files:
        run, forces = _read_run(file, perfect)
        away = [_furthest(run.positions, cell) for cell in expected]
        nearest = min(range(len(away)), key=lambda index: away[index][0])
        distance, atom = away[nearest]
        if distance >= 0.5 * min(lengths):
            raise StructureError(
                f"`{file}`: expected the positions of a displaced supercell within half a displacement, "
                f"{0.5 * min(lengths):.4f} Å, got an atom {distance:.4f} Å away from displacement "
                f"{nearest + 1}, the nearest (atom {atom}); is the order of the atoms another one, or is it "
                "a run of other displacements?"
            )
        if nearest in found:
            raise StructureError(
                f"`{file}`: expected a run of another displacement than displacement {nearest + 1}, which "
                f"`{found[nearest][0]}` is, too; put one of them elsewhere and add the missing run"
            )
        found[nearest] = file, forces
    return np.array([found[index][1] for index in range(len(expected))])


def _furthest(positions: np.ndarray, cell: Atoms) -> tuple[float, int]:
    """The largest distance (Å) of ``positions`` [N, 3] from the atoms of ``cell``, and whose it is."""
    away = find_mic(positions - cell.positions, cell.cell)[1]
    return float(away.max()), int(away.argmax())


def _read_run(file: Path, expected: Atoms) -> tuple[Atoms, np.ndarray]:
    """A run of VASP and its forces, eV/Å, whose atoms must be those of the supercell, in its order."""
    with _reading(file):
        run = read(file, index=0)
        forces = run.get_forces(apply_constraint=False)
    if len(run) != len(expected) or list(run.numbers) != list(expected.numbers):
        raise StructureError(
            f"`{file}`: expected the atoms {expected.get_chemical_formula()} in the order of the displaced "
            f"supercell, got {run.get_chemical_formula()} or another order"
        )
    return run, forces


def check_same_crystal(atoms: Atoms, reference: Atoms, source: str) -> None:
    """Raise StructureError unless both are one crystal, in whatever cell and order of atoms."""
    ours, theirs = _crystal(atoms), _crystal(reference)
    for name, mine, other in zip(("composition", "space group"), ours, theirs, strict=False):
        if mine != other:
            raise StructureError(
                f"`{source}`: expected a reference with the {name} of the structure, {mine}, got {other}"
            )
    if abs(ours[2] / theirs[2] - 1.0) > SAME_VOLUME:
        raise StructureError(
            f"`{source}`: expected a reference with about the volume of the structure, {ours[2]:.2f} "
            f"Å³/atom, got {theirs[2]:.2f} Å³/atom; is it another phase?"
        )


def _crystal(atoms: Atoms) -> tuple[str, str, float]:
    """Composition, space group within 0.01 Å, volume per atom (Å³)."""
    dataset = symmetry_dataset(atoms, SYMPREC)
    group = "none" if dataset is None else f"{dataset.international} ({dataset.number})"
    composition = atoms.symbols.formula.reduce()[0].format("hill")
    return composition, group, atoms.get_volume() / len(atoms)


def _compare(model: PhononResult, reference: Phonopy, source: str) -> PhononComparison:
    calculation = model.phonopy
    points = calculation.mesh.qpoints
    weights = calculation.mesh.weights / calculation.mesh.weights.sum()
    theirs = frequencies_at(reference, points)
    errors = np.abs(model.mesh_frequencies - theirs)
    gamma = frequencies_at(reference, [[0.0, 0.0, 0.0]])[0]
    bands = replace(model.bands, frequencies=frequencies_at(reference, model.bands.q_points))
    volumes = calculation.primitive.volume, reference.primitive.volume
    return PhononComparison(
        mean_absolute_error=float((weights @ errors).mean()),
        max_error=float(errors.max()),
        max_error_q=points[errors.max(axis=1).argmax()],
        gamma=(_optical(model.gamma_frequencies), _optical(gamma)),
        lattice_strain=float((volumes[0] / volumes[1]) ** (1.0 / 3.0) - 1.0),
        model=model,
        reference_bands=bands,
        source=source,
    )


def _optical(frequencies: np.ndarray) -> float:
    by_size = frequencies[np.argsort(np.abs(frequencies))]
    return float(by_size[3:].mean()) if len(by_size) > 3 else float("nan")
