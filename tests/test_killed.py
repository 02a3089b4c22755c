"""Commands killed at some moment and given once more: the results are those of a run in one piece."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from ase_mlip.landscapes.landscape import PARTIAL
from ase_mlip.model_file.info import find_model

HERE = Path(__file__).resolve().parent
NOT_RESULTS = {"seconds", "wall_time", "hardware", "created", "evaluations", "cost"}


def silicon(folder: Path) -> None:
    """A crystal, one with a vacancy, and rattled ones."""
    ase.io.write(folder / "crystal.extxyz", bulk("Si", cubic=True))
    vacancy = bulk("Si", cubic=True)
    del vacancy[0]
    ase.io.write(folder / "vacancy.extxyz", vacancy)
    frames = []
    for seed in range(6):
        frames.append(bulk("Si", cubic=True))
        frames[-1].rattle(0.1, seed=seed)
    ase.io.write(folder / "many.extxyz", frames)
    generator = np.random.default_rng(0)
    for frame in frames:  # references of the size of a model's errors; `relax` does not read them
        results = {"energy": -5.4 * len(frame), "forces": generator.normal(0.0, 0.2, (len(frame), 3))}
        frame.calc = SinglePointCalculator(frame, **results)
    ase.io.write(folder / "labelled.extxyz", frames)


MODEL = ["snnp-si"]
DOUBLE = ["--dtype", "float64"]
LINES = 80  # several seconds: a landscape is stored every second
COMMANDS = {
    "relax": ["relax", *MODEL, "many.extxyz", *DOUBLE, "--fmax", "1e-4", "-o", "out"],
    "phonons": [
        "phonons",
        *MODEL,
        "vacancy.extxyz",
        *DOUBLE,
        "--supercell",
        "1",
        "1",
        "1",
        "--allow-unrelaxed",
        "-o",
        "out",
    ],
    "conductivity": [
        *("conductivity", *MODEL, "crystal.extxyz", *DOUBLE, "--supercell", "1", "1", "1"),
        *("--mesh", "3", "3", "3", "-o", "out"),
    ],
    "elastic": ["elastic", *MODEL, "crystal.extxyz", *DOUBLE, "-o", "out"],
    "eos": ["eos", *MODEL, "crystal.extxyz", *DOUBLE, "--volumes", "41", "-o", "out"],
    "evaluate": ["evaluate", *MODEL, *["labelled.extxyz"] * 20, *DOUBLE, "-o", "out"],
    "md": ["md", *MODEL, "crystal.extxyz", *DOUBLE, "--time", "0.2", "--replicas", "20", "-o", "out"],
    "symmetry": ["symmetry", *MODEL, "crystal.extxyz", *DOUBLE, "-o", "out"],
    "landscape": ["landscape", *MODEL, "labelled.extxyz", "--lines", str(LINES), "--plane", "-o", "out"],
}
# a relaxation goes on with a new optimiser: it ends in the same minimum, within the forces of --fmax;
# each point of a landscape is computed from the stored weights alone: it is the same bit by bit, and so is a
# replica, which is run as if there were no other; a fit of four parameters makes more of rounding
TOLERANCES = {"relax": 1e-6, "eos": 1e-6, "landscape": 0.0, "md": 0.0}


def numbers_of(folder: Path, command: str) -> dict:
    """What the command is for, without times."""
    if command == "relax":
        frames = {frame.info["name"]: frame for frame in ase.io.read(folder / "out" / "relaxed.extxyz", ":")}
        assert len(frames) == 6 and all(frame.info["converged"] for frame in frames.values())
        return {name: [frame.get_potential_energy()] for name, frame in frames.items()}
    name = "vacancy/phonons.json" if command == "phonons" else f"{command}.json"
    return json.loads((folder / "out" / name).read_text())


def assert_same(found, expected, tolerance: float, place: str = "") -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key in expected.keys() - NOT_RESULTS:
            assert_same(found[key], expected[key], tolerance, f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for k, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, tolerance, f"{place}[{k}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=tolerance, abs=tolerance), place
    else:
        assert found == expected, place


def whole_files(folder: Path) -> None:
    """Nothing that a kill left is half a file under the name of a result."""
    for path in folder.rglob("*.json"):
        if not path.name.startswith("."):
            json.loads(path.read_text())
    for path in folder.rglob("*.npz"):
        with np.load(path) as stored:
            assert all(np.isfinite(stored[key]).all() for key in ("forces", "evaluations"))
    for path in folder.rglob("relaxed.extxyz"):
        ase.io.read(path, ":")


def killed_often(folder: Path, command: str, times: int, seed: int = 0, when: str = "random") -> None:
    if command == "conductivity":
        pytest.importorskip("phono3py", reason="the extra `kappa` is not installed")
    silicon(folder)
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-W", "ignore", HERE / "killed_runs.py", str(times), str(seed), when]
    done = subprocess.run(
        [*program, *COMMANDS[command]], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    print(command, done.stdout)
    assert json.loads(done.stdout.splitlines()[-1])["kills"] == times
    whole_files(folder / "killed")
    tolerance = TOLERANCES.get(command, 1e-9)
    assert_same(numbers_of(folder / "killed", command), numbers_of(folder / "whole", command), tolerance)
    found, expected = ({path.name for path in (folder / name).rglob("*")} for name in ("killed", "whole"))
    assert found == expected, "temporary files and locks are gone"


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_ten_kills_at_random_moments_change_no_result(tmp_path, command):
    killed_often(tmp_path, command, times=10, seed=len(command))


@pytest.mark.parametrize("command", ["relax", "phonons"])
def test_two_kills_at_random_moments_change_no_result(tmp_path, command):
    killed_often(tmp_path, command, times=2, seed=1)


def test_killed_dynamics_goes_on_with_the_replicas_it_has(tmp_path):
    killed_often(tmp_path, "md", times=2, when="md.parts.json")


def test_a_killed_landscape_goes_on_with_the_same_numbers_and_leaves_the_model_as_it_was(tmp_path):
    """The last call finds the points of those that were killed, and computes the rest."""
    path = find_model(*MODEL)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    killed_often(tmp_path, "landscape", times=2, when=PARTIAL)
    found, whole = (numbers_of(tmp_path / name, "landscape") for name in ("killed", "whole"))
    assert found["force_losses"] == whole["force_losses"]
    assert found["plane"] == whole["plane"]
    assert 0 < found["cost"]["evaluations"] < whole["cost"]["evaluations"] == LINES * 80 + 25 * 25
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before == found["model"]["sha256"]
