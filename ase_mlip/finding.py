"""One line of the doctor's report."""

from __future__ import annotations

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
