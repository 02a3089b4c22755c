"""How far a model is from rotational symmetry: the spread over a group, and what averaging leaves.

The spread over the rotations of an averaging is the **plain** model's anisotropy. What is left after
averaging shows when the same group is rotated: with an exactly symmetric model nothing would change.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from ...errors import PrecisionWarning, users_line
from ...rotations.averaging import Averaging, random_rotation
from ...rotations.schemes import LADDER, find_averaging

if TYPE_CHECKING:
    from ...graph.neighbors import Graph
    from ...model_file.model import Model

SEED = 20_231_215  # of the rotations by which residuals are estimated; any number would do
ROTATIONS = 2


def deviation(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted standard deviation over the first axis."""
    shape = (-1,) + (1,) * (values.ndim - 1)
    weights = weights.reshape(shape)
    mean = (weights * values).sum(axis=0)
    return np.sqrt((weights * (values - mean) ** 2).sum(axis=0))


def residual_of_forces(model: Model, graph: Graph, chosen: Averaging, direct: bool = False) -> float:
    """Root mean square, over atoms, of how far averaged forces change when the group is rotated, eV/Å.

    The plain model is rotated as it is. Each rotation costs one evaluation of the average.
    """
    samples = []
    name = "direct_forces" if direct else "forces"
    for k in range(ROTATIONS + 1):
        rotated = chosen.after(random_rotation(SEED, k) if k else np.eye(3))
        samples.append(model(graph, [name], rotated)[name].cpu().numpy())
    # an unbiased estimate of the variance from few samples
    return float(np.sqrt(np.var(samples, axis=0, ddof=1).sum(axis=-1).mean()))


def choose_averaging(
    model: Model, graph: Graph, tolerance: float, direct: bool = False
) -> tuple[Averaging, float]:
    """The first scheme of the ladder whose residual in the forces is below ``tolerance`` (eV/Å), and that.

    Parameters
    ----------
    model : Model
        a loaded model file
    graph : Graph
        of the structure
    tolerance : float
        root mean square that may remain, eV/Å
    direct : bool
        whether the forces are those of the direct head

    Returns
    -------
    tuple of Averaging and float
        the averaging, and what it leaves of the forces' anisotropy, eV/Å

    Warns
    -----
    PrecisionWarning
        when no scheme's is, so that the last one is taken
    """
    chosen, residual = find_averaging(LADDER[0]), float("inf")
    for name in LADDER:
        chosen = find_averaging(name)
        residual = residual_of_forces(model, graph, chosen, direct)
        if residual <= tolerance:
            return chosen, residual
    warnings.warn(not_reached(chosen, residual, tolerance), PrecisionWarning, stacklevel=users_line())
    return chosen, residual


def not_reached(chosen: Averaging, residual: float, tolerance: float) -> str:
    """What there is to say where the last rung of the ladder leaves more than ``tolerance`` (eV/Å)."""
    return (
        f"`symmetrize='auto'`: the largest scheme, {chosen.name} with {chosen.evaluations} evaluations, "
        f"leaves an anisotropy of the forces of {residual:.2g} eV/Å, more than `tolerance={tolerance:g}`; "
        "use a larger tolerance, or for a known crystal the average over its point group"
    )


def uniform_rotations(count: int, seed: int = 0) -> np.ndarray:
    """Random rotations [count, 3, 3], uniformly distributed."""
    from scipy.spatial.transform import Rotation

    return Rotation.random(count, rng=np.random.default_rng(seed)).as_matrix()
