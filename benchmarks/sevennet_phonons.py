"""Phonons of SevenNet-0, or of any model file, beside DFT: the tables of docs/adapters.md.

    python benchmarks/sevennet_phonons.py --model 7net-0.pt --phonopy DATA/phonopy --phonondb DATA/phonon103

Crystals are relaxed by the model within their space group. `--phonopy` is a folder of phonopy directories
with DFT forces, compared in their supercells on a 20x20x20 mesh; `--phonondb` holds structures and
frequencies of the k_SRME benchmark, compared on its q-points. Non-analytic corrections are left out of both.
Every row is printed and stored as soon as it is there, so that a run that was stopped goes on. Without a
model, the tables (and with `--plot FILE`, the picture) are made of what is stored.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import timing
from ase import Atoms
from ase.io import read

from ase_mlip import MLIPCalculator
from ase_mlip.errors import MLIPError, SupercellWarning
from ase_mlip.lattice_dynamics.bands import IMAGINARY
from ase_mlip.lattice_dynamics.comparison import compare_phonons, load_reference
from ase_mlip.lattice_dynamics.kappa_srme import read_references
from ase_mlip.lattice_dynamics.phonons import phonons
from ase_mlip.lattice_dynamics.supercells.cells import to_ase

DIRECTORIES = ("NaCl", "MgO", "Si", "SnO2", "TiO2-anatase")
# Every structure type in the first rows: a run that is stopped early has seen them all.
FIRST = "MgO-225 NaCl-225 SiC-216 GaN-186 GaAs-216 ZnO-186 LiF-225 BN-216 AlN-186 PbTe-225 CdTe-216 KBr-225"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="model file")
    parser.add_argument("--phonopy", type=Path, help="folder with phonopy directories")
    parser.add_argument("--phonondb", type=Path, help="folder with the structures and frequencies of k_SRME")
    parser.add_argument("--seconds", type=float, default=np.inf, help="start no further row after so long")
    parser.add_argument(
        "--output", type=Path, default=timing.ROOT / "benchmarks/results/sevennet-phonons.json"
    )
    parser.add_argument("--plot", type=Path, help="picture of mean frequencies beside DFT")
    options = parser.parse_args()
    stored = json.loads(options.output.read_text()) if options.output.is_file() else {"rows": {}}
    if options.model is not None:
        _measure(stored, options)
    print(table(stored["rows"]))
    print(short_table(stored["rows"]))
    if options.plot is not None:
        plot(stored["rows"], options.plot)
    return 0


def _measure(stored: dict, options: argparse.Namespace) -> None:
    stored["environment"] = timing.environment(model=Path(options.model).name)
    calculator = MLIPCalculator(options.model, dtype="float64")
    started = time.perf_counter()
    for key, measure, *arguments in [*_directories(options.phonopy), *_crystals(options.phonondb)]:
        if key not in stored["rows"] and time.perf_counter() - started < options.seconds:
            stored["rows"][key] = _row(measure, *arguments, calculator)
            options.output.write_text(json.dumps(stored, indent=1) + "\n")
            print(key, json.dumps(stored["rows"][key]), flush=True)


def _row(measure, *arguments) -> dict:
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SupercellWarning)  # the reference's supercell is the point
            row = measure(*arguments)
    except MLIPError as error:
        row = {"failed": str(error)}
    return {**row, "seconds": round(time.perf_counter() - started, 1)}


# ---- forces of phonopy directories -------------------------------------------------------------------------


def _directories(folder: Path | None) -> Iterator[tuple]:
    for name in DIRECTORIES if folder else ():
        yield f"{name}, forces", _beside_forces, folder / name


def _beside_forces(folder: Path, calculator: MLIPCalculator) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # phonopy announces another default of its own
        atoms = to_ase(load_reference(folder).unitcell)
    dft = atoms.cell.lengths()
    atoms.calc = calculator
    found = compare_phonons(atoms, folder)
    relaxed = to_ase(found.model.phonopy.unitcell).cell.lengths()
    return {
        **_lengths(relaxed, dft),
        "mae_THz": found.mean_absolute_error,
        "max_THz": found.max_error,
        "optical_THz": list(found.gamma),
        "lowest_THz": found.model.lowest_frequency,
        "atoms": found.model.n_atoms_supercell,
    }


# ---- frequencies of the phonon data base -------------------------------------------------------------------


def _crystals(folder: Path | None) -> Iterator[tuple]:
    if folder is None:
        return
    structures = {
        f"{atoms.info['name']}-{atoms.info['symm.no']}": atoms
        for atoms in read(folder / "phononDB-PBE-structures.extxyz", ":")
    }
    references = {
        f"{reference.name}-{reference.space_group_number}": reference
        for reference in read_references(folder / "kappas_phononDB_PBE_noNAC.json.gz").values()
    }
    for key in dict.fromkeys([*FIRST.split(), *structures]):
        yield key, _beside_frequencies, structures[key], references[key]


def _beside_frequencies(structure: Atoms, reference, calculator: MLIPCalculator) -> dict:
    atoms = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=True)
    atoms.calc = calculator
    found = phonons(
        atoms,
        supercell_matrix=np.array(structure.info["fc2_supercell"]),
        mesh=(4, 4, 4),
        primitive_matrix=np.array(structure.info.get("primitive_matrix", np.eye(3))),
    )
    relaxed = to_ase(found.phonopy.unitcell).cell.lengths()
    # branches are matched by their order at each point
    errors = np.sort(found.frequencies_at(reference.q_points)) - np.sort(reference.frequencies)
    weights = np.broadcast_to(reference.weights[:, None], errors.shape)
    return {
        **_lengths(relaxed, structure.cell.lengths()),
        "mae_THz": float(np.average(np.abs(errors), weights=weights)),
        "bias_THz": float(np.average(errors, weights=weights)),
        "mean_THz": float(np.average(reference.frequencies, weights=weights)),
        "lowest_THz": found.lowest_frequency,
        "atoms": found.n_atoms_supercell,
    }


def _lengths(relaxed: np.ndarray, dft: np.ndarray) -> dict:
    return {"a": relaxed[0], "c": relaxed[2], "a_dft": dft[0], "c_dft": dft[2]}


def table(rows: dict[str, dict]) -> str:
    """Markdown: lattice constants in Å, errors of frequencies in THz."""
    lines = ["| crystal | a | a DFT | c/a | c/a DFT | MAE THz | atoms |", "|---|--:|--:|--:|--:|--:|--:|"]
    done = {name: row for name, row in rows.items() if "failed" not in row}
    for name, row in done.items():
        shapes = f"{row['c'] / row['a']:.3f} | {row['c_dft'] / row['a_dft']:.3f}"
        lengths = f"{row['a']:.3f} | {row['a_dft']:.3f}"
        lines.append(f"| {name} | {lengths} | {shapes} | {row['mae_THz']:.3f} | {row['atoms']} |")
    lines += [f"| {name} | failed: {row['failed']} |" for name, row in rows.items() if "failed" in row]
    if done:
        strains = [row["a"] / row["a_dft"] - 1.0 for row in done.values()]
        errors = [row["mae_THz"] for row in done.values()]
        lines.append(
            f"\n{len(done)} crystals: a deviates by {100 * np.mean(np.abs(strains)):.2f} % on average "
            f"({100 * np.mean(strains):+.2f} %), frequencies by {np.mean(errors):.3f} THz "
            f"(median {np.median(errors):.3f})"
        )
    return "\n".join(lines)


def short_table(rows: dict[str, dict]) -> str:
    """Markdown: the first crystals of the data base, in the order they were measured."""
    lines = [
        "| | a deviates, % | DFT mean, THz | mean deviation | mean absolute | lowest, THz |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name in FIRST.split():
        row = rows.get(name, {"failed": "not measured"})
        if "failed" not in row:
            lowest = f"{row['lowest_THz']:.1f}" if row["lowest_THz"] < IMAGINARY else "–"
            cells = [name, f"{100.0 * (row['a'] / row['a_dft'] - 1.0):+.2f}", f"{row['mean_THz']:.2f}"]
            cells += [f"{row['bias_THz']:+.2f}", f"{row['mae_THz']:.2f}", lowest]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: dict[str, dict], path: Path) -> None:
    """Mean frequency of each crystal of the data base, the model's over DFT's."""
    from matplotlib.figure import Figure

    done = [row for row in rows.values() if "mean_THz" in row]
    figure = Figure(figsize=(3.6, 3.4), layout="constrained")
    axes = figure.subplots()
    top = max(row["mean_THz"] for row in done) * 1.05
    axes.plot([0.0, top], [0.0, top], color="0.6", lw=1.0)
    for imaginary, color, label in ((False, "C0", "stable"), (True, "C3", "imaginary modes")):
        chosen = [row for row in done if (row["lowest_THz"] < IMAGINARY) == imaginary]
        x = [row["mean_THz"] for row in chosen]
        y = [row["mean_THz"] + row["bias_THz"] for row in chosen]
        axes.plot(x, y, "o", ms=4, color=color, label=f"{label} ({len(chosen)})")
    axes.set(
        xlim=(0.0, top), ylim=(0.0, top), xlabel="mean frequency of DFT, THz", ylabel="of SevenNet-0, THz"
    )
    axes.set_aspect("equal")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120, facecolor="white")


if __name__ == "__main__":
    sys.exit(main())
