"""Checks that energy and forces are continuous where an atom comes within, or leaves, the cutoff."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement, islice

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from .probe import CheckResult, Probe, judge, largest
from .structures import without_boundaries

MAX_DIMERS = 3
NEAR = 1e-7  # Å from the cutoff to either side
FLANK = 1e-4  # Å, over which the slope on either side is measured
SCAN = 0.12  # Å between the samples of a path
BISECTIONS = 20  # from 0.12 Å to 1e-7 Å
MAX_ENVIRONMENT = 100  # atoms around the moving one

Sample = tuple[float, float, np.ndarray]  # energy (eV), its derivative along the path (eV/Å), all forces


def at_the_cutoff(probe: Probe) -> list[CheckResult]:
    """Jumps, beyond what the slopes explain, as one atom crosses the cutoff of another."""
    worst = np.zeros(2)
    scales = np.ones(2)
    names = []
    for name, distance, placed in _crossings(probe):
        jump, scale = _jump(lambda r, placed=placed: _sample(probe, *placed(r)), distance)
        worst, scales = np.maximum(worst, jump), np.maximum(scales, scale)
        names.append(f"{name} {distance:g}")
    return _results(probe, "at the cutoff", worst, scales, ", ".join(names) + " Å")


def along_a_path(probe: Probe) -> list[CheckResult]:
    """The same for an atom that leaves a cluster: the suspicious steps of a scan, each bisected to 1e-7 Å.

    Finds jumps that are not at the cutoff itself, such as those of a radius that adapts to the neighbours.
    """
    placed, start = _leaving(probe)
    size = np.ptp(without_boundaries(probe.bulk)[:MAX_ENVIRONMENT].positions, axis=0).max()
    path = np.arange(start, probe.info.cutoff + min(size, probe.info.cutoff), SCAN)

    def sample(r: float) -> Sample:
        return _sample(probe, *placed(r))

    samples = [sample(r) for r in path]
    worst, scales = np.zeros(2), np.ones(2)
    for defect in (_energy_defect, _force_defect):
        defects = np.array([defect(*pair, SCAN) for pair in zip(samples, samples[1:], strict=False)])
        padded = np.pad(defects, 1, mode="edge")
        excess = defects - 0.5 * (padded[:-2] + padded[2:])
        for index in np.argsort(excess)[-2:]:
            r = _bisect(sample, defect, path[index], path[index + 1])
            jump, scale = _jump(sample, r)
            worst, scales = np.maximum(worst, jump), np.maximum(scales, scale)
    if not all(np.isfinite(energy) and np.isfinite(forces).all() for energy, _, forces in samples):
        worst = np.full(2, np.nan)
    return _results(
        probe, "on a path", worst, scales, f"{path[0]:.1f} to {path[-1]:.1f} Å, {len(path)} steps"
    )


def _results(
    probe: Probe, where: str, jumps: np.ndarray, scales: np.ndarray, detail: str
) -> list[CheckResult]:
    return [
        judge(f"continuity {where}: {name}", jump, probe.rounding(scale), unit, detail)
        for name, jump, scale, unit in zip(("energy", "forces"), jumps, scales, ("eV", "eV/Å"), strict=True)
    ]


def _crossings(probe: Probe) -> Iterator[tuple[str, float, Callable[[float], tuple[Atoms, np.ndarray]]]]:
    """Name, critical distance (Å) and a function of the distance: dimers, and an atom beside a cluster."""
    direction = _direction(probe)
    pairs = combinations_with_replacement(probe.info.species, 2)
    for numbers in islice(pairs, MAX_DIMERS):
        dimer = Atoms(numbers, positions=np.zeros((2, 3)))

        def placed(r: float, dimer: Atoms = dimer) -> tuple[Atoms, np.ndarray]:
            dimer.positions[1] = r * direction
            return dimer, direction

        yield str(dimer.symbols), _cutoff(probe, dimer), placed
    moving, start = _leaving(probe)
    atoms, _ = moving(start)
    yield (
        f"atom beside {atoms[:-1].get_chemical_formula()}",
        _cutoff(probe, atoms[[_outermost(atoms[:-1], direction), -1]]),
        moving,
    )


def _leaving(probe: Probe) -> tuple[Callable[[float], tuple[Atoms, np.ndarray]], float]:
    """An added atom at a distance from a cluster's outermost atom, and the distance at which it starts."""
    direction = _direction(probe)
    cluster = without_boundaries(probe.bulk)
    nearest = np.argsort(np.linalg.norm(cluster.positions - cluster.positions.mean(axis=0), axis=1))
    cluster = cluster[nearest[:MAX_ENVIRONMENT]]
    hull = _outermost(cluster, direction)
    origin = cluster.positions[hull].copy()
    added = int(probe.rng().choice(probe.info.species))
    start = max(1.2 * (covalent_radii[added] + covalent_radii[cluster.numbers[hull]]), 1.2)
    cluster += Atoms([added], positions=[origin])

    def placed(r: float) -> tuple[Atoms, np.ndarray]:
        cluster.positions[-1] = origin + r * direction
        return cluster, direction

    return placed, min(start, 0.8 * probe.info.cutoff)


