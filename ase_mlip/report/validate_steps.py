"""The steps of a validation, each from a job to numbers and pictures."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms, units
from matplotlib.figure import Figure

from ..calculators.averaged import average_model, is_crystal
from ..calculators.diagnostics import anisotropy
from ..crystals import SYMPREC, repeats
from ..errors import ArgumentError, MLIPError, StructureError, users_line
from ..lattice_dynamics.audit import audit_phonons
from ..lattice_dynamics.comparison import compare_with, load_reference
from ..lattice_dynamics.files import write_results
from ..lattice_dynamics.input import relaxed_within_symmetry
from ..lattice_dynamics.phonons import phonons
from ..mechanics.elasticity import elastic_constants
from ..pictures import plots
from ..pictures.elastic import plot_elastic
from ..pictures.md import plot_stability
from ..relaxation.relax import relax
from ..stability.budget import affordable_dynamics

if TYPE_CHECKING:
    from ..calculators.calculator import MLIPCalculator

SCHEMES = ("none", "octahedral", "icosahedral")
MD_LENGTH = 9.0  # Å; supercells of dynamics are at least so wide


@dataclass(frozen=True)
class Settings:
    """What a validation does; ``quick`` is for a first look and for tests.

    Attributes
    ----------
    dtype: of the calculator
    symmetrize: averaging of the model over rotations, see :func:`ase_mlip.rotations.schemes.find_averaging`;
        "crystal" is the point group of each structure, which the relaxation has from the structure as it is
        given, and all else from the relaxed one
    phonon_length: supercells for phonons are at least so wide, Å; None is as for :func:`.phonons.phonons`
    distance: displacement for phonons, Å
    mesh: of the density of states, along each axis
    orientations: random ones, for the anisotropy
    temperature_K, time, replicas: of the dynamics: K at the start, ps at least; a drift needs 1 ps
    seconds: of the clock, which the dynamics may fill with a longer time, all replicas together
    reference: a phonopy directory, or one with a phonopy directory for each structure's name
    """

    dtype: str = "float64"
    symmetrize: str | None = None
    phonon_length: float | None = None
    distance: float = 0.01
    mesh: int = 20
    orientations: int = 20
    temperature_K: float = 300.0
    time: float = 1.0
    replicas: int = 2
    seconds: float = 60.0
    reference: str | None = None

    def quick(self) -> Settings:
        return replace(self, mesh=6, orientations=4, time=0.05, seconds=0.0)


def settings_of(given: Settings | None, quick: bool, time: float | None, options: dict) -> Settings:
    """The settings that are given, or else those of options; ``time`` is in ASE's unit.

    Raises ArgumentError where both are given.
    """
    default = Settings()
    if given is not None:
        beside = [name for name, value in options.items() if value != getattr(default, name)]
        beside += [name for name, value in (("time", time), ("quick", quick)) if value]
        if beside:
            raise ArgumentError(
                f"`settings`: expected none of the options that they hold beside them, got `{beside[0]}`; "
                "write it into the settings, or leave them out"
            )
        return given
    found = replace(default, **options)
    found = found.quick() if quick else found
    return found if time is None else replace(found, time=time / (1000.0 * units.fs))


@dataclass
class Job:
    """One structure on its way: ``atoms`` as given, files in ``folder``.

    ``relaxed`` is set by the first step, of a crystal to what it is relaxed to within its space group; None
    where that failed.
    """

    name: str
    atoms: Atoms
    calculator: MLIPCalculator
    folder: Path
    settings: Settings
    relaxed: Atoms | None = None

    @property
    def is_crystal(self) -> bool:
        return bool(self.atoms.pbc.all()) and self.atoms.cell.rank == 3

    @property
    def symmetrize(self) -> str | None:
        """What the steps are given for "crystal"; any other scheme the calculator has already."""
        return "crystal" if is_crystal(self.settings.symmetrize) else None

    def start(self) -> Atoms:
        """A copy of the relaxed structure with the calculator. Raises NotApplicable without one."""
        if self.relaxed is None:
            raise NotApplicable("not relaxed")
        return self.with_calculator(self.relaxed)

    def with_calculator(self, atoms: Atoms) -> Atoms:
        """A copy of ``atoms`` without constraints and with the calculator."""
        atoms = atoms.copy()
        atoms.set_constraint()
        atoms.calc = self.calculator
        return atoms


Found = tuple[dict, dict[str, Figure]]


class NotApplicable(Exception):
    """The step has no meaning for the structure."""


def relaxation(job: Job) -> Found:
    """Free relaxation of atoms and, of a crystal, the cell; what follows starts from the symmetric one."""
    if job.atoms.constraints:
        names = ", ".join(dict.fromkeys(type(constraint).__name__ for constraint in job.atoms.constraints))
        text = f"constraints of the structure ({names}) are left out"
        warnings.warn(text, UserWarning, stacklevel=users_line())
    atoms = job.with_calculator(job.atoms)
    options = {"fmax": 1e-3, "steps": 500, "optimizer": "LBFGS", "symmetrize": job.symmetrize}
    result = relax(atoms, cell=job.is_crystal, **options)
    final = result.atoms
    numbers = {
        "converged": result.converged,
        "steps": result.steps,
        "fmax": result.fmax,
        "energy_per_atom": result.energy / len(final),
        "volume_per_atom": None if result.volume is None else result.volume / len(final),
        "cell_lengths": final.cell.lengths(),
        "cell_angles": final.cell.angles(),
        "largest_stress": None if result.stress is None else np.abs(result.stress).max(),
        "spacegroup_before": {f"{symprec:g}": group for symprec, group in result.spacegroup_before.items()},
        "spacegroup_after": {f"{symprec:g}": group for symprec, group in result.spacegroup_after.items()},
        "rmsd": result.rmsd,
        "averaging": result.averaging,
        "noise": None if result.noise is None else asdict(result.noise),
    }
    if job.is_crystal:
        job.relaxed = _within_symmetry(job)
        numbers["relaxed_within_symmetry"] = job.relaxed is not None
    else:
        job.relaxed = final
    return numbers, {"relaxation": plots.plot_relaxation(result)}


def _within_symmetry(job: Job) -> Atoms | None:
    """The crystal relaxed in the space group that it has; None, with a warning, where that fails."""
    atoms = job.with_calculator(job.atoms)
    try:
        relaxed_within_symmetry(atoms)
    except MLIPError as error:
        warnings.warn(f"not relaxed within the space group, which all else needs: {error}",
                      UserWarning, stacklevel=users_line())  # fmt: skip
        return None
    atoms.calc = None
    atoms.set_constraint()
    return atoms


def phonon_step(job: Job) -> Found:
    """Phonons as in production, the audit, and the comparison with a reference if there is one."""
    _require_crystal(job)
    atoms = job.start()
    # relaxed it is: the forces that are left are the model's anisotropy
    options = {
        "min_length": job.settings.phonon_length,
        "distance": job.settings.distance,
        "symmetrize": job.symmetrize,
        "relax_first": False,
        "allow_unrelaxed": True,
    }
    mesh = (job.settings.mesh,) * 3
    result = phonons(atoms, mesh=mesh, checkpoint=job.folder / "forces.npz", **options)
    write_results(result, job.folder)
    audit = audit_phonons(atoms, checkpoint=job.folder / "forces-audit.npz", **options)
    numbers = {**result.to_dict(), "audit": audit.to_dict()}
    figures = {"bands": plots.plot_phonons(result)}
    folder = reference_of(job)
    if folder is not None:
        try:
            numbers["comparison"], figures["comparison"] = _compared(job, folder, mesh)
        except StructureError as error:  # of another crystal, say: the phonons are there all the same
            warnings.warn(f"no comparison with the reference: {error}", UserWarning, stacklevel=users_line())
    return numbers, figures


def _compared(job: Job, folder: Path, mesh: tuple[int, int, int]) -> tuple[dict, Figure]:
    options = {"distance": job.settings.distance, "mesh": mesh, "symmetrize": job.symmetrize}
    options["checkpoint"] = job.folder / "forces-reference.npz"
    comparison = compare_with(job.start(), load_reference(folder), folder.name, **options)
    names = (job.calculator.model.info.name, "reference")
    figure = plots.plot_phonons(comparison.model, overlay=comparison.reference_bands, names=names)
    return comparison.to_dict(), figure


def elastic_step(job: Job) -> Found:
    """Elastic constants with relaxed ions, averaged over the crystal's point group."""
    _require_crystal(job)
    result = elastic_constants(job.start(), relax_first=False, symmetrize=job.symmetrize)
    numbers = {
        "stable": result.stable,
        "averaging": result.averaging,
        "stiffness": result.stiffness,
        "eigenvalues": result.eigenvalues,
        "moduli": None if result.moduli is None else asdict(result.moduli),
        "symmetry_deviation": result.symmetry_deviation,
        "asymmetry": result.asymmetry,
        "residual_stress": result.residual_stress,
    }
    return numbers, {"elasticity": plot_elastic(result)} if result.stable else {}


