"""What stands in for DFT: the EMT potential of ASE. See run.sh."""

import sys

import numpy as np
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.md.langevin import Langevin


def labelled(structures):
    """Copies with energy, forces and stress."""
    found = []
    for atoms in structures:
        atoms = atoms.copy()
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        results["stress"] = atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    return found


def dynamics(temperature, frames, seed):
    """Frames of copper at a temperature in K, 40 steps of 5 fs apart."""
    generator = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True, a=3.61).repeat(3)
    atoms.calc = EMT()
    widths = np.sqrt(units.kB * 2 * temperature * atoms.get_masses())
    atoms.set_momenta(generator.standard_normal((len(atoms), 3)) * widths[:, None])
    run = Langevin(
        atoms, 5 * units.fs, temperature_K=temperature, friction=0.02 / units.fs, rng=generator, fixcm=False
    )
    run.run(200)
    found = []
    for _ in range(frames):
        run.run(40)
        found.append(atoms.copy())
    return found


def start():
    """Cold crystals to train on, and a liquid that no training sees."""
    write("train.xyz", labelled(dynamics(300.0, 12, seed=0)))
    write("liquid.xyz", labelled(dynamics(2500.0, 6, seed=1)))


def label(source, target):
    """The labels of a file's structures."""
    write(target, labelled(read(source, ":")))


def compare(first, second):
    """Root mean square errors of two potentials on the liquid."""
    from ase_mlip import MLIPCalculator

    frames = read("liquid.xyz", ":")
    for name, path in (("first", first), ("second", second)):
        found = MLIPCalculator(path).evaluate(frames, ["energy", "forces"])
        energies = [
            (r["energy"] - a.get_potential_energy()) / len(a) for r, a in zip(found, frames, strict=True)
        ]
        forces = [r["forces"] - a.get_forces() for r, a in zip(found, frames, strict=True)]
        errors = 1e3 * np.std(energies), np.sqrt(np.mean(np.square(forces)))
        print(f"{name}: energy {errors[0]:.1f} meV/atom without its mean error, forces {errors[1]:.3f} eV/Å")


if __name__ == "__main__":
    {"start": start, "label": label, "compare": compare}[sys.argv[1]](*sys.argv[2:])
