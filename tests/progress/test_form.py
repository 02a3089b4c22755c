"""One form for the progress of all long work."""

import inspect

import pytest

import ase_mlip
from ase_mlip import Ensemble, MLIPCalculator
from ase_mlip.errors import ArgumentError
from ase_mlip.progress.form import Progress, part_of, told

LONG = {
    name: getattr(ase_mlip, name)
    for name in ase_mlip.__all__
    if inspect.isfunction(getattr(ase_mlip, name)) and name not in ("load_model", "export_model")
} | {"MLIPCalculator.evaluate": MLIPCalculator.evaluate, "Ensemble.evaluate": Ensemble.evaluate}


@pytest.mark.parametrize("name", LONG)
def test_every_long_function_takes_it_and_says_so_alike(name):
    parameter = inspect.signature(LONG[name]).parameters["progress"]
    assert parameter.default is None and parameter.annotation in ("Progress | None", Progress | None)
    if name != "Ensemble.evaluate":  # whose arguments are those of MLIPCalculator
        text = inspect.getdoc(LONG[name]).partition("\nprogress : callable, optional\n")[2]
        assert text.lstrip().startswith("called as ``progress(done, total, stage)``"), name


def test_nothing_is_told_to_nobody():
    assert told(None)(1, 2, "rows") is None


@pytest.mark.parametrize("wrong", [True, False, 3])
def test_what_cannot_be_called_is_refused(wrong):
    with pytest.raises(ArgumentError, match=rf"`progress`: expected a function .*, got {wrong}; for a bar"):
        told(wrong)


def test_parts_count_on():
    seen = []
    for number in range(3):
        part = part_of(lambda *row: seen.append(row), number, 3)
        part(1, 2, "")
        part(2, 2, "")
    assert seen == [(done, 6, "") for done in range(1, 7)]
