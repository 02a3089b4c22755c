"""Dynamics by ASE as a stream of frames, with or without a thermostat."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculatorError
from ase.md.verlet import VelocityVerlet

from ..errors import StructureError
from .criteria import Frame
from .integrators import make_integrator, start_state
from .md import PICOSECOND
from .thermostats import Thermostat

REFUSALS = (CalculatorError, StructureError, ArithmeticError, np.linalg.LinAlgError)  # of a structure


class EngineStopped(Exception):
    """The simulation itself ended before its time; the message says why.

    Attributes
    ----------
    kind
        which of :data:`ase_mlip.dynamics.criteria.KINDS` that is
    positions : array or None
        where the atoms were, Å, [N, 3], as far as it is known
    lost_atoms
        how many LAMMPS has lost
    """

    def __init__(self, message: str, positions: np.ndarray | None = None):
        super().__init__(message)
        self.positions = positions
        lost = re.search(r"Lost atoms: original (\d+) current (\d+)", message)
        self.lost_atoms = int(lost[1]) - int(lost[2]) if lost else 0
        self.kind = "lost atom" if lost else "non-finite" if "Non-numeric" in message else "engine stopped"


def ase_frames(
    atoms: Atoms,
    timestep: float,
    steps: int,
    interval: int,
    thermostat: Thermostat | None = None,
    seed: int = 0,
) -> Iterator[Frame]:
    """Dynamics of ``atoms`` (with calculator and momenta; moved in place), by ASE.

    Parameters
    ----------
    timestep : float
        in ASE's unit of time
    steps : int
        a multiple of ``interval``, the number of steps between two frames
    thermostat : Thermostat, optional
        None is velocity Verlet at constant energy; a ramp has its time
    seed : int
        of the noise

    Raises
    ------
    EngineStopped
        the calculator failed or refused a structure that the dynamics led to. At the start its own error
        is passed on, for then it is the input's.
    """
    if thermostat is None:
        dynamics = VelocityVerlet(atoms, timestep=timestep, logfile=None)
    else:
        dynamics = _Thermostatted(atoms, timestep, thermostat, seed)
    for step in range(0, steps + 1, interval):
        try:
            with np.errstate(all="ignore"):  # infinities are the reader's to judge
                if step:
                    dynamics.run(interval)
                energies = atoms.get_potential_energy(), atoms.get_kinetic_energy()
                known = {} if thermostat is None else dynamics.known()
        except REFUSALS as error:
            if step == 0:
                raise
            raise EngineStopped(cause(error), atoms.positions.copy()) from error
        yield Frame(step, step * timestep / PICOSECOND, atoms.positions.copy(), *energies, **known)


def cause(error: Exception) -> str:
    """An error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


class _Thermostatted:
    """One replica of :mod:`ase_mlip.dynamics.integrators` that evaluates by the calculator of its atoms."""

    def __init__(self, atoms: Atoms, timestep: float, thermostat: Thermostat, seed: int):
        self._atoms, self._timestep, self._thermostat = atoms, timestep, thermostat
        self._integrator = make_integrator(atoms, timestep, thermostat, [seed])
        self._state = None
        self._steps = 0

    def run(self, steps: int) -> None:
        if self._state is None:
            start = self._atoms.positions[None], self._atoms.get_momenta()[None]
            self._state = start_state(self._integrator, *start, self._evaluate)
        for _ in range(steps):
            middle = (self._steps + 0.5) * self._timestep / PICOSECOND
            kT = units.kB * self._thermostat.target_K(middle)
            self._integrator.step(self._state, self._evaluate, kT)
            self._steps += 1
        self._atoms.set_momenta(self._state.momenta[0])

    def known(self) -> dict[str, float]:
        """What a frame holds of the thermostat."""
        self.run(0)
        state, target = self._state, self._thermostat.target_K(self._steps * self._timestep / PICOSECOND)
        kinetic = self._integrator.bodies.kinetic_energies(state.momenta)
        conserved = state.energies + kinetic - state.heat
        return {"target_K": target, "conserved_energy": float(conserved[0])}

    def _evaluate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._atoms.positions = positions[0]
        energy = self._atoms.get_potential_energy()
        return np.array([energy]), self._atoms.get_forces(md=True)[None]
