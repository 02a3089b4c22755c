"""The studies of s-NNPs on data that are here: frozen filters and what is trained on them."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_mlip.data.references import ReferenceKeys, sample_from_atoms
from ase_mlip.data.training_data import DataSplit
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def frames(seeds) -> list:
    """Rattled copper with EMT's energies, forces and stresses."""
    found = []
    for seed in seeds:
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        found.append(sample_from_atoms(atoms, ReferenceKeys()))
    return found


@pytest.fixture
def study(monkeypatch):
    """The script of shared filters with EMT's copper in place of mlearn's."""
    monkeypatch.syspath_prepend(BENCHMARKS)  # as for a script, which takes it off again
    script = importlib.import_module("snnp_shared")
    split = DataSplit(frames(range(8)), frames(range(8, 12)), [], {})
    monkeypatch.setattr(script, "halves", lambda element: split)
    monkeypatch.setattr(script, "TRANSFER_EPOCHS", 2)
    return script, split


def test_transfer_to_another_element(study):
    """Weights on other elements' filters beat no forces, a network starts from them, own splines are best."""
    script, split = study
    torch.manual_seed(2)
    hypers = {**script.studies.MODEL, **script.MODEL, "filters": "shared"}
    source = SNNP(SNNPHypers(species=[14, 32], **hypers)).double()
    size = np.sqrt(np.mean([np.mean(sample.forces**2) for sample in split.validation]))
    for filters in (source, None):
        (energy, forces), solution = script.weights(filters, "Cu")
        assert len(solution) == 17
        assert 0.0 < energy < 1e3  # meV/atom
        assert forces < size
    (_, forces), _ = script.weights(source, "Cu")
    assert script.network(source, "Cu")[1] < 1.1 * forces
    assert script.least_squares("Cu")[1] < 0.3 * size
