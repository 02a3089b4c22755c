"""Steps of dynamics for many copies of one system at once, on plain arrays [replicas, atoms, 3].

Units are those of ASE: Å, eV, u, and Å·√(u/eV) for times. A replica has its own stream of random numbers,
and no sum runs over replicas, so that what happens to one does not depend on which others are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms

from ..errors import StructureError
from .md import PICOSECOND
from .thermostats import Thermostat

# Positions [R, N, 3] in Å to energies [R] in eV and forces [R, N, 3] in eV/Å.
Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

CHAIN = 3  # thermostat variables of Nosé and Hoover
# Three steps in one of the fourth order: H. Yoshida, Phys. Lett. A 150, 262 (1990)
OUTER = 1.0 / (2.0 - 2.0 ** (1.0 / 3.0))
YOSHIDA = (OUTER, 1.0 - 2.0 * OUTER, OUTER)
BLOCK = 32  # steps whose random numbers are drawn in one call


@dataclass
class State:
    """Where R replicas are.

    Attributes
    ----------
    positions, momenta, forces : array
        [R, N, 3], Å, u·Å/time, eV/Å
    energies : array
        potential energies, eV, [R]
    heat : array
        what the thermostat has given to the atoms so far, its own energy subtracted, eV, [R]: potential and
        kinetic energy less this is conserved, up to the error of the step
    chain : array
        momenta of the thermostat's variables, [R, CHAIN]
    """

    positions: np.ndarray
    momenta: np.ndarray
    forces: np.ndarray
    energies: np.ndarray
    heat: np.ndarray
    chain: np.ndarray

    def select(self, kept: np.ndarray) -> State:
        """Those of the replicas that ``kept`` (bool [R]) says."""
        return State(**{name: values[kept] for name, values in vars(self).items()})


class Bodies:
    """The atoms as mechanics sees them.

    Attributes
    ----------
    masses, inverse_masses
        [N, 1], 1/u; the inverse ones of fixed atoms are zero
    free
        1.0, and 0.0 for fixed atoms, [N, 1]
    holds_centre
        whether the centre of mass rests
    degrees_of_freedom
        3N - 3, or 3 for each free atom
    """

    def __init__(self, atoms: Atoms, hold_centre: bool = True):
        others = [type(held).__name__ for held in atoms.constraints if not isinstance(held, FixAtoms)]
        if others:
            raise StructureError(
                f"`atoms`: expected fixed atoms (FixAtoms) as the only constraints of these dynamics, got "
                f"{', '.join(others)}; use the engine of ASE at constant energy, or remove them: "
                "`atoms.set_constraint()`"
            )
        self.masses = atoms.get_masses()[:, None]
        self.free = np.ones((len(atoms), 1))
        for held in atoms.constraints:
            self.free[held.index] = 0.0
        self.inverse_masses = self.free / self.masses
        self.holds_centre = hold_centre and len(atoms) > 1 and not atoms.constraints
        self.degrees_of_freedom = max(1, 3 * int(self.free.sum()) - (3 if self.holds_centre else 0))

    def kinetic_energies(self, momenta: np.ndarray) -> np.ndarray:
        """eV, [R], of momenta [R, N, 3]."""
        squares = momenta * momenta * self.inverse_masses
        return 0.5 * squares.reshape(len(momenta), -1).sum(axis=1)

    def without_drift(self, momenta: np.ndarray) -> np.ndarray:
        """The momenta less the motion of the centre of mass, where that rests."""
        if not self.holds_centre:
            return momenta
        return momenta - self.masses / self.masses.sum() * momenta.sum(axis=1, keepdims=True)


class Noise:
    """Standard normal numbers [R, N, 3] for each step, each replica's from a stream of its own.

    A replica's numbers depend on its seed and the step only: those for some steps come in one call, and are
    the same numbers that single calls would give.
    """

    def __init__(self, seeds: Sequence[int], n_atoms: int):
        # the velocities at the start are drawn from `seed` itself
        self._streams = [np.random.default_rng([seed, 1]) for seed in seeds]
        self._n_atoms = n_atoms
        self._block = np.empty((len(seeds), 0, n_atoms, 3))
        self._used = 0

    def draw(self) -> np.ndarray:
        """The next step's."""
        if self._used == self._block.shape[1]:
            shape = (BLOCK, self._n_atoms, 3)
            self._block = np.stack([stream.standard_normal(shape) for stream in self._streams])
            self._used = 0
        self._used += 1
        return self._block[:, self._used - 1]

    def select(self, kept: np.ndarray) -> None:
        """Forget the replicas that ``kept`` (bool [R]) does not say."""
        self._streams = [stream for stream, keep in zip(self._streams, kept, strict=True) if keep]
        self._block = self._block[kept]


