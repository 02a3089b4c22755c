"""Tables and verdicts of the study of optimal design from its stored numbers."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

DECIDE = ("Mo", "Ge", "Ta")
RIVALS = ("stratified", "most extrapolating atoms", "farthest points", "CUR", "QUESTS")


def text(stored: dict) -> str:
    """Everything that is stored, in Markdown."""
    elements = stored["elements"]
    parts = [selections(name, found) for name, found in elements.items()]
    decide = {name: elements[name] for name in DECIDE if name in elements}
    if decide:
        parts.append(verdicts(decide))
    repeated = {
        name: found
        for name, found in elements.items()
        if all("again" in size for size in found["sizes"].values())
    }
    if repeated:
        parts.append(again(repeated))
    if "pet" in stored:
        parts.append(pet(stored["pet"]))
    return "\n\n".join(parts)


def beaten(draws: list[list[float]], value: list[float]) -> np.ndarray:
    """The share of random selections with the larger error, of energy and of forces."""
    return (np.array(draws) > np.array(value)).mean(axis=0)


def selections(name: str, found: dict) -> str:
    """Errors of every way of choosing, and which share of the random selections each beats."""
    lines = [
        f"### {name}: pool of {found['pool']}, {found['held out']} held out, "
        f"{found['coefficients']} coefficients",
        "",
        "| | share | frames | meV/atom | eV/Å | beats random, energy | forces |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for share, size in found["sizes"].items():
        rows = {"random, median": np.median(size["random"], axis=0)}
        rows["stratified, median"] = np.median(size["stratified"], axis=0)
        rows |= {"I": size["i"], "D": size["d"]}
        rows |= {rival: size[rival] for rival in RIVALS[1:] if rival in size}
        for label, value in rows.items():
            share_of = beaten(size["random"], list(value))
            lines.append(
                f"| {label} | {share} | {size['size']} | {1e3 * value[0]:.1f} | {value[1]:.3f} | "
                f"{share_of[0]:.0%} | {share_of[1]:.0%} |"
            )
    energy, forces = found["whole pool"]
    lines.append(f"| whole pool | 100% | {found['pool']} | {1e3 * energy:.1f} | {forces:.3f} | | |")
    return "\n".join(lines)


def auc(scores: list[float], positive: list[int]) -> float:
    """The chance that a positive has the larger score (Mann and Whitney 1947); NaN without either kind."""
    values, own = np.array(scores), np.array(positive, dtype=bool)
    pairs = own.sum() * (~own).sum()
    if not pairs:
        return float("nan")
    return float((rankdata(values)[own].sum() - own.sum() * (own.sum() + 1) / 2) / pairs)


def verdicts(elements: dict[str, dict]) -> str:
    """H1 to H7, with the number of each element beside what was required."""
    rows = {
        "H1 I beats ≥ 75 % of random, energy and forces, at 5 % and 10 %": (_h1, 2),
        "H2 I at 5 % ≤ random median at 10 %, forces": (_h2, 2),
        "H3 D at 10 % does not beat 75 % of random in energy": (_h3, 2),
        "H4 missing groups: AUC ≥ 0.85, ≤ 5 % false alarms (all elements together)": (None, 1),
        "H5 Spearman of predicted and actual swaps, forces ≥ 0.3": (_h5, 2),
        "H6 coverage 58 to 78 % and 88 to 99 %": (_h6, 2),
        "H7 certificate of I at 10 % ≥ 95 % in ≤ 60 s": (_h7, 3),
    }
    lines = ["| hypothesis | " + " | ".join(elements) + " | holds |", "|---" * (len(elements) + 2) + "|"]
    for label, (judge, needed) in rows.items():
        if judge is None:
            lines.append(_missing_groups_line(label, elements))
            continue
        judged = [judge(found) for found in elements.values()]
        held = sum(holds for _, holds in judged) >= needed
        cells = " | ".join(words + (" ✓" if holds else " ✗") for words, holds in judged)
        lines.append(f"| {label} | {cells} | {'yes' if held else '**no**'} |")
    return "\n".join(lines)


def _h1(found: dict) -> tuple[str, bool]:
    shares = [beaten(size["random"], size["i"]) for size in found["sizes"].values()]
    words = "; ".join(f"{energy:.0%}, {forces:.0%}" for energy, forces in shares)
    return words, bool(np.min(shares) >= 0.75)


def _h2(found: dict) -> tuple[str, bool]:
    small, large = found["sizes"].values()
    own, other = small["i"][1], float(np.median(large["random"], axis=0)[1])
    return f"{own:.3f} against {other:.3f} eV/Å", own <= other


def _h3(found: dict) -> tuple[str, bool]:
    share = beaten(list(found["sizes"].values())[1]["random"], list(found["sizes"].values())[1]["d"])[0]
    return f"beats {share:.0%}", bool(share < 0.75)


def _h5(found: dict) -> tuple[str, bool]:
    return f"{found['swaps']['forces']:.2f}", found["swaps"]["forces"] >= 0.3


def _h6(found: dict) -> tuple[str, bool]:
    one, two = found["calibration"]["within 1"], found["calibration"]["within 1.96"]
    return f"{one:.0%}, {two:.0%}", 0.58 <= one <= 0.78 and 0.88 <= two <= 0.99


def _h7(found: dict) -> tuple[str, bool]:
    size = list(found["sizes"].values())[1]
    return f"{size['certificate']:.1%} in {size['seconds']:.0f} s", size["certificate"] >= 0.95 and size[
        "seconds"
    ] <= 60


def again(elements: dict[str, dict]) -> str:
    """I-optimal selections made once more, with later code."""
    lines = [
        "| I once more | share | processor time, s | certificate | other picks | meV/atom | eV/Å |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, found in elements.items():
        for share, size in found["sizes"].items():
            one = size["again"]
            lines.append(
                f"| {name} | {share} | {one['processor seconds']:.0f} | {one['certificate']:.1%} | "
                f"{one['other picks']} of {size['size']} | {1e3 * one['i'][0]:.1f} | {one['i'][1]:.3f} |"
            )
    return "\n".join(lines)


def _missing_groups_line(label: str, elements: dict[str, dict]) -> str:
    cells, scores, positive = [], [], []
    for found in elements.values():
        own = found["missing groups"]
        cells.append(f"{auc(own['scores'], own['missing']):.2f}")
        scores += own["scores"]
        positive += own["missing"]
    area = auc(scores, positive)
    alarms = float(np.mean(np.array(scores)[np.array(positive) == 0] > 1.0))
    holds = "yes" if area >= 0.85 and alarms <= 0.05 else "**no**"
    return f"| {label} | {' | '.join(cells)} | {holds}: {area:.2f}, {alarms:.1%} |"


def pet(found: dict) -> str:
    """H8: three trainings on the picks, three on random selections."""
    lines = ["| PET on Mo | meV/atom | eV/Å |", "|---|--:|--:|"]
    lines += [
        f"| {name} | {1e3 * energy:.1f} | {forces:.3f} |"
        for name, (energy, forces) in found["errors"].items()
    ]
    low, high = found["interval"]
    verdict = "holds" if low > 0 else "does not hold"
    lines += [
        "",
        f"H8 {verdict}: random − picks {found['difference']:+.3f} eV/Å, 95 % {low:+.3f} to {high:+.3f}.",
    ]
    return "\n".join(lines)
