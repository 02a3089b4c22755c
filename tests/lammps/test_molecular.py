"""Atom styles with molecules: bonded pairs are pairs as any, if LAMMPS is told to keep them."""

import numpy as np
import pytest
from harness import Case, check_case
from structures import silicon_oxygen

slow = pytest.mark.slow
KEEP = "special_bonds lj/coul 1.0 1.0 1.0"


def bonded(**changes) -> Case:
    """A rattled crystal with a bond between every atom and its nearest neighbour of the other element."""
    atoms = silicon_oxygen(2)
    distances = atoms.get_all_distances(mic=True) + 99.0 * (atoms.numbers[:, None] == atoms.numbers)
    chosen = {(i, int(np.argmin(distances[i]))) for i in range(len(atoms)) if atoms.numbers[i] == 14}
    settings = {"atom_style": "full", "bonds": sorted(chosen), "middle": KEEP, **changes}
    return Case(atoms, **settings)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("style", ["full", pytest.param("molecular", marks=slow)])
@pytest.mark.parametrize("model", ["two", pytest.param("census", marks=slow)])
def test_bonds_change_nothing(parallel, models, tmp_path, style, ranks, model):
    case = bonded(atom_style=style)
    case.pair = models.pair(model, case.elements)
    check_case(parallel, case, tmp_path, models.calculator(model), ranks=ranks)


@slow
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("factors", ["1.0e-50 1.0e-50 1.0e-50", "0.5 0.5 0.5"])
def test_other_factors_are_not_ours(parallel, models, tmp_path, factors, ranks):
    case = bonded(middle=f"special_bonds lj/coul {factors}")
    case.pair = models.pair("census", case.elements)
    check_case(parallel, case, tmp_path, models.calculator("census"), ranks=ranks)


@pytest.mark.parametrize(
    "style", ["charge", pytest.param("full", marks=slow), pytest.param("molecular", marks=slow)]
)
def test_styles_without_bonds(lammps, models, tmp_path, style):
    case = Case(silicon_oxygen(), atom_style=style, middle=KEEP if style != "charge" else "")
    case.pair = models.pair("two", case.elements)
    check_case(lammps, case, tmp_path, models.calculator("two"))


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=slow)])
@pytest.mark.parametrize("setting", ["", pytest.param("special_bonds lj/coul 0 0 1", marks=slow)])
def test_removed_pairs_are_an_error_with_the_line_to_write(parallel, models, tmp_path, setting, ranks):
    case = bonded(middle=setting)
    case.pair = models.pair("two", case.elements)
    case.write(tmp_path)
    output = parallel.start(case.script(), tmp_path, ranks=ranks, timeout=60)
    assert output.status != 0
    assert "special_bonds lj/coul 1.0 1.0 1.0" in output.errors[0]
