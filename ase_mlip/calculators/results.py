"""From a model's outputs to the results of ASE's calculator, and what makes them out of date."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from ..errors import MLIPError
from ..model_file.info import ModelInfo


def ase_results(
    outputs: dict, nodes: slice, index: int, volume: float, direct: bool, stresses: bool = False
) -> dict:
    """ASE's results of one structure of a graph, in eV, eV/Å and eV/Å³.

    Parameters
    ----------
    outputs: NumPy arrays by name, of all structures of the graph (:class:`ase_mlip.model_file.model.Model`)
    nodes: the structure's atoms in the graph
    index: the structure's position in the graph
    volume: its volume in Å³; 0: no stress
    direct: forces and stress of the direct heads, forces less their mean
    stresses: whether ``stresses``, those of the atoms, are wanted, too

    Raises
    ------
    CalculationFailed
        an energy or force that is not finite
    """
    energy = float(outputs["energy"][index])
    results = {"energy": energy, "free_energy": energy, "energies": outputs["energies"][nodes]}
    if direct:
        forces = outputs["direct_forces"][nodes]
        results["forces"] = forces - forces.mean(axis=0)
        of_atoms = _direct_stresses(outputs, nodes, volume)
        stress = None if of_atoms is None else of_atoms.sum(axis=0)
    else:
        if "forces" in outputs:
            results["forces"] = outputs["forces"][nodes]
        of_atoms = -outputs["virials"][nodes] / volume if "virials" in outputs and volume else None
        stress = -outputs["virial"][index] / volume if "virial" in outputs and volume else None
    if stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(stress)
    if of_atoms is not None and stresses:
        results["stresses"] = full_3x3_to_voigt_6_stress(of_atoms)
    _check_finite(results)
    return results


def changes(before: Atoms | None, now: Atoms) -> list[str]:
    """ASE's names of what differs, exactly, of what a potential sees."""
    if before is None:
        return list(all_changes)
    names = ("positions", "numbers", "cell", "pbc")
    return [name for name in names if not np.array_equal(getattr(before, name), getattr(now, name))]


def require_atoms(atoms: Atoms | None) -> None:
    """Raise MLIPError for a calculation without a structure."""
    if atoms is None:
        raise MLIPError("`atoms`: expected a structure, got None; pass the atoms or attach the calculator")


def has_direct_stress(info: ModelInfo) -> bool:
    return not {"direct_stresses", "direct_virials"}.isdisjoint(info.outputs)


def _direct_stresses(outputs: dict, nodes: slice, volume: float) -> np.ndarray | None:
    """Per-atom stresses [N, 3, 3] in eV/Å³ that sum to the structure's, from whichever head there is."""
    if not volume:
        return None
    if "direct_stresses" in outputs:
        stresses = outputs["direct_stresses"][nodes]
        return stresses / len(stresses)  # the stress is their mean
    if "direct_virials" in outputs:
        return -outputs["direct_virials"][nodes] / volume
    return None


def rotational_spreads(outputs: dict, nodes: slice, index: int, volume: float) -> dict:
    """Standard deviations over rotations, for a calculator's ``diagnostics``; empty without rotations.

    Parameters are those of :func:`ase_results`; the outputs are those of
    :class:`ase_mlip.calculators.rotation_sums.Spread`.

    Returns
    -------
    as far as there is an output for it: ``energy_spread`` (eV), ``forces_spread`` [N] (eV/Å) and
    ``stress_spread`` [6] (eV/Å³)
    """
    found = {}
    if "energy_spread" in outputs:
        found["energy_spread"] = float(outputs["energy_spread"][index])
    if "forces_spread" in outputs:
        found["forces_spread"] = outputs["forces_spread"][nodes]
    if "stress_spread" in outputs and volume:
        found["stress_spread"] = outputs["stress_spread"][index]
    elif "virial_spread" in outputs and volume:
        found["stress_spread"] = outputs["virial_spread"][index] / volume
    return found


def _check_finite(results: dict) -> None:
    for name in ("energies", "forces"):
        if name not in results or np.isfinite(results[name]).all():
            continue
        broken = np.flatnonzero(~np.isfinite(results[name].reshape(len(results[name]), -1)).all(axis=1))
        raise CalculationFailed(
            f"`{name}`: expected finite numbers, got {results[name][broken[0]]} on atom {broken[0]} "
            f"({len(broken)} such atoms); the structure is far from what the model was trained on, or "
            "float32 overflows: look at its distances, reduce the timestep, or try dtype='float64'"
        )
