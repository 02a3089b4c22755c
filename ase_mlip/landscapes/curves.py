"""Losses along lines and in a plane through the weights, point after point, so that a killed run goes on.

Each point is θ* + x·d, computed from the stored θ*; what was computed lies in a file beside the result, with
what it depends on, until the whole is there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from ..errors import ArgumentError
from ..progress.form import Progress, told
from ..provenance import difference, refuse_other_settings, write_atomically
from .directions import direction
from .weights import Weights

Losses = Callable[[], tuple[float, float]]
PLANE_POINTS = 25  # along each axis, at most: a plane costs the square
SECONDS = 1.0  # between two writes of what was computed


def positions(points: int, span: float) -> np.ndarray:
    """Evenly spaced x from -span/2 to span/2, float64 [points], with 0 in the middle.

    Raises
    ------
    ArgumentError
        a number of points that is even or below 3, or a span that is not positive
    """
    if isinstance(points, bool) or not isinstance(points, int | np.integer) or points < 3 or points % 2 == 0:
        raise ArgumentError(
            f"`points`: expected an odd number from 3 on, so that the model itself is one of them, "
            f"got {points!r}"
        )
    number = isinstance(span, int | float | np.number) and not isinstance(span, bool)
    if not number or not 0.0 < span < np.inf:
        raise ArgumentError(f"`span`: expected a positive number in units of the weights' norm, got {span!r}")
    half = points // 2
    return span / 2 * np.arange(-half, half + 1) / half


@dataclass
class Computed:
    """Losses by the name of a point, kept in a file if there is one.

    Attributes
    ----------
    depends_on: model, frames and settings; a file with others is not taken over
    path: the file; None keeps nothing
    overwrite: whether a file of something else counts as none, and is replaced
    """

    depends_on: dict
    path: Path | None = None
    overwrite: bool = False
    points: dict[str, tuple[float, float]] = field(default_factory=dict)
    _written: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        """Raises DataError for a file of something else that is not to be replaced."""
        self.depends_on = json.loads(json.dumps(self.depends_on))
        self._written = time.monotonic()
        if self.path is None or not self.path.exists():
            return
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            known = dict(found["depends_on"])
            points = {name: (float(e), float(f)) for name, (e, f) in found["points"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            known, points = None, {}  # of something else, or damaged
        if not self.overwrite:
            refuse_other_settings(self.path, known, self.depends_on)
        if known is not None and not difference(known, self.depends_on):
            self.points = points

    def keep(self, name: str, losses: tuple[float, float]) -> None:
        self.points[name] = losses
        if time.monotonic() - self._written > SECONDS:
            self.write()

    def write(self) -> None:
        """All or nothing. JSON's numbers are those of float64, bit by bit; infinity is Python's own word."""
        if self.path is None:
            return
        text = json.dumps({"depends_on": self.depends_on, "points": self.points})
        write_atomically(self.path, text.encode())
        self._written = time.monotonic()

    def finished(self) -> None:
        """Remove the file: the result has everything."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Plan:
    """Which points are wanted.

    Attributes
    ----------
    directions, seed: kind and seed of the directions; line k has that of number k, the plane those of 0 and 1
    lines: how many
    x: positions along the lines, [points]
    plane: positions along both axes of a plane, or None
    """

    directions: str
    seed: int
    lines: int
    x: np.ndarray
    plane: np.ndarray | None = None

    def points(self) -> dict[str, list[tuple[int, float]]]:
        """Names of all points, each with (number of a direction, step along it); the start comes first.

        They are ``start``, ``LINE POINT`` and ``plane I J``. The point at 0 is the same in all.
        """
        found: dict[str, list[tuple[int, float]]] = {"start": []}
        for line in range(self.lines):
            for k, step in enumerate(self.x):
                found.setdefault(self.on_line(line, k), [(line, float(step))])
        for i, first in enumerate([] if self.plane is None else self.plane):
            for j, second in enumerate(self.plane):
                found.setdefault(self.in_plane(i, j), [(0, float(first)), (1, float(second))])
        return found

    def on_line(self, line: int, point: int) -> str:
        return "start" if self.x[point] == 0.0 else f"{line} {point}"

    def in_plane(self, i: int, j: int) -> str:
        return "start" if self.plane[i] == self.plane[j] == 0.0 else f"plane {i} {j}"


def compute(
    weights: Weights, losses: Losses, plan: Plan, computed: Computed, progress: Progress | None = None
) -> None:
    """Fill ``computed`` with the points of the plan that are missing.

    The weights are back bit by bit afterwards, and what was computed is written, whatever happens.

    Parameters
    ----------
    losses: gives (L_E, L_F) with the weights as they are
    progress: called as ``progress(done, total, stage)``
    """
    points = plan.points()
    done = sum(name in computed.points for name in points)
    progress = told(progress)
    progress(done, len(points), "")
    drawn: dict[int, Tensor] = {}
    try:
        with weights.kept():
            for name, steps in points.items():
                if name in computed.points:
                    continue
                # only the directions of this point are held: each is as large as the network
                drawn = {
                    k: drawn[k] if k in drawn else direction(weights, plan.directions, plan.seed, k)
                    for k, _ in steps
                }
                values = weights.start
                for number, step in steps:
                    values = values + step * drawn[number]
                weights.move(values)
                computed.keep(name, losses())
                done += 1
                progress(done, len(points), "")
    finally:
        computed.write()


def of_lines(computed: Computed, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Losses of energies and forces along the lines, [lines, points] each."""
    names = [[plan.on_line(line, k) for k in range(len(plan.x))] for line in range(plan.lines)]
    found = np.array([[computed.points[name] for name in line] for line in names])
    return found[..., 0], found[..., 1]


def of_plane(computed: Computed, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Losses in the plane, [positions along the first direction, along the second] each."""
    places = range(len(plan.plane))
    found = np.array([[computed.points[plan.in_plane(i, j)] for j in places] for i in places])
    return found[..., 0], found[..., 1]
