"""Structures with and without labels, and what a calculator with leverage says of one."""

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from random_pet import silicon

from ase_mlip import MLIPCalculator

OPTIONS = {"device": "cpu", "dtype": "float64"}


def training_data(count=6) -> list[Atoms]:
    return [silicon(0.05 + 0.02 * k, seed=k) for k in range(count)]


def diagnostics(path, atoms, **options) -> dict:
    calculator = MLIPCalculator(path, leverage=True, **{**OPTIONS, **options})
    calculator.calculate(atoms)
    return calculator.diagnostics


def labelled(structures, energies) -> list[Atoms]:
    for atoms, energy in zip(structures, energies, strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
    return structures
