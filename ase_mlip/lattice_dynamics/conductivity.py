"""Lattice thermal conductivity from third-order force constants, over phono3py and any ASE calculator.

Relaxation-time approximation with three-phonon, isotope and boundary scattering (A. Togo, L. Chaput and
I. Tanaka, Phys. Rev. B 91, 094306 (2015)), and the Wigner transport equation, which adds the coherences
between modes (M. Simoncelli, N. Marzari and F. Mauri, Nat. Phys. 15, 809 (2019)). Needs phono3py, the
extra ``kappa``, which is imported when it is called.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress

from ..calculators.averaged import averaging_of, is_crystal
from ..calculators.inputs import renamed
from ..checks.installation.requirements import install_command
from ..crystals import (
    RESIDUAL,
    largest_force,
    positive_numbers,
    require_flags,
    require_limit,
    require_none_or,
    require_positive,
    symmetry_dataset,
)
from ..errors import MLIPError, StructureError, users_line
from ..progress.form import Progress, told
from ..provenance import Parts
from ..relaxation.minimum import RELAXED, RelaxFirst, at_minimum, crystal_with_calculator
from .bands import ACOUSTIC, DEGENERATE, IMAGINARY, is_stable
from .files import Checkpoint
from .results import ConductivityResult
from .supercells.cells import as_matrix, as_mesh, require_right_handed, to_ase, to_phonopy
from .supercells.supercell import find_supercell

if TYPE_CHECKING:
    from phono3py import Phono3py

    from ..calculators.averaged import Scheme
    from ..calculators.inputs import Potential, Structure


@renamed(cutoff_pair_distance="pair_cutoff", input_symprec="symprec")
def thermal_conductivity(
    atoms: Structure,
    calculator: Potential | None = None,
    *,
    supercell_matrix: Sequence | np.ndarray | None = None,
    phonon_supercell_matrix: Sequence | np.ndarray | None = None,
    mesh: Sequence[int] = (11, 11, 11),
    temperatures: float | Sequence[float] = (300.0,),
    distance: float = 0.03,
    wigner: bool = True,
    isotopes: bool = True,
    boundary_mfp: float | None = 1e6,
    pair_cutoff: float | None = None,
    relax_first: bool = True,
    keep_space_group: bool = True,
    relax_fmax: float = RELAXED,
    symmetrize: Scheme | None = None,
    symprec: float = 1e-2,
    phonopy_symprec: float = 1e-5,
    max_residual: float = RESIDUAL,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> ConductivityResult:
    """Lattice thermal conductivity of a crystal from forces in supercells with one and two displaced atoms.

    Parameters
    ----------
    atoms : ase.Atoms, str or Path
        the crystal, or a file with it; not modified
    calculator : ASE calculator, Model, str or Path, optional
        an ASE calculator, a loaded model, a model file or the name of a shipped potential, which are
        computed in float64; None takes the calculator that ``atoms`` has
    supercell_matrix : int [3] or [3, 3], optional
        for third-order force constants, of the cell of ``atoms``; None takes one with faces twice the
        model's cutoff apart, 10 Å if the calculator does not say
    phonon_supercell_matrix : int [3] or [3, 3], optional
        for second-order ones; None takes ``supercell_matrix``, or if that is None, too, what
        :func:`ase_mlip.lattice_dynamics.phonons.phonons` takes
    mesh : int [3]
        q-points
    temperatures : float or sequence of float
        K, one or several, all above zero
    distance : float
        length of a displacement, Å
    wigner : bool
        add coherences between modes
    isotopes : bool
        scattering by the natural isotopes
    boundary_mfp : float, optional
        mean free path between boundaries, µm; None leaves boundaries out
    pair_cutoff : float, optional
        leave out pairs of displaced atoms further apart, Å
    relax_first : bool
        relax the atoms and the cell first, as ``ase-mlip conductivity`` does; otherwise ``atoms`` are taken
        as they are, and must be relaxed
    keep_space_group : bool
        relax within the space group that ``atoms`` have within ``symprec``
    relax_fmax : float
        relax until no force and no stress is larger, eV/Å, see :func:`ase_mlip.relaxation.relax.relax`
    symmetrize : str, ase.Atoms or Averaging, optional
        average the model over rotations, see :func:`ase_mlip.rotations.schemes.find_averaging`; None takes
        the calculator as it is. ``"crystal"`` is the point group that the crystal, relaxed if it is, has
        within ``symprec``, ``"auto"`` chooses by ``atoms``
    symprec : float
        tolerance for that point group, Å; files give a few digits
    phonopy_symprec : float
        tolerance of phono3py for the symmetry of supercells, Å
    max_residual : float
        refuse a structure with a larger force than this, eV/Å: it is not relaxed
    checkpoint : str or Path, optional
        keep the forces of finished supercells in this .npz file, and take them from there; a relaxation is
        done again
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each supercell, see :mod:`ase_mlip.progress`

    Returns
    -------
    ConductivityResult
        conductivities, and the modes they come from

    Raises
    ------
    MLIPError
        phono3py is not installed
    StructureError
        for molecules, without calculator, with constraints, or not relaxed
    ArgumentError
        for a temperature or another number that makes no sense, an unknown ``symmetrize`` or "random:SEED"

    Warns
    -----
    PrecisionWarning
        for a model in float32
    ResidualWarning
        where the crystal does not reach ``relax_fmax``
    UserWarning
        of modes below zero that are not imaginary yet, and are left out

    Notes
    -----
    Defaults are the settings of the benchmark of :func:`ase_mlip.lattice_dynamics.kappa_srme.kappa_srme`, but
    for the cells. Third-order displacements are evaluated only where no mode is imaginary.

    References
    ----------
    A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015); M. Simoncelli, N. Marzari and F. Mauri,
    Nat. Phys. 15, 809 (2019).

    Examples
    --------
    A coarse look at silicon, which takes seconds; cells and mesh are to be converged:

    >>> from ase.build import bulk
    >>> from ase_mlip import thermal_conductivity
    >>> found = thermal_conductivity(bulk("Si"), "snnp-si", supercell_matrix=(2, 2, 2), mesh=(5, 5, 5))
    >>> found.stable
    True
    """
    progress = told(progress)
    require_positive("Å", distance=distance, phonopy_symprec=phonopy_symprec)
    temperatures = positive_numbers("temperatures", temperatures, "K")
    require_flags(wigner=wigner, isotopes=isotopes)
    if boundary_mfp is not None:
        require_positive("µm", boundary_mfp=boundary_mfp)
    if pair_cutoff is not None:
        require_positive("Å", pair_cutoff=pair_cutoff)
    require_limit("eV/Å", max_residual=max_residual)
    require_none_or((str, os.PathLike), "a path", checkpoint=checkpoint)
    mesh = as_mesh(mesh)
    Phono3py = require_phono3py()
    first = RelaxFirst(relax_first, keep_space_group, relax_fmax, is_crystal(symmetrize), symprec)
    work = crystal_with_calculator(atoms, calculator, "thermal_conductivity", symmetrize, symprec)
    require_right_handed(work, "thermal_conductivity")
    if supercell_matrix is not None:  # before the work
        supercell_matrix = as_matrix(supercell_matrix)
    if phonon_supercell_matrix is not None:
        phonon_supercell_matrix = as_matrix(phonon_supercell_matrix, "phonon_supercell_matrix")
    work, relaxation = at_minimum(work, "thermal_conductivity", first, Parts())
    third = find_supercell(work, supercell_matrix, None, work.calc, only_direct=True)
    second = phonon_supercell_matrix
    if second is None:
        second = third if supercell_matrix is not None else find_supercell(work, None, None, work.calc)
    with warnings.catch_warnings():
        # about defaults that are meant here, and about names that change from version to version
        warnings.filterwarnings("ignore", module="phono3py|phonopy")
        warnings.filterwarnings("ignore", message="primitive_matrix")
        calculation = Phono3py(
            to_phonopy(work),
            third,
            primitive_matrix="auto",
            phonon_supercell_matrix=second,
            symprec=phonopy_symprec,
        )
        calculation.generate_displacements(distance=distance, cutoff_pair_distance=pair_cutoff)
        forces = _Forces(calculation, work.calc, max_residual, checkpoint, progress)
        calculation.phonon_forces = forces.of(
            calculation.phonon_supercell, calculation.phonon_supercells_with_displacements
        )
        calculation.produce_fc2()
        calculation.symmetrize_fc2()
        frequencies = _mesh_frequencies(calculation, mesh)
        if is_stable(frequencies.min()):
            _warn_of_soft_modes(frequencies)
            calculation.forces = forces.of(calculation.supercell, calculation.supercells_with_displacements)
            calculation.produce_fc3()
            calculation.symmetrize_fc3()
            calculation.init_phph_interaction()
            calculation.run_thermal_conductivity(
                temperatures=list(temperatures),
                is_isotope=isotopes,
                boundary_mfp=boundary_mfp,
                transport_type="SMM19" if wigner else None,
                log_level=0,
            )
    dataset = symmetry_dataset(work, phonopy_symprec)
    return _result(
        calculation,
        np.asarray(temperatures, dtype=float),
        frequencies,
        lowest_frequency=float(frequencies.min()),
        wigner=wigner,
        averaging=averaging_of(work.calc),
        mesh=mesh,
        residual_force=forces.residual,
        space_group_number=None if dataset is None else int(dataset.number),
        relaxation=relaxation,
    )


def require_phono3py():
    """The class of phono3py. Raises MLIPError, with the command that installs it, without it."""
    try:
        from phono3py import Phono3py
    except ImportError as error:
        raise MLIPError(
            f"a conductivity needs phono3py, which cannot be imported ({error}): {install_command('kappa')}"
        ) from None
    return Phono3py


class _Forces:
    """Forces in displaced supercells less those of the undisplaced one, and how many are done."""

    def __init__(self, calculation, calculator, max_residual: float, checkpoint, progress: Progress):
        self.calculator = calculator
        self.max_residual = max_residual
        self.progress = progress
        self.residual = 0.0
        self.done = 0
        cells = [
            calculation.phonon_supercell,
            *calculation.phonon_supercells_with_displacements,
            calculation.supercell,
            *(cell for cell in calculation.supercells_with_displacements if cell is not None),
        ]
        self.total = len(cells)
        self.kept = Checkpoint(checkpoint, cells, calculator)

    def of(self, supercell, displaced) -> np.ndarray:
        """[n, N, 3] in eV/Å; zero for a pair that was left out."""
        reference = self._evaluate(supercell, self._refuse_residual)
        return np.array(
            [np.zeros_like(reference) if c is None else self._evaluate(c) - reference for c in displaced]
        )

    def _refuse_residual(self, reference: np.ndarray) -> None:
        """Raise StructureError for forces [N, 3] of an undisplaced supercell that is not at its minimum."""
        self.residual = max(self.residual, largest_force(reference))
        if self.residual > self.max_residual:
            raise StructureError(
                "a conductivity needs a relaxed structure, expected forces below "
                f"{self.max_residual} eV/Å (`max_residual`), got {self.residual:.4f} eV/Å; relax it first "
                "(`ase_mlip.relax`)"
            )

    def _evaluate(self, cell, refuse: Callable[[np.ndarray], None] = lambda _: None) -> np.ndarray:
        """Forces of the next supercell, which are asked for in the order of the checkpoint's.

        What ``refuse`` refuses, by an exception, is not kept.
        """
        is_done = self.done < len(self.kept.forces)
        if is_done:
            forces = self.kept.forces[self.done]
        else:
            supercell = to_ase(cell)
            supercell.calc = self.calculator
            forces = supercell.get_forces()
        refuse(forces)
        if not is_done:
            self.kept.add(forces, 1)
        self.done += 1
        self.progress(self.done, self.total, "")
        return forces


def _mesh_frequencies(calculation: Phono3py, mesh: Sequence[int]) -> np.ndarray:
    """On all points of the mesh, Γ first, THz, [n, bands]."""
    calculation.mesh_numbers = list(mesh)
    calculation.init_phph_interaction()
    calculation.run_phonon_solver()
    return calculation.get_phonon_data()[0]


def _warn_of_soft_modes(frequencies: np.ndarray) -> None:
    """Of frequencies (THz, [n, bands]) that are below zero, but not so far that the crystal is unstable."""
    if frequencies.min() < -ACOUSTIC:
        warnings.warn(
            f"modes on the mesh are between {IMAGINARY:g} THz and zero, the lowest at "
            f"{frequencies.min():.3f} THz: the conductivity leaves them out, and is uncertain",
            UserWarning,
            stacklevel=users_line(),
        )


def _result(calculation: Phono3py, temperatures: np.ndarray, mesh_frequencies: np.ndarray, **known):
    displaced = (calculation.phonon_supercells_with_displacements, calculation.supercells_with_displacements)
    counts = tuple(sum(cell is not None for cell in cells) for cells in displaced)
    if not is_stable(known["lowest_frequency"]):
        counts = (counts[0], 0)
        tensors = np.full((len(temperatures), 3, 3), np.nan)
        modes = np.full((len(temperatures), *mesh_frequencies.shape), np.nan)
        points = calculation.grid.addresses / np.array(known["mesh"])
        weights = np.ones(len(points), dtype=int)
        parts = (tensors, tensors, modes, mesh_frequencies, modes, points, weights)
    else:
        parts = _analyse(calculation.thermal_conductivity, known["wigner"])
    names = (
        "kappa",
        "kappa_coherences",
        "mode_kappa",
        "frequencies",
        "linewidths",
        "q_points",
        "weights",
    )
    return ConductivityResult(
        temperatures=temperatures,
        **dict(zip(names, parts, strict=True)),
        **known,
        n_displacements=counts,
        phono3py=calculation,
    )


def _analyse(found, wigner: bool) -> tuple[np.ndarray, ...]:
    """κ, its coherences, and the modes' shares, from what phono3py computed without smearing (index 0)."""
    frequencies = found.frequencies
    weights = np.array(found.grid_weights)
    if wigner:
        pairs = found.mode_kappa_matrix[0]  # [T, q, s, s', 6]
        same = np.abs(frequencies[:, :, None] - frequencies[:, None, :]) < DEGENERATE
        populations = np.where(same[None, ..., None], pairs, 0.0).sum(axis=3)
        coherences = np.where(same[None, ..., None], 0.0, pairs)
        modes = populations + _shares(coherences, found.mode_heat_capacities)
        coherent = coherences.sum(axis=(1, 2, 3)) / weights.sum()
    else:
        modes = found.mode_kappa[0]
        coherent = np.zeros((len(modes), 6))
    kappa = modes.sum(axis=(1, 2)) / weights.sum()
    return (
        voigt_6_to_full_3x3_stress(kappa),
        voigt_6_to_full_3x3_stress(coherent),
        modes[..., :3].mean(axis=-1),
        frequencies,
        np.array(found.gamma[0]),
        np.array(found.qpoints),
        weights,
    )


def _shares(coherences: np.ndarray, heat_capacities: np.ndarray) -> np.ndarray:
    """What each mode is given of the coherences [T, q, s, s', 6], [T, q, s', 6]; heat capacities [T, q, s].

    A pair is split by heat capacities, as in the benchmark of κ_SRME (Póta et al., arXiv:2408.00755), whose
    code gives mode s' the fraction C_s / (C_s + C_s').
    """
    first, second = heat_capacities[..., :, None], heat_capacities[..., None, :]
    total = first + second
    fraction = np.divide(2.0 * first, total, out=np.zeros_like(total), where=total > 0.0)
    return (coherences * fraction[..., None]).sum(axis=2)
