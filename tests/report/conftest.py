"""Structures that are validated, and the report on them, which takes long: one for all tests."""

import pytest
from ase import Atoms
from ase.build import bulk

from ase_mlip.report import validate as module
from ase_mlip.report.validate import validate
from tests.validate_cases import QUICK, run_here


@pytest.fixture(scope="session")
def structures():
    unknown = bulk("Ge", cubic=True)
    return {"silicon": bulk("Si", cubic=True), "dimer": Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]]), "ge": unknown}


@pytest.fixture(scope="session")
def report(structures, tmp_path_factory):
    """A crystal, a molecule, and one that fails."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_in_processes", run_here)
        document = validate("pet-si", structures, output=folder, settings=QUICK, processes=1)
    return folder, document
