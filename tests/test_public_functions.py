"""The functions on a structure have one shape: arguments, results, the precision they compute in.

It also tests `calculators.averaged`, `calculators.inputs`.
"""

import dataclasses
import importlib
import inspect
import json
import re
import warnings

import click
import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write
from optional_packages import HAS_PHONO3PY
from stillinger_weber import LATTICE_CONSTANT

import ase_mlip
from ase_mlip import MLIPCalculator, load_model
from ase_mlip.calculators.inputs import structure_with_calculator
from ase_mlip.cli.options import BY_COMMAND
from ase_mlip.cli.program import main
from ase_mlip.cli.wording import argument_name
from ase_mlip.errors import ArgumentError, MLIPError, PrecisionWarning, StructureError, SupercellWarning
from ase_mlip.lattice_dynamics.audit import audit_phonons
from ase_mlip.lattice_dynamics.input import RELAXED

SHAPED = (
    "relax",
    "phonons",
    "elastic_constants",
    "equation_of_state",
    "thermal_conductivity",
    "md_stability",
)
STATICS = SHAPED[1:5]
# functions whose result is another: what each returns, and why it is no dataclass of results
OTHER_RESULTS = {
    "load_model": "Model",
    "export_model": "ModelInfo",  # what the file says of itself
    "train": "Path",  # the exported file, beside which errors and curves lie
    "check": "list[CheckResult]",  # a row for each check
}
WITHOUT_PICTURE = {"ValidationResult": "page"}  # which is a page full of pictures
# what keeps each short
QUICK = {
    "relax": {"steps": 1, "fmax": 1.0},
    "phonons": {"supercell_matrix": (2, 2, 2), "mesh": (2, 2, 2), "points": 20},
    "elastic_constants": {"strains": 2, "clamped": True},
    "equation_of_state": {"volumes": 5},
    "thermal_conductivity": {"supercell_matrix": (1, 1, 1), "mesh": (2, 2, 2)},
    "md_stability": {"temperature_K": 100.0, "time": 20 * units.fs, "replicas": 1},
}


# The command of each, and options that are of something else in Python: of a function called before or
# after, or of a class that is an argument
COMMANDS = {
    "relax": ("relax", set()),
    "phonons": ("phonons", {"reference", "audit", "group_velocities"}),
    "elastic_constants": ("elastic", set()),
    "equation_of_state": ("eos", set()),
    "thermal_conductivity": ("conductivity", {"reference", "entry"}),
    "md_stability": (
        "md",
        {"repeat", "batch", "crystal", "symprec", "friction", "damping", "ramp", "ramp_time", "bonds",
         "bond_deviation", "bond_length"},
    ),
    "landscape": ("landscape", {"compare", "with", "control"}),
    "design": ("design", {"verify", "attach", "calibration", "strict"}),
    "train": ("train", set()),
    "validate": ("validate", set()),
}  # fmt: skip
OF_ALL = {"output", "plot", "overwrite", "json", "device", "dtype", "forces", "tolerance",
          "check_lattice"}  # fmt: skip
