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
    """The value; the worst one without full rank."""
    if np.linalg.matrix_rank(matrix) < len(matrix):
        return {"d": -np.inf, "e": 0.0}.get(criterion, np.inf)
    if criterion == "d":
        return np.linalg.slogdet(matrix)[1]
    if criterion == "e":
        return np.linalg.eigvalsh(matrix)[0]
    inverse = np.linalg.inv(matrix)
    if criterion == "a":
        return np.trace(inverse)
    variances = np.diag(target @ inverse @ target.T)
    return variances.mean() if criterion == "i" else variances.max()


def fraction(value, best, criterion, columns):
    """The efficiency of one value against another."""
    if not np.isfinite(value) or value == 0.0:
        return 0.0
    if criterion == "d":
        return np.exp((value - best) / columns)
    return value / best if criterion == "e" else best / value


def brute_force(blocks, criterion, target, prior=None, size=None, costs=None, budget=None, keep=()):
    """The best value of all selections of a size, or within a budget."""
    sizes = [size] if size is not None else range(1, len(blocks) + 1)
    values = [
        criterion_of(information(blocks, chosen, prior), criterion, target)
        for count in sizes
        for chosen in itertools.combinations(range(len(blocks)), count)
        if set(keep) <= set(chosen) and (costs is None or costs[list(chosen)].sum() <= budget + 1e-9)
    ]
    return max(values) if criterion in "de" else min(values)
