"""Loss entropy: one number for how flat, and how low, the loss is along lines through the weights.

With L(x_j) the loss at the points of a line, averaged over lines,

    S = ln Σ_j exp(-L(x_j) / kT),

a plain sum over the points: J. A. Vita and D. Schwalbe-Koda, Mach. Learn.: Sci. Technol. 4, 035031 (2023),
arXiv 2302.05823. It therefore depends on how many points there are and how far they reach, on kT, and on the
training error L(0) itself. With L(x) - L(0) in the place of L(x) the last is taken out: S⁺. For energies and
forces together S = 0.2 S_E + 0.8 S_F.

A loss may be infinite, where a network overflowed: such a point adds nothing to the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import MLIPError

KT_ENERGY = 0.004  # eV/atom
KT_FORCES = 0.04  # eV/Å
FORCE_WEIGHT = 0.8  # of S_F in S; S_E has the rest
KT_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of a scan
FORCE_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of a scan
CONFIDENCE = 0.95
MAX_LOSS = 1e280  # beyond it a loss is as good as infinite
RESAMPLES = 1000  # of a bootstrap


def loss_entropy(losses: Sequence, kT: float) -> float:
    """ln Σ_j exp(-L(x_j)/kT), summed without under- or overflow.

    Parameters
    ----------
    losses : sequence of float
        float [points], or [lines, points], of which the mean over lines is taken first; in the unit of kT
    kT : float
        eV/atom for losses of energies (0.004), eV/Å for those of forces (0.04)

    Returns
    -------
    float
        the entropy; -inf where every loss is infinite

    Raises
    ------
    MLIPError
        no losses, another shape, a loss that is NaN or -inf, or kT that is not a positive number
    """
    return _log_sum(mean_losses(losses, "losses"), _checked_kT(kT, "kT"))


def combined_entropy(
    energy_losses: Sequence,
    force_losses: Sequence,
    kT_energy: float = KT_ENERGY,
    kT_forces: float = KT_FORCES,
    force_weight: float = FORCE_WEIGHT,
) -> float:
    """S = (1 - w) S_E + w S_F of two curves at the same points.

    Parameters
    ----------
    energy_losses, force_losses : sequence of float
        float [points] or [lines, points], eV/atom and eV/Å
    kT_energy, kT_forces : float
        eV/atom, eV/Å
    force_weight : float
        w, between 0 and 1

    Returns
    -------
    float
        the entropy; -inf where every loss is infinite

    Raises
    ------
    MLIPError
        as :func:`loss_entropy`; curves of different shapes; a weight outside [0, 1]
    """
    energy, forces = _pair(energy_losses, force_losses)
    weight = _checked_weight(force_weight)
    return _combined(
        _log_sum(energy.mean(axis=0), _checked_kT(kT_energy, "kT_energy")),
        _log_sum(forces.mean(axis=0), _checked_kT(kT_forces, "kT_forces")),
        weight,
    )


def mean_losses(losses: Sequence, name: str = "losses") -> np.ndarray:
    """The mean over lines, float64 [points], of losses [points] or [lines, points].

    Raises
    ------
    MLIPError
        no losses, another shape, or a loss that is NaN or -inf
    """
    return as_lines(losses, name).mean(axis=0)


def as_lines(losses: Sequence, name: str = "losses") -> np.ndarray:
    """Checked losses, float64 [lines, points]; one curve is one line. Raises as :func:`mean_losses`."""
    try:
        values = np.asarray(losses, dtype=np.float64)
    except (TypeError, ValueError):
        raise MLIPError(
            f"`{name}`: expected numbers [points] or [lines, points], got something else or lines of "
            "different lengths"
        ) from None
    if values.ndim not in (1, 2) or values.size == 0:
        raise MLIPError(
            f"`{name}`: expected numbers [points] or [lines, points], at least one, got the shape "
            f"{list(values.shape)}"
        )
    values = np.atleast_2d(values)
    wrong = np.argwhere(np.isnan(values) | (values == -np.inf))
    if len(wrong):
        line, point = (int(k) for k in wrong[0])
        raise MLIPError(
            f"`{name}`: expected numbers, got {values[line, point]} at point {point} of line {line}"
            f"{f' and at {len(wrong) - 1} more' if len(wrong) > 1 else ''}; where a network overflowed the "
            "loss is `inf`; otherwise leave the line out"
        )
    return values


def excess(losses: Sequence, x: Sequence, name: str = "losses") -> np.ndarray:
    """L(x) - L(0) of each line, float64 [lines, points].

    Raises
    ------
    MLIPError
        as :func:`mean_losses`; ``x`` is of another length or has no 0; the loss at 0 is infinite
    """
    values = as_lines(losses, name)
    middle = _place_of_zero(x, values)
    at_zero = values[:, middle : middle + 1]
    if not np.isfinite(at_zero).all():
        raise MLIPError(f"`{name}`: expected a finite loss at `x` = 0, the model itself, got infinity")
    return values - at_zero


def entropies(
    energy_losses: Sequence,
    force_losses: Sequence,
    x: Sequence | None = None,
    kT_energy: float = KT_ENERGY,
    kT_forces: float = KT_FORCES,
    force_weight: float = FORCE_WEIGHT,
) -> dict[str, float]:
    """``S_E, S_F, S`` and, where ``x`` is given, ``S_E_plus, S_F_plus, S_plus`` of L(x) - L(0).

    Raises as :func:`combined_entropy` and :func:`excess`.
    """
    energy, forces = _pair(energy_losses, force_losses)
    kT_energy, kT_forces = _checked_kT(kT_energy, "kT_energy"), _checked_kT(kT_forces, "kT_forces")
    weight = _checked_weight(force_weight)
    found = {}
    curves = [("", energy, forces)]
    if x is not None:
        curves.append(("_plus", excess(energy, x, "energy_losses"), excess(forces, x, "force_losses")))
    for suffix, first, second in curves:
        of_energy, of_forces = (
            _log_sum(first.mean(axis=0), kT_energy),
            _log_sum(second.mean(axis=0), kT_forces),
        )
        found |= {
            f"S_E{suffix}": of_energy,
            f"S_F{suffix}": of_forces,
            f"S{suffix}": _combined(of_energy, of_forces, weight),
        }
    return found


def scan(energy_losses: Sequence, force_losses: Sequence, x: Sequence | None = None) -> dict[str, list[dict]]:
    """The entropies under other choices: ``kT``, both times a factor of ¼ to 4; ``force_weight`` from 0 to 1.

    Each entry has its ``factor`` or ``force_weight`` beside what :func:`entropies` gives.
    """
    return {
        "kT": [
            {"factor": f, **entropies(energy_losses, force_losses, x, f * KT_ENERGY, f * KT_FORCES)}
            for f in KT_FACTORS
        ],
        "force_weight": [
            {"force_weight": w, **entropies(energy_losses, force_losses, x, force_weight=w)}
            for w in FORCE_WEIGHTS
        ],
    }


def bootstrap(
    statistic: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    energy_losses: Sequence,
    force_losses: Sequence,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of what ``statistic(energy_losses, force_losses)`` gives, over lines.

    Lines are drawn with replacement: B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993),
    chapter 13. The interval says what other random lines would have given; of one line it is (nan, nan).

    Parameters
    ----------
    statistic: takes two arrays [lines, points] and returns numbers by name
    energy_losses, force_losses: float [lines, points]
    resamples, confidence, seed: how many samples, the level such as 0.95, and of their random numbers
    """
    energy, forces = _pair(energy_losses, force_losses)
    if not 0.0 < confidence < 1.0:
        raise MLIPError(f"`confidence`: expected a number between 0 and 1, got {confidence}")
    n = len(energy)
    if n == 1:
        return {name: (float("nan"), float("nan")) for name in statistic(energy, forces)}
    generator = np.random.default_rng(seed)
    drawn = [generator.integers(0, n, n) for _ in range(resamples)]
    found = [statistic(energy[lines], forces[lines]) for lines in drawn]
    tails = [0.5 - 0.5 * confidence, 0.5 + 0.5 * confidence]
    intervals = {}
    for name in found[0]:
        # an order statistic next to the quantile: interpolation between infinite values would give NaN
        low, high = np.quantile([values[name] for values in found], tails, method="nearest")
        intervals[name] = (float(low), float(high))
    return intervals