def _outermost(atoms: Atoms, direction: np.ndarray) -> int:
    return int(np.argmax(atoms.positions @ direction))


def _direction(probe: Probe) -> np.ndarray:
    direction = probe.rng().normal(size=3)
    return direction / np.linalg.norm(direction)


def _cutoff(probe: Probe, dimer: Atoms) -> float:
    first, second = dimer.get_chemical_symbols()
    cutoffs = probe.info.pair_cutoffs or {}
    return cutoffs.get(f"{first}-{second}", cutoffs.get(f"{second}-{first}", probe.info.cutoff))


def _sample(probe: Probe, atoms: Atoms, direction: np.ndarray) -> Sample:
    outputs = probe.evaluate_all(atoms)
    forces = np.concatenate([outputs[name] for name in ("forces", "direct_forces") if name in outputs])
    return float(outputs["energy"][0]), -float(outputs["forces"][-1] @ direction), forces


def _jump(sample: Callable[[float], Sample], r: float) -> tuple[np.ndarray, np.ndarray]:
    """Jumps of energy and forces from r - 1e-7 to r + 1e-7 Å beyond the flanks' slopes, and their scales."""
    below, inside, outside, above = (sample(r + d) for d in (-NEAR - FLANK, -NEAR, NEAR, NEAR + FLANK))
    jumps = []
    for part in (0, 2):
        rises = largest(inside[part] - below[part]), largest(above[part] - outside[part])
        jumps.append(largest(outside[part] - inside[part]) - 2 * NEAR * np.maximum(*rises) / FLANK)
    return np.maximum(jumps, 0.0), np.array([abs(inside[0]), largest(inside[2])])


def _energy_defect(first: Sample, second: Sample, step: float) -> float:
    """What the mean slope does not explain of an energy difference."""
    return abs(second[0] - first[0] - 0.5 * step * (first[1] + second[1]))


def _force_defect(first: Sample, second: Sample, step: float) -> float:
    return largest(second[2] - first[2])


def _bisect(
    sample: Callable[[float], Sample],
    defect: Callable[[Sample, Sample, float], float],
    left: float,
    right: float,
) -> float:
    """Where between ``left`` and ``right`` the defect sits, to 1e-7 Å."""
    first, last = sample(left), sample(right)
    for _ in range(BISECTIONS):
        middle = 0.5 * (left + right)
        centre, step = sample(middle), 0.5 * (right - left)
        if defect(first, centre, step) >= defect(centre, last, step):
            right, last = middle, centre
        else:
            left, first = middle, centre
    return 0.5 * (left + right)
