"""The potentials in the package: they load, pass every check, and do what docs/models.md says of them.

It also tests `checks.snnp`.
"""

import numpy as np
import pytest
from ase.build import bulk, molecule

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.checks.check import check, passed
from ase_mlip.checks.probe import Probe
from ase_mlip.checks.snnp import repulsive_core, smooth_cutoff, visited_intervals
from ase_mlip.checks.structures import default_structures
from ase_mlip.model_file.info import find_model, shipped_models
from ase_mlip.model_file.model import load_model

EIGHT_MB = 8_000_000
ONE_MB = 1_000_000
LINT = (repulsive_core, smooth_cutoff, visited_intervals)


@pytest.mark.parametrize("name", shipped_models())
def test_files_are_small_and_say_where_they_come_from(name):
    assert find_model(name).stat().st_size <= EIGHT_MB
    info = load_model(name, device="cpu").info
    assert info.license and info.citation and info.description
    assert {"data", "errors", "checkpoint_sha256", "epochs"} <= info.training.keys()
    assert info.training["errors"]["test"]["forces_rmse"] > 0


@pytest.mark.parametrize("name", shipped_models())
def test_every_check_passes(name):
    results = check(name)
    assert passed(results), [r for r in results if r.passed is False]


def test_the_self_test_covers_the_direct_heads():
    assert "direct_forces" in load_model("pet-si", device="cpu").info.self_test["reference"]


def test_silicon_crystal_is_near_its_pbe_lattice_constant():
    """PBE: 5.469 Å (the training data's functional); 1 % is what a potential of this kind must give."""
    lengths = np.linspace(5.35, 5.6, 11)
    energies = []
    for length in lengths:
        atoms = bulk("Si", a=length, cubic=True)
        atoms.calc = calc = MLIPCalculator("pet-si", device="cpu")
        energies.append(atoms.get_potential_energy())
    assert lengths[int(np.argmin(energies))] == pytest.approx(5.469, rel=0.01)
    assert calc.model.info.species == [14]


@pytest.mark.filterwarnings("ignore:.*no training data:RuntimeWarning")
def test_water_molecules_repel_when_squeezed_together():
    """Two molecules in a box: the energy must rise steeply as an O–O distance falls below 2.4 Å."""
    calc = MLIPCalculator("snnp-water", device="cpu")
    energies = []
    for distance in (2.2, 2.8):
        pair = molecule("H2O")
        other = molecule("H2O")
        other.rotate(180, "x")
        other.positions += [0, 0, distance]
        pair = pair + other
        pair.set_cell([12, 12, 12])
        pair.pbc = True
        pair.calc = calc
        energies.append(pair.get_potential_energy())
    assert energies[0] > energies[1]


@pytest.mark.parametrize(
    ("name", "structure", "lattice_constant"),
    [
        *(("pet-ge", "diamond", 5.76), ("pet-mo", "bcc", 3.17)),
        *(("snnp-si", "diamond", 5.469), ("snnp-ge", "diamond", 5.76), ("snnp-mo", "bcc", 3.17)),
    ],
)
def test_crystals_are_near_the_lattice_constant_of_their_data(name, structure, lattice_constant):
    """Of the frame without stress in the data: Ge 5.754 Å with -0.96 GPa, Mo 3.1698 Å; Si 5.469 Å."""
    lengths = lattice_constant * np.linspace(0.97, 1.03, 13)
    energies = []
    for length in lengths:
        atoms = bulk(name.partition("-")[2].capitalize(), structure, a=length, cubic=True)
        atoms.calc = MLIPCalculator(name, device="cpu")
        energies.append(atoms.get_potential_energy())
    assert lengths[int(np.argmin(energies))] == pytest.approx(lattice_constant, rel=0.011)


@pytest.mark.parametrize("name", ["snnp-si", "snnp-ge", "snnp-mo"])
def test_an_snnp_is_small_repels_and_says_where_its_data_are(name):
    assert find_model(name).stat().st_size <= ONE_MB
    assert load_model(name, device="cpu").info.training["visits"]["radial"]
    model = load_model(name, device="cpu", dtype="float64")
    probe = Probe(model, default_structures(model.info.species))
    rows = {row.name: row for check in LINT for row in check(probe)}
    assert rows["repulsive core: dimer"].value > 0 and rows["repulsive core: crystal"].value > 0
    assert rows["smooth cutoff: curvature"].value == 0 and rows["visited intervals: without data"].value == 0
