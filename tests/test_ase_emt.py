"""ASE's own tests with its effective medium theory as a model file in the place of ASE's class."""

import os
import subprocess
import sys
from pathlib import Path

import ase.test
import emt_network
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT

from ase_mlip import MLIPCalculator

HERE = Path(__file__).resolve().parent
# As of ASE 3.29; a release that has fewer would mean that they are looked for in the wrong place.
AT_LEAST = 450


@pytest.fixture(scope="module")
def emt_path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("emt") / "emt.pt"
    emt_network.export(path)
    return path


@pytest.mark.parametrize("name", ["crystal", "alloy", "surface", "molecule", "atom"])
def test_the_model_file_has_the_numbers_of_ase(emt_path, name):
    """ASE's forces and stress are derived by hand, its neighbour list is its own."""
    atoms = {
        "crystal": lambda: bulk("Cu", cubic=True),
        "alloy": lambda: bulk("AuPt", "rocksalt", a=4.4),
        "surface": lambda: fcc111("Al", (2, 2, 2), vacuum=5.0),
        "molecule": lambda: molecule("C2H6"),
        "atom": lambda: Atoms("Ni"),
    }[name]()
    atoms.rattle(0.1, seed=1)
    theirs, ours = EMT(), MLIPCalculator(emt_path, device="cpu", dtype="float64")
    for calculator in (theirs, ours):
        atoms.calc = calculator
        atoms.get_potential_energy()
    assert set(ours.results) == set(theirs.results)
    for quantity, value in theirs.results.items():
        np.testing.assert_allclose(ours.results[quantity], value, atol=1e-11, err_msg=quantity)


@pytest.mark.slow
def test_ases_own_tests_pass(emt_path, tmp_path):
    """All in ASE's files that name EMT. Those that fail must fail with ASE's own class, too.

    What tests start as a process of its own (`ase run emt`) has ASE's class there.
    """
    folder = Path(ase.test.__file__).parent
    files = [str(path) for path in sorted(folder.rglob("test_*.py")) if "emt" in path.read_text().lower()]
    found = run(files, folder, {emt_network.MODEL: str(emt_path)})
    passed = [name for name, outcome in found.items() if outcome == "PASSED"]
    failed = [name for name, outcome in found.items() if outcome in ("FAILED", "ERROR")]
    assert len(passed) >= AT_LEAST
    if failed:
        alone = run(failed, folder, {})
        assert not [name for name in failed if alone[name] not in ("FAILED", "ERROR")]


def run(tests: list[str], folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Outcomes by name, of a process in which the plugin is loaded before ASE's tests."""
    command = [sys.executable, "-m", "pytest", "-v", "-p", "emt_network", "-p", "no:cacheprovider"]
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # with `ase`
    done = subprocess.run(
        [*command, f"--rootdir={folder}", *tests],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PATH": programs, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout[-2000:] + done.stderr[-2000:]
    rows = [line.split() for line in done.stdout.splitlines() if "::" in line]
    return {row[0]: row[1] for row in rows if len(row) > 1 and row[1].isupper()}
