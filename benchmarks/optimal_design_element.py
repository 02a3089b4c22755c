"""One element of the study of optimal design: its frames, their rows, and fits of selections."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read

from ase_mlip.optimal_design.rows.auto_basis import auto_basis
from ase_mlip.optimal_design.rows.scaling import Scaling, balanced
from ase_mlip.optimal_design.rows.source import RowSource, counts_of, linear_source
from ase_mlip.optimal_design.settings import SIGMA, DesignSettings
from ase_mlip.optimal_design.target import Target

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
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
        pool, held_out = _ta() if name == "Ta" else mlearn(name)
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


def mlearn(name: str) -> tuple[list[Atoms], list[Atoms]]:
    """Training and test frames of an element."""
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
