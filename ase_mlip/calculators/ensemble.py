"""A committee of calculators: the mean of their numbers, and how much they deviate from each other.

The deviations are those of DP-GEN and DeePMD-kit (Zhang et al., Comput. Phys. Commun. 253, 107206 (2020)):
with F_m the force of member m on an atom, ε = √⟨|F_m - ⟨F⟩|²⟩ over the members.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols
from ase.stress import voigt_6_to_full_3x3_stress

from ..crystals import volume_of
from ..errors import MLIPError, StructureError
from ..progress.form import Progress, part_of
from .results import require_atoms

if TYPE_CHECKING:
    from ..model_file.model import Model

MEANS = ("energy", "free_energy", "energies", "forces", "stress", "stresses")
DEVIATIONS = {"energy_deviation": "energy", "forces_deviation": "forces", "stress_deviation": "stress"}
COLUMNS = ("max_devi_v", "min_devi_v", "avg_devi_v", "max_devi_f", "min_devi_f", "avg_devi_f")


class Ensemble(Calculator):
    """ASE calculator of two or more calculators; of model files it is made by :meth:`from_files`.

    ``energy``, ``free_energy``, ``energies``, ``forces``, ``stress`` and ``stresses`` are the means of the
    members', in ASE's units, as far as all members have them. ``results`` holds these only: energies, forces
    and, where there is a volume, the stress after each calculation, ``stresses`` when asked for.

    Parameters
    ----------
    members : sequence of ASE calculators
        at least two and no two alike; each must know the elements of a structure
    **kwargs
        ``atoms``, ``directory`` and ``label`` of ASE calculators

    Raises
    ------
    MLIPError
        fewer than two members, the same one twice, no element that all know, or direct forces from some and
        conservative ones from others

    Attributes
    ----------
    diagnostics : dict
        of the last calculation, as standard deviations over the members (dividing by their number),
        ``energy_deviation`` (float, eV), ``forces_deviation`` [N] (of the force vector, eV/Å) and
        ``stress_deviation`` [6] (of each component, eV/Å³); and of members that know what their training data
        visited, ``extrapolating`` [N], for each atom the largest of their numbers; likewise ``leverage`` [N]
        and ``structure_leverage`` of members that were made with ``leverage=True``
    members : list of ASE calculators
        each has its own results and diagnostics of the same structure

    Examples
    --------
    Two potentials for silicon as a committee, whose deviation is in eV/Å:

    >>> from ase.build import bulk
    >>> from ase_mlip import Ensemble
    >>> atoms = bulk("Si", cubic=True)
    >>> atoms.rattle(0.1, seed=0)
    >>> atoms.calc = Ensemble.from_files(["snnp-si", "pet-si"])
    >>> energy = atoms.get_potential_energy()  # their mean
    >>> print(f"{atoms.calc.diagnostics['forces_deviation'].max():.2f}")
    0.15
    """

    implemented_properties = [*MEANS]
    ignored_changes = {"initial_charges", "initial_magmoms"}

    def __init__(self, members: Sequence[Calculator], **kwargs):
        self.members = list(members)
        self.diagnostics: dict[str, float | np.ndarray] = {}
        _check_members(self.members)
        _share_neighbors(self.members)
        super().__init__(**kwargs)
        self.parameters.update(members=[dict(member.parameters) for member in self.members])

    @classmethod
    def from_files(cls, models: Sequence[str | os.PathLike | Model], **options) -> Ensemble:
        """The committee of several models, a calculator each.

        Parameters
        ----------
        models : sequence of str, Path or Model
            model files, names of shipped potentials, or loaded models
        **options
            of each :class:`ase_mlip.MLIPCalculator`

        Returns
        -------
        Ensemble
            of their calculators

        Raises
        ------
        MLIPError
            as of the class; a single name instead of a list of models
        FileNotFoundError, ModelFileError, BuildError
            see :func:`ase_mlip.load_model`
        """
        from .calculator import MLIPCalculator

        if isinstance(models, (str, os.PathLike)):
            raise MLIPError(f"`models`: expected a list of models, got `{models}`; write `[first, second]`")
        return cls([MLIPCalculator(model, **options) for model in models])

    @property
    def species(self) -> list[int] | None:
        """Atomic numbers that all members know, sorted; None if no member says what it knows."""
        return _common_species(self.members)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill ``results`` with means and ``diagnostics`` with deviations; see the class for which.

        ``properties`` matter for ``stresses`` only; None stands for everything.

        Raises
        ------
        StructureError
            an element that a member does not know, which is named
        """
        self.results, self.diagnostics = {}, {}
        super().calculate(atoms, properties, system_changes)
        require_atoms(self.atoms)
        self._check_species(self.atoms)
        wanted = self._offered(["energy", "free_energy", "energies", "forces"])
        if volume_of(self.atoms):
            stresses = properties is None or "stresses" in properties
            wanted += self._offered(["stress", "stresses"] if stresses else ["stress"])
        of_members = []
        for member in self.members:
            member.calculate(self.atoms, wanted, system_changes)
            known = {name: member.results[name] for name in wanted if name in member.results}
            of_members.append({**known, "diagnostics": getattr(member, "diagnostics", {})})
        self.results, self.diagnostics = combine(of_members)

    def reset(self) -> None:
        """Forget the last structure, as ASE does, and all that is known of it."""
        self.diagnostics = {}
        super().reset()

    def evaluate(
        self,
        structures: Iterable[Atoms],
        properties: Sequence[str] = ("energy", "forces"),
        progress: Progress | None = None,
    ) -> list[dict]:
        """Means of many structures, as :meth:`ase_mlip.MLIPCalculator.evaluate`; all members must have that.

        With ``"diagnostics"`` in ``properties``, the deviations of what is asked for beside it come in a dict
        of that name.
        """
        structures = list(structures)
        for atoms in structures:
            self._check_species(atoms)
        of_members = [
            member.evaluate(structures, properties, part_of(progress, n, len(self.members)))
            for n, member in enumerate(self.members)
        ]
        found = []
        for of_one in zip(*of_members, strict=True):
            means, diagnostics = combine(list(of_one))
            found.append({**means, "diagnostics": diagnostics} if "diagnostics" in properties else means)
        return found

    def _get_name(self) -> str:
        return "mlip-ensemble"

    def _offered(self, properties: Sequence[str]) -> list[str]:
        """Those that all members have."""
        return [
            name
            for name in properties
            if all(name in member.implemented_properties for member in self.members)
        ]

    def _check_species(self, atoms: Atoms) -> None:
        for index, member in enumerate(self.members):
            known = _species(member)
            foreign = sorted(set(atoms.symbols) - _symbols(known)) if known is not None else []
            if foreign:
                raise StructureError(
                    f"member {index} of the committee, {_describe(member)}, does not know "
                    f"{', '.join(foreign)}; all members know "
                    f"{', '.join(sorted(_symbols(self.species or [])))}"
                )


