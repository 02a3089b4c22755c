"""The examples in the docstrings of public functions and classes run, and print what they say."""

import doctest
import inspect

import pytest

import ase_mlip

# these take a TOML file: `examples/` has whole runs, which tests/test_examples.py does
OTHERS = {"train", "stabilize"}
NAMES = sorted(name for name in ase_mlip.__all__ if not name.startswith("_") and name not in OTHERS)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_prints_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(getattr(ase_mlip, name))
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert example.examples, f"`{name}` has no example"
    said = []
    doctest.DocTestRunner().run(example, out=said.append)
    assert not said, "".join(said)
