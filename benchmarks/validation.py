"""What averaging does to phonons and dynamics of a shipped crystal: the tables of docs/validation.md.

Run it as ``python benchmarks/validation.py`` with ``relaxation``, ``saddles``, ``phonons``, ``reference``,
``dynamics``, ``direct``, ``respa`` or ``memory``. Every row is printed as soon as it is there and stored, so
that a run that was stopped goes on. Seconds are those of this machine; evaluations are of the network.
"""

from __future__ import annotations

import argparse
import json
import subprocess
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
from ase_mlip.dynamics.lammps_md import run_nve_lammps
from ase_mlip.dynamics.md import draw_velocities, run_nve
from ase_mlip.errors import SupercellWarning
from ase_mlip.lattice_dynamics.audit import audit_phonons
from ase_mlip.lattice_dynamics.comparison import compare_phonons
from ase_mlip.lattice_dynamics.input import relaxed_within_symmetry
from ase_mlip.lattice_dynamics.phonons import phonons
from ase_mlip.model_file.info import find_model
from ase_mlip.relaxation.relax import relax
from ase_mlip.report import silicon

sys.path.pop(0)  # this folder, whose lammps.py would be taken for the package
RESULTS = timing.ROOT / "benchmarks" / "results"
SCHEMES = (None, "octahedral", "icosahedral", "crystal")
NAMES = [scheme or "none" for scheme in SCHEMES]
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
    parser.add_argument("--distances", type=float, nargs="+", default=(0.01, 0.03), help="of the audit, Å")
    parser.add_argument("--temperatures", type=float, nargs="+", default=(300.0, 1000.0), help="K")
    parser.add_argument("--schemes", nargs="+", choices=NAMES, default=NAMES, help="of averaging")
    parser.add_argument("--cells", type=int, nargs="+", default=(5, 8), help="cubes for the table `memory`")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the numbers")
    options = parser.parse_args()
    path = options.output / f"validation-{Path(options.model).stem}.json"
    stored = json.loads(path.read_text()) if path.is_file() else {"rows": {}}
    stored["environment"] = timing.environment(model=options.model)
    # Memory comes first: on Linux a child's peak starts with that of its parent, which only grows.
    for table in sorted(options.tables, key=lambda table: table != "memory"):
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


def _scheme(name: str) -> str | None:
    return None if name == "none" else name


def relaxation(options) -> Rows:
    """The conventional cell displaced by 0.1 Å and strained by 3 %, the group that of the undisplaced one."""
    for name in options.schemes:
        yield name, lambda s=name: _relaxation(options, _scheme(s))


def _relaxation(options, scheme: str | None) -> dict:
    reference = CRYSTALS[Path(options.model).stem]()
    atoms = silicon.distort(reference, 0.1, 0.03)
    ours = None if scheme == "crystal" else scheme
    atoms.calc = MLIPCalculator(options.model, dtype="float64", symmetrize=ours)
    found = relax(
        atoms,
        fmax=1e-6,
        steps=500,
        optimizer="BFGS",
        cell=True,
        symmetrize=reference if scheme == "crystal" else None,
        reference=reference,
        smax=1e-7,
        check_noise=False,
    )
    return {
        "converged": found.converged,
        "steps": found.steps,
        "energy_eV_atom": found.energy / len(atoms),
        "cell_A": found.atoms.cell.lengths().tolist(),
        "cell_angles": found.atoms.cell.angles().tolist(),
        "space_groups": {f"{symprec:g}": group for symprec, group in found.spacegroup_after.items()},
        "seconds": round(found.wall_time, 1),
    }


def _beta_tin(a: float, ratio: float) -> Atoms:
    """The conventional cell of four atoms, I4_1/amd."""
    places = [(0.0, 0.0, 0.0), (0.0, 0.5, 0.25), (0.5, 0.5, 0.5), (0.5, 0.0, 0.75)]
    return Atoms("Si4", scaled_positions=places, cell=[a, a, a * ratio], pbc=True)


