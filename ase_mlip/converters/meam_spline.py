"""Spline MEAM files of LAMMPS (`pair_style meam/spline`) as an s-NNP with one filter of either kind.

The format is that of the manual page of `pair_style meam/spline`: φ for every pair of elements, ρ, U and f
for every element, g for every pair, in this order, each a cubic spline on equidistant knots with given slopes
at its ends. Files for one element have no names of elements and a line of flags, which LAMMPS skips, before
the knots.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import torch
from ase.data import atomic_numbers

from ..errors import ModelFileError
from ..networks.snnp.hypers import SNNPHypers
from ..networks.snnp.snnp import SNNP
from ..networks.snnp.splines import SplineBank

_TOLERANCE = 1e-8  # Å (or cosine): what LAMMPS allows for equidistant knots


@dataclass(frozen=True)
class KnotSpline:
    """A spline as the file has it: equidistant knots, values, the slopes at its two ends."""

    name: str
    knots: list[float]
    values: list[float]
    slopes: tuple[float, float]

    @property
    def step(self) -> float:
        return (self.knots[-1] - self.knots[0]) / (len(self.knots) - 1)


@dataclass(frozen=True)
class SplineFile:
    """The splines of a file; pairs in the order 11, 12, ..., 22, ..."""

    elements: list[str]
    phi: list[KnotSpline]
    rho: list[KnotSpline]
    u: list[KnotSpline]
    f: list[KnotSpline]
    g: list[KnotSpline]


def from_meam_spline(path: str | Path, elements: Sequence[str] | None = None) -> SNNP:
    """The spline MEAM potential of a LAMMPS file as a network of the contract, float64, in evaluation mode.

    Parameters
    ----------
    path: a ``meam/spline`` file for one element or several
    elements: symbols of the file's elements, in its order; needed where neither the file's header nor the
        beginning of its name (``Si_1.meam.spline``) says them

    Raises
    ------
    ModelFileError
        the file cannot be read, is cut short, has other than cubic splines with given slopes, fewer than two
        knots, knots that are not equidistant, or radial functions that do not end with zero
    """
    return build_network(read_meam_spline(path, elements))


def read_meam_spline(path: str | Path, elements: Sequence[str] | None = None) -> SplineFile:
    """The splines of a file; the arguments and errors are :func:`from_meam_spline`'s."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"`{path}` cannot be read as a meam/spline file: {error}") from None
    reader = _Reader(path, iter(lines[1:]))
    several = len(lines) > 1 and lines[1].split()[:1] == ["meam/spline"]
    named = reader.header() if several else _from_name(path) if elements is None else list(elements)
    if elements is not None and list(elements) != named:
        raise ModelFileError(f"`{path}` is for the elements {named}, got `elements` {list(elements)}")
    unknown = [symbol for symbol in named if symbol not in atomic_numbers]
    if unknown or not named:
        raise ModelFileError(f"`{path}`: expected symbols of elements, got {named}; name them in `elements`")
    if not several and len(named) != 1:
        raise ModelFileError(f"`{path}` has no header and so is for one element, got `elements` {named}")
    pairs = [f"{a}-{b}" for a, b in combinations_with_replacement(named, 2)]
    groups = [("phi", pairs), ("rho", named), ("u", named), ("f", named), ("g", pairs)]
    splines = {name: [reader.spline(f"{name} {of}", several) for of in ofs] for name, ofs in groups}
    for spline in [*splines["phi"], *splines["rho"], *splines["f"]]:
        if abs(spline.values[-1]) > 1e-10 or abs(spline.slopes[1]) > 1e-10:
            raise ModelFileError(
                f"`{path}`: `{spline.name}` must end with value and slope zero, got {spline.values[-1]} and "
                f"{spline.slopes[1]}: energies would jump at the cutoff"
            )
        if spline.knots[0] <= 0:
            raise ModelFileError(f"`{path}`: `{spline.name}` must begin at a positive distance")
    return SplineFile(named, **splines)


def _from_name(path: Path) -> list[str]:
    found = re.match(r"[A-Z][a-z]?(?![a-z])", path.name)
    if found is None or found.group() not in atomic_numbers:
        raise ModelFileError(f"`{path}` does not say its element; name it in `elements`, as in ['Si']")
    return [found.group()]


