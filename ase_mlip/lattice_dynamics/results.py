"""What calculations of phonons and of the thermal conductivity return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from phonopy import Phonopy

from ..errors import StructureError
from ..provenance import plain
from ..relaxation.minimum import FirstRelaxation, document_of
from ..relaxation.result import RelaxResult
from .bands import BandStructure, frequencies_at, is_stable
from .input import preparation
from .thermal import ThermalProperties

if TYPE_CHECKING:
    from phono3py import Phono3py


@dataclass
class PhononResult:
    """Phonons of a crystal.

    Attributes
    ----------
    gamma_frequencies : float64 [bands]
        THz, from force constants that obey space group and sum rules
    gamma_frequencies_raw : float64 [bands]
        the same before the sum rules were imposed: what the forces alone give
    special_frequencies : dict of float64 [bands]
        THz by name of the special point
    bands : BandStructure
        along the path
    dos_frequencies, dos : float64 [n]
        THz and states/THz per primitive cell
    mesh_frequencies, mesh_weights : float64 [n, bands], int64 [n]
        on the mesh's irreducible points
    lowest_frequency, lowest_q : float, float64 [3]
        over mesh and path
    imaginary : list of (float64 [3], float)
        where modes are imaginary on mesh and path: q-point and lowest frequency there, lowest first
    thermal : ThermalProperties or None
        None where modes are imaginary
    residual_force : float
        largest force in the undisplaced supercell, eV/Å; it is subtracted from all others
    sum_rule_error : float
        largest component of the raw force constants' sum over atoms, eV/Å^2
    n_displacements : int
        supercells with a displacement that were evaluated
    evaluations : int
        of the calculator or network in supercells, rotations counted
    seconds : float
        for the forces in supercells
    averaging : str
        name of the averaging over rotations, "none" without
    n_atoms_supercell, supercell_matrix : int, int64 [3, 3]
        of the supercell that was displaced
    supercell_width : float
        smallest distance between opposite faces of the supercell, Å
    distance, mesh : float, tuple of int
        as they were asked for, Å
    space_group : str
        as phonopy used it
    primitive : ase.Atoms
        primitive cell
    relaxation : RelaxResult or None
        how the unit cell was made symmetric and relaxed, None where it was taken as it is
    phonopy : phonopy.Phonopy
        the phonopy object, for everything else that phonopy does
    """

    gamma_frequencies: np.ndarray
    gamma_frequencies_raw: np.ndarray
    special_frequencies: dict[str, np.ndarray]
    bands: BandStructure = field(repr=False)
    dos_frequencies: np.ndarray = field(repr=False)
    dos: np.ndarray = field(repr=False)
    mesh_frequencies: np.ndarray = field(repr=False)
    mesh_weights: np.ndarray = field(repr=False)
    lowest_frequency: float
    lowest_q: np.ndarray
    imaginary: list[tuple[np.ndarray, float]] = field(repr=False)
    thermal: ThermalProperties | None = field(repr=False)
    residual_force: float
    sum_rule_error: float
    n_displacements: int
    evaluations: int
    seconds: float
    averaging: str
    n_atoms_supercell: int
    supercell_matrix: np.ndarray
    supercell_width: float
    distance: float
    mesh: tuple[int, int, int]
    space_group: str
    primitive: Atoms = field(repr=False)
    relaxation: RelaxResult | None = field(repr=False)
    phonopy: Phonopy = field(repr=False)

    @property
    def stable(self) -> bool:
        """No imaginary mode on mesh or path: none below -0.1 THz."""
        return is_stable(self.lowest_frequency)

    def frequencies_at(self, q_points: Sequence) -> np.ndarray:
        """Frequencies (THz, [n, bands]) at ``q_points`` [n, 3]."""
        return frequencies_at(self.phonopy, q_points)

    def group_velocities(self, q_points: Sequence) -> np.ndarray:
        """∂ω/∂q (Å·THz, which is 100 m/s; [n, bands, 3]) at ``q_points`` [n, 3], by phonopy."""
        self.phonopy.run_qpoints(np.asarray(q_points, dtype=float), with_group_velocities=True)
        # phonopy's are derivatives of the frequency by q without 2π, which is the same number
        return np.array(self.phonopy.qpoints.group_velocities)

    def to_dict(self) -> dict:
        """Numbers and names for JSON; what is large stays in phonopy's files."""
        return {
            "space_group": self.space_group,
            "cell": self.phonopy.unitcell.cell.tolist(),
            "relaxed": self.relaxation is not None,
            "preparation": None if self.relaxation is None else preparation(self.relaxation),
            "averaging": self.averaging,
            "supercell_matrix": self.supercell_matrix.tolist(),
            "n_atoms_supercell": self.n_atoms_supercell,
            "supercell_width": self.supercell_width,
            "distance": self.distance,
            "mesh": list(self.mesh),
            "n_displacements": self.n_displacements,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
            "stable": self.stable,
            "lowest_frequency": self.lowest_frequency,
            "lowest_q": np.asarray(self.lowest_q).tolist(),
            "imaginary": [[*map(float, q), frequency] for q, frequency in self.imaginary[:20]],
            "residual_force": self.residual_force,
            "sum_rule_error": self.sum_rule_error,
            "gamma": self.gamma_frequencies.tolist(),
            "gamma_raw": self.gamma_frequencies_raw.tolist(),
            "special": {name: row.tolist() for name, row in self.special_frequencies.items()},
            "heat_capacity_300K": None if self.thermal is None else float(self.thermal.heat_capacity[30]),
        }

    def spectra(self, with_group_velocities: bool = False) -> dict:
        """Density of states and thermal properties as JSON has them, and the mesh where it is asked for."""
        found = {
            "dos": {"frequencies": self.dos_frequencies.tolist(), "states": self.dos.tolist()},
            "thermal": None if self.thermal is None else plain(vars(self.thermal)),
        }
        if with_group_velocities:
            q_points = self.phonopy.mesh.qpoints
            found["mesh_modes"] = {
                "q_points": q_points.tolist(),
                "weights": self.mesh_weights.tolist(),
                "frequencies": self.mesh_frequencies.tolist(),
                "group_velocities": self.group_velocities(q_points).tolist(),
            }
        return found

    def save(self, path: str | Path) -> None:
        """Write a ``phonopy.yaml`` with displacements and forces, which phonopy's own commands read."""
        self.phonopy.save(filename=str(path), settings={"force_sets": True, "displacements": True})

    def plot(self, path: str | Path) -> None:
        """Draw bands and density of states into a PNG, PDF or SVG."""
        from ..pictures.plots import plot_phonons, save_figure

        save_figure(plot_phonons(self), path)


