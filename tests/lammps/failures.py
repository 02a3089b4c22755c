"""Runs of LAMMPS that must end with an error."""

import re

from harness import Case
from structures import diamond


def fails(lammps, script_or_case, folder, cause: str, ranks=1, environment=None) -> str:
    """The run must end soon, with a status that says so and an error that matches ``cause``."""
    script = script_or_case
    if isinstance(script, Case):
        script.write(folder)
        script = script.script()
    output = lammps.start(script, folder, ranks=ranks, timeout=120, environment=environment)
    assert output.status != 0, output.text[-2000:]
    assert output.status not in (-6, -11, 134, 139), output.text[-2000:]  # abort, segmentation fault
    found = output.errors
    assert found, output.text[-3000:]
    text = output.text[output.text.index("ERROR") :]
    assert re.search(cause, " ".join(text.split())), text[:1500]
    assert "terminate called" not in output.text
    return text


def silicon(models, pair=None, **changes) -> Case:
    return Case(diamond(1, 0.05), pair=models.pair("one") if pair is None else pair, **changes)