def symmetry_step(job: Job) -> Found:
    """How results depend on orientation; atoms are displaced, since a perfect crystal hides most of it."""
    atoms = job.start()
    atoms.rattle(0.05, seed=0)
    rows = anisotropy.measure(job.calculator.model, atoms, SCHEMES, job.settings.orientations)
    return {"rows": [row.to_dict() for row in rows]}, {"symmetry": plots.plot_anisotropy({job.name: rows})}


def dynamics(job: Job) -> Found:
    """Replicas at constant energy: the time that is asked for, and longer where a minute allows it."""
    atoms = job.start()
    average_model(atoms, job.symmetrize, "md_stability", SYMPREC, strained=True)  # and for supercells of it
    if job.is_crystal:
        calculator = atoms.calc
        atoms = atoms.repeat(repeats(atoms.cell.array, MD_LENGTH))
        atoms.calc = calculator
    settings = job.settings
    result = affordable_dynamics(
        atoms,
        settings.temperature_K,
        seconds=settings.seconds,
        least=settings.time,
        replicas=settings.replicas,
    )
    numbers = result.to_dict()
    if not result.shows_drift:
        numbers["drift"] = numbers["drift_error"] = None
    kept = ("stable", "n_atoms", "temperature_K", "time", "timestep", "drift", "drift_error", "min_distance",
            "mean_temperature", "survival")  # fmt: skip
    failures = [asdict(replica.failure) if replica.failure else None for replica in result.replicas]
    return {name: numbers[name] for name in kept} | {"failures": failures}, {
        "dynamics": plot_stability(result)
    }


