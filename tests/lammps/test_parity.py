"""LAMMPS and the ASE calculator give the same numbers for the same positions, on one rank."""

import pytest
from harness import Case, assert_same, check_case, expected_frame, read_frames
from structures import PETS, STRUCTURES, case_of, slow_unless

QUICK = {
    ("two-adaptive", "triclinic"),
    ("two", "silicon_oxygen"),
    ("one", "cluster"),
    ("one-adaptive", "one_atom"),
}
MATRIX = {(model, name) for model in PETS for name in STRUCTURES}


def test_harness_reads_what_a_style_of_lammps_computes(lammps, models, tmp_path):
    """A potential that both sides know: the harness itself is right, units and signs included."""
    case = Case(STRUCTURES["triclinic"](), per_atom=False, pair="pair_style sw\npair_coeff * * Si.sw Si")
    case.write(tmp_path)
    (frame,) = read_frames(case, lammps.run(case.script(), tmp_path))
    expected = expected_frame(frame, models.calculator("sw"))
    # the file of LAMMPS rounds sigma and epsilon as ours does; A and B have more digits there
    assert_same(frame, expected, relative=1e-6, forces=1e-4, virial=1e-3)


@pytest.mark.parametrize("name", ["triclinic", "silicon_oxygen", "slab", "one_atom"])
def test_edges_are_those_of_ase(lammps, models, tmp_path, name):
    check_case(lammps, case_of(models, "census", name), tmp_path, models.calculator("census"))


@pytest.mark.parametrize(("model", "name"), slow_unless(QUICK, MATRIX))
def test_energy_forces_and_virial(lammps, models, tmp_path, model, name):
    check_case(lammps, case_of(models, model, name), tmp_path, models.calculator(model))
