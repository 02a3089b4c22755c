"""The derivative of averages by parameters, against analytic limits, quadrature and real dynamics."""

import numpy as np
import pytest

from ase_mlip.errors import MLIPError
from ase_mlip.stability_training import (
    boltzmann_coefficients,
    boltzmann_weights,
    cross_fitted_coefficients,
    effective_sample_size,
    local_coefficients,
)

KT = 0.025  # eV
BETA = 1.0 / KT


def test_a_harmonic_well_has_the_analytic_derivative():
    """⟨x²⟩ = kT/k, so d⟨x²⟩/dk = -kT/k²; ∂U/∂k = x²/2."""
    k, rng = 3.0, np.random.default_rng(1)
    found = []
    for _ in range(200):
        x = rng.normal(scale=np.sqrt(KT / k), size=50)
        c = boltzmann_coefficients(x[:, None] ** 2, np.ones(1), BETA)
        found.append(c @ (0.5 * x**2))
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert abs(np.mean(found) + KT / k**2) < 3.0 * error
    assert error < 0.05 * KT / k**2


def test_small_samples_are_unbiased_because_of_n_minus_one():
    k, rng = 2.0, np.random.default_rng(2)
    x = rng.normal(scale=np.sqrt(KT / k), size=(20000, 3))
    found = np.array(
        [boltzmann_coefficients(row[:, None] ** 2, np.ones(1), BETA) @ (0.5 * row**2) for row in x]
    )
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() + KT / k**2) < 3.0 * error
    assert error < 0.03 * KT / k**2  # 1/N in the place of 1/(N - 1) would be off by a third


def test_cross_fitting_is_unbiased_where_the_same_batch_is_four_and_a_half_times_too_large():
    """L = (⟨x²⟩ - g₀)², N = 4, g₀ = 0.714 kT/k: the bias factor is 1 + 4/(N (1 - 0.714)) = 4.5."""
    k, rng = 1.0, np.random.default_rng(3)
    target = (1.0 - 1.0 / 3.5) * KT / k
    exact = 2.0 * (KT / k - target) * (-KT / k**2)
    half = np.array([False, False, True, True])

    def derivative(mean):
        return 2.0 * (mean - target)

    same, crossed = [], []
    for row in rng.normal(scale=np.sqrt(KT / k), size=(40000, 4)):
        g = row[:, None] ** 2
        same.append(boltzmann_coefficients(g, derivative(g.mean(axis=0)), BETA) @ (0.5 * row**2))
        crossed.append(cross_fitted_coefficients(g, derivative, BETA, half) @ (0.5 * row**2))
    for values, factor in ((crossed, 1.0), (same, 4.5)):
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert abs(np.mean(values) - factor * exact) < 3.0 * error
        assert error < 0.15 * abs(exact)


# ---- a Morse dimer: V(r) = D (1 - exp(-a (r - r0)))², in one dimension between walls ----------------------

D, A, R0 = 0.6, 1.9, 1.5
MASS, STEP, FRICTION = 1.0, 0.02, 1.0


def morse(r, p):
    d, a, r0 = p
    return d * (1.0 - np.exp(-a * (r - r0))) ** 2


def morse_force(r, p):
    d, a, r0 = p
    e = np.exp(-a * (r - r0))
    return -2.0 * d * a * e * (1.0 - e)


def morse_by_parameters(r, p):
    d, a, r0 = p
    e = np.exp(-a * (r - r0))
    return np.stack([(1.0 - e) ** 2, 2.0 * d * (1.0 - e) * e * (r - r0), -2.0 * d * (1.0 - e) * e * a])


def mean_distance(p):
    """⟨r⟩ by quadrature."""
    r = np.linspace(0.5, 6.0, 20001)
    weight = np.exp(-BETA * morse(r, p))
    return (weight * r).sum() / weight.sum()


def quadrature_derivative(p, h=1e-5):
    steps = np.eye(3) * h
    return np.array([(mean_distance(p + s) - mean_distance(p - s)) / (2.0 * h) for s in steps])


def dynamics(p, replicas=400, steps=3000, seed=0):
    """⟨r⟩ and samples of Langevin dynamics (BAOAB), whose noise follows from the seed alone."""
    rng = np.random.default_rng(seed)
    r, v = np.full(replicas, R0), rng.normal(scale=np.sqrt(KT / MASS), size=replicas)
    keep = np.exp(-FRICTION * STEP)
    force, samples = morse_force(r, p), []
    for step in range(steps):
        v = v + 0.5 * STEP * force / MASS
        r = r + 0.5 * STEP * v
        v = keep * v + np.sqrt((1.0 - keep**2) * KT / MASS) * rng.normal(size=replicas)
        r = r + 0.5 * STEP * v
        force = morse_force(r, p)
        v = v + 0.5 * STEP * force / MASS
        if step >= 500 and step % 10 == 0:
            samples.append(r)
    return np.concatenate(samples)