@dataclass
class ConductivityResult:
    """Lattice thermal conductivity of a crystal, W/m/K.

    Attributes
    ----------
    temperatures : float64 [n]
        K
    kappa : float64 [n, 3, 3]
        conductivity; NaN where modes are imaginary
    kappa_coherences : float64 [n, 3, 3]
        the part of ``kappa`` from coherences between modes; zero without ``wigner``
    mode_kappa : float64 [n, q, bands]
        contribution of each mode at an irreducible q-point with its star, mean over x, y and z; its sum over
        modes divided by ``weights.sum()`` is ``mean_kappa``
    frequencies : float64 [q, bands]
        THz, negative where imaginary
    linewidths : float64 [n, q, bands]
        half widths at half maximum from three-phonon scattering, THz
    q_points, weights : float64 [q, 3], int64 [q]
        irreducible points in units of the primitive cell's reciprocal vectors
    lowest_frequency : float
        on the mesh, THz
    wigner : bool
        whether coherences are in
    averaging : str
        what the model was averaged over, "none" for nothing
    mesh : tuple of int
        q-points along each axis
    residual_force : float
        largest force in the undisplaced supercells, eV/Å; it is subtracted from all others
    n_displacements : tuple of int
        supercells evaluated with a displacement, for second and for third order
    space_group_number : int or None
        of the structure, within ``phonopy_symprec``
    phono3py : phono3py.Phono3py
        the phono3py object, for everything else that phono3py does
    relaxation : FirstRelaxation or None
        how the crystal was relaxed first, with the relaxed crystal; None where it was taken as it is
    """

    temperatures: np.ndarray
    kappa: np.ndarray
    kappa_coherences: np.ndarray
    mode_kappa: np.ndarray = field(repr=False)
    frequencies: np.ndarray = field(repr=False)
    linewidths: np.ndarray = field(repr=False)
    q_points: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    lowest_frequency: float
    wigner: bool
    averaging: str
    mesh: tuple[int, int, int]
    residual_force: float
    n_displacements: tuple[int, int]
    space_group_number: int | None
    phono3py: Phono3py = field(repr=False)
    relaxation: FirstRelaxation | None = field(default=None, repr=False)

    @property
    def stable(self) -> bool:
        """No imaginary mode on the mesh: none below -0.1 THz. Without that there is no conductivity."""
        return is_stable(self.lowest_frequency)

    @property
    def mean_kappa(self) -> np.ndarray:
        """A third of the trace, W/m/K, [n]."""
        return np.trace(self.kappa, axis1=1, axis2=2) / 3.0

    def to_dict(self) -> dict:
        """Numbers as JSON values, without linewidths; what is NaN because modes are imaginary is left out."""
        arrays = ["temperatures", "kappa", "kappa_coherences", "mode_kappa", "frequencies", "q_points"]
        arrays.append("weights")
        names = ("stable", "lowest_frequency", "wigner", "averaging", "mesh", "residual_force")
        found = {"units": "W/m/K, K, THz; residual_force eV/Å", "space_group": self.space_group_number}
        found |= {name: getattr(self, name) for name in arrays if self.stable}
        found |= {"n_displacements": self.n_displacements, "relaxation": document_of(self.relaxation)}
        return plain(found | {name: getattr(self, name) for name in names})

    def plot(self, path: str | Path) -> None:
        """Draw what modes up to a frequency contribute, and the total by temperature, into a PNG, PDF or SVG.

        Raises
        ------
        StructureError
            where modes are imaginary: there is no conductivity to be seen
        """
        from ..pictures.elastic import plot_conductivity
        from ..pictures.plots import save_figure

        if not self.stable:
            raise StructureError(
                f"`plot` needs a crystal without imaginary modes, got {self.lowest_frequency:.3f} THz; "
                "relax it, or look at the modes with `ase_mlip.phonons`"
            )
        save_figure(plot_conductivity(self), path)
