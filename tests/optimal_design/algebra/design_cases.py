"""Pools for the tests of the mathematics, and the criteria written down once more, without any update."""

import itertools

import numpy as np

CRITERIA = ("d", "a", "i", "e", "g")


def powers(points, degree):
    """Rows (1, x, …, x^degree), [n, 1, degree + 1]."""
    return np.vander(np.asarray(points, dtype=float), degree + 1, increasing=True)[:, None, :]


def random_pool(rng, count, columns, rows=3, spread=1.0):
    """Blocks of one to ``rows`` rows, of different lengths."""
    scale = np.exp(spread * rng.normal(size=(count, 1)))
    return [scale[j] * rng.normal(size=(rng.integers(1, rows + 1), columns)) for j in range(count)]


def information(blocks, chosen, prior=None, weights=None):
    columns = blocks[0].shape[1]
    start = (
        np.zeros((columns, columns)) if prior is None else np.diag(prior) if np.ndim(prior) == 1 else prior
    )
    weights = np.ones(len(chosen)) if weights is None else weights
    return start + sum(
        (w * blocks[j].T @ blocks[j] for w, j in zip(weights, chosen, strict=True)),
        start=np.zeros_like(start),
    )


def criterion_of(matrix, criterion, target):
    """The value of a matrix [..., p, p]; the worst one without full rank."""
    full = np.linalg.matrix_rank(matrix, hermitian=True) == matrix.shape[-1]
    safe = np.where(full[..., None, None], matrix, np.eye(matrix.shape[-1]))
    if criterion == "d":
        return np.where(full, np.linalg.slogdet(safe)[1], -np.inf)
    if criterion == "e":
        return np.where(full, np.linalg.eigvalsh(safe)[..., 0], 0.0)
    inverse = np.linalg.inv(safe)
    if criterion == "a":
        return np.where(full, np.trace(inverse, axis1=-2, axis2=-1), np.inf)
    variances = np.einsum("ti,...ij,tj->...t", target, inverse, target, optimize=True)
    return np.where(full, variances.mean(axis=-1) if criterion == "i" else variances.max(axis=-1), np.inf)


def fraction(value, best, criterion, columns):
    """The efficiency of one value against another."""
    if not np.isfinite(value) or value == 0.0:
        return 0.0
    if criterion == "d":
        return np.exp((value - best) / columns)
    return value / best if criterion == "e" else best / value


def brute_force(blocks, criterion, target, prior=None, size=None, costs=None, budget=None, keep=()):
    """The best value of all selections of a size, or within a budget."""
    parts = np.stack([block.T @ block for block in blocks])
    start = information(blocks, (), prior)
    best = []
    for count in [size] if size is not None else range(1, len(blocks) + 1):
        all_of_them = np.array(list(itertools.combinations(range(len(blocks)), count)))
        allowed = np.ones(len(all_of_them), dtype=bool)
        for kept in keep:
            allowed &= (all_of_them == kept).any(axis=1)
        if costs is not None:
            allowed &= costs[all_of_them].sum(axis=1) <= budget + 1e-9
        if allowed.any():
            matrices = start + parts[all_of_them[allowed]].sum(axis=1)
            values = criterion_of(matrices, criterion, target)
            best.append(values.max() if criterion in "de" else values.min())
    return max(best) if criterion in "de" else min(best)
