"""Docstrings of public names are numpydoc sections, and they name the arguments there are."""

import dataclasses
import importlib
import inspect
import re
import warnings
from pathlib import Path

import pytest

import ase_mlip

docscrape = pytest.importorskip("numpydoc.docscrape", reason="numpydoc is not installed")

# Packages of parts that others put together: every name without an underscore is public
ALL_PUBLIC = ("cli", "networks")


def public_names() -> dict[str, object]:
    """The names of the package, of the ``Public:`` line of each package in it, and all of some packages.

    They are functions and classes. A command is neither but a ``click.Command``: its docstring is its help
    text, which has no sections.
    """
    found = {name: getattr(ase_mlip, name) for name in ase_mlip.__all__ if name != "__version__"}
    folder = Path(ase_mlip.__file__).parent
    for path in sorted(folder.rglob("__init__.py")):
        parts = path.parent.relative_to(folder).parts
        if not parts:
            continue
        package = importlib.import_module(".".join(["ase_mlip", *parts]))
        for name in re.findall(r"``(\w+\.\w+)``", (package.__doc__ or "").partition("Public:")[2]):
            module, _, attribute = name.partition(".")
            module = importlib.import_module(f"{package.__name__}.{module}")
            found[".".join([*parts, name])] = getattr(module, attribute)
        names = [name for name in getattr(package, "__all__", []) if not name.startswith("_")]
        found |= {".".join([*parts, name]): getattr(package, name) for name in names}
        if parts[0] in ALL_PUBLIC:
            for file in sorted(path.parent.glob("*.py")):
                found |= names_of_module([*parts] if file == path else [*parts, file.stem])
    kinds = (inspect.isfunction, inspect.isclass)
    return {name: value for name, value in found.items() if any(kind(value) for kind in kinds)}


def names_of_module(parts: list[str]) -> dict[str, object]:
    """All that a module defines under a name without an underscore."""
    module = importlib.import_module(".".join(["ase_mlip", *parts]))
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return {
        ".".join([*parts, name]): value
        for name, value in own.items()
        if getattr(value, "__module__", None) == module.__name__
    }


PUBLIC = public_names()


def parsed(value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a section that is there twice or that nobody knows
        return docscrape.NumpyDocString(inspect.getdoc(value) or "")


def names_of(entries) -> list[str]:
    """``first, second : float`` names two; ``**kwargs`` is ``kwargs``."""
    return [name.strip().lstrip("*\\") for entry in entries for name in entry.name.split(",")]


def arguments_of(value) -> list[str]:
    if inspect.isclass(value) and (issubclass(value, Exception) or is_made_elsewhere(value)):
        return []
    return [name for name in inspect.signature(value).parameters if name not in ("self", "ctx")]


def is_made_elsewhere(value) -> bool:
    """A class that takes its arguments as a class of torch or click does, which describes them."""
    return inspect.isfunction(value.__init__) and not value.__init__.__module__.startswith("ase_mlip")


def has_fields(value) -> bool:
    """A dataclass or a named tuple."""
    return dataclasses.is_dataclass(value) or hasattr(value, "_field_defaults")


def problems(value) -> list[str]:
    """What a reader of the docstring would miss or be told wrongly."""
    if not inspect.getdoc(value):
        return ["has none"]
    try:
        sections = parsed(value)
    except (ValueError, UserWarning) as error:
        return [f"is not parsed: {error}"]
    documented = names_of(sections["Parameters"])
    if has_fields(value):  # and its arguments are its attributes, also those of its bases
        bases = [base for base in value.__mro__ if has_fields(base)]
        documented += [name for base in bases for name in names_of(parsed(base)["Attributes"])]
    expected = arguments_of(value)
    found = [f"lacks `{name}`" for name in expected if name not in documented]
    found += [f"names `{name}`, which is no argument" for name in names_of(sections["Parameters"])
              if name not in expected]  # fmt: skip
    for section in ("Parameters", "Attributes", "Returns", "Raises", "Warns"):
        for entry in sections[section]:
            if not "".join(entry.desc).strip():
                found.append(f"says nothing of `{entry.name or entry.type}`")
            if section in ("Parameters", "Attributes") and not entry.type and not entry.name.startswith("*"):
                found.append(f"gives no type of `{entry.name}`")
    returned = inspect.isfunction(value) and inspect.signature(value).return_annotation
    if inspect.isfunction(value) and returned not in (None, "None", inspect.Signature.empty):
        found += [] if sections["Returns"] or sections["Yields"] else ["does not say what is returned"]
    return found


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_docstring_has_the_sections_of_numpydoc(name):
    assert problems(PUBLIC[name]) == []


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if inspect.isclass(value)])
def test_sections_of_a_public_class_methods_are_those_of_their_arguments(name):
    """A method may have one line; what sections it has are right."""
    for method, value in inspect.getmembers(PUBLIC[name], inspect.isfunction):
        own = value.__module__.startswith("ase_mlip") and not method.startswith("_")
        if own and parsed(value)["Parameters"]:
            assert problems(value) == [], method


def test_the_names_of_the_package_are_among_them():
    assert {"relax", "MLIPCalculator", "md_stability"} <= PUBLIC.keys() and len(PUBLIC) > 40


def test_what_a_wrong_docstring_is_told():
    def function(energy: float, forces: float) -> float:
        """Add.

        Parameters
        ----------
        energy: in eV
        stress : float
            in GPa
        """

    assert problems(function) == [
        "lacks `energy`",
        "lacks `forces`",
        "names `energy: in eV`, which is no argument",
        "names `stress`, which is no argument",
        "says nothing of `energy: in eV`",
        "gives no type of `energy: in eV`",
        "does not say what is returned",
    ]
