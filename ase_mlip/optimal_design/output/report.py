"""A design in words."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..forecast import KNEE, at_least, percent
from ..result import DesignResult, GroupForecast
from ..settings import CRITERIA, UNITS, power_of
from ..structures.pool import Rejected

SHOWN = 20  # picks that are printed; all are in picks.xyz
NAMED = 6  # coefficients
WIDTH = 110
WEAK = 0.1  # a certificate below it says more of the bound than of the selection
ROUNDING = 1e-6  # of the efficiency: what the exchange of the selection does not look for


def to_text(result: DesignResult) -> str:
    """The report that ``ase-mlip design`` prints.

    Parameters
    ----------
    result : DesignResult
        what ``design`` returned

    Returns
    -------
    str
        lines of at most 110 columns, but for tables with long names
    """
    return "\n".join([*_heading(result), "", *_prediction(result), "", *_groups(result), "", *_picks(result)])


def _heading(result: DesignResult) -> list[str]:
    inputs, settings = result.inputs, result.settings
    total = len(inputs.candidates) + len(inputs.rejected)
    candidates = f"{len(inputs.candidates)} candidate{'' if len(inputs.candidates) == 1 else 's'}"
    groups = Counter(frame.group for frame in inputs.candidates)
    used = ", ".join(f"{name} {result.sigma[name]:.3g} {UNITS[name]}" for name in settings.labels)
    how = "with equal weight of energies and forces" if settings.weigh_equally else "as given"
    lines = [
        ("pool", f"{_frames(total)}, {candidates} in {_groups_of(len(groups))}"),
        ("set aside", _set_aside(inputs.rejected)),
        ("labelled", _frames(len(inputs.have)) if inputs.have else "none"),
        ("target", _target(result)),
        ("basis", result.rows.name),
        ("σ of a label", f"{used} ({how})"),
        ("left open", _open(result)),
    ]
    return [_wrapped(f"{name:<14}{text}", 14) for name, text in lines]


def _wrapped(text: str, indent: int) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False)


def _set_aside(rejected: Sequence[Rejected]) -> str:
    kinds = {"the same as": "duplicate", "atoms too close": "with atoms too close",
             "labelled already": "labelled already"}  # fmt: skip
    found = Counter(next(k for start, k in kinds.items() if r.reason.startswith(start)) for r in rejected)
    named = {
        kind: "duplicates" if kind == "duplicate" and count > 1 else kind for kind, count in found.items()
    }
    return ", ".join(f"{count} {named[kind]}" for kind, count in found.items()) or "none"


def _target(result: DesignResult) -> str:
    what = "the pool" if result.own_target else "--target"
    groups = _groups_of(len(result.target.groups))
    balance = "its groups" if result.settings.balance == "groups" else "its frames"
    return f"{what}, {_frames(int(result.target.frames.sum()))} in {groups}; {balance} count alike"


def _frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"


def _groups_of(count: int) -> str:
    return f"{count} group{'' if count == 1 else 's'}"


def _open(result: DesignResult) -> str:
    """How many coefficients the data leave open, and which remain so."""
    counts = ", ".join(f"{len(names)} {when}" for when, names in result.undetermined.items())
    names = result.undetermined["after"]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    after = f" (after: {', '.join(names[:NAMED])}{more})" if names else ""
    return f"of {len(result.rows.names)} coefficients: {counts}{after}"


def _prediction(result: DesignResult) -> list[str]:
    roots = result.predicted_error / result.floor
    low, middle, high = result.band.percentiles()[:, -1] / result.floor
    what = _frames(len(result.picks)) + _cost_in_words(result)
    return [
        "Predicted error of the target, where 1 is that with the whole pool labelled:",
        f"  before                {roots[0]:.3g}",
        f"  the selection         {roots[-1]:.3g}, {what}",
        f"  random selections     {middle:.3g}, 5 to 95 %: {low:.3g} to {high:.3g}",
        _wrapped(f"  certificate           {_certificate(result)}", 24),
        _wrapped(f"  gain per calculation  {_knee(result)}", 24),
    ]


def _cost_in_words(result: DesignResult) -> str:
    """What the picks cost together, "" where each counts as one."""
    cost, one = result.settings.cost, len(result.picks) == 1
    if cost == "count":
        return ""
    power = power_of(cost)
    if power is None:
        what = f"its `{cost}`" if one else f"the sum of their `{cost}`"
    else:
        what = "its number of atoms" if one else "the sum of their numbers of atoms"
        what += "" if power == 1.0 else f" to the power {power:g}"
    return f" that cost{'s' if one else ''} {result.spent:g} ({what})"


def _certificate(result: DesignResult) -> str:
    """What is proven; a bound, so that it is never rounded up."""
    goal = f"criterion {result.settings.criterion}, the {CRITERIA[result.settings.criterion]}"
    if len(result.picks) == len(result.inputs.candidates):
        return "all candidates are taken: nothing was chosen"
    if len(result.picks) == len(result.inputs.keep):
        return "all picks were asked for: nothing was chosen"
    if len(result.picks) == 1 and result.settings.cost == "count":
        return f"optimal: every candidate was tried in {goal}"
    if result.efficiency > 1.0 - ROUNDING:
        return f"optimal to rounding: no selection of this {_size(result)}{_kept(result)} is better in {goal}"
    kept = f"{_kept(result)}," if result.inputs.keep else ""
    proven = f"at least {at_least(result.efficiency)} % of the best possible{kept} in {goal}"
    if result.efficiency > WEAK:
        return proven
    return f"{proven}; it may be far better, since the bound may label candidates in part"


def _kept(result: DesignResult) -> str:
    """What all selections share that the certificate compares."""
    count = len(result.inputs.keep)
    if count == 0:
        return ""
    return f" with the frame{'s that were' if count > 1 else ' that was'} asked for"


def _size(result: DesignResult) -> str:
    return "size" if result.settings.cost == "count" else "cost"


def _knee(result: DesignResult) -> str:
    last = percent(max(result.last_gain, 0.0))
    if len(result.picks) == 1:
        return f"the one pick lowers the predicted error by {last} %"
    if result.knee is None and len(result.picks) == len(result.inputs.candidates):
        return f"the last pick still gains {last} %, and no candidate is left"
    if result.knee is None:
        return f"the last pick still gains {last} %, more than {percent(KNEE)} %: further picks help"
    return f"below {percent(KNEE)} % from pick {result.knee + 1} on"


def _groups(result: DesignResult) -> list[str]:
    """The table of groups and the verdict."""
    kinds = result.target.kinds
    width = max(len("group"), *(len(group.name) for group in result.groups))
    top = f"{'':<{width}}        " + "".join(f"{kind + ', σ':^29}" for kind in kinds)
    header = f"{'group':<{width}}  frames" + "".join(f"{'before':>10}{'after':>9}{'best':>9} " for _ in kinds)
    rows = [_group_row(group, kinds, width) for group in result.groups]
    bad = [group.name for group in result.groups if not group.feasible]
    verdict = "feasible: the whole pool, labelled, predicts every group to within one σ"
    if result.own_target:
        verdict = _wrapped(f"{verdict}. Every pool does so for itself: the question is for --target", 0)
    if bad:
        verdict = _wrapped(
            f"NOT FEASIBLE: {', '.join(bad)}. Even the whole pool, labelled, leaves more than one σ there; "
            "add structures like these to the pool",
            0,
        )
    return [top.rstrip(), header.rstrip() + "  verdict", *rows, verdict]


def _group_row(group: GroupForecast, kinds: Sequence[str], width: int) -> str:
    cells = "".join(
        f"{group.before[kind]:>10.3g}{group.after[kind]:>9.3g}{group.best[kind]:>9.3g} " for kind in kinds
    )
    verdict = "feasible" if group.reached else "feasible, not with these picks"
    if not group.feasible:
        verdict = "NOT FEASIBLE"
    return f"{group.name:<{width}}{group.frames:>8}{cells} {verdict}"


def _picks(result: DesignResult) -> list[str]:
    names = [f"{Path(pick.source).name}@{pick.index}" for pick in result.picks[:SHOWN]]
    width = max(len("frame"), *map(len, names))
    groups = max(len("group"), *(len(pick.group) for pick in result.picks[:SHOWN]))
    lines = [f"pick  {'frame':<{width}}  {'group':<{groups}}   gain, %     cost  serves most"]
    for pick, name in zip(result.picks, names, strict=False):
        lines.append(
            f"{pick.rank:>4}  {name:<{width}}  {pick.group:<{groups}}{percent(pick.gain):>10}"
            f"{pick.cost:>9.4g}  {pick.reason}"
        )
    if len(result.picks) > SHOWN:
        lines.append(f"      and {len(result.picks) - SHOWN} more")
    return lines