class Langevin:
    """Langevin dynamics by the BAOAB splitting: half a kick, half a drift, friction and noise, and back.

    In a harmonic well its positions have exactly the canonical variance kT/k at every stable step h, and
    p²/m the mean kT(1 - ω²h²/4); without friction it is velocity Verlet.
    B. Leimkuhler and C. Matthews, J. Chem. Phys. 138, 174102 (2013).

    Parameters
    ----------
    timestep : float
        h, in ASE's unit of time
    friction : float
        γ, 1/ASE's unit of time
    """

    def __init__(self, bodies: Bodies, timestep: float, friction: float, noise: Noise | None):
        self.bodies = bodies
        self._h = timestep
        self._keep = np.exp(-friction * timestep)
        # -expm1: with little friction 1 - c² would be rounding
        self._spread = np.sqrt(-np.expm1(-2.0 * friction * timestep) * bodies.masses) * bodies.free
        self._noise = noise

    def start_chain(self, n_replicas: int) -> np.ndarray:
        """No thermostat variables are used: zeros [R, CHAIN]."""
        return np.zeros((n_replicas, CHAIN))

    def select(self, kept: np.ndarray) -> None:
        """Go on with those replicas that ``kept`` (bool [R]) says."""
        if self._noise is not None:
            self._noise.select(kept)

    def step(self, state: State, evaluate: Evaluate, kT: float) -> None:
        """One step, in place, with noise of the temperature kT (eV)."""
        half, bodies = 0.5 * self._h, self.bodies
        state.momenta += half * state.forces * bodies.free
        state.positions += half * state.momenta * bodies.inverse_masses
        if self._noise is not None:
            before = bodies.kinetic_energies(state.momenta)
            noise = np.sqrt(kT) * self._spread * self._noise.draw()
            state.momenta = bodies.without_drift(self._keep * state.momenta + noise)
            state.heat += bodies.kinetic_energies(state.momenta) - before
        state.positions += half * state.momenta * bodies.inverse_masses
        state.energies, state.forces = evaluate(state.positions)
        state.momenta += half * state.forces * bodies.free


