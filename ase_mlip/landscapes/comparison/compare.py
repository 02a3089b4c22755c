"""Models of one family side by side: their ranks by every predictor, and what the predictors are worth.

    found = compare(["a.json", "b.json", ...], ["a_errors.json", "a_md.json", ...])
    print(found.to_text())

A landscape says something within a family only: filters, norms and scales of other architectures are others.
From five models of a family on, ranks by each predictor are correlated with what the other files say: errors
and survival. The partial correlation given the in-distribution error asks what a predictor adds to the
trivial one, the error that everybody has anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from ...errors import DataError
from .correlations import LEAST_MODELS, Correlation, partial_spearman, spearman
from .files import (
    OF_CURVES,
    TRAINING_ERROR,
    Entry,
    Quantity,
    check_settings,
    read_landscape,
    read_targets,
)

SHOWN = ("S", "S⁺", "curvature of L_F²", "force loss at x = 0")  # columns of the text beside other predictors
_CURVES = {quantity.name for quantity in OF_CURVES}


@dataclass(frozen=True)
class Worth:
    """What a predictor says of a target over the models of a family.

    Attributes
    ----------
    predictor, target: the two quantities
    plain: their rank correlation
    partial: the same given the in-distribution error; None where that is one of the two
    agrees: whether the sign is the expected one: what should be good goes with what is good
    """

    predictor: Quantity
    target: Quantity
    plain: Correlation
    partial: Correlation | None

    @property
    def agrees(self) -> bool:
        return self.plain.value * self.predictor.sense * self.target.sense > 0.0


@dataclass
class Family:
    """Models of one family, in the order of their entropy, the largest first.

    Attributes
    ----------
    name: of the family
    models: one entry each
    ranks: by predictor the rank of each model, 1 for the best
    control: the in-distribution error of the partial correlations
    worths: of each predictor and target; empty with fewer than five models or without targets
    lacking: names of models of which a target is not known
    """

    name: str
    models: list[Entry]
    ranks: dict[Quantity, list[float]]
    control: Quantity
    worths: list[Worth]
    lacking: dict[Quantity, list[str]]


@dataclass
class Comparison:
    """Models side by side, family by family.

    Attributes
    ----------
    families : list of Family
        in the order in which their first landscape was given
    """

    families: list[Family]

    def to_dict(self) -> dict:
        """Everything as JSON values."""
        return {
            "kind": "landscape comparison",
            "families": [_family_dict(family) for family in self.families],
        }

    def to_text(self) -> str:
        """Tables: a heading for each family, its models by every predictor, and the correlations."""
        return "\n\n".join(_family_text(family) for family in self.families)


def compare(
    landscapes: Iterable[str | Path], others: Iterable[str | Path] = (), control: str | None = None
) -> Comparison:
    """Rank models by their landscapes, and say what the predictors are worth.

    Parameters
    ----------
    landscapes : iterable of str or Path
        files that ``ase-mlip landscape`` wrote, of the same settings
    others : iterable of str or Path
        files of ``evaluate --json`` and ``md --json`` of the same models, known by their SHA-256
    control : str, optional
        name of the in-distribution error among the targets, such as ``force error 300K``; by default the
        smallest of the force errors, or the loss on the training frames where there are not two

    Returns
    -------
    Comparison
        ranks of all families; of those with five models and more also correlations

    Raises
    ------
    DataError
        a file that is not of its kind, other settings, a model twice, a file of a model without landscape,
        dynamics of other conditions, or a ``control`` that no file has
    """
    entries = [read_landscape(path) for path in landscapes]
    if not entries:
        raise DataError("`landscapes`: expected at least one file that `ase-mlip landscape` wrote, got none")
    _check_once(entries)
    check_settings(entries)
    _add_targets(entries, others)
    families = dict.fromkeys(entry.family for entry in entries)
    return Comparison(
        [_family(name, [entry for entry in entries if entry.family == name], control) for name in families]
    )


# ---- steps -------------------------------------------------------------------------------------------------


def _check_once(entries: list[Entry]) -> None:
    seen: dict[str, Path] = {}
    for entry in entries:
        if entry.sha256 in seen:
            raise DataError(
                f"`{entry.path}` is of the model of `{seen[entry.sha256]}`, `{entry.name}`; expected one "
                "landscape of each model: leave one out"
            )
        seen[entry.sha256] = entry.path


def _add_targets(entries: list[Entry], others: Iterable[str | Path]) -> None:
    by_digest = {digest: entry for entry in entries for digest in entry.digests}
    conditions: tuple[Path, dict] | None = None
    for path in map(Path, others):
        digests, targets, settings = read_targets(path)
        entry = next((by_digest[digest] for digest in digests if digest in by_digest), None)
        if entry is None:
            raise DataError(
                f"`{path}` is of a model without a landscape here (SHA-256 {min(digests)[:12]}…); expected "
                f"one of {', '.join(f'{entry.name} ({entry.sha256[:12]}…)' for entry in entries)}"
            )
        if settings:
            if conditions and settings != conditions[1]:
                different = [key for key in settings if settings[key] != conditions[1].get(key)]
                raise DataError(
                    f"`{path}`: expected dynamics as in `{conditions[0]}`, got another `{different[0]}`; "
                    "lifetimes of other conditions cannot be compared"
                )
            conditions = path, settings
        twice = [target.name for target in targets if target in entry.targets]
        if twice:
            raise DataError(f"`{path}`: `{twice[0]}` of `{entry.name}` is given twice; leave one out")
        entry.targets |= targets


def _family(name: str, entries: list[Entry], control: str | None) -> Family:
    models = sorted(entries, key=lambda entry: -entry.predictors[next(iter(entry.predictors))])
    predictors = list(dict.fromkeys(q for entry in models for q in entry.predictors))
    common = [q for q in predictors if all(q in entry.predictors for entry in models)]
    ranks = {q: rankdata([-q.sense * entry.predictors[q] for entry in models]).tolist() for q in common}
    targets = list(dict.fromkeys(q for entry in models for q in entry.targets))
    chosen = _control(models, targets, control)
    worths = []
    if len(models) >= LEAST_MODELS:
        worths = [
            _worth(models, p, t, chosen)
            for t in targets
            if t != chosen
            for p in [*common, *_rival(chosen, common)]
            if p != t
        ]
    lacking = {t: [entry.name for entry in models if t not in entry.targets] for t in targets}
    return Family(name, models, ranks, chosen, worths, {t: names for t, names in lacking.items() if names})


def _rival(control: Quantity, predictors: list[Quantity]) -> list[Quantity]:
    """The in-distribution error is a predictor itself."""
    return [] if control in predictors else [control]


def _control(models: list[Entry], targets: list[Quantity], name: str | None) -> Quantity:
    if name is not None:
        for quantity in (*targets, TRAINING_ERROR):
            if quantity.name == name:
                return quantity
        known = ", ".join(f"`{q.name}`" for q in (*targets, TRAINING_ERROR))
        raise DataError(f"`control`: expected one of {known}, got `{name}`")
    errors = [q for q in targets if q.name.startswith("force error")]
    errors = [q for q in errors if all(q in entry.targets for entry in models)]
    if len(errors) < 2:
        return TRAINING_ERROR
    return min(errors, key=lambda q: np.mean([entry.targets[q] for entry in models]))


def _worth(models: list[Entry], predictor: Quantity, target: Quantity, control: Quantity) -> Worth:
    def values(quantity: Quantity, entry: Entry) -> float:
        return entry.predictors.get(quantity, entry.targets.get(quantity, np.nan))

    rows = np.array([[values(q, entry) for q in (predictor, target, control)] for entry in models])
    both = rows[~np.isnan(rows[:, :2]).any(axis=1)]
    plain = spearman(both[:, 0], both[:, 1])
    if control in (predictor, target):
        return Worth(predictor, target, plain, None)
    return Worth(predictor, target, plain, partial_spearman(*rows[~np.isnan(rows).any(axis=1)].T))


# ---- showing -----------------------------------------------------------------------------------------------


def _family_dict(family: Family) -> dict:
    return {
        "family": family.name,
        "in_distribution_error": family.control.label,
        "models": [
            {
                "name": entry.name,
                "sha256": entry.sha256,
                "landscape": str(entry.path),
                "predictors": {
                    q.label: {"value": value, "rank": family.ranks[q][k] if q in family.ranks else None}
                    for q, value in entry.predictors.items()
                },
                "targets": {q.label: value for q, value in entry.targets.items()},
            }
            for k, entry in enumerate(family.models)
        ],
        "correlations": [
            {
                "predictor": worth.predictor.label,
                "target": worth.target.label,
                "rank_correlation": _correlation_dict(worth.plain),
                "partial": None if worth.partial is None else _correlation_dict(worth.partial),
            }
            for worth in family.worths
        ],
    }


def _correlation_dict(found: Correlation) -> dict:
    if found.reason:
        return {"n": found.n, "reason": found.reason}
    interval = [found.low, found.high]
    return {"value": found.value, "interval": interval, "confidence": found.confidence, "n": found.n}


def _family_text(family: Family) -> str:
    count = len(family.models)
    lines = [
        f"{family.name}: {count} model{'s' if count > 1 else ''}; in brackets the rank, 1 is the best",
        "",
    ]
    lines += _table(_model_rows(family))
    for target, names in family.lacking.items():
        lines.append(f"`{target.name}` is not known of {', '.join(names)}")
    if count < LEAST_MODELS:
        lines += ["", f"Correlations need {LEAST_MODELS} models of a family, and here are {count}."]
    elif not family.worths:
        lines += ["", "Correlations need errors or lifetimes of the models: give them with `--with`."]
    for target in dict.fromkeys(worth.target for worth in family.worths):
        lines += [
            "",
            f"{target.name}: rank correlation with 95 % interval; partial given `{family.control.name}`",
            "",
        ]
        own = [worth for worth in family.worths if worth.target == target]
        lines += [*_table(_worth_rows(own)), *_reasons(own)]
    return "\n".join(lines)


def _model_rows(family: Family) -> list[list[str]]:
    others = [q for q in family.ranks if q.name in SHOWN or q.name not in _CURVES]
    targets = list(
        dict.fromkeys(q for entry in family.models for q in entry.targets if "energy" not in q.name)
    )
    rows = [["model", *(q.label for q in others), *(q.label for q in targets)]]
    for k, entry in enumerate(family.models):
        cells = [f"{entry.predictors[q]:.4g} ({family.ranks[q][k]:g})" for q in others]
        cells += [f"{entry.targets[q]:.4g}" if q in entry.targets else "-" for q in targets]
        rows.append([entry.name, *cells])
    return rows


def _worth_rows(worths: list[Worth]) -> list[list[str]]:
    rows = [["predictor", "ρ", "partial ρ", ""]]
    for worth in sorted(worths, key=lambda w: -np.nan_to_num(abs(w.plain.value))):
        unexpected = "" if worth.agrees or worth.plain.reason else "the other way round"
        rows.append([worth.predictor.name, _cell(worth.plain), _cell(worth.partial), unexpected])
    return rows


def _cell(found: Correlation | None) -> str:
    return "-" if found is None or found.reason else str(found)


def _reasons(worths: list[Worth]) -> list[str]:
    """Why there are no correlations, each once."""
    found = [c.reason for worth in worths for c in (worth.plain, worth.partial) if c is not None and c.reason]
    return list(dict.fromkeys(found))


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]
