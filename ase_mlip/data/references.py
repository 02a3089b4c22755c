"""DFT references of one structure: found in what ASE read, converted to ASE's units and checked.

ASE moves the keys it knows (energy, forces, stress) into a ``SinglePointCalculator`` and leaves all others in
``atoms.info`` and ``atoms.arrays``; both places are searched, the calculator first. Its results are read as
they are stored, so that constraints (which ``get_forces`` applies) change no reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from ..errors import DataError, StructureError
from ..graph.neighbors import build_graph
from ..voigt import symmetric
from .units import ENERGY_UNITS, LENGTH_UNITS, STRESS_ORDERS, STRESS_UNITS


@dataclass
class Sample:
    """A structure and its references, in eV and Å; the arrays are float64.

    Attributes
    ----------
    atoms : ase.Atoms
        the structure in Å, without a calculator
    energy : float or None
        eV, None where the file gives none
    forces : array or None
        [N, 3] eV/Å or None
    stress : array or None
        [3, 3] symmetric, eV/Å^3 in ASE's sign, or None; None unless periodic in all three directions
    group : str
        the value under the group key, "" where there is none
    source : str
        file name and frame index, for messages
    free_energy : float or None
        eV, what the file calls so, where ``energy`` is another one
    unread : tuple of str
        names of the frame's data that look like references and are not among ``keys``
    """

    atoms: Atoms
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    group: str = ""
    source: str = ""
    free_energy: float | None = None
    unread: tuple[str, ...] = ()

    def to_atoms(self) -> Atoms:
        """A copy of the structure with its references in a calculator and its group in ``info["group"]``."""
        atoms = self.atoms.copy()
        if self.group:
            atoms.info["group"] = self.group
        stress = None if self.stress is None else full_3x3_to_voigt_6_stress(self.stress)
        results = {"energy": self.energy, "forces": self.forces, "stress": stress}
        atoms.calc = SinglePointCalculator(atoms, **{k: v for k, v in results.items() if v is not None})
        return atoms


@dataclass(frozen=True)
class ReferenceKeys:
    """Where the references stand in the files and in which units; a key that is None is not used.

    Attributes
    ----------
    energy, forces, stress, virial, group : str or None
        keys of ``info`` or ``arrays``. ``virial`` takes precedence over ``stress``; a virial is an energy and
        gives stress = -virial/volume
    units : mapping of str
        of energy, length and stress, by the names in ``units.py``
    stress_sign : str
        with "vasp", where a compressed crystal has a positive stress, stress and virial change their sign
    stress_order : str
        of six numbers: "ase" xx yy zz yz xz xy, "vasp" xx yy zz xy yz zx
    """

    energy: str | None = "energy"
    forces: str | None = "forces"
    stress: str | None = "stress"
    virial: str | None = None
    group: str | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    stress_sign: str = "ase"
    stress_order: str = "ase"

    def scales(self) -> tuple[float, float]:
        """The file's units of energy in eV and of length in Å.

        Raises
        ------
        DataError
            an unknown quantity or unit
        """
        known = {"energy": ENERGY_UNITS, "length": LENGTH_UNITS, "stress": STRESS_UNITS}
        for quantity, unit in self.units.items():
            if quantity not in known:
                raise DataError(
                    f"`units`: expected only the keys {_names(known)}, got {quantity!r}; forces "
                    "follow from energy and length, remove the key"
                )
            if unit not in known[quantity]:
                raise DataError(
                    f"`units.{quantity}`: expected one of {_names(known[quantity])}, got {unit!r}; "
                    "convert the file or correct the name"
                )
        return ENERGY_UNITS[self.units.get("energy", "eV")], LENGTH_UNITS[self.units.get("length", "Å")]

    def stress_scale(self) -> float:
        """The file's unit of stress in eV/Å^3; energy per cubic length unless ``units`` names another."""
        eV, angstrom = self.scales()
        return STRESS_UNITS[self.units["stress"]] if "stress" in self.units else eV / angstrom**3


def species_of(samples: Sequence[Sample]) -> list[int]:
    """Atomic numbers in the samples, ascending."""
    return sorted({int(number) for sample in samples for number in np.unique(sample.atoms.numbers)})


