"""Hyper-parameters of the s-NNP: their names, their defaults, and which of them go together."""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from .. import expected

FILTERS = ("shared", "neighbour", "pair")


@dataclass
class SNNPHypers:
    """Hyper-parameters of an s-NNP. Numbers of intervals up to 14 are the fast ones on a CPU.

    Attributes
    ----------
    species : list of int
        atomic numbers
    cutoff : float
        of φ and ρ, Å
    angular_cutoff : float or None
        of f, Å; None for ``cutoff``
    inner : float or "auto"
        first knot of φ, ρ and f, Å; "auto" is for training to set
    radial_filters, angular_filters : int
        number of ρ; number of f and of g
    radial_intervals, angular_intervals, angle_intervals : int
        of φ and ρ; of f; of g
    filters : str
        what the splines depend on: nothing ("shared"), the neighbours' species ("neighbour"), or the
        centre's as well ("pair")
    networks : str
        one for each "element", or "shared" by all
    hidden : list of int
        widths of the hidden layers; [] for no network
    skip, pair : bool
        whether there are the terms w·G and φ
    core : bool
        whether φ goes on below ``inner`` as the repulsion of the nuclei, or as a straight line
    embedding : list of float or None
        of U: first knot, last knot, number of intervals
    direct_forces, direct_stress : bool
        always false: there are no such heads
    """

    species: list[int] = field(default_factory=list)
    cutoff: float = 5.0
    angular_cutoff: float | None = None
    inner: float | Literal["auto"] = 1.5
    radial_filters: int = 4
    angular_filters: int = 4
    radial_intervals: int = 14
    angular_intervals: int = 14
    angle_intervals: int = 10
    filters: Literal["shared", "neighbour", "pair"] = "pair"
    networks: Literal["element", "shared"] = "element"
    hidden: list[int] = field(default_factory=lambda: [16])
    skip: bool = True
    pair: bool = True
    core: bool = True
    embedding: list[float] | None = None
    direct_forces: bool = False
    direct_stress: bool = False

    @property
    def message_passing_layers(self) -> int:
        """One: an atom's energy depends on its own neighbours only."""
        return 1

    @property
    def interaction_range(self) -> float:
        """The cutoff, Å."""
        return self.cutoff

    def check(self) -> None:
        """Refuse what cannot work.

        Raises
        ------
        ValueError
            with the name of the hyper-parameter, what was expected and what was got
        """
        expect = partial(expected.expect, self)
        expected.expect_species(self)
        expect(self.inner != "auto", "inner", "a number of Å: only training sets it from data")
        expect(self.inner > 0, "inner", "positive")
        expect(self.cutoff > self.inner, "cutoff", f"longer than the first knot `inner`, {self.inner} Å")
        angular = self.cutoff if self.angular_cutoff is None else self.angular_cutoff
        expect(self.inner < angular <= self.cutoff, "angular_cutoff", "between `inner` and `cutoff`")
        for name in ("radial_intervals", "angular_intervals", "angle_intervals"):
            expect(getattr(self, name) >= 1, name, "at least 1 (two knots)")
        for name in ("radial_filters", "angular_filters"):
            expect(getattr(self, name) >= 0, name, "zero or positive")
        expect(self.filters in FILTERS, "filters", f"one of {FILTERS}")
        expect(self.networks in ("element", "shared"), "networks", "'element' or 'shared'")
        expect(all(width > 0 for width in self.hidden), "hidden", "a list of positive widths")
        expect(
            not (self.direct_forces or self.direct_stress), "direct_forces", "false: there is no such head"
        )
        u = self.embedding
        expect(
            u is None or (len(u) == 3 and u[0] < u[1] and u[2] >= 1 and u[2] == int(u[2])),
            "embedding",
            "first knot, last knot and a number of intervals",
        )
        features = self.radial_filters + self.angular_filters
        terms = self.pair or (features > 0 and (self.skip or bool(self.hidden) or self.embedding is not None))
        one_for_all = self.pair and self.filters == "shared" and len(self.species) > 1
        expect(
            not (self.core and one_for_all),
            "core",
            "false where all pairs of elements share one φ: it depends on their charges",
        )
        expect(terms, "skip", "true where there is neither a pair term, a network nor an embedding")
