"""Losses along lines and in a plane through the weights, point after point, so that a killed run goes on.

Each point is θ* + x·d, computed from the stored θ*, and a part of the result, [energy's loss, forces' loss].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..crystals import is_number, is_whole
from ..errors import ArgumentError
from ..progress.form import Progress, told
from ..provenance import Parts
from .directions import direction
from .weights import Weights

Losses = Callable[[], tuple[float, float]]
PLANE_POINTS = 25  # along each axis, at most: a plane costs the square


def positions(points: int, span: float) -> np.ndarray:
    """Evenly spaced x from -span/2 to span/2, float64 [points], with 0 in the middle.

    Raises
    ------
    ArgumentError
        a number of points that is even or below 3, or a span that is not positive
    """
    if not is_whole(points) or points < 3 or points % 2 == 0:
        raise ArgumentError(
            f"`points`: expected an odd number from 3 on, so that the model itself is one of them, "
            f"got {points!r}"
        )
    if not is_number(span) or not 0.0 < span < np.inf:
        raise ArgumentError(f"`span`: expected a positive number in units of the weights' norm, got {span!r}")
    half = points // 2
    return span / 2 * np.arange(-half, half + 1) / half


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
    weights: Weights, losses: Losses, plan: Plan, computed: Parts, progress: Progress | None = None
) -> None:
    """Fill ``computed`` with the points of the plan that are missing, by their names.

    The weights are back bit by bit afterwards, and what was computed is written, whatever happens.

    Parameters
    ----------
    losses: gives (L_E, L_F) with the weights as they are
    progress: called as ``progress(done, total, stage)``
    """
    points = plan.points()
    done = sum(name in computed.found for name in points)
    progress = told(progress)
    progress(done, len(points), "")
    drawn: dict[int, Tensor] = {}
    with computed, weights.kept():
        for name, steps in points.items():
            if name in computed.found:
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


def of_lines(computed: Parts, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Losses of energies and forces along the lines, [lines, points] each."""
    names = [[plan.on_line(line, k) for k in range(len(plan.x))] for line in range(plan.lines)]
    found = np.array([[computed.found[name] for name in line] for line in names])
    return found[..., 0], found[..., 1]


def of_plane(computed: Parts, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Losses in the plane, [positions along the first direction, along the second] each."""
    places = range(len(plan.plane))
    found = np.array([[computed.found[plan.in_plane(i, j)] for j in places] for i in places])
    return found[..., 0], found[..., 1]
