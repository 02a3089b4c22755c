"""A potential along every bond of a structure: how rough its force is, and how far from a reference scan.

Each bond is stretched and compressed by up to 20 % in steps of 0.01 Å while all other atoms rest. With f(r)
the force along the bond on the atom that moves, the roughness is the rms of the second difference

    (f(r + h) - 2 f(r) + f(r - h)) / h²,

in eV/Å³. The smoothest potential has that of the bond's own anharmonicity, which is about the same for all
models of a molecule. A network that wiggles between its training data has more: an oscillation of the energy
with wavenumber k counts with k³. No reference is needed. The idea to look at bonds: arXiv 2602.04861.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.data import covalent_radii

from ...checks.evaluate import predictions
from ...dynamics.criteria import BOND
from ...errors import MLIPError, StructureError
from ...graph.pairs import find_pairs
from ...progress.form import Progress

STRETCH = 0.2  # of the length, to either side
STEP = 0.01  # Å
MOST_BONDS = 60  # of larger structures so many bonds, spread over their list


@dataclass(frozen=True)
class Bond:
    """Two bonded atoms; ``j`` moves, along the vector from ``i``.

    Attributes
    ----------
    i, j: positions in the structure
    shift: image of ``j`` that is bonded, in cells
    length: Å
    """

    i: int
    j: int
    shift: tuple[int, int, int]
    length: float


@dataclass
class Scan:
    """The force along one bond.

    Attributes
    ----------
    bond: which
    lengths: Å, evenly spaced, [n]
    energies: eV, [n]
    forces: on the atom that moves along the bond, eV/Å, positive where it lengthens the bond, [n]
    roughness: rms second difference of the forces, eV/Å³
    """

    bond: Bond
    lengths: np.ndarray = field(repr=False)
    energies: np.ndarray = field(repr=False)
    forces: np.ndarray = field(repr=False)
    roughness: float


@dataclass
class BondScan:
    """Scans of the bonds of a structure.

    Attributes
    ----------
    scans : list of Scan
        one for each bond
    n_bonds : int
        bonds of the structure, of which ``scans`` may be a part
    roughness : float
        rms over all second differences of all scans, eV/Å³
    errors : ScanErrors or None
        against a reference scan, where one was given
    """

    scans: list[Scan]
    n_bonds: int
    roughness: float
    errors: ScanErrors | None = None

    def to_dict(self, atoms: Atoms) -> dict:
        """The numbers of each bond as JSON values, without its curve."""
        return {
            "roughness": self.roughness,
            "n_bonds": self.n_bonds,
            "bonds": [
                {
                    "atoms": [scan.bond.i, scan.bond.j],
                    "elements": [atoms.symbols[scan.bond.i], atoms.symbols[scan.bond.j]],
                    "length": scan.bond.length,
                    "roughness": scan.roughness,
                }
                for scan in self.scans
            ],
            "errors": None if self.errors is None else asdict(self.errors),
        }


@dataclass(frozen=True)
class ScanErrors:
    """Errors against reference frames along a scan.

    Attributes
    ----------
    energy_rmse: of energies relative to the frame that is lowest in the reference, eV
    forces_rmse: of force components, eV/Å; None where the reference has none
    n: frames
    """

    energy_rmse: float
    forces_rmse: float | None
    n: int


def bonds_of(atoms: Atoms) -> list[Bond]:
    """Pairs closer than 1.25 times the sum of their covalent radii, each once, in the order of the atoms.

    The one that moves is the end with fewer bonds, of equals the lighter, of equals the later: an atom of
    hydrogen rather than what it hangs on.
    """
    reach = BOND * 2.0 * float(covalent_radii[atoms.numbers].max())
    i, j, shifts, distances = find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, reach)
    radii = covalent_radii[atoms.numbers]
    bonded = distances < BOND * (radii[i] + radii[j])
    masses = atoms.get_masses()
    count = np.bincount(i[bonded], minlength=len(atoms))
    found = []
    for a, b, shift, distance in zip(i[bonded], j[bonded], shifts[bonded], distances[bonded], strict=True):
        if a == b:  # an atom and its own image cannot be pulled apart
            continue
        rests, moves = ((-count[k], -masses[k], k) for k in (a, b))
        if rests < moves:
            found.append(Bond(int(a), int(b), tuple(int(s) for s in shift), float(distance)))
    return sorted(found, key=lambda bond: (bond.i, bond.j, bond.shift))


def bond_frames(
    atoms: Atoms, bond: Bond, stretch: float = STRETCH, step: float = STEP
) -> tuple[np.ndarray, list[Atoms]]:
    """Lengths in Å [n], and the structure with the bond at each of them; the middle one is the structure."""
    count = int(round(stretch * bond.length / step))
    offsets = step * np.arange(-count, count + 1)
    vector = atoms.positions[bond.j] + bond.shift @ atoms.cell.array - atoms.positions[bond.i]
    direction = vector / np.linalg.norm(vector)
    frames = []
    for offset in offsets:
        frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        frame.positions[bond.j] += offset * direction
        frames.append(frame)
    return bond.length + offsets, frames


def scan_bonds(
    atoms: Atoms,
    calculator: BaseCalculator,
    stretch: float = STRETCH,
    step: float = STEP,
    reference: Sequence[Atoms] | None = None,
    most: int = MOST_BONDS,
    progress: Progress | None = None,
) -> BondScan:
    """Stretch and compress every bond of a structure, the rest fixed.

    Parameters
    ----------
    atoms : ase.Atoms
        the structure, best a relaxed one
    calculator : ase calculator
        any with energies and forces
    stretch : float
        largest change of a bond, as a fraction of its length
    step : float
        between lengths, Å
    reference : sequence of ase.Atoms, optional
        frames of a scan with energies, and forces if they have them; see :func:`scan_errors`
    most : int
        of a structure with more bonds, so many are taken, spread over their list
    progress : callable, optional
        called as ``progress(done, total, stage)`` with structures

    Returns
    -------
    BondScan
        a scan of each bond that was taken

    Raises
    ------
    StructureError
        a structure without bonds
    MLIPError
        a step or a stretch that is not positive, or a step too long for three points; ``most`` below one
    """
    if not 0.0 < stretch < 1.0 or not step > 0.0:
        raise MLIPError(
            f"`stretch`, `step`: expected a fraction and a positive length, got {stretch} and {step}"
        )
    if most < 1:
        raise MLIPError(f"`most`: expected at least one bond, got {most}")
    bonds = bonds_of(atoms)
    if not bonds:
        raise StructureError(
            f"`atoms`: expected bonds, pairs closer than {BOND} times the sum of their covalent radii, "
            f"got none in {atoms.get_chemical_formula()}"
        )
    chosen = [bonds[k] for k in np.unique(np.linspace(0, len(bonds) - 1, min(most, len(bonds))).astype(int))]
    if round(stretch * min(bond.length for bond in chosen) / step) < 1:
        raise MLIPError(f"`step`: expected at most `stretch` times the length of a bond, got {step} Å")
    ways = [bond_frames(atoms, bond, stretch, step) for bond in chosen]
    results = predictions(
        calculator, [f for _, frames in ways for f in frames], ["energy", "forces"], progress
    )
    scans, done = [], 0
    for bond, (lengths, frames) in zip(chosen, ways, strict=True):
        scans.append(_scan(bond, lengths, frames, results[done : done + len(frames)]))
        done += len(frames)
    squares = np.concatenate([second_differences(scan.forces, step) ** 2 for scan in scans])
    errors = None if reference is None else scan_errors(calculator, reference)
    return BondScan(scans, len(bonds), float(np.sqrt(squares.mean())), errors)


def scan_errors(calculator: BaseCalculator, reference: Sequence[Atoms]) -> ScanErrors:
    """Errors of a calculator along reference frames, such as a scan by DFT.

    Energies are compared relative to the frame that is lowest in the reference, so that another zero does not
    matter.

    Raises
    ------
    MLIPError
        fewer than two frames, or a frame without an energy
    """
    frames = list(reference)
    if len(frames) < 2 or any(frame.calc is None or "energy" not in frame.calc.results for frame in frames):
        raise MLIPError(f"`reference`: expected at least two frames with energies, got {len(frames)} frames")
    found = predictions(calculator, frames, ["energy", "forces"])
    theirs = np.array([frame.calc.results["energy"] for frame in frames])
    mine = np.array([result["energy"] for result in found])
    lowest = int(theirs.argmin())
    differences = (mine - mine[lowest]) - (theirs - theirs[lowest])
    of_forces = None
    if all("forces" in frame.calc.results for frame in frames):
        pairs = zip(found, frames, strict=True)
        parts = [(result["forces"] - frame.calc.results["forces"]).ravel() for result, frame in pairs]
        of_forces = float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))
    return ScanErrors(float(np.sqrt(np.mean(differences**2))), of_forces, len(frames))


def second_differences(forces: np.ndarray, step: float) -> np.ndarray:
    """(f₊ - 2f₀ + f₋)/h² of forces [n] in eV/Å at points h apart, eV/Å³ [n - 2]."""
    return np.diff(forces, 2) / step**2


def _scan(bond: Bond, lengths: np.ndarray, frames: list[Atoms], results: list[dict]) -> Scan:
    first, last = frames[0].positions[bond.j], frames[-1].positions[bond.j]
    direction = (last - first) / np.linalg.norm(last - first)
    energies = np.array([float(result["energy"]) for result in results])
    forces = np.array([result["forces"][bond.j] @ direction for result in results])
    differences = second_differences(forces, lengths[1] - lengths[0])
    return Scan(bond, lengths, energies, forces, float(np.sqrt(np.mean(differences**2))))