def curvature(losses: Sequence, x: Sequence, name: str = "losses") -> np.ndarray:
    """d²(L²)/dx² at x = 0 of each line, [lines], by central differences of the mean squared error L².

    L² is smooth where L = √(L₀² + a²x²) has a kink in the limit L₀ = 0. With two points on either side the
    stencil is of fourth order, (-f₋₂ + 16 f₋₁ - 30 f₀ + 16 f₁ - f₂)/12h²; with one of second.

    Raises
    ------
    MLIPError
        as :func:`mean_losses`; points around 0 that are missing or unevenly spaced
    """
    values = as_lines(losses, name)
    near, stencil = _stencil(x, _place_of_zero(x, values))
    return _applied(stencil, values[:, near] ** 2)


def largest_rise(losses: Sequence, x: Sequence, radius: float, name: str = "losses") -> float:
    """The largest L(x) - L(0) of any line within |x| ≤ ``radius``, as sharpness is defined by N. S. Keskar et
    al., arXiv 1609.04836, on random lines instead of all directions.

    Raises
    ------
    MLIPError
        as :func:`excess`; a radius that reaches no other point
    """
    rise = excess(losses, x, name)
    return float(rise[:, _within(x, radius)].max())


class LineNumbers:
    """All numbers that curves at the points x give, of any choice of lines, without checking them again.

    ``S_E, S_F, S``, the same of L - L(0) as ``…_plus``, ``curvature_energy`` and ``curvature_forces``, the
    mean over lines of :func:`curvature`, and ``rise_energy`` and ``rise_forces``, :func:`largest_rise`.

    Raises
    ------
    MLIPError
        where these functions do
    """

    def __init__(self, energy_losses: Sequence, force_losses: Sequence, x: Sequence, radius: float):
        self.energy, self.forces = _pair(energy_losses, force_losses)
        excess(self.energy, x, "energy_losses")
        excess(self.forces, x, "force_losses")
        self._middle = _place_of_zero(x, self.energy)
        self._near, self._stencil = _stencil(x, self._middle)
        self._within = _within(x, radius)

    def __call__(self, energy: np.ndarray, forces: np.ndarray) -> dict[str, float]:
        """Of losses float64 [lines, points]; those of the lines given, or any of them, also repeatedly."""
        found: dict[str, float] = {}
        middle = self._middle
        for suffix in ("", "_plus"):
            parts = []
            for name, losses, kT in (("S_E", energy, KT_ENERGY), ("S_F", forces, KT_FORCES)):
                mean = losses.mean(axis=0)
                found[name + suffix] = _log_sum(mean - mean[middle] if suffix else mean, kT)
                parts.append(found[name + suffix])
            found[f"S{suffix}"] = _combined(*parts, FORCE_WEIGHT)
        for name, losses in (("energy", energy), ("forces", forces)):
            squares = (losses[:, self._near] ** 2).mean(axis=0)
            found[f"curvature_{name}"] = float(_applied(self._stencil, squares))
            rise = losses[:, self._within].max(axis=1) - losses[:, middle]
            found[f"rise_{name}"] = float(rise.max())
        return found