def test_a_morse_dimer_has_the_derivative_of_quadrature_and_of_real_dynamics():
    p = np.array([D, A, R0])
    r = dynamics(p)
    c = boltzmann_coefficients(r[:, None], np.ones(1), BETA)
    estimated = morse_by_parameters(r, p) @ c
    exact = quadrature_derivative(p)
    np.testing.assert_allclose(estimated, exact, rtol=0.15, atol=2e-3)
    h = 0.02 * p  # with common random numbers the noise of the difference nearly cancels
    steps = np.diag(h)
    differences = np.array(
        [(dynamics(p + s).mean() - dynamics(p - s).mean()) / (2.0 * d) for s, d in zip(steps, h, strict=True)]
    )
    cosine = estimated @ differences / np.linalg.norm(estimated) / np.linalg.norm(differences)
    assert cosine > 0.95


def oscillators(number, samples, rng, k=2.0):
    x = rng.normal(scale=np.sqrt(KT / k), size=(samples, number))
    return x**2 / number, 0.5 * x**2  # contributions to the mean of x², ∂E_i/∂k


@pytest.mark.parametrize("number", [1, 8, 64])
def test_local_and_global_agree_for_independent_oscillators_and_the_global_is_noisier(number):
    rng, k = np.random.default_rng(5), 2.0
    local, whole = [], []
    for _ in range(300):
        g, by_k = oscillators(number, 20, rng)
        whole.append(boltzmann_coefficients(g.sum(axis=1)[:, None], np.ones(1), BETA) @ by_k.sum(axis=1))
        local.append((local_coefficients(g[:, :, None], np.ones(1), BETA) * by_k).sum())
    exact = -KT / k**2
    for values in (local, whole):
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert abs(np.mean(values) - exact) < 3.0 * error
    # variances of a sample variance of x² (kurtosis 15) and of the covariance of independent ones, n = 20;
    # those of (i, j) and (j, i) are the same number, since ∂E_i/∂k is proportional to g_i
    own, other = (15.0 - 17.0 / 19.0) / 20.0, 2.0 / 19.0
    expected = 1.0 + (number - 1) * other / own
    assert np.var(whole) / np.var(local) == pytest.approx(expected, rel=0.35)
    if number == 1:
        np.testing.assert_allclose(local, whole)


def test_the_local_estimator_with_all_pairs_is_the_global_one():
    rng = np.random.default_rng(6)
    g, by_k = oscillators(5, 12, rng)
    i, j = np.nonzero(~np.eye(5, dtype=bool))
    pairs = [np.stack([i, j])] * 12
    local = local_coefficients(g[:, :, None], np.ones(1), BETA, pairs)
    whole = boltzmann_coefficients(g.sum(axis=1)[:, None], np.ones(1), BETA)
    np.testing.assert_allclose(local, np.repeat(whole[:, None], 5, axis=1), atol=1e-12)
    assert by_k.shape == local.shape


def test_reweighted_samples_are_those_of_the_other_energy():
    """Samples of a well with k = 2 give ⟨x²⟩ and its derivative at k = 2.3."""
    rng, k, other = np.random.default_rng(7), 2.0, 2.3
    x = rng.normal(scale=np.sqrt(KT / k), size=200000)
    w = boltzmann_weights(0.5 * (other - k) * x**2, BETA)
    assert w @ x**2 == pytest.approx(KT / other, rel=0.01)
    c = boltzmann_coefficients(x[:, None] ** 2, np.ones(1), BETA, w)
    assert c @ (0.5 * x**2) == pytest.approx(-KT / other**2, rel=0.02)
    # ∫p'/p = Σw²: k'/√(k (2k' - k)) of two Gaussians
    expected = np.sqrt(k * (2.0 * other - k)) / other
    assert effective_sample_size(w) / len(x) == pytest.approx(expected, rel=0.01)


def test_equal_weights_change_nothing():
    rng = np.random.default_rng(8)
    g = rng.normal(size=(9, 2))
    plain = boltzmann_coefficients(g, np.array([0.3, -2.0]), BETA)
    np.testing.assert_allclose(boltzmann_coefficients(g, np.array([0.3, -2.0]), BETA, np.ones(9)), plain)
    np.testing.assert_allclose(plain, -BETA * ((g - g.mean(axis=0)) @ [0.3, -2.0]) / 8)
    assert effective_sample_size(np.ones(9)) == pytest.approx(9.0)


@pytest.mark.parametrize(
    ("g", "gradient", "beta", "message"),
    [
        (np.ones((1, 2)), np.ones(2), 1.0, "two samples"),
        (np.ones(4), np.ones(1), 1.0, r"\[n, d\]"),
        (np.ones((4, 2)), np.ones(3), 1.0, r"\(2,\)"),
        (np.full((4, 2), np.nan), np.ones(2), 1.0, "finite"),
        (np.ones((4, 2)), np.ones(2), 0.0, "positive"),
    ],
)
def test_what_cannot_be_averaged_is_refused(g, gradient, beta, message):
    with pytest.raises(MLIPError, match=message):
        boltzmann_coefficients(g, gradient, beta)


def test_a_half_without_two_samples_is_refused():
    with pytest.raises(MLIPError, match="either half"):
        cross_fitted_coefficients(
            np.ones((4, 1)), lambda mean: mean, BETA, np.array([True, False, False, False])
        )
