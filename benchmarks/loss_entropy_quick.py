"""One short model of a family through everything that the study of loss entropy measures, and its cost.

Nothing of it is a number of the study: the model has one epoch, the landscapes have one line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import loss_entropy_measures as measures
import loss_entropy_models as models
from loss_entropy_models import Recipe

LINES, POINTS, REPLICAS, LENGTH, RISE, PROBES = 1, 5, 2, 0.1, 0.05, 2


@dataclasses.dataclass(frozen=True)
class Cost:
    """CPU seconds of one measurement as it was made here, and of the registered one.

    Attributes
    ----------
    seconds: measured
    whole: scaled by the number of steps, points or probes; of dynamics an upper limit, as replicas fail
    """

    seconds: float
    whole: float


def shortened(recipe: Recipe) -> Recipe:
    """The same network, trained for one epoch on the quarter of the frames."""
    optimizer = recipe.tables["optimizer"] | {"epochs": 1}
    return dataclasses.replace(recipe, frames="quarter", tables=recipe.tables | {"optimizer": optimizer})


def measured(recipe: Recipe) -> tuple[dict, dict[str, Cost]]:
    """What is stored of a shortened model, and what each part of the whole one costs."""
    factors = {
        "training": recipe.tables["optimizer"]["epochs"] * (4.0 if recipe.frames == "all" else 1.0),
        "landscape": _points(measures.LINES, measures.POINTS) / _points(LINES, POINTS),
        "survival": measures.REPLICAS * measures.LENGTH / (REPLICAS * LENGTH),
    }
    factors["legacy"] = factors["landscape"]
    with _in_short():
        stored = measures.measured(shortened(recipe), {"family": recipe.family}, lambda document: None)
        # without what comes before the first epoch, such as the least-squares start of an s-NNP
        epoch = float(models._epochs(recipe)[-1]["seconds"])
        factors["training"] *= epoch / max(stored["training"]["cpu_seconds"], 0.1)
    # two gradients for each probe; those of the eigenvalue stay
    gradients = stored["sharpness"]["gradients"]
    factors["sharpness"] = (gradients + 2 * (measures.PROBES - PROBES)) / gradients
    costs = {
        name: Cost(part["cpu_seconds"], part["cpu_seconds"] * factors.get(name, 1.0))
        for name, part in stored.items()
        if isinstance(part, dict) and "cpu_seconds" in part
    }
    return stored, costs


def text(recipe: Recipe, costs: dict[str, Cost]) -> str:
    """A line for each measurement, in Markdown."""
    lines = [f"## {recipe.name}", "", "| | CPU s here | CPU s as registered |", "|---|--:|--:|"]
    lines += [f"| {name} | {cost.seconds:.1f} | {cost.whole:.0f} |" for name, cost in costs.items()]
    lines.append(f"| all | | {sum(cost.whole for cost in costs.values()):.0f} |")
    return "\n".join(lines)


def _points(lines: int, points: int) -> int:
    return lines * (points - 1) + 1


@contextlib.contextmanager
def _in_short() -> Iterator[None]:
    """Fewer of everything, in a folder that is gone afterwards."""
    less = {"LINES": LINES, "POINTS": POINTS, "REPLICAS": REPLICAS, "LENGTH": LENGTH, "RISE": RISE}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        for module in (models, measures):
            stack.enter_context(mock.patch.object(module, "RUNS", Path(folder)))
        stack.enter_context(mock.patch.multiple(measures, PROBES=PROBES, **less))
        measures.start.cache_clear()
        yield
    measures.start.cache_clear()
