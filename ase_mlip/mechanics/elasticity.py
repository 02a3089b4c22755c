"""Elastic constants by central differences of the stress, and what follows from them.

Conventions: ``cell → cell (1 + ε)`` with a symmetric strain ε; Voigt order xx, yy, zz, yz, xz, xy (ASE's),
the last three as engineering shears, e = (ε_xx, ε_yy, ε_zz, 2ε_yz, 2ε_xz, 2ε_xy); axes are the structure's.
Stiffness is C_IJ = ∂σ_I/∂e_J at the relaxed structure, or at the one given, in GPa. Without stress there it
is the second derivative of the energy; under a stress the stress-strain coefficients differ from it by terms
of that stress (T. H. K. Barron and M. L. Klein, Proc. Phys. Soc. 85, 523 (1965)), and only their symmetric
part is given.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms, units
from ase.stress import voigt_6_to_full_3x3_strain

from ..calculators.averaged import averaging_of, is_crystal
from ..calculators.identity import parts_of
from ..calculators.inputs import renamed, withdrawn
from ..crystals import (
    largest_force,
    point_group,
    require_between,
    require_flags,
    require_positive,
    require_whole,
    warn_of_residual,
    with_calculator,
)
from ..errors import ArgumentError, ResidualWarning, StructureError, users_line
from ..progress.form import Progress, told
from ..provenance import plain
from ..relaxation.minimum import (
    RELAXED,
    FirstRelaxation,
    RelaxFirst,
    at_minimum,
    crystal_with_calculator,
    document_of,
)
from ..relaxation.relax import relax, require_optimizer
from ..voigt import COLUMNS, INDEX, PAIRS, ROWS, symmetric
from .moduli import Moduli, moduli

# Of the largest constant: a larger stress is said, since constants under it differ from second derivatives by
# as much. A choice of this project
STRESSED = 0.01

if TYPE_CHECKING:
    from ..calculators.averaged import Scheme
    from ..calculators.identity import Checkpoint
    from ..calculators.inputs import Potential, Structure


@dataclass
class ElasticResult:
    """Elastic constants of a crystal. Stiffness and stress in GPa, Voigt order xx, yy, zz, yz, xz, xy.

    Attributes
    ----------
    stiffness : float64 [6, 6]
        C, symmetric
    eigenvalues : float64 [6]
        of the stiffness, ascending
    moduli : Moduli or None
        of a polycrystal; None where the crystal is not stable
    residual_stress : float64 [6]
        of the structure that is strained
    residual_force : float
        largest force in it, eV/Å
    asymmetry : float
        largest component of the antisymmetric part that was removed, GPa
    symmetry_deviation : float or None
        largest change of a component by averaging over the point group, GPa; None without
    fit_error : float
        root mean square deviation of the stresses from straight lines, GPa
    space_group : str
        whose point group was used, or ""
    averaging : str
        what the model was averaged over, "none" for nothing
    relaxed_ions : bool
        whether atoms were relaxed in each strained cell
    converged : bool
        whether all of them were, to ``strained_fmax``
    strains : float64 [n]
        Voigt strains of each component
    stresses : float64 [6, n, 6]
        stress by component of the strain
    relaxation : FirstRelaxation or None
        how the crystal was relaxed first, with the relaxed crystal; None where it was taken as it is
    """

    stiffness: np.ndarray
    eigenvalues: np.ndarray
    moduli: Moduli | None
    residual_stress: np.ndarray
    residual_force: float
    asymmetry: float
    symmetry_deviation: float | None
    fit_error: float
    space_group: str
    averaging: str
    relaxed_ions: bool
    converged: bool
    strains: np.ndarray = field(repr=False)
    stresses: np.ndarray = field(repr=False)
    relaxation: FirstRelaxation | None = field(default=None, repr=False)

    @property
    def stable(self) -> bool:
        """Born's criterion, every eigenvalue positive: F. Mouhat, F.-X. Coudert, PRB 90, 224104 (2014)."""
        return bool(self.eigenvalues[0] > 0.0)

    @property
    def compliance(self) -> np.ndarray:
        """Inverse of the stiffness, 1/GPa, [6, 6]."""
        return np.linalg.inv(self.stiffness)

    def young(self, directions: np.ndarray) -> np.ndarray:
        """Young's modulus along directions.

        Parameters
        ----------
        directions : float [n, 3]
            of any length

        Returns
        -------
        float64 [n]
            GPa, of 1/E = S_ijkl n_i n_j n_k n_l

        References
        ----------
        J. F. Nye, Physical Properties of Crystals (Oxford, 1957), chapter VIII.
        """
        n = np.asarray(directions, dtype=float)
        n = n / np.linalg.norm(n, axis=1, keepdims=True)
        # a unit stress along n, whose strain along n is 1/E
        voigt = np.stack([n[:, i] * n[:, j] for i, j in PAIRS], axis=1)
        return 1.0 / np.einsum("ni,ij,nj->n", voigt, self.compliance, voigt)

    def to_dict(self) -> dict:
        """Everything as JSON values, lists for arrays."""
        more = {"units": "GPa; residual_force eV/Å", "stable": self.stable}
        own = {"moduli": None if self.moduli is None else asdict(self.moduli)}
        return plain(more | vars(self) | own | {"relaxation": document_of(self.relaxation)})

    def plot(self, path: str | Path) -> None:
        """Draw stresses and, of a stable crystal, Young's modulus by direction into a PNG, PDF or SVG."""
        from ..pictures.elastic import plot_elastic
        from ..pictures.plots import save_figure

        save_figure(plot_elastic(self), path)


