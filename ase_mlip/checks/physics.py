"""Checks of the physics: derivatives, invariances and continuity of a potential's energy.

Each takes a :class:`~ase_mlip.checks.probe.Probe` and returns lines of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from ase import Atoms
from scipy.spatial.transform import Rotation

from ..voigt import PAIRS, antisymmetric, symmetric
from .probe import FINITE_DIFFERENCE, CheckResult, Probe, compare, in_dtype, judge, largest, report
from .structures import without_boundaries

STEP = 1e-3  # Å or unit strain; the second step is half of it
MANY_ATOMS = 100  # beyond these, fewer directions are differentiated
PLANES = [(1, 2), (2, 0), (0, 1)]  # (row, column) of rotations about x, y and z, as PAIRS of strains


def translation(probe: Probe) -> list[CheckResult]:
    """All atoms moved together, and single atoms moved by lattice vectors."""
    results = []
    rng = probe.rng()
    atoms, outputs = probe.bulk, probe.evaluate(probe.bulk)
    moved = atoms.copy()
    moved.positions += rng.uniform(-20, 20, 3)
    results += compare(probe, "translation", probe.evaluate(moved), outputs)
    atoms = probe.crystal
    wrapped = atoms.copy()
    chosen = rng.choice(len(atoms), max(1, len(atoms) // 2), replace=False)
    wrapped.positions[chosen] += rng.integers(-3, 4, (len(chosen), 3)) @ atoms.cell.array
    detail = f"{len(chosen)} atoms moved by up to 3 cells"
    return results + compare(
        probe, "lattice translation", probe.evaluate(wrapped), probe.evaluate(atoms), detail
    )


def forces(probe: Probe) -> list[CheckResult]:
    """Forces against central differences, for single coordinates and for all atoms moved at random."""
    results = []
    rng = probe.rng()
    for atoms in probe.structures[:2]:
        expected = probe.evaluate(atoms)["forces"]
        errors = []
        directions = _directions(len(atoms), rng)
        for direction in directions:
            slope = _derivative(probe, lambda step, d=direction, atoms=atoms: _displaced(atoms, step * d))
            errors.append(slope + np.sum(expected * direction))
        tolerance = FINITE_DIFFERENCE * max(1.0, largest(expected))
        formula = atoms.get_chemical_formula()
        detail = f"{formula}, {len(directions)} directions, largest {largest(expected):.3g} eV/Å"
        error = largest(np.array(errors))
        judged = _derivatives_judged(probe)
        results.append(judge("forces: finite differences", error, tolerance, "eV/Å", detail, judged))
    return results


def stress(probe: Probe) -> list[CheckResult]:
    """Stress against symmetric strains; the torque, which the stress does not hold, against rotations."""
    atoms = probe.crystal
    virial, volume = probe.evaluate(atoms)["virial"][0], atoms.get_volume()
    strains, rotations = _strains(PAIRS, symmetric), _strains(PLANES, antisymmetric)
    if len(atoms) > MANY_ATOMS:
        strains, rotations = strains[2:4], rotations[:1]
    tolerance = FINITE_DIFFERENCE * max(1.0, largest(virial))
    judged = _derivatives_judged(probe)
    by_strain, by_rotation = (
        _virial_error(probe, atoms, virial, gradients) for gradients in (strains, rotations)
    )
    detail = f"{atoms.get_chemical_formula()}, {len(strains)} symmetric strains"
    torque, rounding = largest(antisymmetric(virial)), probe.rounding(virial)
    note = "net torque; zero for an equivariant model"
    return [
        judge("stress: finite differences", by_strain / volume, tolerance / volume, "eV/Å^3", detail, judged),
        judge("torque: finite differences", by_rotation, tolerance, "eV", "antisymmetric strains", judged),
        report("virial, symmetric part", largest(symmetric(virial)), "eV", f"volume {volume:.1f} Å^3"),
        judge("virial, antisymmetric part", torque, rounding, "eV", note, probe.info.equivariant),
    ]


def sums(probe: Probe) -> list[CheckResult]:
    """Momentum is conserved, per-atom virials add up, and a cluster's virial is the sum of r ⊗ F."""
    results = []
    outputs = probe.evaluate(probe.bulk)
    tolerance = len(probe.bulk) * probe.rounding(outputs["forces"])
    results.append(judge("net force", largest(outputs["forces"].sum(axis=0)), tolerance, "eV/Å"))
    difference = outputs["virials"].sum(axis=0) - outputs["virial"][0]
    results.append(judge("sum of virials", largest(difference), probe.rounding(outputs["virial"]), "eV"))
    cluster = without_boundaries(probe.bulk)
    outputs = probe.evaluate(cluster)
    moments = cluster.positions.T @ outputs["forces"]
    tolerance = probe.rounding(moments, outputs["virial"]) * max(1.0, largest(cluster.positions))
    difference = largest(moments - outputs["virial"][0])
    return [*results, judge("virial of a cluster: r ⊗ F", difference, tolerance, "eV", "both parts of it")]