# ASE's and phonopy's names, and two tolerances that phonons tells apart
OTHERWISE = {
    "supercell": "supercell_matrix",
    "phonon_supercell": "phonon_supercell_matrix",
    "plusminus": "is_plusminus",
    "relax": "relax_first",
    "temperature": "temperature_K",
}
ONLY_THERE = {("landscape", "frames"): "sample"}  # whose frames are its files
FORMER = {
    "elastic_constants": {"points": 2, "relax_ions": False, "fmax": 0.01},
    "equation_of_state": {"points": 5, "strain": 0.05, "fmax": 0.01},
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


# the main arguments of the other functions that calculate, which alone are given by position
MAIN = {
    "check": ["model", "structure"],
    "design": ["pool", "pick"],
    "evaluate": ["model", "structures"],
    "landscape": ["model", "frames"],
    "stabilize": ["path"],
    "train": ["path"],
    "validate": ["model", "structures"],
}


@pytest.mark.parametrize("name", MAIN)
def test_options_come_by_name_after_the_main_arguments(name):
    parameters = inspect.signature(getattr(ase_mlip, name)).parameters.values()
    by_position = [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert by_position == MAIN[name] and len(parameters) > len(by_position)


def test_every_function_that_calculates_is_among_those():
    assert set(public_functions()) == {*SHAPED, *MAIN, "export_model", "load_model"}


def public_functions() -> list[str]:
    return [name for name in ase_mlip.__all__ if inspect.isfunction(getattr(ase_mlip, name))]


def annotated(name: str) -> str:
    """The name of what a public function returns."""
    found = getattr(ase_mlip, name).__annotations__["return"]
    return found if isinstance(found, str) else found.__name__


def result_of(name: str):
    """The class that a public function returns."""
    return getattr(importlib.import_module(getattr(ase_mlip, name).__module__), annotated(name))


def test_every_public_function_is_known_here():
    found = {name: annotated(name) for name in public_functions()}
    assert {name: found[name] for name in OTHER_RESULTS} == OTHER_RESULTS
    assert set(SHAPED) < found.keys()


@pytest.mark.parametrize("name", sorted(set(public_functions()) - OTHER_RESULTS.keys()))
def test_every_result_is_a_dataclass_with_a_document_and_a_picture(name):
    result = result_of(name)
    assert dataclasses.is_dataclass(result)
    assert list(inspect.signature(result.to_dict).parameters) == ["self"]
    if result.__name__ in WITHOUT_PICTURE:
        assert WITHOUT_PICTURE[result.__name__] in {field.name for field in dataclasses.fields(result)}
    else:
        first, *others = list(inspect.signature(result.plot).parameters.values())[1:]
        assert first.name == "path" and all(other.default is not other.empty for other in others)


@pytest.mark.parametrize("name", COMMANDS)
def test_options_have_the_names_of_the_commands(name):
    command, elsewhere = COMMANDS[name]
    known = inspect.signature(getattr(ase_mlip, name)).parameters
    options = [option for option in main.commands[command].params if isinstance(option, click.Option)]
    wanted = {argument_name(option) for option in options} - OF_ALL - elsewhere
    missing = {option for option in wanted if option not in known and OTHERWISE.get(option) not in known}
    assert missing - {"temperature"} == set()
    assert "temperature" not in missing or "temperatures" in known


# What commands call otherwise than functions, in their units and words
IN_PYTHON = {
    "time": lambda ps: ps * 1000.0 * units.fs,
    "timestep": lambda fs: fs * units.fs,
    "labels": lambda words: tuple(words.split(",")),
    "predictors": lambda words: tuple(words.split()),
}
NOTHING = {"cell": False, "thermostat": None, "is_plusminus": "auto"}  # where a command says none, or no more


@pytest.mark.parametrize("name", COMMANDS)
def test_options_have_the_defaults_of_the_commands(name):
    command, _ = COMMANDS[name]
    known, compared = inspect.signature(getattr(ase_mlip, name)).parameters, 0
    for option in main.commands[command].params:
        argument = argument_name(option) if isinstance(option, click.Option) else ""
        argument = ONLY_THERE.get((name, argument), argument)
        names = {argument, OTHERWISE.get(argument), "temperatures"} & known.keys()
        names -= {"temperatures"} if argument != "temperature" else set()
        if (name, argument) == ("landscape", "frames"):
            names = {"sample"}  # the function's frames are FILES of the command
        if not isinstance(option, click.Option) or not names:
            continue
        (keyword,) = names
        if (name, keyword) == ("validate", "time"):
            continue  # None, as --quick shortens what nobody gave
        long = f"--{argument.replace('_', '-')}"
        declared = BY_COMMAND.get(long) or BY_COMMAND.get(f"{long} {option.metavar}")
        wanted = None if option.required or option.default is None else option.default
        if str(wanted) in ("Sentinel.UNSET", "none", "None"):
            wanted = NOTHING.get(keyword)
            if declared is not None and keyword != "supercell_matrix":
                wanted = declared.values.get(command)
        elif keyword in IN_PYTHON:
            wanted = IN_PYTHON[keyword](wanted)
        default = known[keyword].default
        assert (default or None) == (wanted or None), f"{name}({keyword}) and {command} --{argument}"
        compared += 1
    assert compared


def test_the_crystal_is_relaxed_as_far_by_commands_as_by_phonons():
    (option,) = [one for one in main.commands["elastic"].params if one.name == "relax_fmax"]
    assert option.default == RELAXED


@pytest.mark.parametrize("name", FORMER)
def test_former_names_of_options_are_taken_with_a_warning(name, copper):
    now = {"points": {"elastic_constants": "strains", "equation_of_state": "volumes"}[name]}
    now |= {"relax_ions": "not clamped", "strain": "volume_change"}
    now["fmax"] = {"elastic_constants": "strained_fmax", "equation_of_state": "relax_atoms"}[name]
    with pytest.warns(DeprecationWarning) as warned:
        old = getattr(ase_mlip, name)(copper, EMT(), **FORMER[name])
    expected = {f"`{old}` of `{name}` is `{now[old]}` now; the old name will go" for old in FORMER[name]}
    assert {str(warning.message) for warning in warned} == expected
    negated = {key for key in FORMER[name] if now[key].startswith("not ")}
    options = {now[key].removeprefix("not "): value for key, value in FORMER[name].items()}
    options |= {now[key].removeprefix("not "): not FORMER[name][key] for key in negated}
    assert getattr(ase_mlip, name)(copper, EMT(), **options).to_dict() == old.to_dict()
    with pytest.raises(TypeError, match="and its former name `points`"):
        getattr(ase_mlip, name)(copper, EMT(), points=3, **{now["points"]: 4})


@pytest.mark.parametrize("name", SHAPED)
def test_results_are_json_and_a_picture(name, copper, tmp_path):
    result = run(name, copper, EMT())
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))
    result.plot(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.filterwarnings("ignore:in solids the bulk modulus")  # said of either; not what is asked here
def test_a_file_and_a_name_give_what_atoms_and_a_calculator_give(tmp_path):
    atoms = bulk("Si", cubic=True)
    write(tmp_path / "silicon.vasp", atoms)
    named = ase_mlip.equation_of_state(tmp_path / "silicon.vasp", "pet-si", volumes=5)
    atoms.calc = MLIPCalculator("pet-si", dtype="float64")
    assert named.energies.tolist() == ase_mlip.equation_of_state(atoms, volumes=5).energies.tolist()


@pytest.mark.parametrize("name", ["pet-si", "path", "loaded"])
def test_statics_load_a_model_in_float64_and_take_a_loaded_one_as_it_is(name):
    from ase_mlip.model_file.info import find_model

    given = {"pet-si": "pet-si", "path": find_model("pet-si")}.get(name) or load_model("pet-si", device="cpu")
    found = structure_with_calculator(bulk("Si"), given, "phonons", dtype="float64").calc
    assert found.parameters["dtype"] == ("float32" if name == "loaded" else "float64")


@pytest.mark.parametrize("name", [*STATICS, "audit_phonons"])
@pytest.mark.parametrize("kind", ["loaded", "calculator", "path", "float64"])
def test_statics_warn_once_of_single_precision_and_say_the_remedy(name, kind, sw_path):
    """Only of what the caller made: what is loaded from a file is computed in float64."""
    if name == "thermal_conductivity" and not HAS_PHONO3PY:
        pytest.skip("needs phono3py")
    single = load_model(sw_path, device="cpu", dtype="float32")
    given = {"loaded": single, "calculator": MLIPCalculator(single), "path": sw_path}.get(kind)
    given = given or MLIPCalculator(sw_path, device="cpu", dtype="float64")
    function, options = getattr(ase_mlip, name, audit_phonons), {"supercell_matrix": (2, 2, 2)}
    options = QUICK.get(name, options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PrecisionWarning)
        warnings.simplefilter("ignore", SupercellWarning)
        function(bulk("Si", a=LATTICE_CONSTANT), given, relax_first=False, **options)
    said = [str(warning.message) for warning in caught if warning.category is PrecisionWarning]
    assert len(said) == (1 if kind in ("loaded", "calculator") else 0)
    assert all("float32" in text and 'use `dtype="float64"`' in text for text in said)


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


# ---- averaging over rotations ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPED)
def test_averaging_has_one_name_and_one_set_of_words(name, copper, monkeypatch):
    parameters = inspect.signature(getattr(ase_mlip, name)).parameters
    assert parameters["symmetrize"].default is None
    if name == "thermal_conductivity" and not HAS_PHONO3PY:
        pytest.skip("needs phono3py")
    wrong = [
        ("cubic", MLIPError, "unknown scheme 'cubic'; expected none, octahedral"),
        (True, MLIPError, "unknown scheme 'True'"),
        ("auto", MLIPError, "is for calculators of model files"),
    ]
    if name != "md_stability":
        wrong.append(("random:1", ArgumentError, "got `symmetrize='random 1'`"))
    for scheme, error, message in wrong:
        monkeypatch.setitem(QUICK[name], "symmetrize", scheme)
        with pytest.raises(error, match=message):
            run(name, copper, EMT())


def test_a_molecule_has_no_point_group_of_a_crystal():
    for function, options in ((ase_mlip.relax, {}), (ase_mlip.md_stability, QUICK["md_stability"])):
        with pytest.raises(StructureError, match=r'`\w+\(symmetrize="crystal"\)` needs a crystal'):
            function(molecule("N2"), EMT(), symmetrize="crystal", **options)


def test_the_calculator_does_not_know_the_crystal_and_evaluate_is_not_told():
    with pytest.raises(MLIPError, match="give the undisplaced crystal"):
        MLIPCalculator("pet-si", symmetrize="crystal")
    frames = [bulk("Cu")]
    frames[0].info["energy"] = 0.0
    with pytest.raises(MLIPError, match=r"pass it as `symmetrize=atoms`"):
        ase_mlip.evaluate(EMT(), frames, symmetrize="crystal")


def test_dynamics_is_told_once_what_to_average_over(copper):
    options = {**QUICK["md_stability"], "symmetrize": "octahedral"}
    with pytest.raises(MLIPError, match="expected none beside `evaluate`"):
        ase_mlip.md_stability(copper, EMT(), evaluate=lambda positions: positions, **options)
    with pytest.raises(MLIPError, match="expected no `symmetrize` beside `symmetrize='octahedral'`"):
        words = {"symmetrize": "none"}
        ase_mlip.md_stability(copper, "pet-si", engine="lammps", lammps_options=words, **options)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("relax", '"fix" is `keep_space_group=True`, "average" is `symmetrize="crystal"`'),
        ("phonons", "it is `symmetrize`"),
        ("elastic_constants", "the average of the stiffness is `impose_symmetry`"),
    ],
)
def test_the_keyword_that_had_three_meanings_is_answered(name, remedy, copper):
    with pytest.raises(
        TypeError, match=f"`{name}` has no argument `symmetry` any more, got 'fix': .*{re.escape(remedy)}"
    ):
        getattr(ase_mlip, name)(copper, EMT(), symmetry="fix")
