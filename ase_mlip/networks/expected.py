"""What is expected of hyper-parameters, of whichever network."""

from typing import Any


def expect(hypers: Any, ok: bool, name: str, expected: str) -> None:
    """Refuse a hyper-parameter that cannot work.

    Parameters
    ----------
    hypers : dataclass
        of a network
    ok : bool
        whether it can
    name, expected : str
        of the hyper-parameter, and what would work

    Raises
    ------
    ValueError
        with the name, what was expected and what was got
    """
    if not ok:
        raise ValueError(f"`{name}` must be {expected}, got {getattr(hypers, name)!r}")


def expect_species(hypers: Any) -> None:
    """Refuse ``species`` that are none.

    Parameters
    ----------
    hypers : dataclass
        with a list of atomic numbers ``species``

    Raises
    ------
    ValueError
        see :func:`expect`
    """
    numbers = hypers.species
    expect(hypers, len(numbers) > 0, "species", "at least one atomic number")
    known = all(1 <= z <= 118 for z in numbers)
    expect(hypers, known, "species", "a list of atomic numbers from 1 to 118")
