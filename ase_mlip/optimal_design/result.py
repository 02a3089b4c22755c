"""What a design found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath

import numpy as np
from ase import Atoms

from ..crystals import is_whole
from ..errors import DataError
from .forecast import FEASIBLE, Band, Path, covariance
from .output.document import to_document
from .rows.source import RowSource, counts_of
from .settings import DesignSettings
from .structures.inputs import Inputs
from .target import Target


@dataclass(frozen=True)
class Pick:
    """A structure to label.

    Attributes
    ----------
    rank: from 1, in order of gain
    atoms: as it was read
    source, index, group: the file, the frame in it, its group
    place: among the candidates
    gain: by what fraction the predicted error of the target falls with it
    cost: in the units of the design's ``cost``
    reason: whom it serves most, as in "Surface energy −43 %"
    """

    rank: int
    atoms: Atoms
    source: str
    index: int
    group: str
    place: int
    gain: float
    cost: float
    reason: str


@dataclass(frozen=True)
class GroupForecast:
    """Predicted errors of one group of the target, root mean squares in units of σ, by kind of label.

    Attributes
    ----------
    frames: of the target in this group
    before: with what is labelled already, and the prior
    after: with the picks labelled, too
    best: with the whole pool labelled
    """

    name: str
    frames: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    best: Mapping[str, float]

    @property
    def feasible(self) -> bool:
        """Whether the whole pool, labelled, predicts it as well as one label of its own: best ≤ σ."""
        return not self.failing

    @property
    def failing(self) -> list[str]:
        """Kinds of label that keep it from being feasible."""
        return [kind for kind, value in self.best.items() if value > FEASIBLE]

    @property
    def reached(self) -> bool:
        """Whether the picks alone, labelled, do so: after ≤ σ."""
        return all(value <= FEASIBLE for value in self.after.values())


@dataclass
class DesignResult:
    """A selection, what it is predicted to achieve, and how far it is from the best.

    Attributes
    ----------
    picks : list of Pick
        in order of gain
    curve : float64 [picks]
        the criterion as :mod:`.algebra` counts it after each pick: of criterion i a mean variance, the square
        of a predicted error, without the value before the first pick
    efficiency : float
        the selection is proven to reach at least this fraction of the best one's criterion
    groups : list of GroupForecast
        a forecast for each group of the target
    undetermined : dict of list of str
        names of coefficients that the data leave open ``before``, ``after`` the picks, and with the ``whole
        pool`` labelled, as :func:`~.rows.linear_basis.undetermined` has it
    path : Path
        predicted errors of the target after each pick
    floor : float
        √I with the whole pool labelled, the smallest √I that a selection can have
    band : Band
        random selections beside it
    sigma : dict of float
        as it was used, eV/atom, eV/Å and eV/Å³: scaled to equal total weight
    rows : RowSource
        turns structures into rows
    matrix, prior : float64 [p, p]
        A with the picks labelled, and A₀
    map : dict of float64 [n, 2]
        for each role, "target", "pool", "have" and "picks", two coordinates of its structures
    notes : list of str
        what the user should know
    settings : DesignSettings
        what was asked for
    inputs : Inputs
        the structures in their roles
    target : Target
        sums over its rows, from which predicted errors follow
    """

    settings: DesignSettings
    inputs: Inputs
    picks: list[Pick]
    curve: np.ndarray
    efficiency: float
    groups: list[GroupForecast]
    undetermined: dict[str, list[str]]
    path: Path
    floor: float
    band: Band
    target: Target
    sigma: dict[str, float]
    map: dict[str, np.ndarray]
    rows: RowSource
    matrix: np.ndarray
    prior: np.ndarray
    notes: list[str] = field(default_factory=list)

    @property
    def feasible(self) -> bool:
        """Whether every group of the target is."""
        return all(group.feasible for group in self.groups)

    @property
    def own_target(self) -> bool:
        """Whether the pool is its own target, so that every group is feasible."""
        return self.inputs.target is self.inputs.candidates

    @property
    def knee(self) -> int | None:
        """The number of labels after which each gains less than 0.5 %; None if the last still gains more."""
        return self.path.knee()

    @property
    def spent(self) -> float:
        """What the picks cost together."""
        return float(sum(pick.cost for pick in self.picks))

    @property
    def predicted_error(self) -> np.ndarray:
        """√I [picks + 1], float64: the predicted error of the target before the picks and after each, in σ.

        It is the root of the sum of squares over all labels of a frame, in the mean over the target.
        """
        return np.sqrt(self.path.values)

    @property
    def random(self) -> dict[str, np.ndarray]:
        """Random selections: "spent" [s], and "percentiles_5_50_95" [3, s] of their predicted errors."""
        return {"spent": self.band.spent, "percentiles_5_50_95": self.band.percentiles()}

    @property
    def last_gain(self) -> float:
        """By what fraction the last pick lowers the predicted error."""
        return float(self.path.gains[-1])

    def to_dict(self) -> dict:
        """The content of design.json: settings, versions and all numbers as JSON values; no structures."""
        return to_document(self)

    def plot(self, path: str | FilePath) -> None:
        """Draw error against labels, groups, and a map of the structures into a PNG, PDF or SVG."""
        from ..pictures.designs.panels import plot_design
        from ..pictures.plots import save_figure

        save_figure(plot_design(self), path)

    def information(self, atoms: Atoms) -> float:
        """What labelling ``atoms`` after the picks would tell, nats: ½ log det(1 + X A⁻¹ Xᵀ).

        Raises DataError for what is not one structure.
        """
        block = self.rows.stacked(self.rows.of(_structure("atoms", atoms)))
        inner = block @ covariance(self.matrix) @ block.T
        return 0.5 * float(np.linalg.slogdet(np.eye(len(block)) + inner)[1])

    def predicted(self, atoms: Atoms) -> dict[str, float]:
        """Predicted errors of ``atoms`` with the picks labelled, root mean squares in units of σ, by kind.

        Raises DataError for what is not one structure.
        """
        made = self.rows.of(_structure("atoms", atoms))
        spread = covariance(self.matrix)
        scaled, counts = self.rows.scale(made), counts_of(made, self.settings.labels)
        traces = {kind: np.einsum("rp,pq,rq->", rows, spread, rows) for kind, rows in scaled.items()}
        return {kind: float(np.sqrt(max(trace, 0.0) / counts[kind])) for kind, trace in traces.items()}

    def swap(self, out: Pick | int, into: Atoms | int) -> float:
        """By what fraction the predicted error of the target would fall if ``into`` replaced ``out``.

        Negative where it would rise. ``out`` is a pick or its rank, ``into`` a structure or the place of a
        candidate. Raises DataError for a rank or place that is not there, or for anything else.
        """
        rank = out.rank if isinstance(out, Pick) else out
        if not is_whole(rank):
            raise DataError(
                f"`out`: expected a pick or its rank, a whole number, got {rank!r}; take one of `picks`"
            )
        if not 1 <= rank <= len(self.picks):
            raise DataError(f"`out`: expected a rank from 1 to {len(self.picks)}, got {rank}")
        if is_whole(into):
            if not 0 <= into < len(self.inputs.candidates):
                raise DataError(
                    f"`into`: expected a structure, or a place from 0 to {len(self.inputs.candidates) - 1}, "
                    f"got {into}"
                )
            into = self.inputs.candidates[into].atoms
        into = _structure("into", into, " or the place of a candidate")
        leaving, coming = (
            self.rows.stacked(self.rows.of(atoms)) for atoms in (self.picks[rank - 1].atoms, into)
        )
        changed = self.matrix - leaving.T @ leaving + coming.T @ coming
        value = self.target.parts(covariance(changed)).sum()
        return 1.0 - float(np.sqrt(value / self.path.values[-1]))


def _structure(name: str, given: object, other: str = "") -> Atoms:
    """``given`` if it is a structure. Raises DataError."""
    if isinstance(given, Atoms):
        return given
    got, remedy = repr(given), "give the structure itself"
    if isinstance(given, (str, FilePath)):
        remedy = "read the file first, with ase.io.read"
    elif isinstance(given, Iterable):
        got, remedy = f"a {type(given).__name__}", "ask for one structure at a time"
    raise DataError(f"`{name}`: expected a structure (ase.Atoms){other}, got {got}; {remedy}")


def group_forecasts(target: Target, path: Path, best: np.ndarray) -> list[GroupForecast]:
    """For each group, from the parts of the criterion along ``path`` and ``best`` [G, K] with the pool."""
    before, after, least = (target.errors(parts) for parts in (path.parts[0], path.parts[-1], best))
    return [
        GroupForecast(name, int(frames), *(_by_kind(target.kinds, row) for row in rows))
        for name, frames, *rows in zip(target.groups, target.frames, before, after, least, strict=True)
    ]


def _by_kind(kinds: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {kind: float(value) for kind, value in zip(kinds, values, strict=True)}