STEPS: dict[str, Callable[[Job], Found]] = {
    "relaxation": relaxation,
    "phonons": phonon_step,
    "elasticity": elastic_step,
    "symmetry": symmetry_step,
    "dynamics": dynamics,
}


def kept_steps(steps: dict, relaxed: Path) -> dict:
    """The finished steps that need not be repeated: none that failed, and none without what they are of."""
    kept = {step: found for step, found in steps.items() if "error" not in found}
    if "relaxation" in kept and relaxed.is_file():
        return kept
    relaxed.unlink(missing_ok=True)
    return {}


def require_reference(folder: Path, names: list[str]) -> None:
    """Raise StructureError for a folder with nothing to compare any of the structures with."""
    if any((folder / name).is_dir() for name in names) or list(folder.glob("phonopy*.yaml")):
        return
    raise StructureError(
        f"`reference`: expected a phonopy directory, or one with a phonopy directory for a structure's name "
        f"({', '.join(names[:5])}), got `{folder}`, which has neither"
    )


def reference_of(job: Job) -> Path | None:
    """The phonopy directory for a structure: its own in the reference's folder, or the reference itself."""
    if job.settings.reference is None:
        return None
    folder = Path(job.settings.reference)
    if (folder / job.name).is_dir():
        return folder / job.name
    return folder if list(folder.glob("phonopy*.yaml")) else None


def _require_crystal(job: Job) -> None:
    if not job.is_crystal:
        raise NotApplicable("not a crystal")