# ---- steps -------------------------------------------------------------------------------------------------


def _log_sum(losses: np.ndarray, kT: float) -> float:
    exponents = np.divide(-losses, kT, where=losses < MAX_LOSS, out=np.full(losses.shape, -np.inf))
    largest = exponents.max()
    if largest == -np.inf:
        return -np.inf
    return float(largest + np.log(np.exp(exponents - largest).sum()))


def _combined(of_energy: float, of_forces: float, weight: float) -> float:
    """A weight of 0 leaves a part out, also one that is -inf."""
    parts = [(1.0 - weight, of_energy), (weight, of_forces)]
    return float(sum(w * value for w, value in parts if w > 0.0))


def _pair(energy_losses: Sequence, force_losses: Sequence) -> tuple[np.ndarray, np.ndarray]:
    energy, forces = as_lines(energy_losses, "energy_losses"), as_lines(force_losses, "force_losses")
    if energy.shape != forces.shape:
        raise MLIPError(
            f"`force_losses`: expected the shape of `energy_losses`, {list(energy.shape)}, got "
            f"{list(forces.shape)}; both are of the same lines and points"
        )
    return energy, forces


def _checked_kT(kT: float, name: str) -> float:
    try:
        value = float(kT)
    except (TypeError, ValueError):
        value = float("nan")
    if isinstance(kT, bool) or not 0.0 < value < np.inf:
        raise MLIPError(f"`{name}`: expected a positive number in the unit of the losses, got {kT!r}")
    return value


def _checked_weight(weight: float) -> float:
    if (
        isinstance(weight, bool)
        or not isinstance(weight, int | float | np.number)
        or not 0.0 <= weight <= 1.0
    ):
        raise MLIPError(f"`force_weight`: expected a number from 0 to 1, got {weight!r}")
    return float(weight)


def _place_of_zero(x: Sequence, values: np.ndarray) -> int:
    points = np.asarray(x, dtype=np.float64)
    if points.shape != values.shape[1:]:
        raise MLIPError(
            f"`x`: expected one number for each of {values.shape[1]} points, got the shape "
            f"{list(points.shape)}"
        )
    found = np.flatnonzero(points == 0.0)
    if len(found) != 1:
        raise MLIPError("`x`: expected the point 0, the model itself, once; give an odd number of points")
    return int(found[0])


def _stencil(x: Sequence, middle: int) -> tuple[slice, np.ndarray]:
    """Points around 0, and what the second derivative multiplies their values by."""
    points = np.asarray(x, dtype=np.float64)
    reach = min(2, middle, len(points) - 1 - middle)
    near = points[middle - reach : middle + reach + 1]
    if reach == 0 or not np.allclose(np.diff(near), near[-1] / reach, rtol=1e-6, atol=0.0):
        raise MLIPError(
            f"`x`: expected evenly spaced points on both sides of 0 for the curvature, got {near.tolist()}"
        )
    weights = np.array([-1.0, 16.0, -30.0, 16.0, -1.0]) / 12.0 if reach == 2 else np.array([1.0, -2.0, 1.0])
    return slice(middle - reach, middle + reach + 1), weights / (near[-1] / reach) ** 2


def _within(x: Sequence, radius: float) -> np.ndarray:
    """Which points are within a radius, bool [points]."""
    points = np.abs(np.asarray(x, dtype=np.float64))
    near = points <= radius * (1.0 + 1e-9)
    if not (near & (points > 0.0)).any():
        raise MLIPError(
            f"`radius`: expected at least the distance of the next point, "
            f"{np.min(points[points > 0.0]):.4g}, got {radius}"
        )
    return near


def _applied(stencil: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Σ_j values[..., j] stencil[j]; infinite where infinities are subtracted from one another."""
    with np.errstate(invalid="ignore"):
        found = (values * stencil).sum(axis=-1)
    return np.where(np.isfinite(found), found, np.inf)
