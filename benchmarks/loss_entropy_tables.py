"""Tables and verdicts of the study of loss entropy from its stored numbers."""

from __future__ import annotations

import numpy as np
from loss_entropy_models import Recipe

from ase_mlip.landscapes.comparison.correlations import LEAST_MODELS, Correlation, partial_spearman, spearman
from ase_mlip.landscapes.entropy import KT_ENERGY, KT_FORCES, combined_entropy, entropies

FAMILIES = {"snnp": "s-NNP", "pet": "PET"}
NEEDED = ("landscape", "legacy", "survival", "errors")
KT_FACTORS = (0.25, 0.5, 2.0, 4.0)
POOR = 0.1  # eV/Å of validation forces, above which a PET is left out of the verdicts
# name, where it is stored, sign with which it should go with the survival
PREDICTORS = (
    ("S", ("entropy", "S"), 1),
    ("S_F", ("entropy", "S_F"), 1),
    ("S_E", ("entropy", "S_E"), 1),
    ("S⁺", ("entropy", "S_plus"), 1),
    ("S_F⁺", ("entropy", "S_F_plus"), 1),
    ("curvature of L_F²", ("landscape", "numbers", "curvature_forces"), -1),
    ("largest rise of L_F", ("landscape", "numbers", "rise_forces"), -1),
    ("S, legacy directions", ("legacy_entropy", "S"), 1),
    ("training force error", ("training_error",), -1),
    ("force error at 300 K", ("errors", "300K", "forces_rmse"), -1),
    ("sharpness, trace", ("sharpness", "trace"), -1),
    ("sharpness, largest", ("sharpness", "largest"), -1),
    ("bond roughness", ("bonds", "roughness"), -1),
    ("leverage", ("leverage", "mean"), -1),
    ("committee deviation", ("committee", "deviation"), -1),
    ("rotational spread", ("rotation", "spread"), -1),
)
ERROR, COLD = ("errors", "1200K", "forces_rmse"), ("errors", "300K", "forces_rmse")
RESTRICTED = ("survival", "restricted_mean")


def text(results: dict[str, dict], recipes: list[Recipe]) -> str:
    """Everything that is stored of the recipes' models, in Markdown, and what is missing."""
    parts = []
    for family, title in FAMILIES.items():
        names = [recipe.name for recipe in recipes if recipe.family == family]
        if not names:
            continue
        found = {name: with_numbers(results[name]) for name in names if name in results}
        parts.append(f"## {title}: {missing(found, names)}")
        if found:
            parts += [table(found)]
        judged = {
            name: stored for name, stored in found.items() if _is_complete(stored) and not _is_poor(stored)
        }
        if len(judged) >= LEAST_MODELS:
            parts += [verdicts(judged), worths(judged)]
        else:
            parts.append(
                f"There are verdicts from {LEAST_MODELS} complete models on, and here are {len(judged)}."
            )
    return "\n\n".join([*parts, f"CPU time of what is stored: {hours(results):.2f} of at most 20 hours."])


def with_numbers(stored: dict) -> dict:
    """The stored numbers with the entropies made from the stored curves."""
    made = dict(stored)
    for name, key in (("landscape", "entropy"), ("legacy", "legacy_entropy")):
        if name in stored:
            curves = stored[name]
            made[key] = entropies(curves["energy"], curves["forces"], curves["x"])
    if "landscape" in stored:
        made["training_error"] = stored["landscape"]["forces"][stored["landscape"]["x"].index(0.0)]
    return made


def missing(found: dict[str, dict], names: list[str]) -> str:
    """How many models are complete, and which measurements others lack."""
    complete = sum(_is_complete(stored) for stored in found.values())
    lacks = []
    for name in names:
        lacking = [part for part in NEEDED if part not in found.get(name, {})]
        if lacking:
            lacks.append(name if len(lacking) == len(NEEDED) else f"{name} ({', '.join(lacking)})")
    rest = f"; missing: {', '.join(lacks)}" if lacks else ""
    return f"{complete} of {len(names)} models{rest}"


