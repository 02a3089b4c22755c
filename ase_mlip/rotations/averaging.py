"""Rotations that a model is averaged over: matrices and weights; :mod:`.schemes` makes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ..errors import StructureError

LATTICE_TOLERANCE = 1e-3  # of fractional coordinates, for an operation to map a box onto itself
GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True, eq=False)
class Averaging:
    """Rotations to average over.

    Attributes
    ----------
    name : str
        the scheme, such as ``"octahedral+inversion"``
    rotations : array
        orthogonal matrices, float64 [G, 3, 3]; none for the plain model
    weights : array
        float64 [G], sum 1
    seed : int or None
        of the scheme ``random``, whose one rotation :func:`random_rotation` gives for each evaluation
    lattice : bool
        of a crystal's group whether boxes have to be mapped onto themselves
    cell : array or None
        of the crystal whose group it is, rows in Å, [3, 3]; None where there is none
    """

    name: str
    rotations: np.ndarray
    weights: np.ndarray
    seed: int | None = None
    lattice: bool = False
    cell: np.ndarray | None = None

    @property
    def evaluations(self) -> int:
        """Evaluations of the network per evaluation of the average."""
        return max(1, len(self.rotations))

    def at(self, evaluation: int) -> Averaging:
        """The averaging of one evaluation: itself, or with ``random`` one rotation, its own."""
        if self.seed is None:
            return self
        rotation = random_rotation(self.seed, evaluation)[None]
        return Averaging(self.name, rotation, np.ones(1), self.seed)

    def after(self, rotation: np.ndarray) -> Averaging:
        """The averaging of a structure that was rotated by R = ``rotation`` [3, 3] before: R_g R."""
        rotations, weights = self.matrices()
        return Averaging(self.name, rotations @ rotation, weights)

    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """Rotations [G, 3, 3] and weights [G], at least one: the plain model is averaged over no rotation."""
        if len(self.rotations):
            return self.rotations, self.weights
        return np.eye(3)[None], np.ones(1)

    def check_lattice(self, atoms: Atoms) -> None:
        """Raise StructureError if an operation does not map the periodic box of ``atoms`` onto itself.

        The rule of ``pair_style mlip`` is the same: an operation R makes of the box's vectors, rows of h,
        h Rᵀ, and h Rᵀ h⁻¹ has to be integer within :data:`LATTICE_TOLERANCE`.
        """
        if not self.lattice or not atoms.pbc.any():
            return
        cell = atoms.cell.complete().array
        rotated = cell @ self.rotations.transpose(0, 2, 1) @ np.linalg.inv(cell)
        away = rotated - rotated.round()
        error = np.abs(away).max(axis=(1, 2))
        if error.max() > LATTICE_TOLERANCE:
            distance = np.linalg.norm(away @ cell, axis=-1).max()
            crystal = (
                "the crystal" if self.cell is None else f"the crystal with the cell {_listed(self.cell)} Å"
            )
            raise StructureError(
                f"`symmetrize`: expected a box that the {len(self.rotations)} operations of {self.name} map "
                f"onto itself, got one that {int((error > LATTICE_TOLERANCE).sum())} of them map away from "
                f"it, at worst by {error.max():.2g} of a vector ({distance:.2g} Å); use a supercell of "
                f"{crystal}, in its orientation, or allow it with `check_lattice=False`"
            )

    def document(self) -> dict:
        """What a model file says of it; the matrices are in its module.

        Raises
        ------
        StructureError
            ``random``, which is another rotation at every evaluation
        """
        if self.seed is not None:
            raise StructureError(
                f"`averaging`: expected a group or a rule such as 'octahedral', got {self.name!r}, which is "
                "another rotation at every evaluation and cannot be stored; choose it when loading the file"
            )
        known = {"scheme": self.name, "lattice": self.lattice}
        return known if self.cell is None else {**known, "cell": np.asarray(self.cell).tolist()}


def _listed(cell: np.ndarray) -> str:
    return str((np.asarray(cell).round(3) + 0.0).tolist())


PLAIN = Averaging("none", np.zeros((0, 3, 3)), np.zeros(0))


def random_rotation(seed: int, evaluation: int) -> np.ndarray:
    """A uniformly distributed rotation [3, 3] that depends on both numbers only.

    K. Shoemake's formula for a unit quaternion (Graphics Gems III, 1992) of three numbers that come from
    SplitMix64; ``lammps_plugin/both_sides/rotations.h`` has the same.
    """
    from scipy.spatial.transform import Rotation  # late: most processes never need it

    state = (seed * GOLDEN + evaluation) & (2**64 - 1)
    uniform = []
    for _ in range(3):
        state = (state + GOLDEN) & (2**64 - 1)
        uniform.append((_mixed(state) >> 11) * 2.0**-53)
    first, second = np.sqrt(1.0 - uniform[0]), np.sqrt(uniform[0])
    angles = 2.0 * np.pi * np.array(uniform[1:])
    x, y = first * np.sin(angles[0]), first * np.cos(angles[0])
    z, w = second * np.sin(angles[1]), second * np.cos(angles[1])
    return Rotation.from_quat([x, y, z, w]).as_matrix()


def _mixed(state: int) -> int:
    """The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return state ^ (state >> 31)