class _Reader:
    """Reads a file's lines one after another; errors say which file and spline."""

    def __init__(self, path: Path, lines: Iterator[str]):
        self.path = path
        self.lines = lines

    def fail(self, name: str, what: str) -> ModelFileError:
        return ModelFileError(f"`{self.path}`: `{name}`: {what}")

    def words(self, name: str) -> list[str]:
        line = next(self.lines, None)
        if line is None:
            raise self.fail(name, "the file ends within this spline; is the number of knots right?")
        return line.split()

    def numbers(self, name: str, count: int, what: str) -> list[float]:
        words = self.words(name)
        try:
            values = [float(word) for word in words[:count]]
        except ValueError:
            values = []
        if len(values) != count:
            got = " ".join(words)
            raise self.fail(name, f"expected {what}, got `{got}`; is the number of knots right?")
        return values

    def header(self) -> list[str]:
        words = self.words("header")
        if len(words) < 3 or not words[1].isdigit() or int(words[1]) != len(words) - 2:
            raise self.fail("header", f"expected `meam/spline N element ...`, got `{' '.join(words)}`")
        return words[2:]

    def spline(self, name: str, several: bool) -> KnotSpline:
        if several:
            kind = self.words(name)
            if kind != ["spline3eq"]:
                raise self.fail(
                    name, f"expected a cubic spline on equidistant knots, `spline3eq`, got `{' '.join(kind)}`"
                )
        words = self.words(name)
        if len(words) != 1 or not words[0].isdigit():
            raise self.fail(name, f"expected the number of knots, got `{' '.join(words)}`")
        count = int(words[0])
        if count < 2:
            raise self.fail(name, f"a spline needs at least two knots, got {count}")
        first, last = self.numbers(name, 2, "the slopes at both ends")
        if not several:
            flags = self.words(name)
            if len(flags) != 4 or not set(flags) <= {"0", "1"}:
                raise self.fail(name, f"expected four flags 0 or 1, got `{' '.join(flags)}`")
        rows = [self.numbers(name, 3, "a knot, its value and curvature") for _ in range(count)]
        spline = KnotSpline(name, [row[0] for row in rows], [row[1] for row in rows], (first, last))
        if not spline.step > 0:
            raise self.fail(name, "the knots must increase")
        for k, knot in enumerate(spline.knots):
            if abs(spline.knots[0] + k * spline.step - knot) > _TOLERANCE:
                raise self.fail(name, f"the knots must be equidistant, got {knot} as number {k + 1}")
        return spline


def build_network(file: SplineFile) -> SNNP:
    """The network with the splines of a file: one filter of either kind, φ and U, float64."""
    radial = [*file.phi, *file.rho, *file.f]
    u = file.u[0]
    hypers = SNNPHypers(
        species=[atomic_numbers[symbol] for symbol in file.elements],
        cutoff=max(spline.knots[-1] for spline in radial),
        angular_cutoff=max(spline.knots[-1] for spline in file.f),
        inner=min(spline.knots[0] for spline in radial),
        radial_filters=1,
        angular_filters=1,
        filters="neighbour",
        hidden=[],
        skip=False,
        core=False,
        embedding=[u.knots[0], u.knots[-1], float(len(u.knots) - 1)],
    )
    network = SNNP(hypers).double()
    network.phi, network.rho, network.f = _bank(file.phi), _bank(file.rho), _bank(file.f)
    network.g, network.embedding = _bank(file.g), _bank(file.u)
    return network.eval()


def _bank(splines: list[KnotSpline]) -> SplineBank:
    bank = SplineBank(
        [spline.knots[0] for spline in splines],
        [spline.step for spline in splines],
        [len(spline.knots) - 1 for spline in splines],
        channels=1,
        vanishing=False,
    ).double()
    for case, spline in enumerate(splines):
        first, last = spline.slopes
        values = torch.tensor(spline.values, dtype=torch.float64)
        bank.set_from_knots(case, 0, values, (1, first), (1, last))
    return bank
