"""Structures and tools of the tests of the ASE calculator."""

import numpy as np
from ase import Atoms
from ase.build import bulk

from ase_mlip.calculators.calculator import MLIPCalculator

ALL = MLIPCalculator.implemented_properties


def rattled_silica(seed: int = 0) -> Atoms:
    atoms = bulk("SiO", "zincblende", a=4.3, cubic=True)
    atoms.rattle(0.1, seed=seed)
    strain = np.random.default_rng(seed).normal(scale=0.03, size=(3, 3))
    atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def count_evaluations(calculator: MLIPCalculator, monkeypatch) -> list[list[str]]:
    """A list that grows by what every evaluation of the calculator's model was asked for."""
    calls = []

    class Counting:
        def __getattr__(self, name):
            return getattr(original, name)

        def __call__(self, graph, outputs, *others, **options):
            calls.append(list(outputs))
            return original(graph, outputs, *others, **options)

    original = calculator.model
    monkeypatch.setattr(calculator, "model", Counting())
    return calls
