"""What an s-NNP's splines may lack: a wall between close atoms, a smooth end, data. Only reported."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement, islice

import numpy as np
from ase import Atoms

from ..calculators.diagnostics.visited import Coverage
from .probe import CheckResult, Probe, report

CLOSEST = 0.5  # Å
STEP = 0.05  # Å
MAX_PAIRS = 6
LISTED = 4  # intervals without data that are named
BANKS = ("phi", "rho", "f")
ZERO = 1e-12  # of a spline's largest value
# What does not vanish at the cutoff: its unit, and what happens there.
CONSEQUENCES = {
    "value": ("", "energies jump"),
    "slope": ("1/Å", "forces jump"),
    "curvature": ("1/Å²", "forces have a kink"),
}


def repulsive_core(probe: Probe) -> list[CheckResult]:
    """The weakest repulsion below the first knot: of two atoms, and of one pushed towards its neighbour."""
    network = _snnp(probe)
    if network is None:
        return []
    first = _first_knot(network)
    results = []
    for name, where in (("dimer", _dimers), ("crystal", _pushed)):
        weakest, place = np.inf, 0.0
        for atoms, direction in where(probe):
            for r in np.arange(CLOSEST, max(first, CLOSEST + STEP) + 0.5 * STEP, STEP):
                push = _repulsion(probe, atoms, direction, r)
                if not push >= weakest:
                    weakest, place = push, r
        verdict = (
            "MISSING: they attract each other" if not weakest > 0 else f"from {CLOSEST} to {first:.2f} Å"
        )
        results.append(
            report(f"repulsive core: {name}", weakest, "eV/Å", f"{verdict}, least at {place:.2f} Å")
        )
    return results


def smooth_cutoff(probe: Probe) -> list[CheckResult]:
    """Value, slope and curvature of the radial splines at their last knot, over their largest value."""
    network = _snnp(probe)
    if network is None:
        return []
    worst = dict.fromkeys(CONSEQUENCES, 0.0)
    for bank in (getattr(network, name) for name in BANKS):
        coefficients = bank.all_coefficients().detach().double()
        for case in range(coefficients.shape[0] if coefficients.shape[1] > 0 else 0):
            _, step, count = bank.grid[case].tolist()
            b, c, d = (coefficients[case, :, int(count) + k] for k in range(3))
            size = float(coefficients[case, :, _fixed(bank) :].abs().max()) or 1.0
            ends = ((b + 4 * c + d) / 6, (d - b) / 2 / step, (b - 2 * c + d) / step**2)
            for name, end in zip(worst, ends, strict=True):
                worst[name] = max(worst[name], float(end.abs().max()) / size)
    rows = []
    for name, (unit, consequence) in CONSEQUENCES.items():
        verdict = f"NOT SMOOTH: {consequence} there" if worst[name] > ZERO else "zero, as it should be"
        rows.append(report(f"smooth cutoff: {name}", worst[name], unit, verdict))
    return rows


def visited_intervals(probe: Probe) -> list[CheckResult]:
    """Knot intervals in which the training data have no neighbour or angle, as the file says."""
    if _snnp(probe) is None:
        return []
    coverage = Coverage.of(probe.info)
    if coverage is None:
        return [
            report("visited intervals: without data", np.nan, "", "the file does not say what was visited")
        ]
    missing = coverage.unvisited()
    named = ", ".join(missing[:LISTED]) + (" ..." if len(missing) > LISTED else "")
    return [report("visited intervals: without data", len(missing), "", named or "data in all of them")]


def _snnp(probe: Probe):
    """The network if it is an s-NNP."""
    network = probe.model.module.network.network
    return network if all(hasattr(network, name) for name in (*BANKS, "g", "pair_cases")) else None


def _fixed(bank) -> int:
    """Intervals before the first knot that data decide about; older files have none."""
    return int(getattr(bank, "before", 0))


def _first_knot(network) -> float:
    """Below it no spline has parameters, Å; knots of φ where it goes on as a fixed repulsion do not count."""
    used = [bank for bank in (getattr(network, name) for name in BANKS) if bank.coefficients.shape[1] > 0]
    return max(float((bank.grid[:, 0] + _fixed(bank) * bank.grid[:, 1]).max()) for bank in used)


def _dimers(probe: Probe) -> Iterator[tuple[Atoms, np.ndarray]]:
    direction = np.array([0.0, 0.0, 1.0])
    for numbers in islice(combinations_with_replacement(probe.info.species, 2), MAX_PAIRS):
        yield Atoms(numbers, positions=np.zeros((2, 3))), direction


def _pushed(probe: Probe) -> Iterator[tuple[Atoms, np.ndarray]]:
    """The crystal, its first two atoms being one of its closest pairs, and the direction between them."""
    crystal = probe.crystal
    distances = crystal.get_all_distances(mic=True) + 1e3 * np.eye(len(crystal))
    first, second = np.unravel_index(np.argmin(distances), distances.shape)
    others = [k for k in range(len(crystal)) if k not in (first, second)]
    atoms = crystal[[int(first), int(second), *others]]
    vector = crystal.get_distance(first, second, mic=True, vector=True)
    yield atoms, vector / np.linalg.norm(vector)


def _repulsion(probe: Probe, atoms: Atoms, direction: np.ndarray, r: float) -> float:
    """Force on the second atom along ``direction``, placed ``r`` (Å) from the first one, in eV/Å."""
    atoms.positions[1] = atoms.positions[0] + r * direction
    return float(probe.evaluate(atoms)["forces"][1] @ direction)
