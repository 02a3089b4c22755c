"""Schemes of symmetry averaging: which rotations, with which weights.

Octahedral and icosahedral groups come from scipy, Lebedev's rules too, point groups of crystals from spglib.
Averaging over a group makes the energy exactly invariant under it. For the anisotropy that is left of a
general rotation: the octahedral group removes all spherical harmonics up to l = 3, the icosahedral one up
to l = 5, Lebedev's product rule of degree L up to l = L.

scipy and spglib are imported when they are needed: a calculator without averaging starts without them.
"""

from __future__ import annotations

import difflib
import re

import numpy as np
from ase import Atoms

from ..errors import ArgumentError, StructureError
from .averaging import PLAIN, Averaging, random_rotation
from .rotation_file import read_rotations

GROUPS = {"octahedral": "O", "icosahedral": "I"}
SCHEMES = (
    "none, octahedral, icosahedral (each also with +inversion), lebedev:L, random:SEED, file:FILE, on a "
    "structure also crystal and auto, or in Python an undisplaced crystal (`ase.Atoms`)"
)
# What the automatic choice tries, in this order: (evaluations) 1, 24, 60, 208, 380, 600
LADDER = ("none", "octahedral", "icosahedral", "lebedev 7", "lebedev 9", "lebedev 11")


def find_averaging(scheme: str | Atoms | Averaging | None, symprec: float = 1e-5) -> Averaging:
    """The averaging a name stands for.

    Parameters
    ----------
    scheme : str, ase.Atoms or Averaging, optional
        ``"none"``, ``"octahedral"``, ``"icosahedral"``, either with ``"+inversion"``, ``"lebedev:L"``,
        ``"random:SEED"``, ``"file:FILE"`` of :func:`~ase_mlip.rotations.rotation_file.write_rotations`, of
        which the colon may be a space; the **undisplaced** crystal (``ase.Atoms``) whose point group is
        meant; or an ``Averaging``, which is returned
    symprec : float
        tolerance for the crystal's symmetry, Å

    Returns
    -------
    Averaging
        rotations and their weights

    Raises
    ------
    ArgumentError
        unknown scheme
    MLIPError
        a file of rotations that cannot be read
    StructureError
        a crystal without three periodic directions
    """
    if isinstance(scheme, Averaging):
        return scheme
    if isinstance(scheme, Atoms):
        return crystal_averaging(scheme, symprec)
    name = "none" if scheme is None else str(scheme).strip()
    if name == "none":
        return PLAIN
    base, _, inversion = name.partition("+")
    if base in GROUPS and inversion in ("", "inversion"):
        return _group_averaging(base, bool(inversion))
    if re.match("file[ :]", name):
        return read_rotations(name[len("file ") :].strip())
    numbered = re.fullmatch(r"(lebedev|random)[ :](\d+)", name)
    if numbered and numbered[1] == "lebedev":
        return lebedev_averaging(int(numbered[2]))
    if numbered:
        return Averaging(
            f"random {numbered[2]}", random_rotation(int(numbered[2]), 0)[None], np.ones(1), int(numbered[2])
        )
    if name == "auto":
        raise ArgumentError(
            "`symmetrize='auto'` is for calculators of model files, which choose by their first structure "
            f"(`MLIPCalculator`); expected {SCHEMES}"
        )
    if name == "crystal":
        raise ArgumentError(
            "`symmetrize='crystal'` is the point group of a structure, which is not known here; give the "
            "undisplaced crystal (`ase.Atoms`)"
        )
    meant = difflib.get_close_matches(name, ("none", *GROUPS, "crystal", "auto"), 1)
    hint = f"; {meant[0]} is one" if meant else ""
    raise ArgumentError(f"`symmetrize`: unknown scheme {name!r}; expected {SCHEMES}{hint}")


def _group_averaging(base: str, inversion: bool) -> Averaging:
    from scipy.spatial.transform import Rotation

    matrices = Rotation.create_group(GROUPS[base]).as_matrix()
    if inversion:
        matrices = np.concatenate([matrices, -matrices])
    name = f"{base}+inversion" if inversion else base
    return Averaging(name, matrices, np.full(len(matrices), 1.0 / len(matrices)))


def lebedev_averaging(degree: int) -> Averaging:
    """Rotations that take z to the points of a Lebedev rule, each after ``degree`` + 1 rotations about z.

    They integrate Wigner's functions up to l = ``degree`` exactly: the rule over the sphere, the angles over
    the third angle.
    """
    from scipy.integrate import lebedev_rule
    from scipy.spatial.transform import Rotation

    try:
        points, weights = lebedev_rule(degree)
    except NotImplementedError:
        raise ArgumentError(
            f"`symmetrize='lebedev {degree}'`: there is no Lebedev rule of degree {degree}; expected an odd "
            "number from 3 to 31, or one of those scipy.integrate.lebedev_rule knows"
        ) from None
    x, y, z = points
    azimuth, polar = np.arctan2(y, x), np.arccos(np.clip(z, -1.0, 1.0))
    about_z = 2.0 * np.pi * np.arange(degree + 1) / (degree + 1)
    angles = [(a, p, t) for a, p in zip(azimuth, polar, strict=True) for t in about_z]
    matrices = Rotation.from_euler("ZYZ", angles).as_matrix()
    per_point = weights / weights.sum() / len(about_z)
    return Averaging(f"lebedev {degree}", matrices, np.repeat(per_point, len(about_z)))


def crystal_averaging(atoms: Atoms, symprec: float = 1e-5) -> Averaging:
    """The point group of a crystal, improper operations included, in its own orientation."""
    from ..crystals import point_group, require_crystal

    require_crystal(atoms, "symmetrize")
    group = point_group(atoms, symprec)
    if group is None:
        raise StructureError(f"`symmetrize`: spglib finds no symmetry of {atoms} at symprec {symprec} Å")
    matrices = group.matrices
    weights = np.full(len(matrices), 1.0 / len(matrices))
    return Averaging(f"crystal {group.name}", matrices, weights, lattice=True, cell=atoms.cell.array.copy())
