"""The forecast of a design beside the labels that came back.

The coefficients are fitted to all labels by least squares with the design's prior, once for each pick with
that pick left out; its error is what its labels differ by from the prediction. The forecast for a row φ of it
is √(1 + φA⁻¹φᵀ) in units of σ, the pick left out of A, too: the misfit of one label, and what the others
leave open. How large σ really is, only labels can say: one factor for energies and one for forces is fitted,
which makes forecast and errors agree in the mean over all rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from scipy.stats import spearmanr

from ..data.frames import read_structures
from ..data.references import ReferenceKeys, sample_from_atoms
from ..errors import DataError
from ..provenance import file_sha256
from .forecast import covariance
from .output.folder import PICKS
from .output.stored import StoredDesign, read_stored
from .structures.same_structure import KnownStructures

FEWEST = 3
INSIDE = (1.0, 1.96)  # standard deviations that hold 68 and 95 % of normal errors
Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """Forecast and errors of one kind of label, in its unit (eV/atom, eV/Å, eV/Å³).

    Attributes
    ----------
    kind: energy, forces or stress
    factor: by which the design's σ has to be multiplied
    sigma: σ times the factor
    forecast, error: float64 [picks], root mean squares over the rows of each pick
    groups: forecast and error of each group, root mean squares over its rows
    coverage: shares of the errors within 1 and 1.96 standard deviations; 0.68 and 0.95 if all is well
    correlation: Spearman's, of forecast and error of the picks
    """

    kind: str
    factor: float
    sigma: float
    forecast: np.ndarray
    error: np.ndarray
    groups: dict[str, tuple[float, float]]
    coverage: tuple[float, float]
    correlation: float


@dataclass(frozen=True)
class Verification:
    """What came back of a design.

    Attributes
    ----------
    labelled, picks : int
        how many picks have labels, and how many there are
    groups : dict of int
        number of labelled picks by name of the group
    comparisons : list of Comparison
        by kind of label
    target : dict of dict of float
        predicted error of each group of the target with the picks labelled, by kind, in its unit
    notes : list of str
        what the user should know
    """

    labelled: int
    picks: int
    groups: dict[str, int]
    comparisons: list[Comparison]
    target: dict[str, dict[str, float]]
    notes: list[str] = field(default_factory=list)


def verify(labelled: str | Path, folder: str | Path) -> Verification:
    """Compare the forecast of a design with the labels of its picks.

    Parameters
    ----------
    labelled : str or Path
        file of picks with their labels, in any order
    folder : str or Path
        of the design

    Returns
    -------
    Verification
        errors beside the forecast, and the forecast with σ as the errors have it

    Raises
    ------
    DataError
        the folder has no design; the file has structures that are no picks, fewer than three, or frames
        without labels
    """
    folder, labelled = Path(folder), Path(labelled)
    frames = read_structures(labelled)
    stored = read_stored(folder, min(frames, key=len))
    picks = read_structures(folder / PICKS)
    names = [f"`{labelled}`, frame {index}" for index in range(len(frames))]
    groups = [str(picks[k].info["design_group"]) for k in _ranks(frames, names, picks, folder)]
    kinds, notes = list(stored.document["settings"]["labels"]), []
    known = _equations(stored, frames, names, kinds)
    information, right = stored.prior.copy(), np.zeros(len(stored.prior))
    for rows, values in [*known, *_of_have(stored, kinds, notes)]:
        information += sum(rows[kind].T @ rows[kind] for kind in kinds)
        right += sum(rows[kind].T @ values[kind] for kind in kinds)
    found = [
        _left_out(information, right, rows, values, len(atoms))
        for (rows, values), atoms in zip(known, frames, strict=True)
    ]
    comparisons = [_compare(kind, stored.source.sigma[kind], found, groups) for kind in kinds]
    sigma = {one.kind: one.sigma for one in comparisons}
    target = {
        group["name"]: {kind: group["after"][kind] * sigma[kind] for kind in kinds}
        for group in stored.document["groups"]
    }
    counts = {name: groups.count(name) for name in dict.fromkeys(groups)}
    return Verification(len(frames), len(picks), counts, comparisons, target, notes)


def _ranks(frames: Sequence[Atoms], names: Sequence[str], picks: Sequence[Atoms], folder: Path) -> list[int]:
    """The place of each frame among the picks."""
    known, places = KnownStructures(picks), []
    for atoms, name in zip(frames, names, strict=True):
        same = known.same_as(atoms)
        if not same:
            raise DataError(
                f"{name}: expected a structure of `{folder / PICKS}` with its labels, got another one; give "
                "the file with the calculated picks, their cells and positions unchanged"
            )
        places.append(same[0])
    if len(set(places)) < FEWEST:
        raise DataError(
            f"expected labels of at least {FEWEST} picks, got {len(set(places))}: each is predicted "
            "from the others"
        )
    return places


def _equations(
    stored: StoredDesign, frames: Sequence[Atoms], names: Sequence[str], kinds: Sequence[str]
) -> list[tuple[Values, Values]]:
    """Rows and labels of each frame by kind, over σ, the labels without what needs no coefficients."""
    source, found = stored.source, []
    for atoms, name, rows in zip(frames, names, source.make(frames), strict=True):
        labels, fixed = labels_of(atoms, name, kinds), source.fixed(atoms)
        values = {kind: (labels[kind] - fixed[kind]) / source.sigma[kind] for kind in kinds}
        if "forces" in kinds:
            values["forces"] = source.combine(atoms, values["forces"])
        found.append(({kind: getattr(rows, kind) / source.sigma[kind] for kind in kinds}, values))
    return found


def labels_of(atoms: Atoms, name: str, kinds: Sequence[str]) -> dict[str, np.ndarray]:
    """Energy per atom [1], forces [3N], stress [6] as asked for. Raises DataError where one is missing."""
    sample = sample_from_atoms(atoms, ReferenceKeys(), name)
    found = {"energy": sample.energy, "forces": sample.forces, "stress": sample.stress}
    for kind in kinds:
        if found[kind] is None:
            raise DataError(
                f"{name}: expected its {kind}, got none; write the result of the calculation as `{kind}`, "
                "as ASE does"
            )
    values = {}
    if "energy" in kinds:
        values["energy"] = np.array([sample.energy / len(atoms)])
    if "forces" in kinds:
        values["forces"] = sample.forces.ravel()
    if "stress" in kinds:
        values["stress"] = full_3x3_to_voigt_6_stress(sample.stress)
    return values


def _of_have(stored: StoredDesign, kinds: Sequence[str], notes: list[str]) -> list[tuple[Values, Values]]:
    """The same of what was labelled before, if its files are as they were and hold labels."""
    files = [entry for entry in stored.document["settings"]["files"] if entry["role"] == "have"]
    found: list[tuple[Values, Values]] = []
    for entry in files:
        path = Path(entry["file"])
        named = entry["file"] if "slice" not in entry else f"{entry['file']}@{entry['slice']}"
        name = path if path.is_file() else Path(named.rpartition("@")[0] or named)
        try:
            if file_sha256(name) != entry["sha256"]:
                raise DataError("it has changed since the design was made")
            frames = read_structures(entry["file"])
            names = [f"`{entry['file']}`, frame {k}" for k in range(len(frames))]
            found += _equations(stored, frames, names, kinds)
        except (OSError, DataError) as error:
            notes.append(f"compared without the structures of `{entry['file']}`, labelled before: {error}")
    return found


def _left_out(
    information: np.ndarray, right: np.ndarray, rows: Values, values: Values, n_atoms: int
) -> dict[str, np.ndarray]:
    """By kind [2, r]: errors of a structure's rows and their variances, over σ, without it in the fit.

    A force row of a sketch has the variance of 3N/r forces together, and is scaled to that of one.
    """
    spread = covariance(information - sum(block.T @ block for block in rows.values()))
    solution = spread @ (right - sum(rows[kind].T @ values[kind] for kind in rows))
    found = {}
    for kind, block in rows.items():
        together = 3 * n_atoms / len(block) if kind == "forces" else 1.0
        variances = 1.0 + np.einsum("rp,pq,rq->r", block, spread, block) / together
        found[kind] = np.stack([(values[kind] - block @ solution) / np.sqrt(together), variances])
    return found


def _compare(kind: str, sigma: float, found: Sequence[dict], groups: Sequence[str]) -> Comparison:
    pairs = [one[kind] for one in found]
    errors, variances = np.concatenate(pairs, axis=1)
    factor = float(np.sqrt(np.mean(errors**2 / variances)))
    scale = np.array([[sigma], [sigma * factor]])
    squares = [np.array([np.mean(pair[0] ** 2), np.mean(pair[1])]) for pair in pairs]
    counts = np.array([pair.shape[1] for pair in pairs])
    error, forecast = np.sqrt(np.array(squares)).T * scale
    of_groups = {}
    for name in dict.fromkeys(groups):
        own = np.array([group == name for group in groups])
        mean = [np.sqrt(np.average(part[own] ** 2, weights=counts[own])) for part in (forecast, error)]
        of_groups[name] = (float(mean[0]), float(mean[1]))
    deviations = np.abs(errors) / (factor * np.sqrt(variances))
    coverage = tuple(float(np.mean(deviations <= limit)) for limit in INSIDE)
    correlation = float(spearmanr(forecast, error).statistic) if np.ptp(forecast) > 0 else 0.0
    return Comparison(kind, factor, sigma * factor, forecast, error, of_groups, coverage, correlation)


def to_text(found: Verification) -> str:
    """The report that ``ase-mlip design --verify`` prints."""
    units = {"energy": ("meV/atom", 1e3), "forces": ("eV/Å", 1.0), "stress": ("meV/Å³", 1e3)}
    width = max(len("group"), *map(len, found.groups), *map(len, found.target))
    lines = [
        f"{found.labelled} of {found.picks} picks are labelled; each is predicted from the others.",
        "",
        f"{'':<{width}}         "
        + "".join(f"{f'{c.kind}, {units[c.kind][0]}':^26}" for c in found.comparisons),
        f"{'group':<{width}}    picks"
        + "".join(f"{'forecast':>13}{'came back':>13}" for _ in found.comparisons),
    ]
    for name, count in found.groups.items():
        cells = [value * units[c.kind][1] for c in found.comparisons for value in c.groups[name]]
        lines.append(f"{name:<{width}}{count:>9}" + "".join(f"{cell:>13.3g}" for cell in cells))
    lines.append("")
    for c in found.comparisons:
        unit, scale = units[c.kind]
        inside = ", ".join(f"{100 * share:.0f} %" for share in c.coverage)
        lines += [
            f"{c.kind:<8}σ of a label {scale * c.sigma:.3g} {unit}, {c.factor:.3g} times the design's",
            f"{'':<8}errors within 1 and 1.96 forecasts {inside} (normal: 68 %, 95 %); rank correlation "
            f"{c.correlation:+.2f}",
        ]
    lines += ["", "Predicted error of the target with these labels, without the misfit of the model:"]
    for name, errors in found.target.items():
        cells = ", ".join(f"{kind} {units[kind][1] * v:.3g} {units[kind][0]}" for kind, v in errors.items())
        lines.append(f"  {name:<{width}}  {cells}")
    return "\n".join(lines)
