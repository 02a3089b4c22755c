"""One line of the doctor's report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"
BUILD_COMMAND = "ase-mlip build"


@dataclass(frozen=True)
class Finding:
    """``status`` is "ok", "warn" (something will not be available) or "fail"."""

    name: str
    status: str
    found: str
    remedy: str = ""


def guarded(name: str, check: Callable[[], Finding]) -> Finding:
    """What the check finds; its exception as a finding: a report with one broken line beats a traceback."""
    try:
        return check()
    except Exception as error:
        return Finding(name, FAIL, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
