"""When a simulation is unstable: one definition for every engine, for tests and for training.

What is asked of a frame is asked of its numbers alone, so that ASE, LAMMPS or a stored trajectory get the
same answer. Bonds follow from covalent radii (B. Cordero et al., Dalton Trans. 2832 (2008), in ``ase.data``).
Related definitions: X. Fu et al., arXiv:2210.07237, call a molecule unstable when a bond length is off by
more than 0.5 Å; S. Raja et al. (StABlE), arXiv:2402.13984, train on such events.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from scipy import stats

from ..crystals import MAX_COORDINATE, is_number
from ..errors import MLIPError, StructureError
from ..graph.pairs import find_pairs
from .md import PICOSECOND

THERMAL_WAYS = 10.0  # times √(3kT/m) · time: no atom moves further from one record to the next
RARE = 1e-9  # probability with which a canonical record is hotter than what is allowed with a thermostat
BOND = 1.25  # a pair closer than this times the sum of its covalent radii is bonded at the start
KINDS = (
    "non-finite",
    "lost atom",
    "close contact",
    "bond length",
    "broken bond",
    "formed bond",
    "temperature",
    "energy jump",
    "engine stopped",
)


@dataclass(frozen=True)
class Criteria:
    """What makes a frame unstable. None switches a criterion off; NaN and infinity always count.

    Attributes
    ----------
    min_distance : float or None
        shortest distance allowed, as a factor on the sum of the pair's covalent radii
    min_distance_absolute : float or None
        the same for all pairs, Å; both hold
    bonds : bool or str
        whether a broken or formed bond is a failure: True, False, or "auto", which is True for molecules (no
        periodic direction) only, because bonds of liquids and hot solids change without harm, and False where
        ``bond_deviation`` or ``bond_length`` says what a failure is
    bond_deviation : float or None
        largest change of a bond from its length at the start, to either side, Å
    bond_length : float or None
        longest bond allowed, Å
    bond_stretch : float
        a bond is broken when longer than this factor times its length at the start
    bond_formed : float
        one is formed when a pair not bonded at the start is closer than this factor times the sum of its
        covalent radii
    lost_distance : float or None
        an atom further than this from every other (and from its own images) is lost, Å, unless it was alone
        at the start; so is one that moves further from one record to the next and by more than ten times its
        thermal way, which LAMMPS may lose altogether
    temperature_factor : float or None
        highest temperature, as a factor on that of the run; in a ramp on the present target. With a
        thermostat the temperature of few atoms fluctuates: what it reaches in one record of a billion is
        allowed, whatever the factor
    energy_jump : float or None
        largest change of the conserved energy from one record to the next, eV/atom: of the total energy, or
        with a thermostat of what that conserves; not asked where an engine does not know it
    """

    min_distance: float | None = 0.5
    min_distance_absolute: float | None = None
    bonds: bool | str = "auto"
    bond_deviation: float | None = None
    bond_length: float | None = None
    bond_stretch: float = 1.5
    bond_formed: float = 1.1
    lost_distance: float | None = 8.0
    temperature_factor: float | None = 5.0
    energy_jump: float | None = 0.05

    def __post_init__(self) -> None:
        if self.bonds not in (True, False, "auto"):
            raise MLIPError(f'`Criteria.bonds`: expected True, False or "auto", got {self.bonds!r}')
        for name, value in vars(self).items():
            if name != "bonds" and value is not None and not (is_number(value) and value > 0):
                raise MLIPError(f"`Criteria.{name}`: expected a positive number or None, got {value!r}")


@dataclass(frozen=True)
class Failure:
    """The first record at which a simulation was seen to be unstable.

    Attributes
    ----------
    time_ps, step : float, int
        of the record
    kind : str
        one of ``KINDS``
    detail : str
        what was found and what was allowed, in words
    """

    time_ps: float
    step: int
    kind: str
    detail: str


@dataclass(frozen=True)
class Frame:
    """A record of a simulation.

    Attributes
    ----------
    step, time_ps : int, float
        when
    positions : array
        [N, 3], Å, followed through periodic boundaries (not wrapped)
    potential_energy, kinetic_energy : float or None
        of the whole structure, eV; None where not yet known
    cell : array or None
        [3, 3], Å; None for that of the start
    target_K : float or None
        what a thermostat aims at at this time, K; None at constant energy
    conserved_energy : float or None
        what dynamics with a thermostat conserves, eV; None where there is none, or where it is not known
    """

    step: int
    time_ps: float
    positions: np.ndarray
    potential_energy: float | None = None
    kinetic_energy: float | None = None
    cell: np.ndarray | None = None
    target_K: float | None = None
    conserved_energy: float | None = None

    @property
    def conserved(self) -> float | None:
        """The energy that should not change, eV, as far as it is known: the total one without thermostat."""
        if self.target_K is not None or self.potential_energy is None or self.kinetic_energy is None:
            return self.conserved_energy
        return self.potential_energy + self.kinetic_energy


class Monitor:
    """Follows one simulation: :meth:`check` its frames in order.

    Parameters
    ----------
    atoms : ase.Atoms
        the start, which defines the bonds; not modified
    criteria : Criteria, optional
        what is unstable
    temperature_K : float, optional
        of the run, K, for ``temperature_factor``; None takes that of the start's momenta

    Attributes
    ----------
    start
        positions at the start, Å, [N, 3]
    failure
        the first, or None
    min_distance
        shortest distance between two atoms in any finite frame, Å; infinite where none are near
    broken_bonds, formed_bonds
        relative to the start, in the last frame; counted whatever the criteria
    lost_atoms
        atoms lost in the last frame
    """

    def __init__(self, atoms: Atoms, criteria: Criteria | None = None, temperature_K: float | None = None):
        if len(atoms) == 0:
            raise StructureError("`Monitor` needs at least one atom, got a structure with none")
        if not np.isfinite(atoms.positions).all():
            raise StructureError("`Monitor` needs a start with finite positions, got NaN or infinity")
        self.criteria = criteria or Criteria()
        self.n_atoms = len(atoms)
        self.start = atoms.positions.copy()
        start_K = temperature(atoms.get_kinetic_energy(), len(atoms))
        self.temperature_K = start_K if temperature_K is None else temperature_K
        self.failure: Failure | None = None
        self.min_distance = float("inf")
        self.broken_bonds = self.formed_bonds = self.lost_atoms = 0
        self._cell, self._pbc = atoms.cell.array.copy(), np.array(atoms.pbc)
        self._symbols = atoms.get_chemical_symbols()
        self._radii = covalent_radii[atoms.numbers]
        own_limit = self.criteria.bond_deviation is not None or self.criteria.bond_length is not None
        automatic = not self._pbc.any() and not own_limit
        self._bonds_fail = automatic if self.criteria.bonds == "auto" else self.criteria.bonds
        self._reach = max(BOND, self.criteria.bond_formed, self.criteria.min_distance or 0.0)
        self._reach = max(2.0 * self._reach * self._radii.max(), self.criteria.min_distance_absolute or 0.0)
        self._last_conserved: float | None = None
        self._last: tuple[float, np.ndarray] = (0.0, self.start)  # time in ps, positions
        # of 1 K, in Å/ps
        self._unit_speeds = np.sqrt(3.0 * units.kB / atoms.get_masses()) * PICOSECOND
        freedom = max(3 * len(atoms) - 3, 3)
        self._canonical_factor = float(stats.chi2.isf(RARE, freedom)) / freedom
        self._alone = np.zeros(self.n_atoms, dtype=bool)
        self._find_bonds(self.start)

    def _find_bonds(self, positions: np.ndarray) -> None:
        i, j, shifts, distances = find_pairs(positions, self._cell, self._pbc, self._reach)
        bonded = (i < j) & (distances < BOND * (self._radii[i] + self._radii[j]))
        self._bonds = np.column_stack([i, j, shifts])[bonded]
        self._lengths = distances[bonded]
        self._bonded = set(map(tuple, self._bonds.tolist()))
        self._alone = self._far_from_all(positions, self._cell, i)

    def check(self, frame: Frame) -> Failure | None:
        """The frame's failure, or None; the first is kept in ``failure``."""
        reason = self._examine(frame)
        found = None if reason is None else Failure(frame.time_ps, frame.step, *reason)
        if self.failure is None:
            self.failure = found
        return found

    def stop(
        self, step: int, time_ps: float, kind: str, detail: str, positions: np.ndarray | None = None
    ) -> Failure:
        """The engine could not go on before it reached the record at ``step``.

        ``positions`` [N, 3] (Å) are those it refused, as far as they are known: they may be a failure that
        has a name.
        """
        named = None if positions is None else self.check(Frame(step, time_ps, positions))
        if named is not None:
            return named
        failure = Failure(time_ps, step, kind, detail)
        self.failure = self.failure or failure
        return failure

    def _examine(self, frame: Frame) -> tuple[str, str] | None:
        """Kind and detail of what is wrong with the frame; criteria in the order of ``KINDS``."""
        energies = (frame.potential_energy, frame.kinetic_energy, frame.conserved_energy)
        energies = [energy for energy in energies if energy is not None]
        cell = self._cell if frame.cell is None else np.asarray(frame.cell)
        for name, values in (("positions", frame.positions), ("energies", energies), ("cell", cell)):
            if not np.isfinite(values).all():
                return "non-finite", f"the {name} are not finite"
        furthest = np.abs(frame.positions).max()
        if furthest > MAX_COORDINATE:
            self.lost_atoms = int((np.abs(frame.positions).max(axis=1) > MAX_COORDINATE).sum())
            return "lost atom", f"a coordinate of {furthest:.3g} Å"
        thrown = self._thrown(frame)
        reason = thrown or self._geometry(frame.positions, cell)
        reason = reason or self._energies(frame)
        self._last_conserved = frame.conserved
        self._last = frame.time_ps, frame.positions
        return reason

    def _thrown(self, frame: Frame) -> tuple[str, str] | None:
        """Atoms that moved further since the last frame than any speed explains."""
        if self.criteria.lost_distance is None:
            return None
        time, before = self._last
        speeds = self._unit_speeds * np.sqrt(self._target_K(frame))
        allowed = np.maximum(self.criteria.lost_distance, THERMAL_WAYS * speeds * abs(frame.time_ps - time))
        moved = np.linalg.norm(frame.positions - before, axis=1)
        self.lost_atoms = int((moved > allowed).sum())
        if not self.lost_atoms:
            return None
        atom = int((moved - allowed).argmax())
        return "lost atom", f"{self._name(atom)} moved by {moved[atom]:.3g} Å in one record"

    def _geometry(self, positions: np.ndarray, cell: np.ndarray) -> tuple[str, str] | None:
        limits = self.criteria
        i, j, shifts, distances = find_pairs(positions, cell, self._pbc, self._reach)
        sums = self._radii[i] + self._radii[j]
        lost = self._far_from_all(positions, cell, i) & ~self._alone
        self.lost_atoms = int(lost.sum())
        if len(distances):
            self.min_distance = min(self.min_distance, float(distances.min()))
        lengths = self._bond_lengths(positions, cell)
        broken = np.flatnonzero(lengths > limits.bond_stretch * self._lengths)
        formed = self._formed(np.column_stack([i, j, shifts])[distances < limits.bond_formed * sums])
        self.broken_bonds, self.formed_bonds = len(broken), len(formed)
        if lost.any():
            atom = int(lost.argmax())
            return "lost atom", f"{self._name(atom)} has no atom within {limits.lost_distance:g} Å"
        allowed = (limits.min_distance or 0.0) * sums
        if limits.min_distance_absolute is not None:
            allowed = np.maximum(allowed, limits.min_distance_absolute)
        if (distances < allowed).any():
            worst = int((distances - allowed).argmin())
            pair = f"{self._name(i[worst])} and {self._name(j[worst])}"
            return "close contact", f"{pair} at {distances[worst]:.3f} Å, allowed {allowed[worst]:.3f} Å"
        if (reason := self._beyond(lengths)) is not None:
            return "bond length", reason
        if self._bonds_fail and len(broken):
            return "broken bond", self._bond_text(broken[0], lengths)
        if self._bonds_fail and formed:
            return "formed bond", f"{self._name(formed[0][0])} and {self._name(formed[0][1])}"
        return None

    def _bond_lengths(self, positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Of the bonds of the start, Å, [B]."""
        i, j = self._bonds[:, 0], self._bonds[:, 1]
        return np.linalg.norm(positions[j] - positions[i] + self._bonds[:, 2:] @ cell, axis=1)

    def _beyond(self, lengths: np.ndarray) -> str | None:
        """What is wrong with the bond that breaks the limits on bond lengths most, if one does."""
        longest, deviation = self.criteria.bond_length, self.criteria.bond_deviation
        excess = np.full(len(lengths), -np.inf)
        if longest is not None:
            excess = lengths - longest
        if deviation is not None:
            excess = np.maximum(excess, np.abs(lengths - self._lengths) - deviation)
        if not (excess > 0.0).any():
            return None
        texts = [] if longest is None else [f"at most {longest:g} Å"]
        texts += [] if deviation is None else [f"a change of {deviation:g} Å"]
        return f"{self._bond_text(int(excess.argmax()), lengths)}, allowed {' and '.join(texts)}"

    def _bond_text(self, n: int, lengths: np.ndarray) -> str:
        pair = f"{self._name(self._bonds[n, 0])}-{self._name(self._bonds[n, 1])}"
        return f"{pair} at {lengths[n]:.3f} Å, {self._lengths[n]:.3f} Å at the start"

    def _formed(self, near: np.ndarray) -> list[tuple[int, ...]]:
        """Pairs (i, j, S) among ``near`` that were not bonded at the start."""
        near = near[near[:, 0] < near[:, 1]]
        return [pair for pair in map(tuple, near.tolist()) if pair not in self._bonded]

    def _target_K(self, frame: Frame) -> float:
        """The temperature that the frame should have."""
        return self.temperature_K if frame.target_K is None else frame.target_K

    def _energies(self, frame: Frame) -> tuple[str, str] | None:
        factor, jump = self.criteria.temperature_factor, self.criteria.energy_jump
        target = self._target_K(frame)
        if factor is not None and frame.kinetic_energy is not None and target > 0.0:
            found = temperature(frame.kinetic_energy, self.n_atoms)
            factor = factor if frame.target_K is None else max(factor, self._canonical_factor)
            if found > factor * target:
                return "temperature", f"{found:.0f} K in a run at {target:.0f} K"
        if jump is not None and frame.conserved is not None and self._last_conserved is not None:
            change = (frame.conserved - self._last_conserved) / self.n_atoms
            if abs(change) > jump:
                return "energy jump", f"{change:+.3g} eV/atom in one record, allowed {jump:g}"
        return None

    def _far_from_all(self, positions: np.ndarray, cell: np.ndarray, near: np.ndarray) -> np.ndarray:
        """Atoms without another one within the lost distance, bool [N]; those in ``near`` have one."""
        alone = np.ones(self.n_atoms, dtype=bool)
        alone[near] = False
        if self.criteria.lost_distance is None:
            return np.zeros(self.n_atoms, dtype=bool)
        if alone.any() and self.criteria.lost_distance > self._reach:
            alone[find_pairs(positions, cell, self._pbc, self.criteria.lost_distance)[0]] = False
        return alone

    def _name(self, atom: int) -> str:
        return f"{self._symbols[atom]}{atom}"


def temperature(kinetic_energy: float, n_atoms: int) -> float:
    """K, of 3N - 3 degrees of freedom, from a kinetic energy in eV."""
    return 2.0 * kinetic_energy / (max(3 * n_atoms - 3, 3) * units.kB)


def first_failure(
    atoms: Atoms,
    frames: Iterable[Frame],
    criteria: Criteria | None = None,
    temperature_K: float | None = None,
) -> Failure | None:
    """The first failure among ``frames`` of a simulation that started from ``atoms``, or None.

    Parameters are those of :class:`Monitor`; frames after the failure are not read.
    """
    monitor = Monitor(atoms, criteria, temperature_K)
    for frame in frames:
        if monitor.check(frame) is not None:
            break
    return monitor.failure
