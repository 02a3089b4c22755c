"""How every benchmark here measures, judges and stores: medians of interleaved repeats, ratios of medians.

Alternatives take turns within one run, so that whatever else the machine does meets all of them alike. A
ratio is that of the medians; its range is that of the single rounds, which shows the noise.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ase-mlip", "torch", "numpy", "ase", "vesin")


@dataclass(frozen=True)
class Spread:
    """A median and the range it comes from."""

    median: float
    low: float
    high: float
    repeats: int

    def scaled(self, factor: float) -> Spread:
        """The same measurement in another unit, by a positive factor."""
        return Spread(self.median * factor, self.low * factor, self.high * factor, self.repeats)


@dataclass(frozen=True)
class Row:
    """One line of a table. ``spread`` is None where nothing could be measured; ``note`` then says why.

    ``sense`` is "≤" or "≥" for a requirement with a ``limit``, "" for information. ``tolerance`` is the part
    of the limit by which it may be missed.
    """

    what: str
    unit: str
    spread: Spread | None
    sense: str = ""
    limit: float | None = None
    note: str = ""
    tolerance: float = 0.0

    @property
    def verdict(self) -> str:
        """``pass``, ``FAIL``, ``skipped``, or nothing where nothing is required."""
        if self.spread is None:
            return "skipped"
        if self.limit is None:
            return ""
        slack = self.tolerance * abs(self.limit)
        below, above = self.spread.median <= self.limit + slack, self.spread.median >= self.limit - slack
        return "pass" if (below if self.sense == "≤" else above) else "FAIL"


# ---- measuring ---------------------------------------------------------------------------------------------


def timed(function: Callable[[], object], calls: int = 1) -> Callable[[], float]:
    """A measurement for :func:`interleaved`: wall time of one call in seconds, averaged over ``calls``."""

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(calls):
            function()
        return (time.perf_counter() - start) / calls

    return measure


def interleaved(
    measurements: Mapping[str, Callable[[], float]],
    repeats: int,
    warmup: int = 1,
    title: str = "",
    progress: bool = True,
) -> dict[str, list[float]]:
    """Values of each measurement, taken in turns: round r holds entry r of every list.

    Parameters
    ----------
    measurements: name → function that measures once and returns the value, such as :func:`timed` makes
    repeats: number of rounds that count
    warmup: rounds before them that do not
    title, progress: of the progress bar
    """
    if repeats < 1:
        raise ValueError(f"`repeats`: expected at least 1, got {repeats}")
    values: dict[str, list[float]] = {name: [] for name in measurements}
    for turn in tqdm(range(warmup + repeats), desc=title, disable=not progress, leave=False):
        for name, measure in measurements.items():
            value = measure()
            if turn >= warmup:
                values[name].append(value)
    return values


def spread(values: Sequence[float]) -> Spread:
    """Median and range of repeated measurements."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Ratio of the medians, with the range of the ratios of single rounds."""
    rounds = [a / b for a, b in zip(numerators, denominators, strict=True)]
    median = statistics.median(numerators) / statistics.median(denominators)
    return Spread(median, min(rounds), max(rounds), len(rounds))


# ---- recording ---------------------------------------------------------------------------------------------


def environment(**more: object) -> dict[str, object]:
    """What the numbers depend on: date, commit, hardware, versions; and ``more`` as it is."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name.replace("-", "_"): _version(name) for name in PACKAGES},
        **more,
    }


def usable_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| | measured | min – max | n | required | |", "|---|--:|:-:|--:|--:|---|"]
    for row in rows:
        required = f"{row.sense} {row.limit:g} {row.unit}".rstrip() if row.limit is not None else ""
        required += f" (+{100 * row.tolerance:g} %)" if row.limit is not None and row.tolerance else ""
        cells = [row.what, "–", "", "", required, row.verdict]
        if row.spread is not None:
            cells[1] = f"{_number(row.spread.median)} {row.unit}".rstrip()
            cells[2] = f"{_number(row.spread.low)} – {_number(row.spread.high)}"
            cells[3] = str(row.spread.repeats)
        if row.note:
            cells[5] = f"{row.verdict}; {row.note}" if row.verdict else row.note
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def store(name: str, title: str, rows: Sequence[Row], record: Mapping[str, object], folder: Path) -> Path:
    """Write ``name``.json and ``name``.md into ``folder``, each at once; returns the path of the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    results = [{**asdict(row), "verdict": row.verdict} for row in rows]
    document = {"environment": dict(record), "results": results}
    _write(folder / f"{name}.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    about = "\n".join(f"- {key}: {value}" for key, value in record.items())
    _write(folder / f"{name}.md", f"# {title}\n\n{table(rows)}\n\n{about}\n")
    return folder / f"{name}.md"


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _commit() -> str:
    """Short hash of the checkout, with "+" if files differ from it; "unknown" outside one."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
        status = subprocess.run(
            [*git, "status", "--porcelain", "--", "ase_mlip", "csrc", "benchmarks/*.py"],
            capture_output=True,
            text=True,
        )
    except OSError:
        return "unknown"
    if commit.returncode != 0:
        return "unknown"
    return commit.stdout.strip() + ("+" if status.stdout.strip() else "")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "not installed"
