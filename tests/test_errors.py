"""Warnings lie at the user's line, however deep in this package or in ASE they are made."""

import warnings

import pytest
from ase import Atoms
from ase.build import bulk

from ase_mlip import elastic_constants
from ase_mlip.calculators.inputs import named_only, renamed, withdrawn
from ase_mlip.errors import PrecisionWarning, ResidualWarning, users_line


def lines_of(caught: list[warnings.WarningMessage]) -> set[str]:
    return {warning.filename for warning in caught}


def test_a_call_from_here_is_the_first_line():
    """The function that asks is not of this package: its own line."""
    assert users_line() == 1


def test_decorators_are_not_the_users_line():
    from ase_mlip import MLIPCalculator

    atoms = bulk("Si")
    atoms.calc = MLIPCalculator("snnp-si", dtype="float32", device="cpu")
    with pytest.warns(UserWarning) as caught:
        elastic_constants(atoms, clamped=True, strains=2, relax_first=False)
    assert {warning.category for warning in caught} >= {PrecisionWarning, ResidualWarning}
    assert lines_of(list(caught)) == {__file__}


def test_decorators_in_a_row_warn_at_the_users_line():
    @renamed(old="new")
    @withdrawn(gone="it is `new`")
    @named_only(1, "new")
    def function(atoms: Atoms, *, new: int = 0) -> int:
        return new

    with pytest.warns(DeprecationWarning, match="`old` of `function`") as caught:
        assert function(Atoms("H"), old=3) == 3
    with pytest.warns(DeprecationWarning, match="`new` of `function`") as placed:
        assert function(Atoms("H"), 4) == 4
    assert lines_of(list(caught)) == lines_of(list(placed)) == {__file__}
    with pytest.raises(TypeError, match="`function` has no argument `gone` any more, got 1: it is `new`"):
        function(Atoms("H"), gone=1)


def test_a_calculator_that_ase_calls_warns_at_the_users_line():
    """ASE's own frames lie between."""
    from ase_mlip import MLIPCalculator

    atoms = bulk("Si", a=3.0)
    atoms.calc = MLIPCalculator("snnp-si", device="cpu")
    with pytest.warns(RuntimeWarning) as caught:
        atoms.get_potential_energy()
    assert lines_of(list(caught)) == {__file__}
