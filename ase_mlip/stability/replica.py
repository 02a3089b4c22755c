"""One simulation of a test of stability: what is read of it, up to its first failure, and what is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from ..dynamics.criteria import Failure, Frame, Monitor
from ..dynamics.md import PICOSECOND, energy_statistics
from ..dynamics.md_ase import EngineStopped
from ..dynamics.rdf import RDFAccumulator

STATISTICS = ("drift", "fluctuation", "mean_temperature")


@dataclass
class Replica:
    """One simulation. Energies are those of the whole structure, eV.

    Attributes
    ----------
    seed : int
        of its velocities and its noise
    survived : float
        ps until the record that failed, or the length of the run
    failure : Failure or None
        the first, or None
    times, total_energies, temperatures : array
        of the sound records, ps, eV and K, [n]
    conserved_energies : array
        what the dynamics conserves, eV, [n]: the total energy, with a thermostat less what that has given;
        NaN where the engine does not say
    drift : float
        slope of the conserved energy, meV/atom/ps; NaN with fewer than three records after the equilibration,
        or where that energy is not known
    fluctuation : float
        root mean square deviation from that line, meV/atom
    mean_temperature : float
        K
    min_distance : float
        shortest distance between two atoms in any record, Å
    broken_bonds, formed_bonds : int
        in the last record, relative to the start, whether or not they are a failure
    lost_atoms : int
        in the last record, or as LAMMPS counts them
    """

    seed: int
    survived: float
    failure: Failure | None
    times: np.ndarray = field(repr=False)
    total_energies: np.ndarray = field(repr=False)
    conserved_energies: np.ndarray = field(repr=False)
    temperatures: np.ndarray = field(repr=False)
    drift: float
    fluctuation: float
    mean_temperature: float
    min_distance: float
    broken_bonds: int
    formed_bonds: int
    lost_atoms: int

    def to_part(self) -> dict[str, Any]:
        """Everything as JSON has it, with NaN and infinity as Python writes them."""
        own = {
            name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
            for name, value in vars(self).items()
        }
        return own | {"failure": self.failure and asdict(self.failure)}

    @classmethod
    def from_part(cls, part: dict[str, Any]) -> Replica:
        """What :meth:`to_part` wrote."""
        own = {name: np.array(value) if isinstance(value, list) else value for name, value in part.items()}
        return cls(**own | {"failure": part["failure"] and Failure(**part["failure"])})


def sound_frames(
    frames: Iterator[Frame],
    monitor: Monitor,
    interval: int,
    timestep: float,
    reached: Callable[[int], None],
) -> Iterator[Frame]:
    """Frames up to the first failure. What stops an engine counts at the record it did not reach."""
    # the start's geometry comes first: a potential need not have an answer for atoms on top of each other
    start = Frame(0, 0.0, monitor.start)
    if monitor.check(start) is not None:
        return
    step = -interval
    try:
        for frame in frames:
            step = frame.step
            if monitor.check(frame) is not None:
                return
            reached(step)
            yield frame
    except EngineStopped as error:
        step += interval
        monitor.lost_atoms = error.lost_atoms
        monitor.stop(step, step * timestep / PICOSECOND, error.kind, str(error), error.positions)
    finally:
        frames.close()


class Watcher:
    """Reads one simulation and keeps what a :class:`Replica` says of it.

    Parameters
    ----------
    atoms : ase.Atoms
        give species, cell and boundaries
    equilibration, length : float
        what averages leave out, and the whole run, ps
    rmax : float
        longest distance that is counted, Å
    index : int, optional
        into which of two collections all distances of this simulation go, by its last bit; None is by record
    """

    def __init__(
        self,
        atoms: Atoms,
        equilibration: float,
        length: float,
        rmax: float,
        index: int | None,
    ):
        self._atoms, self._index = atoms, index
        self._halves = RDFAccumulator(rmax), RDFAccumulator(rmax)
        self._cell, self._pbc = atoms.cell.array.copy(), np.array(atoms.pbc)
        self._equilibration, self._middle, self._length = (
            equilibration,
            0.5 * (equilibration + length),
            length,
        )
        self._rows: list[tuple[float, float, float]] = []
        self._conserved: list[float] = []

    def add(self, frame: Frame) -> None:
        """A sound record."""
        self._rows.append((frame.time_ps * PICOSECOND, frame.potential_energy, frame.kinetic_energy))
        self._conserved.append(math.nan if frame.conserved is None else frame.conserved)
        if frame.time_ps >= self._equilibration:
            half = self._index % 2 if self._index is not None else int(frame.time_ps > self._middle)
            self._halves[half].add(self._atoms.numbers, frame.positions, self._cell, self._pbc)

    def part(self, monitor: Monitor, seed: int) -> dict[str, Any]:
        """All that was seen of it as JSON has it: the ``replica``, its ``distances`` in both collections."""
        distances = [half.state() for half in self._halves]
        return {"replica": self.replica(monitor, seed).to_part(), "distances": distances}

    def replica(self, monitor: Monitor, seed: int) -> Replica:
        """All that was seen of it."""
        rows, conserved = np.array(self._rows).reshape(-1, 3), np.array(self._conserved)
        statistics = energy_statistics(rows, self._atoms, self._equilibration, conserved)
        failure = monitor.failure
        return Replica(
            seed=seed,
            survived=self._length if failure is None else failure.time_ps,
            failure=failure,
            times=statistics["times"],
            total_energies=statistics["potential_energies"] + statistics["kinetic_energies"],
            conserved_energies=conserved,
            temperatures=statistics["temperatures"],
            **{name: statistics[name] for name in STATISTICS},
            min_distance=monitor.min_distance,
            broken_bonds=monitor.broken_bonds,
            formed_bonds=monitor.formed_bonds,
            lost_atoms=monitor.lost_atoms,
        )
