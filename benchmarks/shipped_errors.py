"""Errors of the shipped potentials on every frame of mlearn's test files, and the frames that the tests hold.

    python benchmarks/shipped_errors.py

writes tests/files/mlearn: ``errors.json``, and of each test file the first frame of every group. The tests
compute those frames again and hold docs/models.md against all of them (tests/test_shipped_errors.py).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ase.io import read, write

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "mlearn"
KEPT = ROOT / "tests" / "files" / "mlearn"
ELEMENTS = ("Si", "Ge", "Mo")


def main() -> None:
    from ase_mlip.calculators.calculator import MLIPCalculator
    from ase_mlip.checks.evaluate import evaluate
    from ase_mlip.model_file.info import shipped_models

    found = {}
    for element in ELEMENTS:
        frames = read(DATA / f"{element}_test.xyz", ":")
        groups = [frame.info["group"] for frame in frames]
        first = [groups.index(group) for group in dict.fromkeys(groups)]
        kept = [frames[k] for k in first]
        for frame, index in zip(kept, first, strict=True):
            frame.info = {"group": frame.info["group"], "frame": index}
        write(KEPT / f"{element}.xyz", kept)
        for name in (name for name in shipped_models() if name.endswith(f"-{element.lower()}")):
            found[name] = [
                row(evaluate(name, [frame]), group) for frame, group in zip(frames, groups, strict=True)
            ]
            if name.startswith("pet"):
                heads = MLIPCalculator(name, forces="direct")
                for entry, frame in zip(found[name], frames, strict=True):
                    direct = evaluate(heads, [frame])
                    entry["direct_forces"] = float(f"{direct.forces_rmse:.6g}")
                    entry["direct_stress"] = float(f"{direct.stress_rmse:.6g}")
            squares = [entry["energy"] ** 2 for entry in found[name]]
            print(f"{name}: {1e3 * np.sqrt(np.mean(squares)):.2f} meV/atom", flush=True)
    (KEPT / "errors.json").write_text(json.dumps(found, indent=1) + "\n")


def row(result, group: str) -> dict:
    """Root mean square errors of a frame in eV/atom, eV/Å, eV/Å^3, and its number of atoms."""
    errors = {"energy": result.energy_rmse, "forces": result.forces_rmse, "stress": result.stress_rmse}
    return {"group": group, "atoms": result.n_atoms, **{key: float(f"{e:.6g}") for key, e in errors.items()}}


if __name__ == "__main__":
    main()
