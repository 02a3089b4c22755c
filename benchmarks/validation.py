"""What averaging does to phonons and dynamics of a shipped crystal: the tables of docs/validation.md.

Run it as ``python benchmarks/validation.py phonons``, ``reference``, ``dynamics`` or ``direct``; every row is
printed as soon as it is there and stored, so that a run that was stopped goes on. Seconds are those of this
machine; evaluations are of the network.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import timing
from ase import Atoms, units
from ase.build import bulk

from ase_mlip import MLIPCalculator
from ase_mlip.errors import SupercellWarning
from ase_mlip.md import run_nve
from ase_mlip.phonon_audit import audit_phonons
from ase_mlip.phonon_reference import compare_phonons
from ase_mlip.phonons import phonons, relaxed_within_symmetry

SCHEMES = (None, "octahedral", "icosahedral", "crystal")
CRYSTALS = {
    "pet-si": lambda: bulk("Si", cubic=True),
    "pet-ge": lambda: bulk("Ge", cubic=True),
    "pet-mo": lambda: bulk("Mo", cubic=True),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", choices=TABLES)
    parser.add_argument("--model", default="pet-si", help="; ".join(CRYSTALS))
    parser.add_argument("--reference", type=Path, help="phonopy directory, for the table `reference`")
    parser.add_argument("--sizes", type=int, nargs="+", default=(2, 3), help="supercells of the audit")
    options = parser.parse_args()
    path = timing.ROOT / "benchmarks" / "results" / f"validation-{Path(options.model).stem}.json"
    stored = json.loads(path.read_text()) if path.is_file() else {"rows": {}}
    stored["environment"] = timing.environment(model=options.model)
    for table in options.tables:
        for name, measure in TABLES[table](options):
            key = f"{table}: {name}"
            if key not in stored["rows"]:
                started = time.perf_counter()
                row = measure()
                stored["rows"][key] = {**row, "total_seconds": round(time.perf_counter() - started, 1)}
                path.write_text(json.dumps(stored, indent=1) + "\n")
            print(key, json.dumps(stored["rows"][key]), flush=True)
    return 0


Rows = Iterator[tuple[str, Callable[[], dict]]]


def crystal(options, forces: str = "conservative", dtype: str = "float64", symmetrize=None) -> Atoms:
    """The conventional cell at the plain model's minimum within its space group, with a calculator."""
    atoms = CRYSTALS[Path(options.model).stem]()
    atoms.calc = MLIPCalculator(options.model, dtype="float64")
    relaxed_within_symmetry(atoms)
    atoms.set_constraint()
    scheme = atoms.copy() if symmetrize == "crystal" else symmetrize
    atoms.calc = MLIPCalculator(options.model, dtype=dtype, forces=forces, symmetrize=scheme)
    return atoms


def audits(options) -> Rows:
    """Nothing imposed: degenerate modes, acoustic modes at Γ, permutation symmetry; and production."""
    for size in options.sizes:
        for distance in (0.01, 0.03):
            for scheme in SCHEMES:
                yield (
                    f"{scheme or 'none'}, {size}x{size}x{size}, {distance} Å",
                    lambda s=scheme, n=size, d=distance: _audit(options, s, n, d),
                )


def _audit(options, scheme: str | None, size: int, distance: float) -> dict:
    atoms = crystal(options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SupercellWarning)
        found = audit_phonons(atoms, (size,) * 3, distance, symmetry=scheme, relax_first=False)
        produced = phonons(
            atoms, (size,) * 3, distance, mesh=(4, 4, 4), symmetry=scheme, relax_first=False, force=True
        )
    return {
        "splitting_THz": found.splitting,
        "splitting_at": found.splitting_at,
        "acoustic_THz": float(np.abs(found.acoustic).max()),
        "optical_THz": float(np.mean(found.optical)) if len(found.optical) else None,
        "optical_splitting_THz": float(np.ptp(found.optical)) if len(found.optical) else None,
        "permutation_eV_A2": found.permutation_error,
        "audit_evaluations": found.evaluations,
        "audit_seconds": round(found.seconds, 2),
        "production_evaluations": produced.evaluations,
        "production_seconds": round(produced.seconds, 2),
    }


def reference(options) -> Rows:
    """Production phonons beside the reference's, in its supercell."""
    if options.reference is None:
        sys.exit("`reference` needs `--reference DIRECTORY`")
    for scheme in SCHEMES:
        yield scheme or "none", lambda s=scheme: _reference(options, s)


def _reference(options, scheme: str | None) -> dict:
    found = compare_phonons(crystal(options), options.reference, symmetry=scheme)
    return {
        "mean_absolute_error_THz": found.mean_absolute_error,
        "max_error_THz": found.max_error,
        "optical_THz": found.gamma,
        "cell_strain": found.lattice_strain,
        "evaluations": found.model.evaluations,
        "seconds": round(found.model.seconds, 2),
    }


def dynamics(options) -> Rows:
    """Constant energy at two temperatures; 64 atoms plain, 8 atoms averaged."""
    for temperature in (300.0, 1000.0):
        averaged = ((scheme, 1, 0.2) for scheme in SCHEMES[1:])
        for scheme, repeat, picoseconds in ((None, 2, 1.0), (None, 1, 0.2), *averaged):
            yield (
                f"{scheme or 'none'}, {8 * repeat**3} atoms, {temperature:g} K, {picoseconds:g} ps",
                lambda s=scheme, n=repeat, t=temperature, p=picoseconds: _dynamics(options, s, n, t, p),
            )


def _dynamics(
    options, scheme, repeat: int, temperature: float, picoseconds: float, forces: str = "conservative"
) -> dict:
    atoms = crystal(options, forces, "float32", scheme).repeat(repeat)
    atoms.calc = crystal(options, forces, "float32", scheme).calc
    # a crystal in its minimum keeps half of it
    time_ = picoseconds * 1000.0 * units.fs
    found = run_nve(atoms, 2.0 * temperature, 1.0 * units.fs, time_, equilibration=0.1 * time_)
    return {
        "drift_meV_atom_ps": found.drift,
        "fluctuation_meV_atom": found.fluctuation,
        "mean_temperature_K": found.mean_temperature,
        "completed": found.completed,
        "ms_per_step": round(1000.0 * found.seconds_per_step, 1),
    }


def direct(options) -> Rows:
    """Forces of the direct head: no derivative of an energy, so no energy is conserved."""
    for scheme in (None, "octahedral"):
        yield (
            f"{scheme or 'none'}, audit 2x2x2, 0.01 Å",
            lambda s=scheme: _direct_audit(options, s),
        )
    for scheme, repeat, picoseconds in ((None, 2, 1.0), (None, 1, 0.2), ("octahedral", 1, 0.2)):
        yield (
            f"{scheme or 'none'}, {8 * repeat**3} atoms, 300 K, {picoseconds:g} ps",
            lambda s=scheme, n=repeat, p=picoseconds: _dynamics(options, s, n, 300.0, p, "direct"),
        )


def _direct_audit(options, scheme: str | None) -> dict:
    found = audit_phonons(crystal(options, "direct"), (2, 2, 2), symmetry=scheme, relax_first=False)
    return {
        "splitting_THz": found.splitting,
        "acoustic_THz": float(np.abs(found.acoustic).max()),
        "optical_THz": float(np.mean(found.optical)),
        "permutation_eV_A2": found.permutation_error,
        "sum_rule_eV_A2": found.sum_rule_error,
    }


TABLES = {"phonons": audits, "reference": reference, "dynamics": dynamics, "direct": direct}

if __name__ == "__main__":
    sys.exit(main())
