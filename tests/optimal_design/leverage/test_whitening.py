"""Whitening training data: against dense inverses, a Gaussian process, and refits without each structure."""

import numpy as np
import pytest

from ase_mlip.errors import DataError
from ase_mlip.optimal_design.leverage.whitening import by_coefficient, isotropic, quantiles_by_element, whiten

SIGMA, SIZE = 0.2, 7


def training_set(copies=1, seed=0, n_blocks=2):
    """Features and blocks of structures of different sizes, one of them with another structure's atoms."""
    generator = np.random.default_rng(seed)
    features, blocks = [], []
    for atoms in (3, 5, 1, 8, 4, 2):
        features.append(generator.normal(size=(copies * atoms, SIZE)))
        blocks.append(np.tile(generator.integers(n_blocks, size=atoms), copies))
    features[4][0] = features[0][0]
    return features, blocks


def information(features, blocks, block, copies=1):
    rows = np.concatenate([f[b == block] for f, b in zip(features, blocks, strict=True)])
    return rows.T @ rows / (copies * SIGMA**2)


@pytest.mark.parametrize("prior", [isotropic, by_coefficient])
@pytest.mark.parametrize("copies", [1, 3])
def test_matrices_whiten_the_information_and_the_prior(prior, copies):
    features, blocks = training_set(copies)
    found = whiten(features, blocks, 2, SIGMA, copies, prior)
    for block, matrix in enumerate(found.matrices):
        data = information(features, blocks, block, copies)
        expected = np.linalg.inv(data + prior(data))
        assert np.allclose(matrix.T @ matrix, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())
        assert np.array_equal(matrix, np.tril(matrix))
    assert found.ranks == [SIZE, SIZE]


@pytest.mark.parametrize("copies", [1, 3])
def test_left_out_variances_are_those_of_refits(copies):
    """The prior is that of all data, as a fit has it; a structure's rotated copies leave with it."""
    features, blocks = training_set(copies)
    found = whiten(features, blocks, 2, SIGMA, copies)
    for k, (rows, own) in enumerate(zip(features, blocks, strict=True)):
        others = [j for j in range(len(features)) if j != k]
        atoms, whole = np.zeros(len(rows)), np.zeros(copies)
        for block in range(2):
            everything = information(features, blocks, block, copies)
            kept = information([features[j] for j in others], [blocks[j] for j in others], block, copies)
            inverse = np.linalg.inv(kept + isotropic(everything))
            mine = own == block
            atoms[mine] = np.einsum("nf,fg,ng->n", rows[mine], inverse, rows[mine])
            means = (rows * mine[:, None]).reshape(copies, -1, SIZE).mean(axis=1)
            whole += np.einsum("cf,fg,cg->c", means, inverse, means)
        np.testing.assert_allclose(found.left_out[k], atoms, rtol=1e-7)
        np.testing.assert_allclose(found.structures_left_out[k], whole, rtol=1e-7)


def test_variances_are_those_of_the_gaussian_process_with_the_same_kernel():
    features, blocks = training_set(n_blocks=1)
    matrix = whiten(features, blocks, 1, SIGMA).matrices[0]
    rows, new = np.concatenate(features), np.random.default_rng(1).normal(size=(4, SIZE))
    prior = np.linalg.inv(isotropic(information(features, blocks, 0)))
    kernel = rows @ prior @ rows.T + SIGMA**2 * np.eye(len(rows))
    between = new @ prior @ rows.T
    expected = np.diag(new @ prior @ new.T - between @ np.linalg.solve(kernel, between.T))
    np.testing.assert_allclose(((new @ matrix.T) ** 2).sum(axis=1), expected, rtol=1e-6)


def test_a_duplicate_has_little_left_to_tell():
    """The atom that stands in two structures is known when one of them is left out."""
    features, blocks = training_set(n_blocks=1)
    found = whiten(features, blocks, 1, SIGMA)
    twin = found.left_out[4][0]
    assert twin < SIGMA**2 and np.isclose(twin, found.left_out[0][0], rtol=0.5)
    assert twin < np.median(np.concatenate(found.left_out))


def test_rank_counts_what_the_data_determine():
    features, blocks = training_set(n_blocks=1)
    features = [rows @ np.diag([1.0] * 4 + [0.0] * 3) for rows in features]
    for prior in (isotropic, by_coefficient):
        found = whiten(features, blocks, 1, SIGMA, prior=prior)
        assert found.ranks == [4]
        assert np.isfinite(found.matrices).all()


def test_the_scale_is_a_quantile_of_the_atoms_left_out():
    features, blocks = training_set()
    found = whiten(features, blocks, 2, SIGMA)
    every = np.concatenate(found.left_out)
    assert (every <= found.scale).mean() >= 0.95 and found.scale <= every.max()
    symbols = [np.where(own == 0, "O", "Si") for own in blocks]
    quantiles = quantiles_by_element(found.left_out, symbols, found.scale)
    assert list(quantiles) == ["O", "Si"]
    assert max(of_one["1"] for of_one in quantiles.values()) == pytest.approx(every.max() / found.scale)
    assert all(of_one["0.5"] <= of_one["0.9"] <= of_one["0.99"] for of_one in quantiles.values())


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.inf, np.nan])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(DataError, match="`sigma`: expected a positive number of eV, got"):
        whiten(*training_set(), 2, sigma)


def test_no_data_and_features_that_are_none():
    with pytest.raises(DataError, match="`data`: expected at least one structure, got none"):
        whiten([], [], 1, SIGMA)
    features, blocks = training_set(n_blocks=1)
    for value in (np.nan, 0.0):
        with pytest.raises(DataError, match="`features`: expected finite numbers, not all of them zero"):
            whiten([np.full_like(rows, value) for rows in features], blocks, 1, SIGMA)