def combine(of_members: list[dict]) -> tuple[dict, dict]:
    """Means, and deviations with other diagnostics, of the results of members, of those that all have."""
    results, diagnostics = {}, {}
    for name in MEANS:
        if all(name in found for found in of_members):
            results[name] = np.mean([found[name] for found in of_members], axis=0)
    for name in ("energy", "free_energy"):
        if name in results:
            results[name] = float(results[name])
    for deviation, name in DEVIATIONS.items():
        if name in results:
            values = np.array([found[name] for found in of_members])
            squares = (values - results[name]) ** 2
            if name == "forces":
                squares = squares.sum(axis=2)
            diagnostics[deviation] = np.sqrt(squares.mean(axis=0))
    if "energy_deviation" in diagnostics:
        diagnostics["energy_deviation"] = float(diagnostics["energy_deviation"])
    of_members = [found.get("diagnostics", {}) for found in of_members]
    counts = [found["extrapolating"] for found in of_members if "extrapolating" in found]
    if counts:
        diagnostics["extrapolating"] = np.max(counts, axis=0)
    for name in ("leverage", "structure_leverage"):
        values = [found[name] for found in of_members if name in found]
        if values:
            diagnostics[name] = np.max(values, axis=0)
    return results, diagnostics


# ---- a file while atoms move -------------------------------------------------------------------------------


class DeviationExceeded(RuntimeError):
    """A committee deviates more than allowed.

    Attributes
    ----------
    step, deviation, atom : int, float, int
        where: the dynamics' step, the largest deviation of a force (eV/Å) and its atom
    """

    def __init__(self, step: int, deviation: float, atom: int, limit: float):
        super().__init__(
            f"step {step}: the committee's forces on atom {atom} deviate by {deviation:.4g} eV/Å, more than "
            f"`stop_above` = {limit:g}; the structure is unlike what the members were trained on"
        )
        self.step, self.deviation, self.atom = step, deviation, atom