class NoseHoover:
    """Nosé-Hoover chain dynamics: velocity Verlet between two half steps of the chain.

    G. J. Martyna, M. L. Klein and M. Tuckerman, J. Chem. Phys. 97, 2635 (1992), with the factorization of
    G. J. Martyna et al., Mol. Phys. 87, 1117 (1996). With momenta p_j of the chain and masses Q_j,
    H + Σ p_j²/2Q_j + N_f kT η_1 + kT Σ η_j is conserved; the sums with kT are added up step by step, so that
    they hold in a ramp, too. The masses stay those of the first temperature.

    Parameters
    ----------
    timestep : float
        in ASE's unit of time
    damping : float
        τ in ASE's unit of time: Q_1 = N_f kT τ², the others kT τ²
    kT : float
        first temperature, eV
    """

    def __init__(self, bodies: Bodies, timestep: float, damping: float, kT: float):
        self.bodies = bodies
        self._h = timestep
        self._Q = np.full(CHAIN, kT * damping**2)
        self._Q[0] *= bodies.degrees_of_freedom

    def start_chain(self, n_replicas: int) -> np.ndarray:
        """Thermostat variables at rest: zeros [R, CHAIN]."""
        return np.zeros((n_replicas, CHAIN))

    def select(self, kept: np.ndarray) -> None:
        """All that belongs to a replica is in its state."""

    def step(self, state: State, evaluate: Evaluate, kT: float) -> None:
        """One step, in place, at the temperature kT (eV)."""
        bodies = self.bodies
        self._couple(state, kT)
        state.momenta += 0.5 * self._h * state.forces * bodies.free
        state.positions += self._h * state.momenta * bodies.inverse_masses
        state.energies, state.forces = evaluate(state.positions)
        state.momenta += 0.5 * self._h * state.forces * bodies.free
        self._couple(state, kT)

    def _couple(self, state: State, kT: float) -> None:
        """Half a step of the chain, which scales the momenta and is accounted for in the heat."""
        twice, chain, Q = 2.0 * self.bodies.kinetic_energies(state.momenta), state.chain, self._Q
        wanted = self.bodies.degrees_of_freedom * kT
        factor = np.ones_like(twice)
        stored = 0.5 * (chain**2 / Q).sum(axis=1)
        taken = np.zeros_like(twice)
        for weight in YOSHIDA:
            delta = 0.5 * weight * self._h
            for j in reversed(range(CHAIN)):
                self._drive(chain, j, twice, wanted, kT, delta)
            advance = delta * chain / Q  # of the variables η themselves
            taken += wanted * advance[:, 0] + kT * advance[:, 1:].sum(axis=1)
            scale = np.exp(-advance[:, 0])
            factor *= scale
            twice = twice * scale**2
            for j in range(CHAIN):
                self._drive(chain, j, twice, wanted, kT, delta)
        state.momenta *= factor[:, None, None]
        state.heat -= taken + 0.5 * (chain**2 / Q).sum(axis=1) - stored

    def _drive(
        self, chain: np.ndarray, j: int, twice: np.ndarray, wanted: float, kT: float, delta: float
    ) -> None:
        """Half of ``delta`` for the momentum of variable ``j``, slowed down by the next one."""
        force = twice - wanted if j == 0 else chain[:, j - 1] ** 2 / self._Q[j - 1] - kT
        slow = 1.0 if j == CHAIN - 1 else np.exp(-0.25 * delta * chain[:, j + 1] / self._Q[j + 1])
        chain[:, j] = (chain[:, j] * slow + 0.5 * delta * force) * slow


def make_integrator(
    atoms: Atoms, timestep: float, thermostat: Thermostat | None, seeds: Sequence[int]
) -> Langevin | NoseHoover:
    """The integrator of a thermostat; of None, velocity Verlet.

    Parameters
    ----------
    atoms : ase.Atoms
        give masses and fixed atoms
    timestep : float
        in ASE's unit of time
    seeds : sequence of int
        of the noise, one for each replica

    Raises
    ------
    StructureError
        constraints other than fixed atoms
    """
    if thermostat is None:
        return Langevin(Bodies(atoms, False), timestep, 0.0, None)
    bodies = Bodies(atoms, thermostat.hold_centre)
    if thermostat.kind == "nose-hoover":
        kT = units.kB * thermostat.temperature_K
        return NoseHoover(bodies, timestep, thermostat.damping * PICOSECOND, kT)
    noise = Noise(seeds, len(atoms)) if thermostat.friction else None
    return Langevin(bodies, timestep, thermostat.friction / PICOSECOND, noise)


def start_state(
    integrator: Langevin | NoseHoover, positions: np.ndarray, momenta: np.ndarray, evaluate: Evaluate
) -> State:
    """The state of replicas at ``positions`` [R, N, 3] (Å) with ``momenta`` [R, N, 3]; both are copied."""
    positions, momenta = np.array(positions, dtype=float), np.array(momenta, dtype=float)
    energies, forces = evaluate(positions)
    chain = integrator.start_chain(len(positions))
    return State(positions, momenta, forces, energies, np.zeros(len(positions)), chain)
