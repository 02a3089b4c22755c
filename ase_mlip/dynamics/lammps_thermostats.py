"""The thermostats of :mod:`ase_mlip.dynamics.thermostats` as lines of a LAMMPS input."""

from __future__ import annotations

import math

from ase import Atoms

from ..lammps import lammps_run
from .thermostats import Thermostat

LARGEST_SEED = 900_000_000  # of LAMMPS' random numbers


def stages(
    atoms: Atoms, thermostat: Thermostat | None, timestep: float, steps: int, seed: int
) -> list[tuple[str, int]]:
    """Lines that integrate ``atoms``, and for how many steps they hold; another stage follows a ramp.

    ``fix gjf`` with its first method and the velocities of whole steps is BAOAB with a rational function in
    place of exp(-γh), which a damping time of h/(2 tanh(γh/2)) makes equal.
    N. Grønbech-Jensen, Mol. Phys. 118, e1662506 (2020).

    Parameters
    ----------
    thermostat : Thermostat, optional
        None for constant energy
    timestep : float
        ps
    steps : int
        of the whole run
    seed : int
        of the noise

    Raises
    ------
    StructureError
        constraints other than fixed atoms
    """
    if thermostat is None or (thermostat.kind == "langevin" and thermostat.friction == 0.0):
        return [(lammps_run.nve_lines(atoms), steps)]
    thermostat = thermostat.over(steps * timestep)
    ramp = steps if thermostat.ramp_K is None else min(steps, round(thermostat.ramp_time / timestep))
    lengths = [length for length in (ramp, steps - ramp) if length]
    groups, group = lammps_run.free_group(atoms)
    found, done = [], 0
    for number, length in enumerate(lengths):
        ends = (thermostat.target_K(step * timestep) for step in (done, done + length))
        temperatures = " ".join(f"{target:.10g}" for target in ends)
        own_seed = 1 + (len(lengths) * seed + number) % (LARGEST_SEED - 1)
        lines = _fix(thermostat, group, temperatures, timestep, own_seed, len(atoms))
        found.append((lines if number else groups + lines, length))
        done += length
    return found


def _fix(
    thermostat: Thermostat, group: str, temperatures: str, timestep: float, seed: int, n_atoms: int
) -> str:
    rests = thermostat.hold_centre and group == "all" and n_atoms > 1
    if thermostat.kind == "nose-hoover":
        lines = f"fix 1 {group} nvt temp {temperatures} {thermostat.damping:.10g}"
        return lines if rests else f"{lines}\ncompute_modify 1_temp extra/dof 0"
    damping = 0.5 * timestep / math.tanh(0.5 * thermostat.friction * timestep)
    lines = f"fix 1 {group} gjf {temperatures} {damping:.17g} {seed} vel vfull method 1"
    return f"{lines}\nfix 2 all momentum 1 linear 1 1 1" if rests else lines