def table(found: dict[str, dict]) -> str:
    """A line for each model, the highest entropy first."""
    lines = [
        "| | validation eV/Å | S | S⁺ | 300 K | 600 K | 1200 K eV/Å | survival ps | CPU s |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    order = sorted(found, key=lambda name: -_or_nan(found[name], ("entropy", "S"), -np.inf))
    for name in order:
        stored = found[name]
        cells = [
            _cell(stored, ("training", "validation", "forces_rmse"), 3),
            _cell(stored, ("entropy", "S"), 2),
            _cell(stored, ("entropy", "S_plus"), 2),
            *(_cell(stored, ("errors", group, "forces_rmse"), 3) for group in ("300K", "600K", "1200K")),
            _cell(stored, RESTRICTED, 2),
            f"{3600.0 * hours({name: stored}):.0f}",
        ]
        left_out = " (left out)" if _is_poor(stored) else ""
        lines.append(f"| {name}{left_out} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdicts(found: dict[str, dict]) -> str:
    """Hypotheses (a) to (e) of one family."""
    s, s_forces, s_plus = (_values(found, ("entropy", name)) for name in ("S", "S_F", "S_plus"))
    hot, cold = _values(found, ERROR), _values(found, COLD)
    a, b = spearman(s_forces, hot), spearman(s, _values(found, RESTRICTED))
    c = partial_spearman(s_plus, hot, cold)
    d = min(spearman(s, at).value for at in (_entropies_at(found, factor) for factor in KT_FACTORS))
    e = spearman(s, _values(found, ("legacy_entropy", "S")))
    rows = [
        ("(a) ρ(S_F, force error at 1200 K) ≤ −0.6", a, a.value <= -0.6),
        ("(b) ρ(S, restricted mean survival) ≥ 0.5", b, b.value >= 0.5),
        ("(c) partial ρ(S⁺, 1200 K error \\| 300 K error) excludes 0", c, c.excludes_zero),
        ("(d) smallest ρ(S, S at kT/4 … 4 kT) ≥ 0.9", f"{d:+.2f}", d >= 0.9),
        ("(e) ρ(S legacy, S Gaussian) ≥ 0.9", e, e.value >= 0.9),
    ]
    lines = [f"| hypothesis, {len(found)} models | found | holds |", "|---|---|---|"]
    return "\n".join(
        lines + [f"| {name} | {value} | {'yes' if holds else '**no**'} |" for name, value, holds in rows]
    )


def worths(found: dict[str, dict]) -> str:
    """Every predictor: correlations with survival and the 1200 K error, alone and given the 300 K error."""
    lines = [
        "| predictor | survival | given 300 K | error at 1200 K | given 300 K |",
        "|---|---|---|---|---|",
    ]
    rows = []
    for name, place, _ in PREDICTORS:
        if any(_or_nan(stored, place) != _or_nan(stored, place) for stored in found.values()):
            continue
        values, cells, strength = _values(found, place), [], 0.0
        for target in (RESTRICTED, ERROR):
            plain = spearman(values, _values(found, target))
            strength = max(strength, abs(np.nan_to_num(plain.value))) if target == RESTRICTED else strength
            partial = partial_spearman(values, _values(found, target), _values(found, COLD))
            cells += [_short(plain), "" if place == COLD else _short(partial)]
        rows.append((strength, f"| {name} | {' | '.join(cells)} |"))
    return "\n".join(lines + [row for _, row in sorted(rows, key=lambda row: -row[0])])


def _entropies_at(found: dict[str, dict], factor: float) -> list[float]:
    curves = [stored["landscape"] for stored in found.values()]
    return [
        combined_entropy(c["energy"], c["forces"], factor * KT_ENERGY, factor * KT_FORCES) for c in curves
    ]


def _short(found: Correlation) -> str:
    return "–" if found.reason else str(found)


def _is_complete(stored: dict) -> bool:
    return all(part in stored for part in NEEDED)


def _is_poor(stored: dict) -> bool:
    limit = POOR if stored.get("family") == "pet" else np.inf
    return _or_nan(stored, ("training", "validation", "forces_rmse"), 0.0) > limit


def _values(found: dict[str, dict], place: tuple[str, ...]) -> list[float]:
    return [_or_nan(stored, place) for stored in found.values()]


def _or_nan(stored: dict, place: tuple[str, ...], default: float = float("nan")) -> float:
    for key in place:
        if not isinstance(stored, dict) or key not in stored:
            return default
        stored = stored[key]
    return float(stored)


def _cell(stored: dict, place: tuple[str, ...], digits: int) -> str:
    value = _or_nan(stored, place)
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def hours(results: dict[str, dict]) -> float:
    """CPU-hours of what is stored."""
    parts = [part for stored in results.values() for part in stored.values() if isinstance(part, dict)]
    return sum(part.get("cpu_seconds", 0.0) for part in parts) / 3600.0
