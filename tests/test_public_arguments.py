"""What makes no sense as an option of a function on a structure is named, instead of Python's own errors."""

import inspect
import re

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from optional_packages import HAS_PHONO3PY, needs_phono3py

import ase_mlip
from ase_mlip.crystals import positive_numbers
from ase_mlip.dynamics.criteria import Criteria
from ase_mlip.dynamics.thermostats import Thermostat
from ase_mlip.errors import ArgumentError, MLIPError

FUNCTIONS = (
    "relax",
    "phonons",
    "elastic_constants",
    "equation_of_state",
    "thermal_conductivity",
    "md_stability",
)
OPTIONS = [
    (function, name)
    for function in FUNCTIONS
    for name, option in inspect.signature(getattr(ase_mlip, function)).parameters.items()
    if option.kind is option.KEYWORD_ONLY
]


class Nonsense:
    """No option takes it."""

    def __repr__(self) -> str:
        return "nonsense"


def refuse(function: str, **options) -> str:
    """What a function says of options that it must refuse before it computes anything."""
    if function == "thermal_conductivity" and not HAS_PHONO3PY:
        pytest.skip("needs phono3py")
    calculator = EMT()
    with pytest.raises(MLIPError) as refused:
        getattr(ase_mlip, function)(bulk("Cu", a=3.59), calculator, **options)
    assert not calculator.results, "it was computed before"
    return str(refused.value)


@pytest.mark.parametrize(("function", "name"), OPTIONS)
def test_an_option_of_a_wrong_type_is_named(function, name):
    said = refuse(function, **{name: Nonsense()})
    assert f"`{name}`" in said and "nonsense" in said, said


@pytest.mark.parametrize(("function", "name"), OPTIONS)
def test_text_is_no_number_and_no_flag(function, name):
    default = inspect.signature(getattr(ase_mlip, function)).parameters[name].default
    if isinstance(default, bool | int | float) and name not in ("cell", "is_plusminus"):
        said = refuse(function, **{name: "0.01"})
        assert f"`{name}`: expected " in said and said.endswith("got '0.01'"), said
        if name not in ("temperature_K", "boundary_mfp"):  # whose None has a meaning
            assert f"`{name}`: expected " in refuse(function, **{name: None})


@pytest.mark.parametrize(("function", "name"), OPTIONS)
def test_nan_is_no_number_and_true_is_none(function, name):
    default = inspect.signature(getattr(ase_mlip, function)).parameters[name].default
    if isinstance(default, int | float) and not isinstance(default, bool):
        for value in (np.nan, True, -1.0, -1):
            assert f"`{name}`: expected " in refuse(function, **{name: value})


