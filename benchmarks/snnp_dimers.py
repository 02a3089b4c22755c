"""Two atoms alone: the shipped s-NNPs beside PBE (shared/data/pair_short_range); docs/snnp_dimers.png.

    python benchmarks/snnp_dimers.py

Numbers go to benchmarks/results/snnp-dimers.json. No dimer was in the training data. PBE energies are
relative to the longest distance of the file, those of the potentials to two atoms without neighbours.
"""

from __future__ import annotations

import argparse
import gzip
import json

import numpy as np
import snnp_studies as studies
from ase import Atoms

ROOT = studies.ROOT
DATA = ROOT.parent / "shared" / "data" / "pair_short_range" / "diatomics-dft.json.gz"
OUTPUT = ROOT / "docs" / "snnp_dimers.png"
NAMES = {"snnp-si": "Si", "snnp-ge": "Ge", "snnp-mo": "Mo"}
AT = (1.3, 1.6, 2.0)  # Å


def main() -> None:
    from matplotlib.figure import Figure

    from ase_mlip import load_model

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    studies.add_output(parser)
    options = parser.parse_args()
    rows = {}
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
        rows[name] = described(fine, energies, forces, r, dft, seen)
        show(name, rows[name])
        axis.plot(r, dft, "k.-", lw=0.8, ms=4, label="PBE")
        axis.plot(fine, energies, color="C0", label=name)
        axis.axvspan(0.5, seen, color="0.92", zorder=0, label="no training data")
        axis.axhline(0.0, color="0.7", lw=0.6, zorder=0)
        axis.set(
            xlim=(0.5, 6.0), ylim=(-5, 30), xlabel=f"{element}–{element} distance (Å)", ylabel="energy (eV)"
        )
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(OUTPUT, dpi=90)
    studies.publish("dimers", rows, options.output)


def dimer(model, element: str, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies relative to two single atoms (eV) and the repulsion (eV/Å)."""
    from ase_mlip.graph.neighbors import build_graph

    def results(atoms: Atoms):
        found = model(build_graph(atoms, model.info.cutoff))
        return float(found["energy"][0]), float(found["forces"][-1, 2])

    alone = results(Atoms(element))[0]
    values = [results(Atoms(f"{element}2", positions=[[0, 0, 0], [0, 0, r]])) for r in distances]
    energies, forces = np.array(values).T
    return energies - 2 * alone, forces


def shortest(model) -> float:
    """Beginning of the first knot interval with training data, Å."""
    from ase_mlip.calculators.diagnostics.visited import Coverage

    coverage = Coverage.of(model.info)
    visited = coverage.radial.flatten(0, -2).any(dim=0).nonzero()
    return coverage.grids["radial"].ends(int(visited.min()))[0]


def described(r, energies, forces, reference_r, reference, seen) -> dict:
    """Where the dimer repels, its minimum and some energies, beside PBE's; Å, eV."""
    well, dft_well = np.argmin(energies), np.argmin(reference)
    at = {
        f"{distance} Å": {
            "energy": float(np.interp(distance, r, energies)),
            "PBE": float(np.interp(distance, reference_r, reference)),
        }
        for distance in AT
    }
    attracting = r[forces < 0]
    return {
        "data_from": seen,
        "repels_below": round(float(attracting.min()), 2) if len(attracting) else None,
        "minimum": [float(energies[well]), round(float(r[well]), 2)],
        "minimum_PBE": [float(reference[dft_well]), float(reference_r[dft_well])],
        "at": at,
    }


def show(name: str, row: dict) -> None:
    print(f"{name}: data from {row['data_from']:.2f} Å; repels below {row['repels_below']} Å")
    (energy, r), (dft, dft_r) = row["minimum"], row["minimum_PBE"]
    print(f"  minimum {energy:.2f} eV at {r:.2f} Å, PBE {dft:.2f} eV at {dft_r:.2f} Å")
    for distance, found in row["at"].items():
        print(f"  {distance}: {found['energy']:.1f} eV, PBE {found['PBE']:.1f} eV")


if __name__ == "__main__":
    main()
