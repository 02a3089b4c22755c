"""Averaging over rotations for any ASE calculator, by rotating the structure itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from ..crystals import rotated
from ..errors import MLIPError
from ..rotations.averaging import Averaging
from ..rotations.schemes import find_averaging
from .diagnostics.residual import deviation

AVERAGED = ("energy", "free_energy", "energies", "forces", "stress")


def symmetrized(
    calculator: Calculator, scheme: str | Atoms | Averaging, check_lattice: bool = True
) -> Calculator:
    """``calculator`` averaged over rotations: a model file with one neighbour list, others by rotating atoms.

    Parameters are those of :class:`SymmetrizedCalculator`. An averaging that ``calculator`` has already is
    replaced.
    """
    from .calculator import MLIPCalculator

    if isinstance(calculator, SymmetrizedCalculator):
        calculator = calculator.calculator
    if isinstance(calculator, MLIPCalculator):
        return MLIPCalculator(
            calculator.model,
            forces=calculator.forces,
            skin=calculator.skin,
            symmetrize=scheme,
            tolerance=calculator.tolerance,
            check_lattice=check_lattice,
        )
    return SymmetrizedCalculator(calculator, scheme, check_lattice)


class SymmetrizedCalculator(Calculator):
    """The average of a calculator over rotations of the structure; for model files of this package,
    ``MLIPCalculator(..., symmetrize=...)`` does the same with one neighbour list.

    ``energy, free_energy, energies, forces, stress`` are averaged, as far as the calculator has them, in
    ASE's units; ``results`` holds all of these after each calculation, whatever was asked for.

    Attributes
    ----------
    diagnostics : dict
        of the last calculation, as standard deviations over the rotations, ``energy_spread`` (float, eV),
        ``forces_spread`` [N] (of the vector, eV/Å) and ``stress_spread`` [6] (eV/Å³)

    Parameters
    ----------
    calculator : ASE calculator
        any ASE calculator of which energies do not depend on what was calculated before
    scheme : str, ase.Atoms or Averaging
        see :func:`ase_mlip.rotations.schemes.find_averaging`
    check_lattice : bool
        whether an averaging over a crystal's group refuses a box that the group does not keep
    **kwargs
        ``atoms``, ``directory`` and ``label`` of ASE calculators

    Raises
    ------
    MLIPError
        an unknown scheme, or ``"auto"``, which needs a model file

    Examples
    --------
    A network that does not know rotations pulls at atoms that symmetry holds:

    >>> from ase.build import bulk
    >>> from ase_mlip import MLIPCalculator, SymmetrizedCalculator
    >>> atoms = bulk("Si", cubic=True)
    >>> atoms.calc = MLIPCalculator("pet-si", dtype="float64")
    >>> print(abs(atoms.get_forces()).max() > 1e-6)
    True
    >>> atoms.calc = SymmetrizedCalculator(atoms.calc, "octahedral+inversion")
    >>> print(abs(atoms.get_forces()).max() < 1e-10)
    True
    """

    def __init__(
        self,
        calculator: Calculator,
        scheme: str | Atoms | Averaging,
        check_lattice: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not hasattr(calculator, "get_property"):
            raise MLIPError(f"`calculator`: expected an ASE calculator, got {type(calculator).__name__}")
        self.calculator = calculator
        self.averaging = find_averaging(scheme)
        self.check_lattice = check_lattice
        self.implemented_properties = [p for p in AVERAGED if p in calculator.implemented_properties]
        self._evaluations = 0
        self.diagnostics: dict[str, float | np.ndarray] = {}

    def reset(self) -> None:
        """Forget the last structure, as ASE does, and all that is known of it."""
        self.diagnostics = {}
        super().reset()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill ``results`` with all properties that the structure has, ``diagnostics`` with their spreads.

        Raises
        ------
        StructureError
            a box that a crystal's group does not keep
        """
        self.results, self.diagnostics = {}, {}
        super().calculate(atoms, properties, system_changes)
        properties = ["energy"] if properties is None else properties
        if self.check_lattice:
            self.averaging.check_lattice(self.atoms)
        chosen = self.averaging.at(self._evaluations)
        self._evaluations += 1
        rotations, weights = chosen.matrices()
        samples = [self._rotated(rotation, properties) for rotation in rotations]
        self.results = {
            name: np.tensordot(weights, [sample[name] for sample in samples], 1) for name in samples[0]
        }
        for name in ("energy", "forces", "stress"):
            if name in samples[0] and len(rotations) > 1:
                spread = deviation(np.array([sample[name] for sample in samples]), weights)
                of_vectors = name == "forces"
                self.diagnostics[f"{name}_spread"] = np.linalg.norm(spread, axis=-1) if of_vectors else spread
        for numbers in (self.results, self.diagnostics):
            numbers.update({name: float(value) for name, value in numbers.items() if np.ndim(value) == 0})

    def _rotated(self, rotation: np.ndarray, properties: Sequence[str]) -> dict:
        """Results of the structure rotated by ``rotation`` [3, 3], in the frame of the unrotated one."""
        copy = rotated(self.atoms, rotation)
        found = {}
        for name in self.implemented_properties:  # all: most calculators find them together
            try:
                found[name] = np.array(self.calculator.get_property(name, copy))
            except PropertyNotImplementedError:
                if name in properties:
                    raise
        if "forces" in found:
            found["forces"] = found["forces"] @ rotation
        if "stress" in found:
            stress = voigt_6_to_full_3x3_stress(found["stress"])
            found["stress"] = full_3x3_to_voigt_6_stress(rotation.T @ stress @ rotation)
        return found
