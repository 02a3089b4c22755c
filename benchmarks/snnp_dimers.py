"""Two atoms alone: the shipped s-NNPs beside PBE (shared/data/pair_short_range); docs/snnp_dimers.png.

    python benchmarks/snnp_dimers.py

No dimer was in the training data. PBE energies are relative to the longest distance of the file, those of the
potentials to two atoms without neighbours.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
from ase import Atoms

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "pair_short_range" / "diatomics-dft.json.gz"
OUTPUT = ROOT / "docs" / "snnp_dimers.png"
NAMES = {"snnp-si": "Si", "snnp-ge": "Ge", "snnp-mo": "Mo"}
AT = (1.3, 1.6, 2.0)  # Å


def main() -> None:
    from matplotlib.figure import Figure

    from ase_mlip import load_model

    with gzip.open(DATA) as file:
        reference = json.load(file)["PBE"]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axis, (name, element) in zip(figure.subplots(1, 3), NAMES.items(), strict=True):
        model = load_model(name, device="cpu", dtype="float64")
        curve = reference[f"{element}-{element}"]
        order = np.argsort(curve["distances"])
        r, dft = np.array(curve["distances"])[order], np.array(curve["energies"])[order]
        dft = dft - dft[-1]
        fine = np.arange(0.5, 6.0, 0.01)
        energies, forces = dimer(model, element, fine)
        seen = shortest(model)
        describe(name, fine, energies, forces, r, dft, seen)
        axis.plot(r, dft, "k.-", lw=0.8, ms=4, label="PBE")
        axis.plot(fine, energies, color="C0", label=name)
        axis.axvspan(0.5, seen, color="0.92", zorder=0, label="no training data")
        axis.axhline(0.0, color="0.7", lw=0.6, zorder=0)
        axis.set(
            xlim=(0.5, 6.0), ylim=(-5, 30), xlabel=f"{element}–{element} distance (Å)", ylabel="energy (eV)"
        )
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(OUTPUT, dpi=90)


def dimer(model, element: str, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies relative to two single atoms (eV) and the repulsion (eV/Å)."""
    from ase_mlip.neighbors import build_graph

    def results(atoms: Atoms):
        found = model(build_graph(atoms, model.info.cutoff))
        return float(found["energy"][0]), float(found["forces"][-1, 2])

    alone = results(Atoms(element))[0]
    values = [results(Atoms(f"{element}2", positions=[[0, 0, 0], [0, 0, r]])) for r in distances]
    energies, forces = np.array(values).T
    return energies - 2 * alone, forces


def shortest(model) -> float:
    """Beginning of the first knot interval with training data, Å."""
    from ase_mlip.visited import Coverage

    coverage = Coverage.of(model.info)
    visited = coverage.radial.flatten(0, -2).any(dim=0).nonzero()
    return coverage.grids["radial"].ends(int(visited.min()))[0]


def describe(name, r, energies, forces, reference_r, reference, seen) -> None:
    attracting = r[forces < 0]
    well, dft_well = np.argmin(energies), np.argmin(reference)
    print(f"{name}: data from {seen:.2f} Å; repels at all distances below {attracting.min():.2f} Å")
    found = f"{energies[well]:.2f} eV at {r[well]:.2f} Å"
    print(f"  minimum {found}, PBE {reference[dft_well]:.2f} eV at {reference_r[dft_well]:.2f} Å")
    for distance in AT:
        dft = np.interp(distance, reference_r, reference, left=np.nan)
        print(f"  {distance} Å: {np.interp(distance, r, energies):.1f} eV, PBE {dft:.1f} eV")


if __name__ == "__main__":
    main()
