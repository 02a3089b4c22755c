"""A random PET, which knows no symmetry whatever, and structures to rotate: for the tests of averaging."""

from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

from ase_mlip import MLIPCalculator, export_model
from ase_mlip.networks.pet.hypers import PETHypers
from ase_mlip.networks.pet.pet import PET

SMALL = {"d_pet": 16, "d_node": 24, "d_head": 16, "d_feedforward": 32, "num_heads": 2}
METADATA = {
    "name": "random",
    "species": [14],
    "cutoff": 4.0,
    "message_passing_layers": 2,
    "interaction_range": 8.0,
}


def random_network(**options) -> PET:
    torch.manual_seed(3)
    return PET(PETHypers(species=[14], cutoff=4.0, **SMALL, **options)).double()


def export_random(path: Path) -> None:
    """With direct heads."""
    export_model(random_network(direct_forces=True, direct_stress=True), path, METADATA)


def silicon(rattle=0.1, seed=1) -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(rattle, seed=seed)
    return atoms


def rotated(atoms: Atoms, matrix: np.ndarray) -> Atoms:
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ matrix.T)
    turned.positions = atoms.positions @ matrix.T
    return turned


def results(path, atoms, **options) -> dict:
    calculator = MLIPCalculator(path, **options)
    calculator.calculate(atoms)
    return calculator.results
