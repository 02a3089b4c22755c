"""Convert training data that ASE does not read to extended XYZ (energies eV, forces eV/Å).

    python convert.py deepmd SYSTEM [SYSTEM ...] -o OUT.xyz   folders with type.raw, type_map.raw, set.*/*.npy
    python convert.py rmd17 FILE.npz -o OUT.xyz               revised MD17: kcal/mol and Å become eV and eV/Å

Frames keep their order; ``info["group"]`` names the folder of a DeePMD system.
"""

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from tqdm import tqdm


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("format", choices=["deepmd", "rmd17"])
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="write this file")
    parser.add_argument("--overwrite", action="store_true", help="replace the file of -o")
    arguments = parser.parse_args()
    if arguments.output.exists() and not arguments.overwrite:
        parser.exit(1, f"`{arguments.output}` exists; choose another file, or replace it with --overwrite\n")
    convert = {"deepmd": read_deepmd, "rmd17": read_rmd17}[arguments.format]
    frames = [frame for path in tqdm(arguments.inputs) for frame in convert(path)]
    write(arguments.output, frames, format="extxyz")
    print(f"{len(frames)} structures with {sum(map(len, frames))} atoms written to {arguments.output}")


def read_deepmd(system: Path) -> list[Atoms]:
    """All frames of one DeePMD system, its sets in order; virials become stresses where there are any."""
    symbols = (system / "type_map.raw").read_text().split()
    numbers = [symbols[int(kind)] for kind in (system / "type.raw").read_text().split()]
    periodic = not (system / "nopbc").exists()
    frames = []
    for folder in sorted(system.glob("set.*")):
        data = {
            file.stem: np.load(file, allow_pickle=False).astype(np.float64) for file in folder.glob("*.npy")
        }
        for index, energy in enumerate(data["energy"]):
            atoms = Atoms(
                numbers, data["coord"][index].reshape(-1, 3), pbc=periodic, info={"group": system.name}
            )
            if periodic:
                atoms.cell = data["box"][index].reshape(3, 3)
            results = {"energy": float(energy), "forces": data["force"][index].reshape(-1, 3)}
            if "virial" in data:
                stress = -data["virial"][index].reshape(3, 3) / atoms.get_volume()
                results["stress"] = (stress + stress.T) / 2
            frames.append(with_references(atoms, **results))
    if not frames:
        raise SystemExit(
            f"`{system}`: expected folders set.* with energy.npy, coord.npy, force.npy; found none"
        )
    return frames


def read_rmd17(file: Path) -> list[Atoms]:
    """All frames of one revised-MD17 file."""
    data = np.load(file, allow_pickle=False)
    eV = units.kcal / units.mol
    return [
        with_references(
            Atoms(data["nuclear_charges"], positions), energy=float(energy) * eV, forces=forces * eV
        )
        for positions, energy, forces in zip(data["coords"], data["energies"], data["forces"], strict=True)
    ]


def with_references(atoms: Atoms, stress: np.ndarray | None = None, **results) -> Atoms:
    """``atoms`` with its references where ASE writes them from."""
    if stress is not None:
        results["stress"] = stress.flat[[0, 4, 8, 5, 2, 1]]  # Voigt: xx, yy, zz, yz, xz, xy
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


if __name__ == "__main__":
    main()