WRONG = [
    ("relax", {"fmax": "0.01"}, "`fmax`: expected zero or a positive number of eV/Å, got '0.01'"),
    ("relax", {"steps": 1.5}, "`steps`: expected a whole number of at least 0, got 1.5"),
    ("relax", {"smax": "1", "cell": True}, "`smax`: expected a positive number of eV/Å^3, got '1'"),
    ("relax", {"cell": 1}, "`cell` must be one of"),
    ("relax", {"optimizer": ["FIRE"]}, "`optimizer` must be one of"),
    ("relax", {"keep_space_group": "no"}, "`keep_space_group`: expected True or False, got 'no'"),
    ("relax", {"symprecs": "0.01"}, "`symprecs`: expected a positive number of Å or several, got '0.01'"),
    ("relax", {"reference": "cu.xyz"}, "`reference`: expected an `ase.Atoms` or None, got 'cu.xyz'"),
    ("relax", {"trajectory": 5}, "`trajectory`: expected a path or None, got 5"),
    ("elastic_constants", {"strains": 0.01}, "`strains`: expected a whole number of at least 2, got 0.01"),
    ("elastic_constants", {"strain": "1%"}, "`strain`: expected a number between 0 and 0.1, got '1%'"),
    ("equation_of_state", {"volumes": "9"}, "`volumes`: expected a whole number of at least 5, got '9'"),
    ("equation_of_state", {"volumes": 9.0}, "`volumes`: expected a whole number of at least 5, got 9.0"),
    ("equation_of_state", {"volume_change": "0.06"}, "expected a number between 0 and 1, got '0.06'"),
    ("equation_of_state", {"relax_atoms": True}, "expected a positive number of eV/Å, got True"),
    ("equation_of_state", {"checkpoint": 5}, "`checkpoint`: expected a path or None, got 5"),
    ("phonons", {"mesh": 8}, "`mesh` must be three positive integers, such as (8, 8, 8), got 8"),
    ("phonons", {"mesh": "888"}, "such as (8, 8, 8), got '888'"),
    ("phonons", {"mesh": ((8, 8), 8, 8)}, "such as (8, 8, 8), got ((8, 8), 8, 8)"),
    ("phonons", {"supercell_matrix": "222"}, "a regular 3×3 integer matrix, got '222'"),
    ("phonons", {"supercell_matrix": (np.inf, 1, 1)}, "a regular 3×3 integer matrix, got (inf, 1, 1)"),
    ("phonons", {"supercell_matrix": ((1, 0), 0, 1)}, "a regular 3×3 integer matrix, got ((1, 0), 0, 1)"),
    ("phonons", {"min_length": "10"}, "`min_length`: expected a positive number of Å, got '10'"),
    ("phonons", {"path": ["G", "X"]}, "`path`: expected a path in the Brillouin zone such as 'GXG' or None"),
    ("phonons", {"is_plusminus": "maybe"}, "`is_plusminus`: expected True, False or \"auto\", got 'maybe'"),
    ("phonons", {"primitive_matrix": "simple"}, "`primitive_matrix`: expected"),
    ("thermal_conductivity", {"temperatures": "300"}, "a positive number of K or several, got '300'"),
    ("thermal_conductivity", {"temperatures": {300: 1}}, "a positive number of K or several, got {300: 1}"),
    ("thermal_conductivity", {"temperatures": ["300"]}, "a positive number of K or several, got ['300']"),
    ("thermal_conductivity", {"temperatures": ()}, "a positive number of K or several, got ()"),
    ("thermal_conductivity", {"boundary_mfp": "1"}, "expected a positive number of µm, got '1'"),
    ("md_stability", {"temperature_K": "300"}, "zero or a positive number of K, got '300'"),
    ("md_stability", {"time": "1"}, "`time`: expected a positive number, got '1'"),
    ("md_stability", {"replicas": 2.5}, "`replicas`: expected a whole number of at least 1, got 2.5"),
    ("md_stability", {"confidence": 95}, "`confidence`: expected a number between 0 and 1, got 95"),
    ("md_stability", {"thermostat": "langevin"}, "`thermostat`: expected a `Thermostat` or None, got 'lang"),
    ("md_stability", {"criteria": {"bonds": True}}, "`criteria`: expected `Criteria` or None, got {'bonds'"),
    ("md_stability", {"lammps_options": "dtype float64"}, "`lammps_options`: expected options by name such"),
    ("md_stability", {"rdf_frames": 5}, "`rdf_frames`: expected structures (ase.Atoms) or the path of"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "options", "message"), WRONG)
def test_wrong_options_are_refused_with_what_was_expected(function, options, message):
    assert message in refuse(function, **options)


def test_numbers_of_numpy_are_numbers():
    found = ase_mlip.relax(
        bulk("Cu"), EMT(), fmax=np.float32(0.1), steps=np.int64(3), keep_space_group=np.True_, symprecs=0.01
    )
    assert list(found.spacegroup_after) == [0.01]


def test_one_temperature_is_a_temperature():
    for given in (300, 300.0, np.float32(300), [300], np.array([300.0]), (t for t in (300,))):
        assert positive_numbers("temperatures", given, "K") == (300.0,)
    assert positive_numbers("temperatures", range(100, 400, 100), "K") == (100.0, 200.0, 300.0)


@needs_phono3py
def test_a_conductivity_at_one_temperature_is_that_in_a_list():
    options = {"supercell_matrix": (1, 1, 1), "mesh": (2, 2, 2), "relax_first": False}
    crystal = bulk("Cu", a=3.59)
    one = ase_mlip.thermal_conductivity(crystal, EMT(), temperatures=300, **options)
    several = ase_mlip.thermal_conductivity(crystal, EMT(), temperatures=[300.0], **options)
    assert one.temperatures.tolist() == [300.0]
    assert np.array_equal(one.kappa, several.kappa, equal_nan=True)


def test_one_structure_is_a_reference_of_distances():
    crystal = bulk("Cu", cubic=True)
    options = {"time": 1.0, "timestep": 0.1, "replicas": 1, "rdf_frames": crystal}
    assert ase_mlip.md_stability(crystal, EMT(), **options).rdf_error is not None


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Criteria, {"min_distance": "0.5"}),
        (Criteria, {"energy_jump": True}),
        (Thermostat, {"kind": "langevin", "temperature_K": "300"}),
        (Thermostat, {"kind": "langevin", "temperature_K": 300.0, "friction": "0.01"}),
    ],
)
def test_settings_of_dynamics_name_what_is_no_number(kind, options):
    name, value = list(options.items())[-1]
    with pytest.raises(MLIPError, match=re.escape(f"`{kind.__name__}.{name}`: expected ")) as refused:
        kind(**options)
    assert f"got {value!r}" in str(refused.value)


def test_long_values_are_cut():
    with pytest.raises(ArgumentError, match=r"\.\.\.$") as refused:
        ase_mlip.relax(bulk("Cu"), EMT(), fmax=list(range(1000)))
    assert len(str(refused.value)) < 150