SADDLES = {
    "bcc, 16 atoms": lambda: bulk("Si", "bcc", a=3.05, cubic=True).repeat(2),
    "simple cubic, 8 atoms": lambda: bulk("Si", "sc", a=2.53).repeat(2),
    "beta-tin, 8 atoms": lambda: _beta_tin(4.82, 0.552).repeat((1, 1, 2)),
}
RELAXATIONS = {  # rattled by so much, Å, and how
    "plain": (0.0, {}),
    "plain, rattled": (0.01, {}),
    "fix, rattled": (0.01, {"keep_space_group": True, "symprec": 0.1}),
    "average": (0.0, {"symmetrize": "crystal"}),
}


def saddles(options) -> Rows:
    """Crystals of silicon that only symmetry holds, relaxed in four ways."""
    for start in SADDLES:
        for way in RELAXATIONS:
            yield f"{start}, {way}", lambda s=start, w=way: _saddle(options, s, w)


def _saddle(options, start: str, way: str) -> dict:
    rattle, how = RELAXATIONS[way]
    atoms = SADDLES[start]()
    if rattle:
        atoms.rattle(rattle, seed=0)
    atoms.calc = MLIPCalculator(options.model, dtype="float64")
    found = relax(atoms, fmax=1e-3, steps=500, optimizer="FIRE", cell=True, check_noise=False, **how)
    return {
        "converged": found.converged,
        "steps": found.steps,
        "energy_before_eV_atom": found.energies[0] / len(atoms),
        "energy_eV_atom": found.energy / len(atoms),
        "cell_A": found.atoms.cell.lengths().tolist(),
        "space_groups": {f"{symprec:g}": group for symprec, group in found.spacegroup_after.items()},
    }


def audits(options) -> Rows:
    """Nothing imposed: degenerate modes, acoustic modes at Γ, permutation symmetry; and production."""
    for size in options.sizes:
        for distance in options.distances:
            for name in options.schemes:
                yield (
                    f"{name}, {size}x{size}x{size}, {distance} Å",
                    lambda s=name, n=size, d=distance: _audit(options, _scheme(s), n, d),
                )