@renamed(points="strains", relax_ions="not clamped", fmax="strained_fmax")
@withdrawn(
    symmetry='the average of the stiffness is `impose_symmetry`, that of the model `symmetrize="crystal"`'
)
def elastic_constants(
    atoms: Structure,
    calculator: Potential | None = None,
    *,
    strain: float = 0.005,
    strains: int = 4,
    clamped: bool = False,
    strained_fmax: float = 1e-3,
    steps: int = 500,
    optimizer: str = "LBFGS",
    relax_first: bool = True,
    keep_space_group: bool = True,
    relax_fmax: float = RELAXED,
    symmetrize: Scheme | None = None,
    impose_symmetry: bool = True,
    symprec: float = 1e-2,
    checkpoint: Checkpoint = None,
    progress: Progress | None = None,
) -> ElasticResult:
    """Stiffness of a crystal from its stresses under small strains, one Voigt component at a time.

    Parameters
    ----------
    atoms : ase.Atoms, str or Path
        crystal without constraints, or a file with it; not modified
    calculator : ASE calculator, Model, str or Path, optional
        an ASE calculator that gives stresses, a loaded model, a model file or the name of a shipped
        potential, which are computed in float64; None takes the calculator that ``atoms`` has
    strain : float
        largest Voigt strain, no unit
    strains : int
        their number for each component, even: equal steps to both sides; the slope is that of the straight
        line through them, from which even orders of the strain cancel
    clamped : bool
        keep the fractional positions of the atoms in strained cells; by default they are relaxed
    strained_fmax, steps, optimizer : float, int, str
        of these relaxations, see :func:`ase_mlip.relaxation.relax.relax`; eV/Å
    relax_first : bool
        relax the atoms and the cell first, as ``ase-mlip elastic`` does; otherwise ``atoms`` are taken as
        they are, for example under a stress
    keep_space_group : bool
        relax within the space group that ``atoms`` have within ``symprec``
    relax_fmax : float
        relax until no force and no stress is larger, eV/Å, see :func:`ase_mlip.relaxation.relax.relax`
    symmetrize : str, ase.Atoms or Averaging, optional
        average the model over rotations, see :func:`ase_mlip.rotations.schemes.find_averaging`; None takes
        the calculator as it is. ``"crystal"`` is the point group of the crystal, relaxed if it is, and
        ``"auto"`` chooses by ``atoms``. The group of a crystal has to keep its cell; strained cells need not
    impose_symmetry : bool
        average the stiffness over the crystal's point group
    symprec : float
        tolerance for that group, Å; networks that are not equivariant relax to crystals that have it
        approximately only
    checkpoint : str or Path, optional
        keep the stresses of finished strains in this JSON file, from which a run that was ended goes on
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each strain, see :mod:`ase_mlip.progress`

    Returns
    -------
    ElasticResult
        the stiffness and what follows from it

    Raises
    ------
    StructureError
        for molecules and slabs, without calculator, with constraints, for stresses that are not finite,
        and where no symmetry is found
    ArgumentError
        for an option of another type or a number that makes no sense, an unknown ``symmetrize`` or
        "random:SEED"

    Warns
    -----
    PrecisionWarning
        for a model in float32
    ResidualWarning
        for a crystal with forces above 0.05 eV/Å, or a stress above a hundredth of its largest constant,
        where it does not reach ``relax_fmax``, and where atoms of a strained cell do not come to rest
    UserWarning
        for a ``checkpoint`` of another run, whose strains are computed anew

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_mlip import elastic_constants
    >>> found = elastic_constants(bulk("Si", cubic=True), "snnp-si")
    >>> print(found.stiffness[0, 0].round(), found.stiffness[0, 1].round())  # C11 and C12, GPa
    143.0 62.0
    """
    progress = told(progress)
    first = RelaxFirst(relax_first, keep_space_group, relax_fmax, is_crystal(symmetrize), symprec)
    require_flags(clamped=clamped, impose_symmetry=impose_symmetry)
    sizes, how = _sizes(strain, strains), _how(clamped, strained_fmax, steps, optimizer)
    work = crystal_with_calculator(atoms, calculator, "elastic_constants", symmetrize, symprec)
    if impose_symmetry:
        _point_group(work, symprec)  # before the work
    stresses = np.empty((6, strains, 6))
    converged = True
    given = {"strain": strain, "strains": strains, "how": how, "first": asdict(first)}
    with parts_of(checkpoint, [work], work.calc, **given) as parts:
        work, relaxation = at_minimum(work, "elastic_constants", first, parts, strained=True)
        residual_force, residual_stress = largest_force(work.get_forces()), _stress(work)
        for component in range(6):
            for n, size in enumerate(sizes):
                own = partial(_strained, work, size * np.eye(6)[component], *how)
                stresses[component, n], reached = parts.once(f"strain {component} {n}", own)
                converged = converged and reached
                progress(component * strains + n + 1, 6 * strains, "")
    rotations, group = _point_group(work, symprec) if impose_symmetry else (None, "")
    stiffness, fit_error = _slopes(sizes, stresses)
    measured = symmetric(stiffness)
    final = measured if rotations is None else average_over(measured, rotations)
    eigenvalues = np.linalg.eigvalsh(final)
    stressed = float(np.abs(residual_stress).max())
    large = stressed > STRESSED * np.abs(final).max()
    warn_of_residual("elastic_constants", residual_force, stressed if large else None)
    if not converged:
        text = "atoms of a strained cell did not come to rest; see `strained_fmax`, or compute in float64"
        warnings.warn(text, ResidualWarning, stacklevel=users_line())
    return ElasticResult(
        stiffness=final,
        eigenvalues=eigenvalues,
        moduli=moduli(final) if eigenvalues[0] > 0.0 else None,
        residual_stress=residual_stress,
        residual_force=residual_force,
        asymmetry=float(np.abs(stiffness - measured).max()),
        symmetry_deviation=None if rotations is None else float(np.abs(final - measured).max()),
        fit_error=fit_error,
        space_group=group,
        averaging=averaging_of(work.calc),
        relaxed_ions=not clamped,
        converged=converged,
        strains=sizes,
        stresses=stresses,
        relaxation=relaxation,
    )


