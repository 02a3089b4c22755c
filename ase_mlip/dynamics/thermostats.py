"""How a simulation is held at a temperature, as plain data that ASE's and LAMMPS' engines read.

A constant or linearly rising target temperature, and one of two thermostats: Langevin's, which adds friction
and noise, and Nosé and Hoover's, which adds a chain of variables with a conserved quantity of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..crystals import is_number
from ..errors import MLIPError

KINDS = ("langevin", "nose-hoover")
FRICTION = 10.0  # 1/ps, of Langevin where nothing else is said
DAMPING = 0.1  # ps, of Nosé-Hoover where nothing else is said; a hundred steps of 1 fs


@dataclass(frozen=True)
class Thermostat:
    """Dynamics at constant, or linearly rising, temperature.

    Attributes
    ----------
    kind : str
        "langevin" (the BAOAB splitting; in LAMMPS ``fix gjf``, the same scheme) or "nose-hoover" (a chain of
        three variables; in LAMMPS ``fix nvt``)
    temperature_K : float
        the target, at the start of a ramp, K
    friction : float
        of Langevin, 1/ps; zero is constant energy
    damping : float
        of Nosé-Hoover, its period in ps: the chain's first mass is N_f kT damping²
    ramp_K : float or None
        the target rises (or falls) linearly to this one; None keeps it
    ramp_time : float or None
        ps from the start in which it does so, and stays afterwards; None is the whole run
    hold_centre : bool
        the centre of mass rests: 3N - 3 degrees of freedom, and noise without net momentum; False for atoms
        in an external field: 3N. Without meaning where atoms are fixed or alone.
    """

    kind: str
    temperature_K: float
    friction: float = FRICTION
    damping: float = DAMPING
    ramp_K: float | None = None
    ramp_time: float | None = None
    hold_centre: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise MLIPError(f"`Thermostat.kind`: expected {' or '.join(map(repr, KINDS))}, got {self.kind!r}")
        for name in ("temperature_K", "damping", "ramp_K", "ramp_time"):
            value = getattr(self, name)
            optional = name.startswith("ramp")
            if not (optional and value is None) and not (is_number(value) and 0.0 < value < math.inf):
                remedy = "; a run at 0 K has no thermostat" if name == "temperature_K" else ""
                raise MLIPError(f"`Thermostat.{name}`: expected a positive number, got {value!r}{remedy}")
        if not (is_number(self.friction) and 0.0 <= self.friction < math.inf):
            raise MLIPError(
                f"`Thermostat.friction`: expected zero or a positive number, got {self.friction!r}"
            )
        if self.ramp_time is not None and self.ramp_K is None:
            raise MLIPError(
                f"`Thermostat.ramp_time`: expected a temperature to rise to, `ramp_K`, got only the time of "
                f"{self.ramp_time:g} ps"
            )

    def over(self, length: float) -> Thermostat:
        """The same for a run of ``length`` ps, which a ramp without a time of its own takes."""
        if self.ramp_K is None or self.ramp_time is not None:
            return self
        return replace(self, ramp_time=length)

    def target_K(self, time_ps: float) -> float:
        """The target temperature at a time after the start, K."""
        if self.ramp_K is None:
            return self.temperature_K
        if self.ramp_time is None:
            raise MLIPError(
                "`Thermostat.ramp_time`: expected a time, got None; use `thermostat.over(length)`"
            )
        passed = min(max(time_ps / self.ramp_time, 0.0), 1.0)
        return self.temperature_K + passed * (self.ramp_K - self.temperature_K)

    def __str__(self) -> str:
        """As for a report: "Langevin, friction 10 / ps, 300 to 1600 K in 1.5 ps"."""
        what = (
            f"Langevin, friction {self.friction:g} / ps"
            if self.kind == "langevin"
            else f"Nosé-Hoover, damping {self.damping:g} ps"
        )
        ramp = "" if self.ramp_K is None else f" to {self.ramp_K:g}"
        time = "" if self.ramp_time is None else f" in {self.ramp_time:.3g} ps"
        return f"{what}, {self.temperature_K:g}{ramp} K{time}"
