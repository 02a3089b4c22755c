"""The functions on a structure have one shape: arguments, results, the precision they compute in."""

import inspect
import json

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from optional_packages import HAS_PHONO3PY

import ase_mlip
from ase_mlip import MLIPCalculator, load_model
from ase_mlip.calculators.inputs import structure_with_calculator
from ase_mlip.errors import MLIPError, StructureError

SHAPED = (
    "relax",
    "phonons",
    "elastic_constants",
    "equation_of_state",
    "thermal_conductivity",
    "md_stability",
)
STATICS = SHAPED[1:5]
# what keeps each short
QUICK = {
    "relax": {"steps": 1, "fmax": 1.0},
    "phonons": {"supercell_matrix": (2, 2, 2), "mesh": (2, 2, 2), "points": 20},
    "elastic_constants": {"points": 2, "relax_ions": False},
    "equation_of_state": {"points": 5},
    "thermal_conductivity": {"supercell_matrix": (1, 1, 1), "mesh": (2, 2, 2)},
    "md_stability": {"temperature_K": 100.0, "time": 20 * units.fs, "replicas": 1},
}


@pytest.fixture
def copper(tmp_path):
    path = tmp_path / "copper.extxyz"
    write(path, bulk("Cu", cubic=True, a=3.59))
    return path


def run(name, *arguments):
    if name == "thermal_conductivity" and not HAS_PHONO3PY:
        pytest.skip("needs phono3py")
    return getattr(ase_mlip, name)(*arguments, **QUICK[name])


@pytest.mark.parametrize("name", SHAPED)
def test_a_structure_and_what_computes_it_come_first_and_options_by_name(name):
    parameters = list(inspect.signature(getattr(ase_mlip, name)).parameters.values())
    assert [p.name for p in parameters[:2]] == ["atoms", "calculator"]
    assert {p.kind for p in parameters[2:]} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name", SHAPED)
def test_results_are_json_and_a_picture(name, copper, tmp_path):
    result = run(name, copper, EMT())
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))
    result.plot(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"


def test_a_file_and_a_name_give_what_atoms_and_a_calculator_give(tmp_path):
    atoms = bulk("Si", cubic=True)
    write(tmp_path / "silicon.vasp", atoms)
    named = ase_mlip.equation_of_state(tmp_path / "silicon.vasp", "pet-si", points=5)
    atoms.calc = MLIPCalculator("pet-si", dtype="float64")
    assert named.energies.tolist() == ase_mlip.equation_of_state(atoms, points=5).energies.tolist()


@pytest.mark.parametrize("name", ["pet-si", "path", "loaded"])
def test_statics_load_a_model_in_float64_and_take_a_loaded_one_as_it_is(name):
    from ase_mlip.model_file.info import find_model

    given = {"pet-si": "pet-si", "path": find_model("pet-si")}.get(name) or load_model("pet-si", device="cpu")
    found = structure_with_calculator(bulk("Si"), given, "phonons", dtype="float64").calc
    assert found.parameters["dtype"] == ("float32" if name == "loaded" else "float64")


@pytest.mark.parametrize("name", SHAPED)
def test_each_function_asks_for_its_precision(name, monkeypatch, copper):
    asked = []

    def calculator_of(given, dtype=None):
        asked.append(dtype)
        return EMT()

    monkeypatch.setattr("ase_mlip.calculators.inputs.as_calculator", calculator_of)
    run(name, copper, "some-model")
    assert asked == (["float64"] if name in STATICS else [None])


def test_of_several_structures_in_a_file_the_first_is_taken_and_that_is_said(tmp_path):
    write(tmp_path / "run.extxyz", [bulk("Cu", a=3.6), bulk("Cu", a=3.7)])
    with pytest.warns(UserWarning, match="run.extxyz: the first of 2 structures is taken"):
        result = ase_mlip.relax(tmp_path / "run.extxyz", EMT(), steps=0, check_noise=False)
    assert result.atoms.cell.volume == pytest.approx(3.6**3 / 4)


def test_the_numbers_in_a_file_are_not_taken_for_a_calculator(tmp_path):
    atoms = bulk("Cu")
    atoms.calc = EMT()
    atoms.get_forces()
    write(tmp_path / "copper.extxyz", atoms)
    with pytest.raises(StructureError, match="`relax` needs a calculator"):
        ase_mlip.relax(tmp_path / "copper.extxyz")


def test_the_structure_that_is_passed_stays_as_it_is():
    atoms, calculator = bulk("Cu", a=3.7), EMT()
    atoms.calc = other = EMT()
    ase_mlip.relax(atoms, calculator, cell=True)
    assert atoms.calc is other and np.array_equal(atoms.cell.array, bulk("Cu", a=3.7).cell.array)


def test_what_is_no_structure_and_no_potential():
    with pytest.raises(StructureError, match="expected an `ase.Atoms` or the path of a file, got list"):
        ase_mlip.relax([bulk("Cu")], EMT())
    with pytest.raises(FileNotFoundError, match="model `pet-gold` not found"):
        ase_mlip.relax(bulk("Au"), "pet-gold")
    with pytest.raises(MLIPError, match=r"got \(2, 2, 2\); options such as `supercell_matrix` are given by"):
        ase_mlip.phonons(bulk("Cu"), (2, 2, 2))
    with pytest.raises(MLIPError, match="got 2 in a list; .* `Ensemble.from_files"):
        ase_mlip.relax(bulk("Si"), ["pet-si", "snnp-si"])
    with pytest.raises(MLIPError, match='`engine="lammps"` needs a model file, .* got a calculator'):
        ase_mlip.md_stability(bulk("Cu"), EMT(), temperature_K=300.0, engine="lammps")
