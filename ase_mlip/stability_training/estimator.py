"""How an average changes with the parameters of the potential, as a weighted sum of energies.

For samples x_n of the Boltzmann distribution of the energy U(x; θ), and observables g_n with mean ḡ,

    ∂⟨g⟩/∂θ = ⟨∂g/∂θ⟩ - β Cov(g, ∂U/∂θ),        β = 1/(k_B T).

The gradient of a loss L(⟨g⟩) is therefore Σ_n c_n ∂U(x_n)/∂θ with c_n = -β (∂L/∂⟨g⟩)·(g_n - ḡ)/(N - 1): one
backward pass through one weighted sum of energies, whatever the number of observables. The formula is that of
fluctuations in the canonical ensemble (M. P. Allen, D. J. Tildesley, Computer Simulation of Liquids (2017),
section 2.6); S. Raja et al., arXiv:2402.13984, train with it. It holds for independent samples as well as for
correlated ones of an equilibrated trajectory; it is a heuristic for samples of a trajectory that has left
equilibrium because it is exploding (docs/stability_training.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import MLIPError


def boltzmann_coefficients(
    observables: np.ndarray, loss_gradient: np.ndarray, beta: float, weights: np.ndarray | None = None
) -> np.ndarray:
    """c with ∇L = Σ_n c_n ∂U_n/∂θ: c_n = -β (∂L/∂⟨g⟩)·(g_n - ḡ)/(N - 1).

    Parameters
    ----------
    observables : array
        g, float64 [n, d], n ≥ 2 samples
    loss_gradient : array
        ∂L/∂⟨g⟩, float64 [d], in the inverse unit of the observables
    beta : float
        1/(k_B T), 1/eV
    weights : array, optional
        of the samples, [n], as :func:`boltzmann_weights` gives them; None for equal ones. With weights w
        of sum 1, w_n/(1 - Σw²) takes the place of 1/(N - 1)

    Returns
    -------
    array
        float64 [n], 1/eV

    Raises
    ------
    MLIPError
        fewer than two samples, shapes that do not fit, numbers that are not finite, or β ≤ 0
    """
    g, gradient = _checked(observables, loss_gradient, beta)
    w = _normalized(weights, len(g))
    projected = g @ gradient
    return -beta * w * (projected - w @ projected) / (1.0 - w @ w)


def cross_fitted_coefficients(
    observables: np.ndarray,
    derivative: Callable[[np.ndarray], np.ndarray],
    beta: float,
    second_half: np.ndarray,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """The same where the loss is not linear, without the bias of using the samples twice.

    ∂L/∂⟨g⟩ comes from the mean of one half and the covariance from the other; both ways are averaged. With
    the same samples for both, noise of mean and covariance are correlated, and the gradient is biased.

    Parameters
    ----------
    observables : array
        g, float64 [n, d]
    derivative : callable
        ∂L/∂⟨g⟩ [d] of a mean [d]
    beta : float
        1/eV
    second_half : array
        bool [n]; halves should be of different replicas, as samples of one are correlated
    weights : array, optional
        as for :func:`boltzmann_coefficients`, over all samples

    Returns
    -------
    array
        float64 [n], 1/eV

    Raises
    ------
    MLIPError
        as :func:`boltzmann_coefficients`, of either half
    """
    g, second = np.asarray(observables, dtype=float), np.asarray(second_half, dtype=bool)
    if second.shape != (len(g),):
        raise MLIPError(f"`second_half`: expected {len(g)} truth values, got shape {second.shape}")
    w = _normalized(weights, len(g))
    coefficients = np.zeros(len(g))
    for half in (second, ~second):
        if half.sum() < 2 or (~half).sum() < 2:
            raise MLIPError(
                f"`observables`: expected at least two samples in either half, got {int(second.sum())} and "
                f"{int((~second).sum())}; use more replicas or record more often"
            )
        mean = _normalized(w[~half], int((~half).sum())) @ g[~half]
        coefficients[half] = 0.5 * boltzmann_coefficients(g[half], derivative(mean), beta, w[half])
    return coefficients


def local_coefficients(
    contributions: np.ndarray,
    loss_gradient: np.ndarray,
    beta: float,
    neighbours: list[np.ndarray] | None = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """c with ∇L ≈ Σ_n Σ_i c_ni ∂E_i(x_n)/∂θ, E_i the energies of single atoms.

    An observable that is a sum over atoms, g = Σ_i g_i, is correlated with the energies around atom i only,
    unless the system is near a critical point. Leaving out distant pairs (i, j) of Cov(g_i, E_j) removes
    noise that grows with the number of atoms, and a bias as large as what they truly hold.

    Parameters
    ----------
    contributions : array
        g_i, float64 [n, N, d], whose sum over the N atoms is the observable
    loss_gradient : array
        ∂L/∂⟨g⟩, float64 [d]
    beta : float
        1/eV
    neighbours : list of array, optional
        for each sample the pairs (i, j), int64 [2, M], whose covariance is kept, beside those of an
        atom with itself; None keeps only the latter
    weights : array, optional
        as for :func:`boltzmann_coefficients`

    Returns
    -------
    array
        float64 [n, N], 1/eV

    Raises
    ------
    MLIPError
        as :func:`boltzmann_coefficients`
    """
    g = np.asarray(contributions, dtype=float)
    if g.ndim != 3:
        raise MLIPError(f"`contributions`: expected shape [samples, atoms, d], got {g.shape}")
    flat, gradient = _checked(g.reshape(len(g), -1), np.tile(np.asarray(loss_gradient), g.shape[1]), beta)
    w = _normalized(weights, len(g))
    projected = (flat * gradient).reshape(g.shape).sum(axis=2)
    single = -beta * w[:, None] * (projected - w @ projected) / (1.0 - w @ w)
    if neighbours is None:
        return single
    spread = single.copy()
    for n, (i, j) in enumerate(neighbours):
        np.add.at(spread[n], j, single[n, i])
    return spread


def boltzmann_weights(energy_changes: np.ndarray, beta: float) -> np.ndarray:
    """Weights that turn samples of one energy into samples of another: w_n ∝ exp(-β ΔU_n), of sum 1.

    R. W. Zwanzig, J. Chem. Phys. 22, 1420 (1954).

    Parameters
    ----------
    energy_changes : array
        ΔU, float64 [n], the new energy less that of the simulation, eV
    beta : float
        1/eV

    Returns
    -------
    array
        float64 [n], of sum 1

    Raises
    ------
    MLIPError
        no samples, or changes that are not finite
    """
    changes = np.asarray(energy_changes, dtype=float)
    if changes.ndim != 1 or not len(changes) or not np.isfinite(changes).all():
        raise MLIPError("`energy_changes`: expected finite numbers, one for each sample, got others or none")
    exponents = -beta * changes
    weights = np.exp(exponents - exponents.max())
    return weights / weights.sum()


def effective_sample_size(weights: np.ndarray) -> float:
    """(Σw)²/Σw²: how many equal samples are as good (L. Kish, Survey Sampling, 1965).

    Parameters
    ----------
    weights : array
        of n samples, [n]

    Returns
    -------
    float
        between 1 and n
    """
    w = np.asarray(weights, dtype=float)
    return float(w.sum() ** 2 / (w @ w))


def _checked(
    observables: np.ndarray, loss_gradient: np.ndarray, beta: float
) -> tuple[np.ndarray, np.ndarray]:
    g, gradient = np.asarray(observables, dtype=float), np.asarray(loss_gradient, dtype=float)
    if g.ndim != 2 or len(g) < 2:
        raise MLIPError(f"`observables`: expected shape [n, d] with at least two samples, got {g.shape}")
    if gradient.shape != (g.shape[1],):
        raise MLIPError(f"`loss_gradient`: expected shape ({g.shape[1]},), got {gradient.shape}")
    if not (np.isfinite(g).all() and np.isfinite(gradient).all()):
        raise MLIPError("`observables` and `loss_gradient` must be finite, got NaN or infinity")
    if not 0.0 < beta < np.inf:
        raise MLIPError(f"`beta`: expected a positive number, 1/(k_B T) in 1/eV, got {beta}")
    return g, gradient


def _normalized(weights: np.ndarray | None, n: int) -> np.ndarray:
    if weights is None:
        return np.full(n, 1.0 / n)
    w = np.asarray(weights, dtype=float)
    if w.shape != (n,) or not (w >= 0.0).all() or not 0.0 < w.sum() < np.inf:
        raise MLIPError(f"`weights`: expected {n} numbers that are not negative, got shape {w.shape}")
    return w / w.sum()