def _audit(options, scheme: str | None, size: int, distance: float) -> dict:
    atoms = crystal(options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SupercellWarning)
        found = audit_phonons(
            atoms, supercell_matrix=(size,) * 3, distance=distance, symmetrize=scheme, relax_first=False
        )
        produced = phonons(
            atoms,
            supercell_matrix=(size,) * 3,
            distance=distance,
            mesh=(4, 4, 4),
            symmetrize=scheme,
            relax_first=False,
            allow_unrelaxed=True,
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
    found = compare_phonons(crystal(options), options.reference, symmetrize=scheme)
    return {
        "mean_absolute_error_THz": found.mean_absolute_error,
        "max_error_THz": found.max_error,
        "optical_THz": found.gamma,
        "cell_strain": found.lattice_strain,
        "evaluations": found.model.evaluations,
        "seconds": round(found.model.seconds, 2),
    }


def dynamics(options) -> Rows:
    """Constant energy for 1 ps; 64 atoms plain, 8 atoms averaged; of bcc 54 and 16."""
    atoms, large, small = _sizes(options)
    for temperature in options.temperatures:
        for name, repeat in (("none", large), *((name, small) for name in options.schemes)):
            yield (
                f"{name}, {atoms * repeat**3} atoms, {temperature:g} K, 1 ps",
                lambda s=name, n=repeat, t=temperature: _dynamics(options, _scheme(s), n, t),
            )


def _sizes(options) -> tuple[int, int, int]:
    """Atoms of the conventional cell, and how often dynamics repeats it, plain and averaged."""
    atoms = len(CRYSTALS[Path(options.model).stem]())
    return (atoms, 2, 1) if atoms == 8 else (atoms, 3, 2)


def _dynamics(options, scheme, repeat: int, temperature: float, forces: str = "conservative") -> dict:
    atoms = crystal(options, forces, "float32", scheme).repeat(repeat)
    atoms.calc = crystal(options, forces, "float32", scheme).calc
    # a crystal in its minimum keeps half of it
    time_ = 1000.0 * units.fs
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
    atoms, large, small = _sizes(options)
    for scheme, repeat in ((None, large), (None, small), ("octahedral", small)):
        yield (
            f"{scheme or 'none'}, {atoms * repeat**3} atoms, 300 K, 1 ps",
            lambda s=scheme, n=repeat: _dynamics(options, s, n, 300.0, "direct"),
        )


def respa(options) -> Rows:
    """Direct forces every femtosecond, corrected every second one by LAMMPS; 64 atoms (bcc: 54), 1 ps."""
    atoms, large, _ = _sizes(options)
    for temperature in options.temperatures:
        name = f"none, {atoms * large**3} atoms, {temperature:g} K, 1 ps"
        yield name, lambda t=temperature: _respa(options, t, large)


def _respa(options, temperature: float, repeat: int) -> dict:
    atoms = crystal(options).repeat(repeat)
    draw_velocities(atoms, 2.0 * temperature, seed=0)
    time_ = 1000.0 * units.fs
    model = find_model(options.model)
    found = run_nve_lammps(atoms, model, 1.0 * units.fs, time_, equilibration=0.1 * time_, respa=2).result
    return {
        "drift_meV_atom_ps": found.drift,
        "fluctuation_meV_atom": found.fluctuation,
        "mean_temperature_K": found.mean_temperature,
    }


def _direct_audit(options, scheme: str | None) -> dict:
    found = audit_phonons(
        crystal(options, "direct"), supercell_matrix=(2, 2, 2), symmetrize=scheme, relax_first=False
    )
    return {
        "splitting_THz": found.splitting,
        "acoustic_THz": float(np.abs(found.acoustic).max()),
        "optical_THz": float(np.mean(found.optical)) if len(found.optical) else None,
        "permutation_eV_A2": found.permutation_error,
        "sum_rule_eV_A2": found.sum_rule_error,
    }


MEMORY = """
import resource, sys
from ase.build import bulk
from ase_mlip import MLIPCalculator; from ase_mlip.report import silicon

model, element, cells, scheme, times = sys.argv[1:]
atoms = bulk(element, cubic=True).repeat(int(cells))
atoms.rattle(0.02, seed=0)
calculator = MLIPCalculator(model, symmetrize=scheme)
peaks = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
for _ in range(int(times)):
    calculator.calculate(atoms, ["energy", "forces"])
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[0], peaks[1], peaks[-1], len(atoms))
"""


def memory(options) -> Rows:
    """Peak resident memory of a process that computes energy and forces, in float32.

    The plain model does so four times, as in a simulation: the heap has grown to its size after that. An
    average evaluates the network as many times as it has rotations in any case.
    """
    for scheme in (name for name in options.schemes if name != "crystal"):
        for cells in options.cells:
            yield f"{scheme}, {cells}x{cells}x{cells}", lambda s=scheme, n=cells: _memory(options, s, n)


def _memory(options, scheme: str, cells: int) -> dict:
    element = CRYSTALS[Path(options.model).stem]().get_chemical_symbols()[0]
    command = [sys.executable, "-c", MEMORY, options.model, element, str(cells), scheme]
    command.append("4" if scheme == "none" else "1")
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, once, peak, atoms = map(int, output.split())
    megabytes = {"peak_MB": peak, "once_MB": once, "before_MB": before}
    return {"atoms": atoms, **{name: round(value / 1024, 1) for name, value in megabytes.items()}}


TABLES = {
    "relaxation": relaxation,
    "saddles": saddles,
    "phonons": audits,
    "reference": reference,
    "dynamics": dynamics,
    "direct": direct,
    "respa": respa,
    "memory": memory,
}

if __name__ == "__main__":
    sys.exit(main())
