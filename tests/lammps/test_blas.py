"""libtorch multiplies its matrices with its own BLAS, not with the plain one that LAMMPS brings."""

import pytest
from harness import Case
from structures import triclinic


def test_torch_keeps_its_own_blas(request, lammps, models, tmp_path):
    """LAMMPS exports `dgemm_`, and is there first: float64 would be five times slower with it."""
    if request.config.getoption("preload"):
        pytest.skip("a sanitizer needs the plain way of opening libraries")
    case = Case(triclinic(), pair=models.pair("pet-si"), commands="run 0")
    case.write(tmp_path)
    log = tmp_path / "bindings"
    environment = {"LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": str(log)}
    output = lammps.start(case.script(), tmp_path, environment=environment)
    assert output.status == 0, output.text
    lines = "\n".join(file.read_text() for file in tmp_path.glob("bindings.*")).splitlines()
    bindings = [line for line in lines if "`dgemm_'" in line]
    of_torch = [line for line in bindings if "binding file" in line and "libtorch" in line.split(" to ")[0]]
    assert of_torch
    assert not [line for line in of_torch if "lammps" in line.split(" to ")[1]]
