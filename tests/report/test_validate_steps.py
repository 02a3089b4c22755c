"""The steps of a validation, one by one, against the workflows they call."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from ase.build import bulk
from toy import AnisotropicNetwork, export_toy

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.crystals import heights
from ase_mlip.errors import StructureError
from ase_mlip.lattice_dynamics.supercells.supercell import find_supercell
from ase_mlip.mechanics.elasticity import elastic_constants
from ase_mlip.report.validate_steps import STEPS, Job, Settings
from tests.validate_cases import QUICK


def test_supercells_of_phonons_follow_the_same_rule(sw_path, tmp_path):
    """Unless a length is given: faces at least twice the cutoff apart, compact, and as `phonons` chooses."""
    calculator = MLIPCalculator(sw_path, device="cpu", dtype="float64")
    atoms = bulk("Si", a=5.431)
    settings = replace(QUICK, phonon_length=Settings().phonon_length)
    numbers, _ = STEPS["phonons"](Job("si", atoms, calculator, tmp_path, settings, relaxed=atoms))
    expected = find_supercell(atoms, None, None, calculator)
    assert numbers["supercell_matrix"] == expected.tolist()
    assert numbers["supercell_width"] == pytest.approx(heights(expected.T @ atoms.cell.array).min())
    assert numbers["supercell_width"] >= 2 * calculator.model.info.cutoff


def test_every_step_averages_over_the_group_of_the_crystal(tmp_path, monkeypatch):
    """Oracle: the same numbers with the group of that crystal given to the calculator."""
    settings = replace(QUICK, symmetrize="crystal", phonon_length=None, mesh=2, replicas=1)
    atoms = bulk("Si", a=5.47)
    calculator = MLIPCalculator("pet-si", dtype="float64")
    numbers, _ = STEPS["relaxation"](Job("si", atoms, calculator, tmp_path, settings))
    assert numbers["averaging"] == "crystal m-3m"
    export_toy(tmp_path / "rough.pt", AnisotropicNetwork([14], 4.0), reference_energies={"Si": 0.0})
    calculator = MLIPCalculator(tmp_path / "rough.pt", dtype="float64")
    averaged = MLIPCalculator(calculator.model, symmetrize=atoms, check_lattice=False)
    plain = replace(settings, symmetrize=None)
    jobs = [
        Job("si", atoms, used, tmp_path, chosen, relaxed=atoms)
        for used, chosen in ((calculator, settings), (averaged, plain), (calculator, plain))
    ]
    few = partial(elastic_constants, strains=2, clamped=True)
    monkeypatch.setattr("ase_mlip.report.validate_steps.elastic_constants", few)
    for step, name in (("elasticity", "symmetry_deviation"), ("dynamics", "min_distance")):
        words, oracle, other = (np.ravel(STEPS[step](job)[0][name]) for job in jobs)
        assert words == pytest.approx(oracle, abs=1e-6)
        assert words != pytest.approx(other, abs=1e-6)


def test_a_reference_of_another_crystal_costs_the_comparison_only(structures, tmp_path):
    """Whatever the reference is, the phonons are kept."""
    settings = replace(QUICK, reference=str(tmp_path))
    (tmp_path / "phonopy.yaml").write_text("phonopy:\n")
    (tmp_path / "job").mkdir()
    calculator = MLIPCalculator("pet-si", dtype="float64")
    silicon = structures["silicon"]
    job = Job("job-of-silicon", silicon, calculator, tmp_path / "job", settings, relaxed=silicon)
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.warns(UserWarning) as caught,
    ):
        patch.setattr("ase_mlip.report.validate_steps.load_reference", refuse)
        numbers, figures = STEPS["phonons"](job)
    assert any("no comparison with the reference: of another crystal" in str(w.message) for w in caught)
    assert "comparison" not in numbers and "bands" in figures


def refuse(folder):
    raise StructureError("of another crystal")
