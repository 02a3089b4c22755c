"""Together with other pair styles: the sum of what each gives alone, each on its own atoms."""

import numpy as np
import pytest
from harness import Case, expected_frame, read_frames
from structures import silicon_oxygen, triclinic

slow = pytest.mark.slow
RANKS = pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=slow)])
KSPACE = "\nkspace_style ewald 1e-6\nkspace_modify gewald 0.4"
OTHERS = {  # style, its coefficients after the style's name, lines after them
    "zbl": ("zbl 2.0 3.0", "14 14", "1 1", ""),
    "lj/cut": ("lj/cut 6.0", "0.01 3.0", "1 1", ""),
    "coul/long": ("coul/long 5.0", "", "* *", KSPACE),
}


def assert_sum(frame, parts) -> None:
    assert frame.energy == pytest.approx(sum(part.energy for part in parts), rel=1e-9)
    np.testing.assert_allclose(frame.forces, sum(part.forces for part in parts), atol=1e-8)
    np.testing.assert_allclose(frame.virial, sum(part.virial for part in parts), atol=2e-8)


def run(lammps, case, folder, **options):
    folder.mkdir(exist_ok=True)
    case.write(folder)
    (frame,) = read_frames(case, lammps.run(case.script(), folder, **options))
    return frame


def mlip(models, name, elements, number=""):
    return f"pair_coeff * * mlip {number} {models.path(name)} {' '.join(elements)}"


@RANKS
@pytest.mark.parametrize("other", [pytest.param(o, marks=() if o == "zbl" else slow) for o in OTHERS])
def test_overlay(parallel, models, tmp_path, other, ranks):
    style, values, types, after = OTHERS[other]
    charged = {"atom_style": "charge"} if other == "coul/long" else {}
    atoms = silicon_oxygen() if charged else triclinic()
    case = Case(atoms, per_atom=False, **charged)
    case.pair = f"pair_style hybrid/overlay mlip dtype float64 {style}\npair_coeff {types} {other} {values}"
    case.pair += f"\n{mlip(models, 'two', case.elements)}{after}"
    both = run(parallel, case, tmp_path / "both", ranks=ranks)
    case.pair = f"pair_style {style}\npair_coeff {types} {values}{after}"
    alone = run(parallel, case, tmp_path / "alone", ranks=ranks)
    assert abs(alone.energy) > 1e-3
    assert_sum(both, [expected_frame(both, models.calculator("two")), alone])


@RANKS
@pytest.mark.parametrize("model", ["one", pytest.param("two-adaptive", marks=slow)])
def test_atoms_of_another_style_are_not_seen(parallel, models, tmp_path, model, ranks):
    """NULL: the model's numbers are those of its own atoms alone."""
    case = Case(silicon_oxygen(2), per_atom=False)
    lj = "pair_coeff 1 1 lj/cut 0.01 2.5\npair_coeff 1 2 lj/cut 0.02 2.5"
    case.pair = (
        f"pair_style hybrid mlip dtype float64 lj/cut 6.0\n{mlip(models, model, ['NULL', 'Si'])}\n{lj}"
    )
    both = run(parallel, case, tmp_path / "both", ranks=ranks)
    case.pair = f"pair_style lj/cut 6.0\n{lj.replace('lj/cut ', '')}\npair_coeff 2 2 0.0 2.5"
    alone = run(parallel, case, tmp_path / "alone", ranks=ranks)
    assert_sum(both, [expected_frame(both, models.calculator(model), only=["Si"]), alone])


@RANKS
def test_two_models_for_two_elements(parallel, models, tmp_path, ranks):
    case = Case(silicon_oxygen(2), per_atom=False)
    case.pair = "pair_style hybrid mlip dtype float64 mlip dtype float64 lj/cut 5.0\n"
    case.pair += mlip(models, "one", ["NULL", "Si"], 1) + "\n" + mlip(models, "two", ["O", "NULL"], 2)
    case.pair += "\npair_coeff 1 2 lj/cut 0.0 2.5"
    frame = run(parallel, case, tmp_path, ranks=ranks)
    silicon = expected_frame(frame, models.calculator("one"), only=["Si"])
    assert_sum(frame, [silicon, expected_frame(frame, models.calculator("two"), only=["O"])])


@slow
@RANKS
def test_two_models_for_the_same_atoms(parallel, models, tmp_path, ranks):
    case = Case(triclinic(), per_atom=False)
    case.pair = "pair_style hybrid/overlay mlip dtype float64 mlip dtype float64\n"
    case.pair += mlip(models, "one", ["Si"], 1) + "\n" + mlip(models, "two-adaptive", ["Si"], 2)
    frame = run(parallel, case, tmp_path, ranks=ranks)
    assert_sum(frame, [expected_frame(frame, models.calculator(name)) for name in ("one", "two-adaptive")])


@slow
@RANKS
def test_hybrid_scaled(parallel, models, tmp_path, ranks):
    """hybrid/scaled multiplies forces and virials after the fact, or says that it cannot."""
    case = Case(triclinic(), per_atom=False)
    case.pair = f"pair_style hybrid/scaled 0.25 mlip dtype float64\n{mlip(models, 'two', ['Si'])}"
    frame = run(parallel, case, tmp_path, ranks=ranks)
    whole = expected_frame(frame, models.calculator("two"))
    assert frame.energy == pytest.approx(0.25 * whole.energy, rel=1e-9)
    np.testing.assert_allclose(frame.forces, 0.25 * whole.forces, atol=1e-8)
    np.testing.assert_allclose(frame.virial, 0.25 * whole.virial, atol=1e-8)


def test_null_needs_hybrid(parallel, models, tmp_path):
    """LAMMPS wants a style for every pair of types."""
    case = Case(silicon_oxygen(), per_atom=False, pair=models.pair("two", ("NULL", "Si")))
    case.write(tmp_path)
    output = parallel.start(case.script(), tmp_path, timeout=60)
    assert output.status != 0
    assert "pair coeffs are not set" in output.errors[0]
