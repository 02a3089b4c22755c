"""A design that is killed while it makes rows goes on from those it has, with the same numbers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ase.io import write
from random_pet import METADATA, random_network, silicon

from ase_mlip.model_file.model import export_model

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 24


@pytest.fixture
def files(tmp_path):
    frames = [silicon(0.1, seed=k).repeat((2, 2, 1)) for k in range(FRAMES)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=seed)
    write(tmp_path / "pool.xyz", frames)
    export_model(random_network(num_gnn_layers=1, num_attention_layers=1), tmp_path / "pet.pt", METADATA)
    return tmp_path


def start(folder: Path, output: str) -> subprocess.Popen:
    program = "from ase_mlip.cli.program import main; main()"
    arguments = ["design", "pool.xyz", "--pick", "4", "--basis", "pet.pt", "-o", output]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def stored(folder: Path) -> dict[str, int]:
    """Files of rows with the time at which each was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("rows/*.npz")}


def kill_after(process: subprocess.Popen, folder: Path, count: int) -> None:
    """SIGKILL as soon as the rows of ``count`` structures are there."""
    limit = time.monotonic() + 120.0
    while len(stored(folder)) < count:
        assert process.poll() is None and time.monotonic() < limit, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def finish(process: subprocess.Popen) -> str:
    output, errors = process.communicate(timeout=300.0)
    assert process.returncode == 0, errors
    return output


def test_a_killed_design_goes_on_with_the_same_numbers(files):
    whole = finish(start(files, "whole"))
    for count in (2, 6):
        kill_after(start(files, "killed"), files / "killed", count)
        assert not (files / "killed" / "design.json").exists()
    before = stored(files / "killed")
    assert 6 <= len(before) < FRAMES
    assert finish(start(files, "killed")) == whole
    after = stored(files / "killed")
    assert len(after) == FRAMES and before.items() <= after.items(), "rows that were there are not made again"
    documents = [json.loads((files / name / "design.json").read_text()) for name in ("whole", "killed")]
    assert documents[0] == documents[1]
    for name in ("picks.xyz", "rejected.xyz"):
        assert (files / "whole" / name).read_bytes() == (files / "killed" / name).read_bytes()
    names = [{path.name for path in (files / name).rglob("*")} for name in ("whole", "killed")]
    assert names[0] == names[1], "no temporary file and no lock is left"