class DeviationWriter:
    """Writes how much a committee deviates, with the columns of DeePMD-kit's ``model_devi.out``.

    Attach it to dynamics of ASE: ``dynamics.attach(DeviationWriter(dynamics), interval=10)``. A line has the
    step; then the largest, the smallest and the root mean square deviation of the virial's nine components
    per atom (eV; zero without a stress); then the largest, the smallest and the mean deviation of the atoms'
    forces (eV/Å). ``pair_style mlip`` writes the same.

    Parameters
    ----------
    dynamics : ASE dynamics or optimiser
        molecular dynamics or a relaxation of ASE, whose atoms have an :class:`Ensemble`
    path : str or Path
        the file; it is begun anew unless ``append``
    stop_above : float, optional
        largest deviation of a force, eV/Å, above which the run is ended by an exception; None: never
    append : bool
        whether to go on with an existing file

    Raises
    ------
    MLIPError
        the atoms have no :class:`Ensemble`, or ``stop_above`` is not positive
    DeviationExceeded
        from the dynamics, once the line with that deviation is written

    Examples
    --------
    >>> from pathlib import Path
    >>> from ase import units
    >>> from ase.build import bulk
    >>> from ase.md.verlet import VelocityVerlet
    >>> from ase_mlip import DeviationWriter, Ensemble
    >>> atoms = bulk("Si", cubic=True)
    >>> atoms.rattle(0.05, seed=0)
    >>> atoms.calc = Ensemble.from_files(["snnp-si", "pet-si"])
    >>> dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    >>> dynamics.attach(DeviationWriter(dynamics, "model_devi.out"), interval=5)
    >>> finished = dynamics.run(10)
    >>> len(Path("model_devi.out").read_text().splitlines())  # a header, and steps 0, 5 and 10
    4
    """

    def __init__(
        self,
        dynamics,
        path: str | Path = "model_devi.out",
        stop_above: float | None = None,
        append: bool = False,
    ):
        self.dynamics = dynamics
        self.path = Path(path)
        self.stop_above = stop_above
        if stop_above is not None and not stop_above > 0:
            raise MLIPError(f"`stop_above` must be positive or None, got {stop_above}")
        self._ensemble()
        if not append or not self.path.exists():
            header = " ".join(f"{name:>18}" for name in COLUMNS)
            self.path.write_text(f"#{'step':>11} {header}\n", encoding="utf-8")

    def __call__(self) -> None:
        """Write the line of the present step."""
        ensemble, atoms = self._ensemble(), self.dynamics.atoms
        ensemble.get_property("forces", atoms)
        deviations = ensemble.diagnostics["forces_deviation"]
        step = int(getattr(self.dynamics, "nsteps", 0))
        values = [*virial_deviations(ensemble.diagnostics, atoms)]
        values += [deviations.max(), deviations.min(), deviations.mean()]
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{step:>12} " + " ".join(f"{value:>18.6e}" for value in values) + "\n")
        largest = int(deviations.argmax())
        if self.stop_above is not None and deviations[largest] > self.stop_above:
            raise DeviationExceeded(step, float(deviations[largest]), largest, self.stop_above)

    def _ensemble(self) -> Ensemble:
        calculator = self.dynamics.atoms.calc
        if not isinstance(calculator, Ensemble):
            raise MLIPError(
                f"`DeviationWriter` needs atoms with an `Ensemble`, got {type(calculator).__name__}; "
                "make one with `Ensemble.from_files([first, second])`"
            )
        return calculator


def virial_deviations(diagnostics: dict, atoms: Atoms) -> tuple[float, float, float]:
    """Largest, smallest and root mean square deviation of the nine components of the virial per atom, eV."""
    if "stress_deviation" not in diagnostics:
        return 0.0, 0.0, 0.0
    components = voigt_6_to_full_3x3_stress(diagnostics["stress_deviation"]) * atoms.get_volume() / len(atoms)
    return float(components.max()), float(components.min()), float(np.sqrt((components**2).mean()))


# ---- members -----------------------------------------------------------------------------------------------


def _check_members(members: list[Calculator]) -> None:
    if len(members) < 2:
        raise MLIPError(f"a committee needs at least two members, got {len(members)}")
    for k, member in enumerate(members):
        if not isinstance(member, Calculator):
            raise MLIPError(f"member {k} must be an ASE calculator, got {type(member).__name__}")
        for earlier in range(k):
            other = members[earlier]
            known = _species(member) is not None
            if other is member or (
                known and type(other) is type(member) and other.parameters == member.parameters
            ):
                raise MLIPError(
                    f"members {earlier} and {k} of the committee are the same, {_describe(member)}; "
                    "give each model once"
                )
    modes = {member.forces for member in members if hasattr(member, "forces")}
    if len(modes) > 1:
        raise MLIPError(f"`forces` must be the same for all members, got {', '.join(sorted(modes))}")
    if _common_species(members) == []:
        each = "; ".join(f"{_describe(m)}: {', '.join(sorted(_symbols(_species(m) or [])))}" for m in members)
        raise MLIPError(f"no element is known to all members of the committee: {each}")


def _species(member: Calculator) -> list[int] | None:
    info = getattr(getattr(member, "model", None), "info", None)
    return None if info is None else list(info.species)


def _common_species(members: list[Calculator]) -> list[int] | None:
    known = [set(species) for species in map(_species, members) if species is not None]
    return sorted(set.intersection(*known)) if known else None


def _symbols(species: Iterable[int]) -> set[str]:
    return {chemical_symbols[number] for number in species}


def _describe(member: Calculator) -> str:
    path = getattr(getattr(member, "model", None), "path", None)
    return type(member).__name__ if path is None else f"`{path}`"


def _share_neighbors(members: list[Calculator]) -> None:
    """Model files with the same cutoffs use one neighbour list."""
    lists: dict = {}
    for member in members:
        if _species(member) is not None and hasattr(member, "_neighbors"):
            info = member.model.info
            key = (info.cutoff, str(info.pair_cutoffs), member.skin, str(member.model.device))
            member._neighbors = lists.setdefault(key, member._neighbors)
