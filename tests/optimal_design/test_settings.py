"""What a design is asked for: every wrong option is named, with what to write."""

import numpy as np
import pytest

from ase_mlip.errors import ArgumentError
from ase_mlip.optimal_design.settings import SIGMA, DesignSettings, directions, parse_sigma


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "`pick`, `budget`: expected one of them, got neither"),
        ({"pick": 3, "budget": 5.0}, "got both"),
        ({"pick": 0}, "`pick`: expected at least 1, got 0"),
        ({"pick": 2.5}, "`pick`: expected a whole number of picks, got 2.5"),
        ({"pick": True}, "`pick`: expected a whole number of picks, got True"),
        ({"pick": "3"}, "`pick`: expected a whole number of picks, got '3'"),
        ({"budget": "much"}, "`budget`: expected a positive number, got 'much'; give"),
        ({"budget": -1.0}, "`budget`: expected a positive number"),
        ({"pick": 3, "cost": "atoms^3"}, "`cost`: expected `count` with `pick`.*give a `budget`"),
        ({"pick": 3, "cost": "atoms^x"}, "`cost`: expected a power after atoms\\^.*got 'atoms\\^x'"),
        ({"pick": 3, "cost": "atoms^"}, "`cost`: expected a power after"),
        ({"pick": 3, "criterion": "x"}, "`criterion`: expected one of i, d, a, e, g, got 'x'"),
        (
            {"pick": 3, "labels": ("energy", "dipole")},
            "`labels`: expected one of energy, forces, stress.*; name what",
        ),
        ({"pick": 3, "labels": ()}, "`labels`: expected at least one.*; name what each calculation gives"),
        (
            {"pick": 3, "sigma": {"energy": 0.0}},
            "`sigma`: expected a positive number of eV/atom for energy, got 0",
        ),
        ({"pick": 3, "sigma": {"forces": float("nan")}}, "`sigma`: expected a positive number of eV/Å"),
        ({"pick": 3, "sigma": {"forces": "x"}}, "`sigma`: expected a positive number.*got 'x'"),
        ({"pick": 3, "sigma": 0.1}, "`sigma`: expected a number for each label, such as .*got 0.1; give"),
        ({"pick": 3, "balance": "atoms"}, "`balance`: expected one of groups, frames"),
        ({"pick": 3, "rows": "sketch"}, "`rows`: expected `exact`, or `sketch:8`"),
        ({"pick": 3, "rows": "sketch:0"}, "`rows`"),
        ({"pick": 3, "seed": -1}, "`seed`"),
        ({"pick": 3, "seed": 1.5}, "`seed`: expected a whole number"),
    ],
)
def test_wrong_options_are_named(options, text):
    with pytest.raises(ArgumentError, match=text):
        DesignSettings(**options)


def test_sigma_that_is_not_given_has_its_default():
    assert DesignSettings(pick=1, sigma={"forces": 0.2}).sigma == {**SIGMA, "forces": 0.2}
    assert parse_sigma("energy=0.01, forces=1") == {"energy": 0.01, "forces": 1.0}


@pytest.mark.parametrize("text", ["energy", "energy=much", "0.01", "force=1", "energy=-1"])
def test_sigma_that_cannot_be_read_is_refused(text):
    with pytest.raises(ArgumentError, match="`sigma`"):
        parse_sigma(text)


def test_rows_are_exact_or_a_sketch():
    assert directions("exact") is None
    assert directions("sketch:12") == 12


def test_a_whole_number_of_numpy_is_one():
    settings = DesignSettings(pick=np.int64(3))
    assert settings.pick == 3 and type(settings.pick) is int
