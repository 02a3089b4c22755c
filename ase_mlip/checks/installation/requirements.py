"""What the package needs of others. Bounds stand in pyproject.toml alone; here its installed copy is read."""

from __future__ import annotations

import importlib.metadata
import sys

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

PACKAGE = "ase-mlip"
NOT_FOR_USERS = ("test", "dev")  # extras


def needed(extra: str = "") -> list[Requirement]:
    """The requirements for this Python: those of the package, or what one of its extras adds.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        the package is not installed, only imported from its sources
    """
    found = [Requirement(text) for text in importlib.metadata.requires(PACKAGE) or ()]
    return [item for item in found if _belongs(item, extra)]


def extras() -> list[str]:
    """Names of the extras that are for users, such as ``kappa``."""
    names = importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or ()
    return [name for name in names if name not in NOT_FOR_USERS]


def python_bound() -> SpecifierSet:
    """Which releases of Python there have to be."""
    return SpecifierSet(importlib.metadata.metadata(PACKAGE)["Requires-Python"] or "")


def python_fits() -> bool:
    """Whether the running Python is one of them."""
    return python_bound().contains(".".join(map(str, sys.version_info[:3])), prereleases=True)


def install_command(extra: str) -> str:
    """What installs an extra's packages by their own names, since no index has that of this package.

    Parameters
    ----------
    extra : str
        of pyproject.toml

    Returns
    -------
    str
        the command
    """
    try:
        packages = needed(extra)
    except importlib.metadata.PackageNotFoundError:
        return f"pip install '.[{extra}]' in a clone of {PACKAGE}"
    return pip_command(packages)


def pip_command(packages: list[Requirement]) -> str:
    """``pip install`` of packages within their bounds."""
    return " ".join(["pip install", *(f"'{_without_marker(item)}'" for item in packages)])


def _without_marker(item: Requirement) -> str:
    extras = f"[{','.join(sorted(item.extras))}]" if item.extras else ""
    ordered = sorted(str(bound) for bound in item.specifier)
    return f"{item.name}{extras}{','.join(reversed(ordered))}"


def _belongs(item: Requirement, extra: str) -> bool:
    always = item.marker is None or item.marker.evaluate({"extra": ""})
    return always if not extra else not always and item.marker.evaluate({"extra": extra})