def rotations(probe: Probe) -> list[CheckResult]:
    """Deviations under the 24 rotations of a cube, inversion and a rotation by no special angle."""
    graph = probe.graph(probe.bulk)
    outputs = _without_net_force(probe.evaluate_all(graph))
    averaged = probe.info.symmetrization is not None
    cases = [
        ("24 rotations", Rotation.create_group("O").as_matrix(), probe.info.equivariant),
        ("inversion", -np.eye(3)[None], probe.info.equivariant),
        ("a random rotation", Rotation.random(1, rng=0).as_matrix(), probe.info.equivariant and not averaged),
    ]
    results = []
    vectors = [name for name in ("forces", "direct_forces") if name in outputs]
    for name, matrices, judged in cases:
        energies, deviations = [], {key: [] for key in vectors}
        for matrix in matrices:
            edges = graph.edge_vectors @ torch.from_numpy(matrix.T.copy())
            rotated = _without_net_force(probe.evaluate_all(replace(graph, edge_vectors=edges)))
            energies.append(rotated["energy"] - outputs["energy"])
            for key in vectors:
                deviations[key].append(rotated[key] @ matrix - outputs[key])
        per_atom = largest(np.array(energies)) / len(probe.bulk)
        tolerance = probe.rounding(outputs["energies"])
        results.append(judge(f"{name}: energy", per_atom, tolerance, "eV/atom", "", judged))
        for key in vectors:
            detail = f"largest {largest(outputs[key]):.3g} eV/Å"
            deviation, tolerance = largest(np.array(deviations[key])), probe.rounding(outputs[key])
            results.append(judge(f"{name}: {key}", deviation, tolerance, "eV/Å", detail, judged))
    return results


def single_precision(probe: Probe) -> list[CheckResult]:
    """How far the model in float32 is from the same in float64: reported."""
    if not probe.exact:
        return []
    exact = probe.evaluate(probe.bulk)
    single = Probe(in_dtype(probe.model, torch.float32), probe.structures).evaluate(probe.bulk)
    per_atom = largest(single["energy"] - exact["energy"]) / len(probe.bulk)
    return [
        report("float32 - float64: energy", per_atom, "eV/atom"),
        report("float32 - float64: forces", largest(single["forces"] - exact["forces"]), "eV/Å"),
    ]


def direct_heads(probe: Probe) -> list[CheckResult]:
    """Direct forces and stresses beside the derivatives: reported, nothing makes them agree."""
    outputs = probe.evaluate_all(probe.bulk)
    results = []
    if "direct_forces" in outputs:
        direct = outputs["direct_forces"]
        net = largest(direct.mean(axis=0))
        results.append(report("direct forces: mean", net, "eV/Å", "per atom; the engine removes it"))
        deviation = direct - direct.mean(axis=0) - outputs["forces"]
        detail = f"RMS; conservative forces {_rms(outputs['forces']):.3g} eV/Å"
        results.append(report("direct forces - conservative", _rms(deviation), "eV/Å", detail))
    direct = _direct_stress(outputs, probe.bulk)
    if direct is not None:
        conservative = -symmetric(outputs["virial"][0]) / probe.bulk.get_volume()
        detail = f"conservative stress {largest(conservative):.3g} eV/Å^3"
        results.append(
            report("direct stress - conservative", largest(direct - conservative), "eV/Å^3", detail)
        )
        results.append(report("direct stress, antisymmetric", largest(antisymmetric(direct)), "eV/Å^3"))
    return results


def _direct_stress(outputs: dict[str, np.ndarray], atoms: Atoms) -> np.ndarray | None:
    """[3, 3] in eV/Å^3, of whichever head there is, where the structure has a volume."""
    if not all(atoms.pbc):
        return None
    if "direct_stresses" in outputs:
        return outputs["direct_stresses"].mean(axis=0)
    if "direct_virials" in outputs:
        return -outputs["direct_virials"].sum(axis=0) / atoms.get_volume()
    return None


def _without_net_force(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs with the mean direct force removed, as engines do."""
    if "direct_forces" not in outputs:
        return outputs
    direct = outputs["direct_forces"]
    return {**outputs, "direct_forces": direct - direct.mean(axis=0)}


def _derivatives_judged(probe: Probe) -> bool:
    return probe.info.conservative and probe.exact


def _directions(n_atoms: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Unit vectors [N, 3]: six single coordinates and two random ones, fewer for many atoms."""
    few = n_atoms > MANY_ATOMS
    chosen = rng.choice(3 * n_atoms, min(3 * n_atoms, 2 if few else 6), replace=False)
    single = np.zeros((len(chosen), 3 * n_atoms))
    single[np.arange(len(chosen)), chosen] = 1.0
    vectors = [*single, *rng.normal(size=(1 if few else 2, 3 * n_atoms))]
    return [(vector / np.linalg.norm(vector)).reshape(-1, 3) for vector in vectors]


def _strains(pairs: Sequence[tuple[int, int]], part: Callable) -> list[np.ndarray]:
    """Unit strains [3, 3], the symmetric or the antisymmetric ``part`` of a single entry."""
    strains = []
    for i, j in pairs:
        unit = np.zeros((3, 3))
        unit[i, j] = 1.0
        strains.append(part(unit))
    return strains


def _virial_error(probe: Probe, atoms: Atoms, virial: np.ndarray, gradients: list[np.ndarray]) -> float:
    """Largest difference in eV between -virial:gradient and the energy's derivative along the gradient."""
    errors = []
    for gradient in gradients:
        slope = _derivative(probe, lambda step, g=gradient: _deformed(atoms, step * g))
        errors.append(slope + np.sum(virial * gradient))
    return largest(np.array(errors))


def _derivative(probe: Probe, moved: Callable[[float], Atoms]) -> float:
    """dE/dstep in eV per unit of the step: central differences of two steps, extrapolated (Richardson)."""
    coarse, fine = (
        (probe.energy(moved(step)) - probe.energy(moved(-step))) / (2 * step) for step in (STEP, 0.5 * STEP)
    )
    return (4 * fine - coarse) / 3


def _displaced(atoms: Atoms, displacement: np.ndarray) -> Atoms:
    moved = atoms.copy()
    moved.positions += displacement
    return moved


def _deformed(atoms: Atoms, gradient: np.ndarray) -> Atoms:
    """Cell and positions multiplied by 1 + gradient."""
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ (np.eye(3) + gradient), scale_atoms=True)
    return moved


def _rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array)))) if array.size else 0.0