def _sizes(strain: float, strains: int) -> np.ndarray:
    """The strains of a component, float64 [strains], ascending. Raises ArgumentError."""
    require_between(0.0, 0.1, strain=strain)
    require_whole(2, strains=strains)
    if strains % 2:
        raise ArgumentError(f"`strains`: expected an even number, got {strains}; give one more")
    half = strain * np.arange(1, strains // 2 + 1) / (strains // 2)
    return np.concatenate([-half[::-1], half])


def _how(clamped: bool, strained_fmax: float, steps: int, optimizer: str) -> tuple[bool, float, int, str]:
    """How atoms relax in strained cells. Raises ArgumentError."""
    require_positive("eV/Å", strained_fmax=strained_fmax)
    require_whole(0, steps=steps)
    require_optimizer(optimizer)
    return clamped, strained_fmax, steps, optimizer


def average_over(stiffness: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Average of ``stiffness`` [6, 6] over Cartesian ``rotations`` [n, 3, 3] of the crystal."""
    index = np.array(INDEX)
    tensor = stiffness[index[:, :, None, None], index[None, None]]
    averaged = np.mean(
        [np.einsum("ai,bj,ck,dl,ijkl->abcd", r, r, r, r, tensor, optimize=True) for r in rotations], axis=0
    )
    rows, columns = np.array(ROWS), np.array(COLUMNS)
    return averaged[rows[:, None], columns[:, None], rows[None], columns[None]]


def _strained(
    atoms: Atoms, voigt: np.ndarray, clamped: bool, fmax: float, steps: int, optimizer: str
) -> tuple[list[float], bool]:
    """Stress (GPa, [6]) under the Voigt strain [6], and whether the atoms reached ``fmax``."""
    strained = with_calculator(atoms, "elastic_constants")
    # 1 + ε; ASE adds the unit matrix
    strained.set_cell(atoms.cell.array @ voigt_6_to_full_3x3_strain(voigt), scale_atoms=True)
    if clamped:
        return _stress(strained).tolist(), True
    result = relax(strained, fmax=fmax, steps=steps, optimizer=optimizer, check_noise=False)
    strained.positions = result.atoms.positions
    return _stress(strained).tolist(), result.converged


def _stress(atoms: Atoms) -> np.ndarray:
    """GPa, [6]."""
    stress = np.asarray(atoms.get_stress(), dtype=float) / units.GPa
    if not np.isfinite(stress).all():
        raise StructureError("`stress` must be finite, got NaN or infinity from the calculator")
    return stress


def _slopes(strains: np.ndarray, stresses: np.ndarray) -> tuple[np.ndarray, float]:
    """∂σ_I/∂e_J [6, 6] of the lines through ``stresses`` [J, n, I], and their deviation; GPa."""
    slopes = np.einsum("n,jni->ij", strains, stresses) / (strains @ strains)
    lines = strains[None, :, None] * slopes.T[:, None, :]
    deviation = stresses - stresses.mean(axis=1, keepdims=True) - lines
    return slopes, float(np.sqrt((deviation**2).mean()))


def _point_group(atoms: Atoms, symprec: float) -> tuple[np.ndarray, str]:
    """Cartesian operations [n, 3, 3], proper and improper, and the space group's name."""
    group = point_group(atoms, symprec)
    if group is None:
        raise StructureError(
            f"`atoms` has no space group within `symprec={symprec}` Å (are two atoms at one place?); "
            "give another tolerance (`symprec`)"
        )
    return group.matrices, group.space_group
