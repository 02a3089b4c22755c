"""One side of ``adapters.py``, in the environment of a family.

    adapters_worker.py prepare NAME CHECKPOINT                      the checkpoint, and its export beside it
    adapters_worker.py ours|theirs NAME CHECKPOINT STRUCTURE N      answers every line with "seconds S"
    adapters_worker.py lammps NAME CHECKPOINT STRUCTURE N           the same for a step of LAMMPS

N is the number of threads. Weights are random but for SevenNet-0; only the speed counts.
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from pathlib import Path

import lammps_input

sys.path.pop(0)  # this folder, whose lammps.py would be taken for the package
import numpy as np
from ase import Atoms
from ase.build import bulk

ROOT = Path(__file__).resolve().parents[1]
FAMILY = {"mace": "mace", "7net-0": "sevennet", "pet": "pet", "pet-direct": "pet", "nequip": "nequip"}
CELLS = {"Si64": ("Si", 2), "Si216": ("Si", 3), "Si1000": ("Si", 5), "Cu256": ("Cu", 4)}
SPECIES = [14, 29]
CUTOFF = 5.0  # Å, of the networks with random weights but PET, whose default is 4.5 Å


def main(task: str, name: str, checkpoint: Path, structure: str = "", threads: str = "1") -> None:
    warnings.simplefilter("ignore")
    if task == "prepare":
        prepare(name, checkpoint)
        return
    atoms = make_structure(structure)
    measure = (
        in_lammps(name, checkpoint, atoms)
        if task == "lammps"
        else in_ase(task, name, checkpoint, atoms, threads)
    )
    for _ in sys.stdin:
        print(f"seconds {measure()}", flush=True)


def make_structure(name: str) -> Atoms:
    element, cells = CELLS[name]
    atoms = bulk(element, cubic=True).repeat(cells)
    atoms.rattle(0.05, seed=1)
    return atoms


# ---- checkpoints -------------------------------------------------------------------------------------------


def prepare(name: str, checkpoint: Path) -> None:
    sys.path.insert(0, str(ROOT / "tests" / "adapters"))
    {"mace": make_mace, "7net-0": use_sevennet, "nequip": make_nequip}.get(name, make_pet)(checkpoint)
    from ase_mlip.converters import adapt, export_adapted

    source = "7net-0" if name == "7net-0" else checkpoint
    export_adapted(adapt(FAMILY[name], source, allow_pickle=True), exported(checkpoint), "float32")


def exported(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".pt")


def use_sevennet(checkpoint: Path) -> None:
    """Its checkpoint is inside its package."""


def make_mace(checkpoint: Path) -> None:
    import mace_models
    import torch

    mace_models.write(checkpoint, species=SPECIES, features="64x0e+64x1o", dtype=torch.float32, r_max=CUTOFF)


def make_pet(checkpoint: Path) -> None:
    import pet_checkpoints
    from metatrain.utils.architectures import get_default_hypers

    targets = {"energy": "eV"}
    if "direct" in checkpoint.name:
        targets |= {"non_conservative_force": "eV/Angstrom", "non_conservative_stress": "eV/Angstrom^3"}
    published = get_default_hypers("pet")["model"]
    model = pet_checkpoints.public_model(targets, SPECIES, **published)
    pet_checkpoints.write(checkpoint, model)
    model.export().save(str(checkpoint.with_suffix(".metatomic.pt")))


def make_nequip(checkpoint: Path) -> None:
    import nequip_models
    from nequip.utils.global_state import set_global_state

    model = {**nequip_models.NEQUIP, "type_names": ["Si", "Cu"], "r_max": CUTOFF, "num_features": 32}
    model |= {
        "radial_mlp_width": 64,
        "num_layers": 3,
        "per_type_energy_scales": 1.0,
        "per_type_energy_shifts": 0.0,
    }
    set_global_state()
    nequip_models.write(checkpoint.stem, model, checkpoint.parent)


# ---- what is timed -----------------------------------------------------------------------------------------


def in_ase(who: str, name: str, checkpoint: Path, atoms: Atoms, threads: str):
    import torch

    torch.set_num_threads(int(threads))
    calculator = ours(name, checkpoint) if who == "ours" else theirs(name, checkpoint)
    rng = np.random.default_rng(0)

    def measure() -> float:
        atoms.positions += rng.uniform(-1e-3, 1e-3, atoms.positions.shape)
        start = time.perf_counter()
        calculator.calculate(atoms, ["energy", "forces", "stress"], ["positions"])
        seconds = time.perf_counter() - start
        assert np.isfinite(calculator.results["forces"]).all()
        return seconds

    return measure


def ours(name: str, checkpoint: Path):
    from ase_mlip import MLIPCalculator

    return MLIPCalculator(exported(checkpoint), device="cpu", dtype="float32", forces=forces_of(name))


def forces_of(name: str) -> str:
    return "direct" if name == "pet-direct" else "conservative"


def theirs(name: str, checkpoint: Path):
    if name == "mace":
        from ase_mlip.converters.mace.mace import mace_packages

        with mace_packages():
            from mace.calculators import MACECalculator

            return MACECalculator(str(checkpoint), device="cpu", default_dtype="float32")
    if name == "7net-0":
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator("7net-0", device="cpu")
    if name == "nequip":
        from nequip.integrations.ase import NequIPCalculator

        # the eager model; docs/adapters.md says what the one compiled by AOTInductor takes
        return NequIPCalculator._from_saved_model(str(checkpoint), chemical_species_to_atom_type_map=True)
    from metatomic_ase import MetatomicCalculator

    file = str(checkpoint.with_suffix(".metatomic.pt"))
    return MetatomicCalculator(file, device="cpu", non_conservative=name == "pet-direct")


def in_lammps(name: str, checkpoint: Path, atoms: Atoms):
    """Seconds of a step on one rank, as LAMMPS says."""
    from ase.data import atomic_masses

    from ase_mlip.lammps import lammps_run

    program, environment = lammps_run.prepare()
    folder = checkpoint.parent / f"lammps-{checkpoint.stem}"
    folder.mkdir(exist_ok=True)
    element = atoms.get_chemical_symbols()[0]
    text = lammps_input.structure(folder, atoms, {element: atomic_masses[atoms.numbers[0]]})
    text += lammps_input.mlip(exported(checkpoint), element, f"forces {forces_of(name)}")
    (folder / "in.step").write_text(text + lammps_input.nve(1e-6, 2))

    def measure() -> float:
        command = lammps_input.command(program, "in.step")
        text = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True).stdout
        seconds = lammps_input.seconds_per_step(text)
        if not seconds:
            raise RuntimeError(text[-2000:])
        return seconds[0]

    return measure


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
