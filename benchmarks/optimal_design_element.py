"""One element of the study of optimal design: its rows, fits of selections, and the numbers of H1 to H7."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from scipy.stats import spearmanr

from ase_mlip.optimal_design.algebra import Selection, select
from ase_mlip.optimal_design.forecast import covariance
from ase_mlip.optimal_design.rows.auto_basis import auto_basis
from ase_mlip.optimal_design.rows.scaling import Scaling, balanced
from ase_mlip.optimal_design.rows.source import RowSource, counts_of, linear_source
from ase_mlip.optimal_design.settings import SIGMA, DesignSettings
from ase_mlip.optimal_design.target import Target

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DRAWS = 200
SHARES = (0.05, 0.10)
SWAPS = 200
FAR = 5.0  # eV/atom above the lowest frame of Ta: dropped
LABELS = ("energy", "forces")


@dataclass(frozen=True)
class Frames:
    """Structures with their labels as scaled rows.

    Attributes
    ----------
    atoms: n structures
    groups: [n]
    energy: [n, p] and [n], rows and labels divided by σ
    forces: for each structure [3N, p] and [3N], the same
    """

    atoms: list[Atoms]
    groups: np.ndarray
    energy: tuple[np.ndarray, np.ndarray]
    forces: list[tuple[np.ndarray, np.ndarray]]

    def gram(self) -> np.ndarray:
        """[n, p, p], what each structure tells."""
        rows = self.energy[0]
        return np.einsum("np,nq->npq", rows, rows) + np.array([f.T @ f for f, _ in self.forces])

    def moments(self) -> np.ndarray:
        """[n, p], the rows times the labels."""
        rows, values = self.energy
        return rows * values[:, None] + np.array([f.T @ y for f, y in self.forces])


@dataclass(frozen=True)
class Element:
    """Pool and held-out frames of one element in one basis.

    Attributes
    ----------
    prior: [p, p], of the design; the fit has none on the constant of the element
    penalised: [p], False for that constant
    """

    name: str
    pool: Frames
    held_out: Frames
    prior: np.ndarray
    penalised: np.ndarray
    target: Target
    sigma: dict[str, float]

    @classmethod
    def read(cls, name: str) -> Element:
        pool, held_out = _ta() if name == "Ta" else _mlearn(name)
        settings = DesignSettings(pick=1)
        source = linear_source(auto_basis(pool), "knots from the pool", settings, None)
        made = list(source.rows(pool))
        scaling = balanced(made, Scaling(**SIGMA), LABELS)
        source.sigma = {label: getattr(scaling, label) for label in SIGMA}
        # Numbers near zero lose fewer digits; the constant has no prior, so that its value changes no error.
        zero = np.mean([one.get_potential_energy() / len(one) for one in pool])
        own, other = _frames(source, pool, zero), _frames(source, held_out, zero)
        target = Target.of(
            [source.scale(one) for one in made],
            [counts_of(one, LABELS) for one in made],
            list(own.groups),
            LABELS,
        )
        prior = source.prior_of(own.gram().sum(axis=0))
        free = np.array([not label.startswith("the constant of") for label in source.names])
        return cls(name, own, other, prior, free, target, source.sigma)

    def fit(self, chosen: np.ndarray, gram: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """The coefficients that the labels of ``chosen`` give, [p]."""
        matrix = self.prior * np.outer(self.penalised, self.penalised) + gram[chosen].sum(axis=0)
        scale = 1.0 / np.sqrt(np.diag(matrix))
        right = scale * moments[chosen].sum(axis=0)
        return scale * np.linalg.solve(matrix * np.outer(scale, scale), right)

    def errors(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean squared error of each group of the held-out: energy [G], (eV/atom)², forces [G], (eV/Å)²."""
        rows, values = self.held_out.energy
        of_energy = np.square(rows @ coefficients - values) * self.sigma["energy"] ** 2
        of_forces = [
            np.square(f @ coefficients - y) * self.sigma["forces"] ** 2 for f, y in self.held_out.forces
        ]
        found = []
        for group in dict.fromkeys(self.held_out.groups):
            own = np.flatnonzero(self.held_out.groups == group)
            found.append((of_energy[own].mean(), np.concatenate([of_forces[k] for k in own]).mean()))
        energy, forces = np.array(found).T
        return energy, forces

    def rmse(self, coefficients: np.ndarray) -> list[float]:
        """Group-balanced: eV/atom, eV/Å."""
        return [float(np.sqrt(part.mean())) for part in self.errors(coefficients)]

    def blocks(self) -> list[np.ndarray]:
        """Of the pool, [m, p] with m ≤ p."""
        joined = [np.vstack([e, f]) for e, (f, _) in zip(self.pool.energy[0], self.pool.forces, strict=True)]
        return [np.linalg.qr(b, mode="r") if len(b) > b.shape[1] else b for b in joined]


def _mlearn(name: str) -> tuple[list[Atoms], list[Atoms]]:
    return tuple(read(DATA / "mlearn" / f"{name}_{part}.xyz", ":") for part in ("training", "test"))


def _ta() -> tuple[list[Atoms], list[Atoms]]:
    """A fifth of every group, rounded up, is held out."""
    frames = read(DATA / "fitsnap_ta" / "Ta_fitsnap_2015.xyz", ":")
    per_atom = np.array([one.get_potential_energy() / len(one) for one in frames])
    volume = np.array([one.info["group"] == "Volume_BCC" for one in frames])
    frames = [
        one for one, far in zip(frames, volume & (per_atom > per_atom.min() + FAR), strict=True) if not far
    ]
    generator = np.random.default_rng(0)
    held_out: set[int] = set()
    for group in dict.fromkeys(one.info["group"] for one in frames):
        own = [k for k, one in enumerate(frames) if one.info["group"] == group]
        held_out |= set(generator.permutation(own)[: -(-len(own) // 5)].tolist())
    return [o for k, o in enumerate(frames) if k not in held_out], [frames[k] for k in sorted(held_out)]


def _frames(source: RowSource, structures: list[Atoms], zero: float) -> Frames:
    energies, values, forces = [], [], []
    for atoms, rows in zip(structures, source.make(structures), strict=True):
        fixed = source.fixed(atoms)
        energies.append(rows.energy[0] / source.sigma["energy"])
        label = atoms.get_potential_energy() / len(atoms) - zero - float(fixed["energy"][0])
        values.append(label / source.sigma["energy"])
        right = (atoms.get_forces().ravel() - fixed["forces"]) / source.sigma["forces"]
        forces.append((rows.forces / source.sigma["forces"], right))
    groups = np.array([atoms.info["group"] for atoms in structures])
    return Frames(structures, groups, (np.array(energies), np.array(values)), forces)


# ---- the hypotheses ----------------------------------------------------------------------------------------


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
    from optimal_design_rivals import rivals, stratified

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
