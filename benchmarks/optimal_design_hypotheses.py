"""The numbers of H1 to H7 of the study of optimal design, for one element."""

from __future__ import annotations

import time

import numpy as np
from optimal_design_element import Element, Frames
from optimal_design_rivals import rivals, stratified
from scipy.stats import spearmanr

from ase_mlip.optimal_design.algebra import Selection, select
from ase_mlip.optimal_design.forecast import covariance

DRAWS = 200
SHARES = (0.05, 0.10)
SWAPS = 200


def hypotheses(element: Element) -> dict:
    """The numbers of H1 to H7 and of the selections beside them."""
    gram, moments = element.pool.gram(), element.pool.moments()
    n = len(gram)
    found: dict = {"pool": n, "held out": len(element.held_out.atoms), "coefficients": len(element.prior)}
    found["sigma"] = element.sigma
    found["whole pool"] = element.rmse(element.fit(np.arange(n), gram, moments))
    found["sizes"] = {}
    for share in SHARES:
        found["sizes"][f"{share:.0%}"] = _size(element, max(1, round(share * n)), gram, moments)
    found["missing groups"] = _missing_groups(element, gram, moments)
    found["swaps"] = _swaps(element, round(SHARES[1] * n), gram, moments)
    found["calibration"] = _calibration(element, gram, moments)
    return found


def _size(element: Element, size: int, gram: np.ndarray, moments: np.ndarray) -> dict:
    n, blocks = len(gram), element.blocks()

    def judged(chosen) -> list[float]:
        return element.rmse(element.fit(np.asarray(chosen), gram, moments))

    selected, seconds = picked(element, size)
    determinant = select(blocks, size, criterion="d", prior=element.prior)
    draws = [judged(np.random.default_rng(seed).permutation(n)[:size]) for seed in range(DRAWS)]
    groups = [judged(stratified(element.pool.groups, size, seed)) for seed in range(DRAWS)]
    return {
        "size": size,
        "random": draws,
        "stratified": groups,
        "i": judged(selected.indices),
        "i picks": [int(k) for k in selected.indices],
        "certificate": float(selected.efficiency),
        "seconds": seconds,
        "d": judged(determinant.indices),
        **{name: judged(chosen) for name, chosen in rivals(element.pool, size).items()},
    }


def picked(element: Element, size: int) -> tuple[Selection, float]:
    """The I-optimal selection with its certificate, and the seconds that it took."""
    blocks, target = element.blocks(), element.target.rows()
    start = time.perf_counter()
    selected = select(blocks, size, criterion="i", prior=element.prior, target=target)
    return selected, time.perf_counter() - start


def repeated(element: Element, stored: dict) -> dict:
    """The I-optimal selection of a stored size once more: its processor time, and what became of it."""
    start = time.process_time()
    selected, _ = picked(element, stored["size"])
    seconds = time.process_time() - start
    found = element.fit(selected.indices, element.pool.gram(), element.pool.moments())
    return {
        "processor seconds": seconds,
        "certificate": float(selected.efficiency),
        "i": element.rmse(found),
        "i picks": [int(k) for k in selected.indices],
        "other picks": len(set(selected.indices.tolist()) - set(stored["i picks"])),
    }


def _missing_groups(element: Element, gram: np.ndarray, moments: np.ndarray) -> dict:
    """Leverage of held-out frames where a group was deleted from the pool."""
    n, groups = len(gram), element.pool.groups
    names = list(dict.fromkeys(element.held_out.groups))
    whole = element.errors(element.fit(np.arange(n), gram, moments))
    scores, missing, rises = [], [], {}
    for group in dict.fromkeys(groups):
        kept = np.flatnonzero(groups != group)
        if group not in names:
            continue
        without = element.errors(element.fit(kept, gram, moments))
        k = names.index(group)
        rise = [float(np.sqrt(without[part][k] / whole[part][k])) for part in (0, 1)]
        rises[group] = rise
        counted = max(rise) >= 2.0
        leverages = _leverages(element, kept, gram)
        own = element.held_out.groups == group
        scores += leverages[own].tolist() * counted + leverages[~own].tolist()
        missing += [1] * (int(own.sum()) * counted) + [0] * int((~own).sum())
    return {"rises": rises, "scores": scores, "missing": missing}


def _leverages(element: Element, kept: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """The larger of the leverage in energy and in forces of held-out frames, [m].

    Of a frame: predicted variance of its energy, and the mean of those of its force components, each over
    the 99 % quantile of the frames it was trained on, each left out.
    """
    matrix = element.prior + gram[kept].sum(axis=0)
    own = [_variances(element.pool, k, covariance(matrix - gram[k])) for k in kept]
    scale = np.quantile(np.array(own), 0.99, axis=0)
    inverse = covariance(matrix)
    count = len(element.held_out.atoms)
    other = np.array([_variances(element.held_out, k, inverse) for k in range(count)])
    return (other / scale).max(axis=1)


def _variances(frames: Frames, k: int, inverse: np.ndarray) -> tuple[float, float]:
    energy, forces = frames.energy[0][k], frames.forces[k][0]
    return float(energy @ inverse @ energy), float(
        np.einsum("ij,jk,ik->", forces, inverse, forces) / len(forces)
    )


def _swaps(element: Element, size: int, gram: np.ndarray, moments: np.ndarray) -> dict:
    """Predicted and actual gain of random swaps in a random selection."""
    generator = np.random.default_rng(0)
    n, moment = len(gram), element.target.moment
    chosen = generator.permutation(n)[:size]
    rest = np.setdiff1d(np.arange(n), chosen)

    def both(selection: np.ndarray) -> tuple[float, float, float]:
        inverse = covariance(element.prior + gram[selection].sum(axis=0))
        errors = element.errors(element.fit(selection, gram, moments))
        return float((inverse * moment).sum()), float(errors[0].mean()), float(errors[1].mean())

    before, predicted, actual = both(chosen), [], {"energy": [], "forces": []}
    for _ in range(SWAPS):
        after = both(np.append(np.delete(chosen, generator.integers(size)), generator.choice(rest)))
        predicted.append(before[0] - after[0])
        actual["energy"].append(before[1] - after[1])
        actual["forces"].append(before[2] - after[2])
    return {label: float(spearmanr(predicted, gains).statistic) for label, gains in actual.items()}


def _calibration(element: Element, gram: np.ndarray, moments: np.ndarray) -> dict:
    """One factor from five-fold residuals of energies, and its coverage of the held-out ones."""
    n = len(gram)
    folds = np.random.default_rng(0).permutation(n) % 5
    ratios = []
    for fold in range(5):
        kept, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        ratios.append(_standardised(element, kept, element.pool, out, gram, moments))
    factor = float(np.sqrt(np.square(np.concatenate(ratios)).mean()))
    everything = np.arange(len(element.held_out.atoms))
    found = _standardised(element, np.arange(n), element.held_out, everything, gram, moments) / factor
    return {
        "factor": factor,
        "within 1": float(np.mean(np.abs(found) <= 1.0)),
        "within 1.96": float(np.mean(np.abs(found) <= 1.96)),
    }


def _standardised(element: Element, kept, frames: Frames, out, gram, moments) -> np.ndarray:
    """Energy errors of the frames ``out`` over their predicted standard deviations."""
    inverse = covariance(element.prior + gram[kept].sum(axis=0))
    rows, values = frames.energy[0][out], frames.energy[1][out]
    errors = rows @ element.fit(np.asarray(kept), gram, moments) - values
    return errors / np.sqrt(np.einsum("np,pq,nq->n", rows, inverse, rows))