def sample_from_atoms(atoms: Atoms, keys: ReferenceKeys, source: str = "`atoms`") -> Sample:
    """The references of ``atoms`` under ``keys``, in eV and Å; what the structure lacks is None.

    Raises
    ------
    DataError
        values that are not numbers, NaN or infinite, or of the wrong shape; a structure that no potential can
        evaluate
    """
    eV, angstrom = keys.scales()
    unknown = np.flatnonzero(atoms.numbers < 1)
    if len(unknown):
        raise DataError(
            f"{source}: expected elements, got X (no element) for {len(unknown)} of {len(atoms)} atoms, "
            f"first atom {unknown[0]}; give the atoms their elements or remove the frame"
        )
    bare = Atoms(atoms.numbers, atoms.positions * angstrom, cell=atoms.cell * angstrom, pbc=atoms.pbc)
    try:
        build_graph(bare, 2.0)  # its checks, at a reach that finds coinciding atoms quickly
    except StructureError as error:
        raise DataError(f"{source}: {error}") from error
    energy = _lookup(atoms, keys.energy, source, [()])
    forces = _lookup(atoms, keys.forces, source, [(len(atoms), 3)])
    stress = _stress(atoms, bare, keys, source)
    free = _lookup(atoms, "free_energy" if keys.energy == "energy" else None, source, [()])
    return Sample(
        atoms=bare,
        energy=None if energy is None else float(energy) * eV,
        forces=None if forces is None else forces * (eV / angstrom),
        stress=stress,
        group="" if keys.group is None else str(atoms.info.get(keys.group, "")),
        source=source,
        free_energy=None if free is None else float(free) * eV,
        unread=_unread(atoms, keys, stress is not None or keys.stress is None),
    )


def _unread(atoms: Atoms, keys: ReferenceKeys, without_virial: bool) -> tuple[str, ...]:
    """Names like ``virial``, unless there is a stress or none is wanted, and ``REF_energy``; no keys."""
    read = {keys.energy, keys.forces, keys.virial or keys.stress, keys.group}
    virials = () if without_virial else ("virial", "virials")
    names = {*atoms.info, *atoms.arrays} - read
    return tuple(sorted(n for n in names if n.lower() in virials or n.upper().startswith("REF_")))


def _stress(atoms: Atoms, bare: Atoms, keys: ReferenceKeys, source: str) -> np.ndarray | None:
    """[3, 3] in eV/Å^3, ASE's sign; the symmetric part of what the file holds."""
    if not bare.pbc.all():
        return None
    key = keys.virial or keys.stress
    tensor = _lookup(atoms, key, source, [(3, 3), (6,), (9,)])
    if tensor is None:
        return None
    if tensor.shape == (6,):
        # What ASE itself read, from vasprun.xml for instance, is in ASE's order.
        by_ase = key in (getattr(atoms.calc, "results", None) or {})
        tensor = voigt_6_to_full_3x3_stress(
            tensor[list(STRESS_ORDERS["ase" if by_ase else keys.stress_order])]
        )
    tensor = symmetric(tensor.reshape(3, 3)) * (-1.0 if keys.stress_sign == "vasp" else 1.0)
    eV, _ = keys.scales()
    return -tensor * eV / bare.get_volume() if keys.virial else tensor * keys.stress_scale()


def _lookup(atoms: Atoms, key: str | None, source: str, shapes: list[tuple[int, ...]]) -> np.ndarray | None:
    """The finite float64 array stored under ``key``, None where there is none."""
    if key is None:
        return None
    results = getattr(atoms.calc, "results", None) or {}
    places = (results, atoms.info, atoms.arrays)
    value = next((place[key] for place in places if place.get(key) is not None), None)
    if value is None:
        return None
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{source}: expected numbers under the key `{key}`, got {value!r}; correct the file or name "
            "another key"
        ) from error
    if array.shape not in shapes:
        raise DataError(
            f"{source}: expected `{key}` of shape {' or '.join(map(str, shapes))} for {len(atoms)} atoms, "
            f"got {array.shape}; check the columns of the file and the key"
        )
    if not np.isfinite(array).all():
        raise DataError(
            f"{source}: expected finite numbers under the key `{key}`, got {np.sum(~np.isfinite(array))} NaN "
            "or infinite entries; remove the frame or repeat its calculation"
        )
    return array


def _names(keys) -> str:
    return ", ".join(repr(key) for key in keys)
