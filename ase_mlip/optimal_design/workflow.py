"""Which structures to label next: from files to a selection with its forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

import numpy as np
from threadpoolctl import threadpool_limits

from ..folder_lock import locked
from ..progress.form import Progress, told
from . import forecast
from .algebra import select
from .forecast import covariance, follow, random_band, reasons
from .output.document import settings_document
from .output.folder import PICTURE, refuse_other_design, write_design
from .output.row_store import stored_rows
from .output.stored import write_stored
from .result import DesignResult, Pick, group_forecasts
from .rows.linear_basis import undetermined
from .rows.scaling import Scaling, balanced
from .rows.source import RowSource, counts_of, row_source
from .rows.structure_rows import Rows
from .settings import DesignSettings
from .structures.inputs import Inputs, read_inputs
from .structures.pool import Frame, Structures
from .target import Target

MOST_TARGET_ROWS = 20000  # of criterion g, which looks at single rows


def design(
    pool: Structures,
    pick: int | None = None,
    *,
    budget: float | None = None,
    have: Structures | None = None,
    target: Structures | None = None,
    keep: Structures | None = None,
    basis: str | FilePath = "auto",
    criterion: str = "i",
    labels: Sequence[str] = ("energy", "forces"),
    sigma: Mapping[str, float] | None = None,
    cost: str = "count",
    balance: str = "groups",
    group_key: str | None = None,
    rows: str | None = None,
    seed: int = 0,
    output: str | FilePath | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DesignResult:
    """Choose the structures of ``pool`` whose labels help the target most; no label is needed.

    The potential is taken to be linear in the coefficients of ``basis``; labels of a set S of structures with
    rows X_j (scaled by σ) give them the information A = A₀ + Σ XⱼᵀXⱼ, and a prediction φ has the variance
    φA⁻¹φᵀ. The selection minimises a function of A (Podryabinkin and Shapeev, Comput. Mater. Sci. 140, 171
    (2017); Barzdajn and Race, Modelling Simul. Mater. Sci. Eng. 33, 025011 (2025)).

    Parameters
    ----------
    pool : ase.Atoms, path or sequence of these
        files or structures to choose from
    pick : int, optional
        how many; or ``budget``
    budget : float, optional
        what they may cost together
    have : ase.Atoms, path or sequence of these, optional
        files or structures that are labelled already
    target : ase.Atoms, path or sequence of these, optional
        what the potential is for; by default the pool
    keep : ase.Atoms, path or sequence of these, optional
        structures of the pool that must be among the picks
    basis : str or Path
        "auto", a linear s-NNP with knots from the pool; a training's TOML file, its s-NNP; a model file or
        the name of a shipped potential, its features
    criterion : str
        "i", mean predicted variance of the target; "g", its largest; "d", "a", "e" of coefficients
    labels : sequence of str
        what a calculation gives: energy, forces, stress
    sigma : mapping of float, optional
        error of one label by name, eV/atom, eV/Å, eV/Å³; by default 0.01, 1, 0.01, with the forces' changed
        so that energies and forces of the pool count alike
    cost : str
        "count", "atoms^P", or a key of ``info``
    balance : str
        "groups" of the target count alike, or "frames"
    group_key : str, optional
        of ``info``; by default "group" where it is, else a group for each file
    rows : str, optional
        "exact", or "sketch:K" for K random combinations of a structure's force rows; by default exact, of a
        model sketch:8
    seed : int
        of the random selections and combinations
    output : str or Path, optional
        folder for picks.xyz, rejected.xyz, design.json, design.png; with a network's features as basis also
        the rows as they are made, from which a design that was killed goes on
    overwrite : bool
        whether a design of other settings or files there is replaced, or refused
    progress : callable, optional
        called as ``progress(done, total, stage)``, see :mod:`ase_mlip.progress`:
        stage "rows" and then "selection" with structures, "bound" and
        "exchange" with rounds, whose total nobody knows (0)

    Returns
    -------
    DesignResult
        the selection, and what it is predicted to achieve

    Raises
    ------
    MLIPError
        inputs that cannot be used, each with what to do: DataError, StructureError, ModelFileError; another
        process writes ``output``, or a design of other settings is there
    OSError
        a file cannot be read or written

    Examples
    --------
    Which four of ten rattled crystals should be calculated first?

    >>> from ase.build import bulk
    >>> from ase_mlip import design
    >>> pool = []
    >>> for seed in range(10):
    ...     pool.append(bulk("Cu", cubic=True) * (2, 1, 1))
    ...     pool[-1].rattle(0.02 * (1 + seed), seed=seed)
    >>> found = design(pool, pick=4)
    >>> sorted(pick.place for pick in found.picks)
    [4, 6, 8, 9]
    """
    settings = DesignSettings(
        pick=pick, budget=budget, basis=str(basis), criterion=criterion, labels=labels,
        sigma={} if sigma is None else sigma, cost=cost, balance=balance, group_key=group_key, rows=rows,
        seed=seed, weigh_equally=sigma is None,
    )  # fmt: skip
    progress = told(progress)
    inputs = read_inputs(pool, have, target, keep, settings)
    if output is None:
        return _compute(inputs, settings, progress, None)
    output = FilePath(output)
    with locked(output):
        if not overwrite:
            refuse_other_design(output, settings_document(settings, inputs))
        result = _compute(inputs, settings, progress, output)
        write_design(result, output)
        write_stored(result, output)
        result.plot(output / PICTURE)
    return result


def _compute(
    inputs: Inputs,
    settings: DesignSettings,
    progress: Progress,
    folder: FilePath | None,
) -> DesignResult:
    # very many small products: more threads gain little, and beside other work each waits for the others in a
    # busy loop, which took ten times the processor time
    with threadpool_limits(1, user_api="blas"):
        return _selected(inputs, settings, progress, folder)


def _selected(
    inputs: Inputs,
    settings: DesignSettings,
    progress: Progress,
    folder: FilePath | None,
) -> DesignResult:
    notes = list(inputs.notes)
    source = row_source(settings, inputs, notes)
    made = _Made.of(source, inputs, progress, folder)
    if settings.weigh_equally:
        scaling = balanced(made.pool, Scaling(**settings.sigma), settings.labels)
        source.sigma = {label: getattr(scaling, label) for label in settings.sigma}
    blocks = [source.stacked(rows) for rows in made.pool]
    of_pool = sum(block.T @ block for block in blocks)
    of_have = sum((b.T @ b for b in map(source.stacked, made.have)), np.zeros_like(of_pool))
    prior = source.prior_of(of_pool)
    start, target = prior + of_have, _target(source, made.target, inputs.target, settings)
    counted = settings.cost == "count"
    selected = select(
        blocks,
        int(inputs.size) if counted else inputs.size,
        criterion=settings.criterion,
        costs=None if counted else inputs.costs,
        prior=start,
        target=_rows_of_criterion(source, made.target, target, settings),
        keep=tuple(inputs.keep),
        progress=progress,
    )
    chosen = [int(k) for k in selected.indices]
    path = follow(start, [blocks[k] for k in chosen], target)
    best = target.parts(covariance(start + of_pool))
    spent = float(inputs.costs[chosen].sum())
    matrix = start + sum(blocks[k].T @ blocks[k] for k in chosen)
    states = {"before": of_have, "after": matrix - prior, "whole pool": of_have + of_pool}
    opened = {when: _left_open(found, source.names) for when, found in states.items()}
    return DesignResult(
        settings=settings,
        inputs=inputs,
        picks=_picks(inputs, chosen, path, target),
        curve=np.asarray(selected.curve),
        efficiency=float(selected.efficiency),
        groups=group_forecasts(target, path, best),
        undetermined=opened,
        path=path,
        floor=float(np.sqrt(best.sum())),
        band=random_band(start, blocks, inputs.costs, spent, target, inputs.keep, settings.seed),
        target=target,
        sigma={label: source.sigma[label] for label in settings.labels},
        map=made.map(matrix, source.sigma["energy"], chosen),
        rows=source,
        matrix=matrix,
        prior=prior,
        notes=notes + _notes(opened, source),
    )


@dataclass
class _Made:
    """Unscaled rows of all structures."""

    pool: list[Rows]
    have: list[Rows]
    target: list[Rows]

    @classmethod
    def of(cls, source: RowSource, inputs: Inputs, progress: Progress, folder: FilePath | None) -> _Made:
        own_target = inputs.target is not inputs.candidates
        roles = [inputs.candidates, inputs.have, inputs.target if own_target else []]
        frames = [frame for role in roles for frame in role]
        rows = list(stored_rows(source, [frame.atoms for frame in frames], folder, progress))
        ends = np.cumsum([len(role) for role in roles])
        pool, have, target = rows[: ends[0]], rows[ends[0] : ends[1]], rows[ends[1] :]
        return cls(pool, have, target if own_target else pool)

    def map(self, matrix: np.ndarray, sigma: float, chosen: Sequence[int]) -> dict[str, np.ndarray]:
        """Two coordinates of each structure, σ: distances are what is left open of differences of energies.

        The rows φ of energies per atom are whitened by A = LLᵀ with the picks labelled, φ → L⁻¹φ: the length
        of a difference is then its predicted error. Shown are the two directions in which pool and target
        spread most.
        """
        factor = np.linalg.cholesky(matrix)
        roles = {"target": self.target, "pool": self.pool, "have": self.have}
        empty = np.zeros((0, len(matrix)))
        white = {
            role: np.linalg.solve(factor, np.concatenate([r.energy for r in rows] or [empty]).T).T / sigma
            for role, rows in roles.items()
        }
        everything = np.concatenate([white["target"], white["pool"]])
        centre = everything.mean(axis=0)
        _, _, axes = np.linalg.svd(everything - centre, full_matrices=False)
        found = {role: (rows - centre) @ axes[:2].T for role, rows in white.items()}
        return found | {"picks": found["pool"][list(chosen)]}


def _target(
    source: RowSource, rows: Sequence[Rows], frames: Sequence[Frame], settings: DesignSettings
) -> Target:
    return Target.of(
        [source.scale(one) for one in rows],
        [counts_of(one, settings.labels) for one in rows],
        [frame.group for frame in frames],
        settings.labels,
        settings.balance,
    )


def _rows_of_criterion(
    source: RowSource, rows: Sequence[Rows], target: Target, settings: DesignSettings
) -> np.ndarray | None:
    """T [m, p] for the criteria that look at the target; single rows where the largest counts."""
    if settings.criterion == "i":
        return target.rows()
    if settings.criterion != "g":
        return None
    single = np.concatenate([source.stacked(one) for one in rows])
    if len(single) > MOST_TARGET_ROWS:
        chosen = np.random.default_rng(settings.seed).permutation(len(single))[:MOST_TARGET_ROWS]
        single = single[np.sort(chosen)]
    return single


def _picks(inputs: Inputs, chosen: Sequence[int], path: forecast.Path, target: Target) -> list[Pick]:
    found, why = [], reasons(path, target)
    for rank, (place, gain, reason) in enumerate(zip(chosen, path.gains, why, strict=True), start=1):
        frame = inputs.candidates[place]
        asked = "asked for; " if place in inputs.keep else ""
        cost = float(inputs.costs[place])
        found.append(
            Pick(
                rank,
                frame.atoms,
                frame.source,
                frame.index,
                frame.group,
                place,
                float(gain),
                cost,
                asked + reason,
            )
        )
    return found


def _left_open(information: np.ndarray, names: list[str]) -> list[str]:
    return undetermined(information, names) if information.any() else list(names)


def _notes(opened: Mapping[str, Sequence[str]], source: RowSource) -> list[str]:
    """What the whole pool leaves open: of an s-NNP, nothing in it is at these distances or angles."""
    names = opened["whole pool"]
    if not names:
        return []
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    other = "take a coarser basis" if source.linear else 'take a linear s-NNP (`basis="auto"`)'
    return [
        f"the whole pool leaves {len(names)} of the coefficients open ({shown}): expected data that decide "
        f"them, got none, so that they stay as the prior has them; add structures, or {other}"
    ]
